"""What vendors, with live or dead credentials, alone or together, cannot do."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import CALLBACK, Customer, Thief, Vendor, part
from tests.attacks.conftest import Story
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from vrm.consent.access import Access
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import DAY
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantInactiveError,
    InsufficientScopeError,
    NotInViewError,
    ParameterError,
    ScopeError,
    StorageError,
    TokenError,
)
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

YEAR = 365 * DAY


def wraps(engine: SqliteEngine, grant_id: str) -> list[bytes]:
    """The wrap bytes that a grant's tokens have in the table now."""
    rows = engine.all("SELECT wrapped FROM tokens WHERE grant_id = ? AND wrapped IS NOT NULL", (grant_id,))
    return [row[0] for row in rows]


def on_disk(folder: Path, blobs: list[bytes]) -> bool:
    """Whether any of these bytes stand in the database or its write-ahead log."""
    content = b"".join(path.read_bytes() for path in folder.iterdir() if path.name.startswith("vrm.db"))
    return any(blob in content for blob in blobs)


# --- 1, 2: a token opens its scopes, rows, period, fields, and nothing else


def test_token_of_item_reads_no_context_and_no_price(story: Story) -> None:
    for row in story.vendor.read(story.tokens.access_token):
        assert set(row) == {"id", "updated_at", "item", "order"}
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    for collection in ("preferences", "profile"):
        with pytest.raises(InsufficientScopeError):
            story.customer.consent.reader.page(access, collection)
    with pytest.raises(InsufficientScopeError):
        story.customer.consent.reader.answer(access, "corrections")


def test_absent_withheld_and_not_granted_records_look_alike(story: Story) -> None:
    reader = story.customer.consent.reader
    access = reader.authenticate(story.tokens.access_token)
    keyring = story.customer.vault.keyring
    client = story.vendor.registered.client_id
    asked = {
        why: keyring.pairwise(client, "purchases", record).hex() for why, record in story.withheld.items()
    }
    asked |= {"absent": "0" * 32, "her own id": story.shared[0], "no id": "x" * 32, "short": "0"}
    errors = set()
    for record in asked.values():
        with pytest.raises(NotInViewError) as caught:
            reader.one(access, "purchases", record)
        errors.add((str(caught.value), caught.value.hint, str(caught.value.fields)))
    assert len(errors) == 1


def test_down_scoped_token_cannot_ask_for_more_later(story: Story) -> None:
    narrow = story.vendor.refresh(story.tokens.refresh_token, "purchases.order:read")
    assert all(set(row) == {"id", "updated_at", "order"} for row in story.vendor.read(narrow.access_token))
    with pytest.raises(ScopeError):
        story.vendor.refresh(narrow.refresh_token, "purchases.order:read purchases.price:read")


def test_another_vendor_cannot_use_a_refresh_token_or_a_code(story: Story) -> None:
    thief = Vendor.register(story.customer.consent, "Corner  Books")
    thief.verifier = story.vendor.verifier
    with pytest.raises(CodeError):
        thief.refresh(story.tokens.refresh_token)
    code = story.customer.approve(story.vendor.ask())
    with pytest.raises(CodeError):
        thief.redeem(code)
    assert story.vendor.redeem(code).access_token
    assert story.vendor.refresh(story.tokens.refresh_token).access_token


# --- 4: the log


def test_live_token_opens_no_log_entry(story: Story, thief: Thief) -> None:
    story.vendor.read(story.tokens.access_token)
    report = thief.rob(story.tokens.access_token, ["Corner Books", "connected", "purchases.item:read"])
    assert report.token is not None
    assert report.token.beyond == {}
    assert {one.text for one in report.found} <= {"Corner Books"}, (
        "the register of vendors names it, the log does not"
    )


def test_forged_entry_is_not_shown_and_is_found(
    story: Story, engine: SqliteEngine, vaults: Vaults, clock: SettableClock
) -> None:
    """Who knows the public log key and the format, but not the server key, starts a segment of his own."""
    from vrm.vault import crypto
    from vrm.vault.serverkey import ServerKey

    forger_vaults = Vaults(engine, ServerKey(crypto.random_key()), clock=clock)
    forger_vaults.log_key = vaults.log_key  # type: ignore[method-assign]
    forger = Disclosures(engine, forger_vaults, clock)
    with engine.write() as transaction:
        forger.note(transaction, story.customer.vault.id, "revoked", vendor_name="Forged Books")
    entries = story.customer.consent.log.read(story.customer.vault)
    assert "Forged Books" not in {entry.vendor_name for entry in entries}
    assert any("altered or cut" in one for one in story.customer.consent.problems(story.customer.vault))


def _expired(story: Story, clock: SettableClock) -> None:
    clock.forward(901)
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)


def _ended(story: Story, clock: SettableClock) -> None:
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)


def _grant_over(story: Story, clock: SettableClock) -> None:
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    with pytest.raises(GrantInactiveError):
        story.customer.consent.reader.page(access, "purchases")


def _not_granted(story: Story, clock: SettableClock) -> None:
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    with pytest.raises(InsufficientScopeError):
        story.customer.consent.reader.page(access, "profile")


def _code_reused(story: Story, clock: SettableClock) -> None:
    with pytest.raises(CodeError):
        story.vendor.redeem(story.code)


def _token_reused(story: Story, clock: SettableClock) -> None:
    story.vendor.refresh(story.tokens.refresh_token)
    clock.forward(21)
    with pytest.raises(CodeError):
        story.vendor.refresh(story.tokens.refresh_token)


def _blocked(story: Story, clock: SettableClock) -> None:
    story.customer.consent.sweeping.block(story.vendor.registered.client_id)


@pytest.mark.parametrize(
    ("act", "event", "reason"),
    [
        (_expired, "refused", "token expired"),
        (_ended, "refused", "token ended"),
        (_grant_over, "refused", "grant ended"),
        (_not_granted, "refused", "not granted"),
        (_code_reused, "code-reused", ""),
        (_token_reused, "token-reused", ""),
        (_blocked, "blocked", ""),
    ],
)
def test_refusals_are_in_her_log_though_the_vault_is_locked(
    act: Callable[[Story, SettableClock], None], event: str, reason: str, story: Story, clock: SettableClock
) -> None:
    act(story, clock)
    newest = story.customer.consent.log.read(story.customer.vault, 1)[0]
    assert (newest.event, newest.reason) == (event, reason)
    assert newest.grant_id == story.tokens.grant_id
    assert story.customer.consent.log.problems(story.customer.vault) == []


# --- 6, 7: what ended is gone


@only_sqlite
def test_revoked_wraps_are_nowhere_on_the_disk(story: Story, engine: SqliteEngine, folder: Path) -> None:
    gone = wraps(engine, story.tokens.grant_id)
    rows = [row[0] for row in engine.all("SELECT sealed FROM views")]
    assert len(gone) == 2
    assert on_disk(folder, gone)
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    assert not on_disk(folder, gone)
    assert not on_disk(folder, rows)


@only_sqlite
def test_spent_code_wrap_is_nowhere_on_the_disk(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, folder: Path
) -> None:
    code = customer.approve(vendor.ask())
    [(gone,)] = engine.all("SELECT wrapped FROM tokens WHERE kind = 'code'")
    assert on_disk(folder, [gone])
    vendor.redeem(code)
    assert customer.consent.sweep()
    assert not on_disk(folder, [gone])


def test_spent_refresh_wrap_is_nowhere_on_the_disk(story: Story, engine: SqliteEngine, folder: Path) -> None:
    [(gone,)] = engine.all("SELECT wrapped FROM tokens WHERE kind = 'refresh'")
    story.vendor.refresh(story.tokens.refresh_token)
    assert story.customer.consent.sweep()
    assert not on_disk(folder, [gone])


def test_a_clock_that_jumped_keeps_no_spent_wrap_on_the_disk(
    story: Story, engine: SqliteEngine, folder: Path, clock: SettableClock
) -> None:
    [(gone,)] = engine.all("SELECT wrapped FROM tokens WHERE kind = 'refresh'")
    assert story.customer.consent.sweep()
    story.vendor.refresh(story.tokens.refresh_token)
    clock.forward(YEAR)
    assert story.customer.consent.sweep()
    assert not on_disk(folder, [gone])


def test_lost_answer_is_gone_after_its_time(
    story: Story, engine: SqliteEngine, folder: Path, clock: SettableClock
) -> None:
    story.vendor.refresh(story.tokens.refresh_token)
    [(replay,)] = engine.all("SELECT replay FROM tokens WHERE replay IS NOT NULL")
    clock.forward(21)
    assert story.customer.consent.sweep()
    assert not on_disk(folder, [replay])


def test_expired_wraps_are_gone_after_the_sweep(
    story: Story, engine: SqliteEngine, folder: Path, clock: SettableClock
) -> None:
    [(gone,)] = engine.all("SELECT wrapped FROM tokens WHERE kind = 'access'")
    clock.forward(901)
    assert story.customer.consent.sweep()
    assert not on_disk(folder, [gone])


@only_sqlite
def test_sweep_says_so_while_a_reader_keeps_deleted_bytes(
    story: Story, engine: SqliteEngine, folder: Path, clock: SettableClock
) -> None:
    import sqlite3

    other = sqlite3.connect(folder / "vrm.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM tokens").fetchone()
    try:
        engine.one("PRAGMA busy_timeout=0")
        gone = wraps(engine, story.tokens.grant_id)
        story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
        assert not story.customer.consent.sweep()
    finally:
        other.close()
    assert story.customer.consent.sweep()
    assert not on_disk(folder, gone)


def test_narrowed_rows_are_nowhere_on_the_disk(story: Story, engine: SqliteEngine, folder: Path) -> None:
    before = [row[0] for row in engine.all("SELECT sealed FROM views")]
    story.customer.consent.grants.narrow(
        story.customer.vault, story.tokens.grant_id, exclude=frozenset(story.shared)
    )
    assert not on_disk(folder, before)


# --- 9: two vendors do not join what they read


def test_two_vendors_share_no_id_etag_or_cursor(customer: Customer, consent: Consent) -> None:
    for number in range(6):
        customer.buy(f"Book {number}")
    vendors = [Vendor.register(consent, name) for name in ("Corner Books", "Reading Club")]
    connected = [vendor.connect(customer, fresh="") for vendor in vendors]
    for number in range(6, 8):
        customer.buy(f"Book {number}")
    seen: list[set[str]] = []
    for tokens in connected:
        access = consent.reader.authenticate(tokens.access_token)
        page, cursor = consent.reader.page(access, "purchases", limit=2)
        ids = [row["id"] for row in Vendor.register(consent, "x").read(tokens.access_token)]
        etags = [consent.reader.one(access, "purchases", one)[1] for one in ids]
        seen.append({*ids, *etags, str(cursor), tokens.access_token, tokens.refresh_token, tokens.grant_id})
        assert (len(page), len(ids)) == (2, 8)
    assert seen[0] & seen[1] == set()


def test_two_grants_of_one_vendor_share_ids_but_no_etag(
    customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    customer.buy("Kindred")
    found = []
    for _ in range(2):
        access = consent.reader.authenticate(vendor.connect(customer).access_token)
        [text] = consent.reader.page(access, "purchases")[0]
        record = json.loads(text)["id"]
        found.append((record, consent.reader.one(access, "purchases", record)[1]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def _without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def test_withheld_rows_leave_no_trace_in_what_leaves(
    customer: Customer, vendor: Vendor, consent: Consent, engine: SqliteEngine
) -> None:
    """The same three books, once alone and once among thirty that stay."""
    for number in range(3):
        customer.buy(f"Book {number}")

    def looks() -> tuple[Any, ...]:
        tokens = vendor.connect(customer)
        access = consent.reader.authenticate(tokens.access_token)
        pages = [len(consent.reader.page(access, "purchases", limit=limit)[0]) for limit in (1, 2, 500)]
        cursor = consent.reader.page(access, "purchases", limit=1)[1]
        told = {name: value for name, value in consent.reader.grant(access).items() if name != "grant_id"}
        rows = sorted(_without_times(vendor.read(tokens.access_token)), key=str)
        seqs = engine.all("SELECT seq FROM views WHERE grant_id = ? ORDER BY seq", (tokens.grant_id,))
        return pages, len(cursor or ""), told, rows, seqs, tokens.expires_in, tokens.scope

    before = looks()
    for number in range(30):
        customer.buy(f"Secret {number}", ("gift", "work", "household", None)[number % 4])
    assert looks() == before


def test_a_change_to_a_withheld_row_changes_nothing_that_leaves(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock
) -> None:
    customer.buy("Kindred")
    gift = customer.buy("Model Railway Almanac", "gift")
    tokens = vendor.connect(customer)
    access = consent.reader.authenticate(tokens.access_token)
    before = consent.reader.page(access, "purchases")
    clock.forward(60)
    customer.change(gift, "item", title="Another present")
    customer.vault.records("purchases").remove(gift)
    assert consent.reader.page(access, "purchases") == before
    assert consent.reader.page(access, "purchases", updated_since=clock.now() - 30) == ([], None)


def test_cursor_of_another_list_or_grant_is_refused(
    customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    for number in range(3):
        customer.buy(f"Book {number}")
        customer.put({"statement": {"topic": f"Topic {number}"}}, "preferences")
    parts = (part("purchases.item"), part("preferences.statement"))
    one, other = (
        consent.reader.authenticate(vendor.connect(customer, *parts).access_token) for _ in range(2)
    )
    cursor = consent.reader.page(one, "purchases", limit=1)[1]
    assert cursor
    for access, collection in ((other, "purchases"), (one, "preferences")):
        with pytest.raises(ParameterError):
            consent.reader.page(access, collection, cursor=cursor)
    for forged in ("", "AAAA", "…", cursor[:-4], cursor[:-2] + "AA", cursor + cursor, "\x00"):
        with pytest.raises(ParameterError):
            consent.reader.page(one, "purchases", cursor=forged)


# --- 11, 12: reuse and lost answers


def test_reuse_ends_the_grant_before_it_is_answered(
    story: Story, clock: SettableClock, engine: SqliteEngine
) -> None:
    fresh = story.vendor.refresh(story.tokens.refresh_token)
    story.vendor.read(fresh.access_token)
    with pytest.raises(CodeError):
        story.vendor.refresh(story.tokens.refresh_token)
    assert engine.one("SELECT state FROM grants") == ("revoked",)
    for token in (story.tokens.access_token, fresh.access_token):
        with pytest.raises(TokenError):
            story.vendor.read(token)
    with pytest.raises(CodeError):
        story.vendor.refresh(fresh.refresh_token)


def _reuse_and_die(path: Path, token: str, client_id: str) -> None:
    from vrm.vault import serverkey

    engine = SqliteEngine(path)
    clock = SettableClock(1_795_000_100)
    consent = Consent(engine, Vaults(engine, serverkey.load(path.parent / "server.key"), clock=clock), clock)
    try:
        consent.tokens.refresh(token, consent.vendors.get(client_id))
    except CodeError:
        os.kill(os.getpid(), signal.SIGKILL)


@only_sqlite
def test_revocation_after_reuse_survives_a_kill(story: Story, engine: SqliteEngine, folder: Path) -> None:
    story.vendor.refresh(story.tokens.refresh_token)
    arguments = (folder / "vrm.db", story.tokens.refresh_token, story.vendor.registered.client_id)
    child = multiprocessing.get_context("spawn").Process(target=_reuse_and_die, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert engine.one("SELECT state FROM grants") == ("revoked",)
    assert story.customer.events()[0] == "token-reused"


def test_lost_answer_is_fetched_again_by_the_same_client_for_twenty_seconds(
    story: Story, clock: SettableClock
) -> None:
    answer = story.vendor.refresh(story.tokens.refresh_token)
    clock.forward(20)
    assert story.vendor.refresh(story.tokens.refresh_token) == answer
    assert story.vendor.read(answer.access_token)


def test_lost_answer_is_not_for_another_client(story: Story) -> None:
    story.vendor.refresh(story.tokens.refresh_token)
    with pytest.raises(CodeError):
        Vendor.register(story.customer.consent, "Toy Shop").refresh(story.tokens.refresh_token)
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)


def test_lost_answer_is_not_given_once_it_was_used(story: Story) -> None:
    answer = story.vendor.refresh(story.tokens.refresh_token)
    story.vendor.refresh(answer.refresh_token)
    with pytest.raises(CodeError):
        story.vendor.refresh(story.tokens.refresh_token)


# --- 22: the clock


def test_a_clock_a_year_ahead_deletes_nothing_and_revives_nothing(
    story: Story, clock: SettableClock, engine: SqliteEngine
) -> None:
    consent = story.customer.consent
    other = story.vendor.connect(story.customer, part("purchases.price"))
    consent.grants.revoke(story.customer.vault, other.grant_id)
    consent.sweep()
    count = (
        "SELECT (SELECT count(*) FROM tokens WHERE wrapped IS NOT NULL), (SELECT count(*) FROM views),"
        " (SELECT count(*) FROM once), (SELECT count(*) FROM sessions)"
    )
    assert consent.once.claim("proof", b"one", clock.now() + 60)
    story.customer.vault.open_session()
    before = engine.one(count)
    clock.forward(YEAR)
    for _ in range(3):
        clock.forward(20)
        consent.sweep()
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)
    assert engine.one(count) == before
    clock.forward(-YEAR - 60)
    consent.sweep()
    assert len(story.vendor.read(story.tokens.access_token)) == 2
    assert not consent.once.claim("proof", b"one", clock.now() + 60), "it counts once"
    with pytest.raises(TokenError):
        story.vendor.read(other.access_token)


def test_a_clock_that_stays_ahead_is_believed_after_an_hour(
    story: Story, clock: SettableClock, engine: SqliteEngine
) -> None:
    consent = story.customer.consent
    consent.sweep()
    clock.forward(YEAR)
    for _ in range(5):
        consent.sweep()
        clock.forward(900)
    consent.sweep()
    assert engine.one("SELECT state FROM grants") == ("expired",)
    assert engine.one("SELECT count(*) FROM views") == (0,)


def test_a_clock_a_year_behind_revives_nothing_that_was_swept(story: Story, clock: SettableClock) -> None:
    consent = story.customer.consent
    for _ in range(91):
        clock.forward(DAY)
        consent.sweep()
    clock.forward(-YEAR)
    consent.sweep()
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)
    with pytest.raises(CodeError):
        story.vendor.refresh(story.tokens.refresh_token)


def test_an_edit_while_the_clock_is_ahead_still_withdraws_a_row(story: Story, clock: SettableClock) -> None:
    """A grant that is only seemingly over must not keep a row that she took back meanwhile."""
    clock.forward(YEAR)
    story.customer.change(story.shared[0], "context", **{"for": "gift"})
    clock.forward(-YEAR)
    assert len(story.vendor.read(story.tokens.access_token)) == 1


# --- 23: no reading without a log entry


def grow(engine: SqliteEngine, pages: int) -> None:
    """Let what threads do together fill so many pages, or as many as there are."""
    engine.together(lambda transaction: transaction.execute(f"PRAGMA max_page_count={pages}").fetchone())


@only_sqlite
def test_nothing_leaves_where_the_log_cannot_be_written(
    story: Story, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    access: Access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    grow(engine, 1)  # the disk is full
    before = story.customer.consent.log.count(story.customer.vault)
    reads = engine.one("SELECT reads FROM grants")
    for act in (
        lambda: story.customer.consent.reader.page(access, "purchases"),
        lambda: story.customer.consent.reader.one(access, "purchases", "0" * 32),
    ):
        failed = False
        for _ in range(40):  # until the free space of the last page is used up
            try:
                act()
            except NotInViewError:
                continue
            except StorageError:
                failed = True
                break
        assert failed
    grow(engine, 1_000_000)
    done = story.customer.consent.log.count(story.customer.vault) - before
    after = engine.one("SELECT reads FROM grants")
    assert reads is not None
    assert after is not None
    assert after[0] - reads[0] == done
    assert story.customer.consent.log.problems(story.customer.vault) == []


def test_without_an_entry_for_each_reading_the_count_would_differ(
    story: Story, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disclosures, "note", lambda *given, **detail: None)
    before = story.customer.consent.log.count(story.customer.vault)
    story.vendor.read(story.tokens.access_token)
    assert story.customer.consent.log.count(story.customer.vault) == before
    assert engine.one("SELECT reads FROM grants") != (0,)


def test_redirect_uris_are_compared_exactly(customer: Customer, vendor: Vendor, consent: Consent) -> None:
    for other in (CALLBACK + "/", CALLBACK.upper(), CALLBACK + "?x", CALLBACK.replace("https", "http")):
        code = customer.approve(vendor.ask())
        with pytest.raises(CodeError):
            consent.tokens.redeem(code, vendor.registered, other, vendor.verifier)
