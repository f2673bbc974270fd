"""Codes and tokens: of many tries one wins, a wrong client gets nothing, and what is spent is gone."""

from __future__ import annotations

import errno
import multiprocessing
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import CALLBACK, Customer, Vendor, part
from tests.beside import only_sqlite
from tests.conftest import SettableClock
from tests.postgres import IN_ORDER, engine_of
from vrm.consent.credentials import PREFIXES, read_token, write_token
from vrm.consent.disclosures import REFUSALS_MOST
from vrm.consent.grants import DAY
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.errors import (
    CodeError,
    DetailsError,
    GrantInactiveError,
    ScopeError,
    StorageError,
    TokenError,
    UncertainError,
)
from vrm.vault import serverkey, sqlitelink
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

WANTED = (part("purchases.item", "purchases.price"),)


@pytest.fixture
def code(customer: Customer, vendor: Vendor, books: list[str]) -> str:
    return customer.approve(vendor.ask(*WANTED))


# --- the text of a token


@pytest.mark.parametrize("kind", PREFIXES)
def test_a_token_is_read_back_and_only_as_its_own_kind(kind: str) -> None:
    text = write_token(kind, bytes(range(32)))
    assert {name: read_token(name, text) for name in PREFIXES} == {
        name: bytes(range(32)) if name == kind else None for name in PREFIXES
    }


@pytest.mark.meets("rfc9700-81")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + "=",
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:],
        lambda text: text.upper(),
        lambda text: " " + text,
        lambda text: text[:-1] + "ü",
        lambda text: text[:-1] + "+",
        lambda text: text[:-2] + "!!",
        lambda text: "",
    ],
)
def test_a_spoilt_token_is_none(spoil: Callable[[str], str]) -> None:
    assert read_token("access", spoil(write_token("access", bytes(32)))) is None


@pytest.mark.meets("rfc9700-81")
def test_two_spellings_of_one_token_are_not_both_read() -> None:
    """A character that base64 does not know is skipped by careless decoders."""
    text = write_token("access", bytes(range(32)))
    assert read_token("access", text.replace(text[30], "*", 1)) is None


# --- codes


def test_a_code_becomes_a_pair_with_the_granted_scopes(
    customer: Customer, vendor: Vendor, code: str, clock: SettableClock
) -> None:
    tokens = vendor.redeem(code)
    assert tokens.scope == "purchases.item:read purchases.price:read"
    assert tokens.expires_in == 900
    assert tokens.authorization_details[0]["datatypes"] == ["purchases.item", "purchases.price"]
    assert tokens.access_token not in repr(tokens)
    assert len(vendor.read(tokens.access_token)) == 3


def _other_client(vendor: Vendor, code: str) -> None:
    other = Vendor.register(vendor.consent, "Toy Shop")
    vendor.consent.tokens.redeem(code, other.registered, CALLBACK, vendor.verifier)


WRONG: dict[str, Callable[[Vendor, str], object]] = {
    "client": _other_client,
    "redirect URI": lambda vendor, code: vendor.consent.tokens.redeem(
        code, vendor.registered, CALLBACK + "/", vendor.verifier
    ),
    "no redirect URI": lambda vendor, code: vendor.consent.tokens.redeem(
        code, vendor.registered, "", vendor.verifier
    ),
    "verifier": lambda vendor, code: vendor.consent.tokens.redeem(
        code, vendor.registered, CALLBACK, "x" * 43
    ),
    "the challenge as verifier": lambda vendor, code: vendor.consent.tokens.redeem(
        code, vendor.registered, CALLBACK, vendor.challenge
    ),
    "odd text": lambda vendor, code: vendor.consent.tokens.redeem(
        code, vendor.registered, "\udcff", "\udcff"
    ),
    "kind": lambda vendor, code: vendor.refresh(code),
    "unknown code": lambda vendor, code: vendor.redeem(write_token("code", bytes(32))),
    "no code": lambda vendor, code: vendor.redeem(""),
}


@pytest.mark.meets("rfc9700-63")
@pytest.mark.parametrize("what", WRONG)
def test_a_code_with_a_wrong_companion_opens_nothing_and_stays_good(
    what: str, vendor: Vendor, code: str
) -> None:
    with pytest.raises(CodeError) as caught:
        WRONG[what](vendor, code)
    assert str(caught.value) == str(CodeError())
    assert vendor.redeem(code).access_token


def test_a_code_is_good_for_sixty_seconds(vendor: Vendor, code: str, clock: SettableClock) -> None:
    clock.forward(60)
    with pytest.raises(CodeError):
        vendor.redeem(code)


def test_a_code_that_comes_twice_ends_the_grant(customer: Customer, vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    for _ in range(2):
        with pytest.raises(CodeError):
            vendor.redeem(code)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert customer.events().count("code-reused") == 1


# --- refresh


def test_a_refresh_gives_a_new_pair_and_spends_the_old(vendor: Vendor, code: str) -> None:
    first = vendor.redeem(code)
    second = vendor.refresh(first.refresh_token)
    assert {first.access_token, first.refresh_token} & {second.access_token, second.refresh_token} == set()
    assert second.grant_id == first.grant_id
    assert len(vendor.read(second.access_token)) == 3


def test_a_scope_can_be_narrowed_and_returns_with_the_next_refresh(vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    narrow = vendor.refresh(tokens.refresh_token, "purchases.price:read")
    assert narrow.scope == "purchases.price:read"
    assert {name for row in vendor.read(narrow.access_token) for name in row} == {"id", "updated_at", "price"}
    assert vendor.refresh(narrow.refresh_token, "  ").scope == tokens.scope


@pytest.mark.parametrize(
    "scope", ["purchases.order:read", "purchases.item:read profile.name:read", "nothing"]
)
def test_more_than_was_granted_is_refused_and_spends_nothing(scope: str, vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    with pytest.raises(ScopeError):
        vendor.refresh(tokens.refresh_token, scope)
    assert vendor.refresh(tokens.refresh_token).access_token


def test_refresh_is_refused_to_another_client_and_stays_good(vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    other = Vendor.register(vendor.consent, "Toy Shop")
    for act in (
        lambda: other.refresh(tokens.refresh_token),
        lambda: vendor.refresh(tokens.access_token),
        lambda: vendor.refresh(write_token("refresh", bytes(32))),
    ):
        with pytest.raises(CodeError):
            act()
    assert vendor.refresh(tokens.refresh_token).access_token


@pytest.mark.meets("rfc9700-82")
def test_a_refresh_token_not_used_for_ninety_days_is_over(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, *WANTED, days=365)
    clock.forward(90 * DAY - 1)
    tokens = vendor.refresh(tokens.refresh_token)
    clock.forward(90 * DAY)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)


@pytest.mark.meets("rfc9700-78")
def test_no_token_outlives_its_grant(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock, engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, *WANTED, days=1)
    clock.forward(DAY - 100)
    fresh = vendor.refresh(tokens.refresh_token)
    assert fresh.expires_in == 100
    assert engine.one("SELECT max(expires) FROM tokens") == (clock.now() + 100,)


def test_a_nearer_end_holds_whatever_is_written_beside_it(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock, engine: SqliteEngine
) -> None:
    tokens = vendor.connect(customer, *WANTED, days=90)
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, days=1)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET expires = expires + ?", (89 * DAY,))
    tokens = vendor.refresh(tokens.refresh_token)
    assert tokens.expires_in <= DAY
    clock.forward(DAY - 1)
    tokens = vendor.refresh(tokens.refresh_token)
    assert tokens.expires_in == 1
    clock.forward(1)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)


def test_a_refresh_token_that_outlives_its_narrowed_grant_is_worth_nothing(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer, *WANTED, days=90)
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, days=1)
    clock.forward(DAY)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)


def test_a_code_of_a_grant_that_is_not_live_gives_no_token(
    vendor: Vendor, code: str, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET state = 'paused'")
    with pytest.raises(CodeError):
        vendor.redeem(code)
    assert engine.all("SELECT kind, spent FROM tokens") == [("code", None)]


def test_a_grant_that_ends_while_its_tokens_are_made_gives_none(
    customer: Customer, vendor: Vendor, books: list[str], clock: SettableClock, engine: SqliteEngine
) -> None:
    """The clock goes on while a pair is made: at each of its looks the grant may be over."""
    tokens, over = vendor.connect(customer, *WANTED, days=1), clock.now() + DAY
    before = engine.all("SELECT lookup, spent FROM tokens ORDER BY lookup")
    for seconds in range(20):
        clock.at, clock.pace = over - seconds, 1
        fresh = None
        with suppress(CodeError):
            fresh = vendor.refresh(tokens.refresh_token)
        clock.pace = 0
        if fresh is not None:
            break
        assert engine.all("SELECT lookup, spent FROM tokens ORDER BY lookup") == before, "nothing was spent"
    assert fresh is not None
    assert seconds > 1
    clock.at = over - 1
    assert len(vendor.read(fresh.access_token)) == 3, "what was given is good"


@pytest.mark.parametrize("scope", ["purchases.item:read", "purchases.item:read purchases.price:read nothing"])
def test_a_lost_answer_is_none_for_another_scope_and_the_grant_lives_on(
    scope: str, vendor: Vendor, code: str
) -> None:
    tokens = vendor.redeem(code)
    lost = vendor.refresh(tokens.refresh_token)
    with pytest.raises(ScopeError):
        vendor.refresh(tokens.refresh_token, scope)
    again = " ".join(reversed(lost.scope.split()))
    assert vendor.refresh(tokens.refresh_token, again) == lost
    assert vendor.refresh(tokens.refresh_token) == lost


def test_a_lost_answer_is_none_for_other_parts_and_the_grant_lives_on(
    customer: Customer, vendor: Vendor, code: str
) -> None:
    def refresh(*details: dict[str, Any]) -> TokenSet:
        return customer.consent.tokens.refresh(tokens.refresh_token, vendor.registered, details=details)

    tokens = vendor.redeem(code)
    (granted,) = tokens.authorization_details
    item, price = ({**granted, "datatypes": [name]} for name in granted["datatypes"])
    lost = refresh(item)
    for others in ([granted], [price], [item, price]):
        with pytest.raises(DetailsError):
            refresh(*others)
    assert refresh(item) == lost
    assert vendor.refresh(tokens.refresh_token, lost.scope) == lost
    assert vendor.read(lost.access_token)


def test_without_grace_a_second_refresh_is_reuse(
    customer: Customer,
    vendor: Vendor,
    books: list[str],
    engine: SqliteEngine,
    vaults: Vaults,
    clock: SettableClock,
) -> None:
    strict = Consent(engine, vaults, clock, refresh_grace=0)
    strict_vendor = Vendor(strict, vendor.registered, vendor.verifier)
    tokens = strict_vendor.connect(Customer(customer.vault, strict), *WANTED)
    strict_vendor.refresh(tokens.refresh_token)
    assert engine.all("SELECT 1 FROM tokens WHERE replay IS NOT NULL") == []
    with pytest.raises(CodeError):
        strict_vendor.refresh(tokens.refresh_token)
    assert customer.events()[0] == "token-reused"


@only_sqlite
def test_a_lost_answer_is_given_again_once_what_it_rests_on_is_on_the_disk(
    customer: Customer, vendor: Vendor, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, syncs, sync = vendor.connect(customer, *WANTED), list[str](), sqlitelink._sync

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "no disk")

    def counted(descriptor: int) -> None:
        syncs.append("sync")
        sync(descriptor)

    monkeypatch.setattr(sqlitelink, "_sync", failing)
    with pytest.raises(UncertainError):
        vendor.refresh(tokens.refresh_token)
    with pytest.raises(StorageError):  # nothing rests on what may be lost
        vendor.refresh(tokens.refresh_token)
    monkeypatch.setattr(sqlitelink, "_sync", counted)
    assert vendor.refresh(tokens.refresh_token).access_token
    assert syncs


def newest_refusal(customer: Customer) -> str:
    newest = customer.consent.log.read(customer.vault, 1)[0]
    assert newest.event == "refused"
    return newest.reason


def test_a_vendor_that_comes_after_the_end_is_not_accused_of_more(
    customer: Customer, vendor: Vendor, code: str
) -> None:
    tokens = vendor.redeem(code)
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert newest_refusal(customer) == "grant ended"
    with pytest.raises(CodeError):
        vendor.redeem(code)
    assert newest_refusal(customer) == "code-reused"


def test_a_used_token_that_comes_again_after_the_end_is_noted_as_reused(
    customer: Customer, vendor: Vendor, code: str
) -> None:
    tokens = vendor.redeem(code)
    vendor.refresh(tokens.refresh_token)
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert newest_refusal(customer) == "token-reused"


# --- giving back (RFC 7009)


def test_an_access_token_given_back_is_over_and_the_grant_goes_on(
    customer: Customer, vendor: Vendor, code: str
) -> None:
    tokens = vendor.redeem(code)
    vendor.consent.tokens.revoke(tokens.access_token, vendor.registered)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert customer.events()[:2] == ["refused", "given-back"]
    assert vendor.refresh(tokens.refresh_token).access_token


def test_a_refresh_token_given_back_ends_the_grant(
    customer: Customer, vendor: Vendor, code: str, engine: SqliteEngine
) -> None:
    tokens = vendor.redeem(code)
    vendor.consent.tokens.revoke(tokens.refresh_token, vendor.registered)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    assert engine.one("SELECT count(*) FROM views") == (0,)
    assert "given-back" in customer.events()


def test_giving_back_what_is_not_ones_own_changes_nothing(
    customer: Customer, vendor: Vendor, code: str
) -> None:
    tokens = vendor.redeem(code)
    other = Vendor.register(vendor.consent, "Toy Shop")
    for token in (tokens.access_token, tokens.refresh_token, "", "x", write_token("refresh", bytes(32))):
        vendor.consent.tokens.revoke(token, other.registered)
    assert len(vendor.read(tokens.access_token)) == 3
    assert "given-back" not in customer.events()


def test_giving_back_twice_is_once(customer: Customer, vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    for _ in range(2):
        vendor.consent.tokens.revoke(tokens.access_token, vendor.registered)
    assert customer.events().count("given-back") == 1


def test_what_needs_a_grant_that_is_not_there_is_refused(
    vendor: Vendor, code: str, engine: SqliteEngine
) -> None:
    tokens = vendor.redeem(code)
    with engine.write() as transaction:
        transaction.execute("DELETE FROM grants")
    for act in (
        lambda: vendor.refresh(tokens.refresh_token),
        lambda: vendor.redeem(code),
        lambda: vendor.read(tokens.access_token),
    ):
        with pytest.raises((CodeError, TokenError)):
            act()
    vendor.consent.tokens.revoke(tokens.refresh_token, vendor.registered)  # an unknown one is no error


# --- many at once


def _together(act: Callable[[], Any], times: int = 16) -> list[Any]:
    """The outcomes of that many threads that start at once."""
    gate, outcomes = threading.Barrier(times), []

    def run() -> None:
        gate.wait()
        try:
            outcomes.append(act())
        except (CodeError, TokenError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@pytest.mark.meets("oauch-Concurrency/SingleFastACExchangeTest")
def test_of_sixteen_redemptions_one_wins(vendor: Vendor, code: str, engine: SqliteEngine) -> None:
    outcomes = _together(lambda: vendor.redeem(code))
    assert sum(not isinstance(one, CodeError) for one in outcomes) == 1
    assert engine.one("SELECT count(*) FROM tokens WHERE kind = 'access'") == (1,)


def _rotated(vendor: Vendor, found: Any, wrapping: Any) -> Any:
    tokens = vendor.consent.tokens
    return tokens._engine.perform(tokens._rotate(found, wrapping, vendor.registered, None))


def test_who_looked_before_it_was_spent_spends_nothing(vendor: Vendor, code: str) -> None:
    """What the sixteen meet by chance, step by step: the row was read when the token was still good."""
    tokens = vendor.redeem(code)
    raw = read_token("refresh", tokens.refresh_token)
    row, wrapping = vendor.consent.tokens._find("refresh", raw)
    assert row.spent is None
    vendor.refresh(tokens.refresh_token)
    assert _rotated(vendor, row, wrapping) is None


def test_who_looked_before_less_was_agreed_gets_less(customer: Customer, vendor: Vendor, code: str) -> None:
    """Step by step: the vendor's refresh had opened what was agreed when the customer made it less."""
    tokens = vendor.redeem(code)
    mine, raw = vendor.consent.tokens, read_token("refresh", tokens.refresh_token)
    found, wrapping = mine._find("refresh", raw)
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, days=1)
    assert _rotated(vendor, found, wrapping) is None
    found, wrapping = mine._find("refresh", raw)
    assert _rotated(vendor, found, wrapping) is not None


def test_sixteen_refreshes_are_one_rotation(
    vendor: Vendor, code: str, engine: SqliteEngine, folder: Path
) -> None:
    tokens = vendor.redeem(code)
    [(gone,)] = engine.all("SELECT wrapped FROM tokens WHERE kind = 'refresh'")
    outcomes = _together(lambda: vendor.refresh(tokens.refresh_token))
    assert len({one.access_token for one in outcomes}) == 1
    assert engine.one("SELECT count(*) FROM tokens WHERE kind = 'access'") == (2,)
    assert vendor.consent.sweep()
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert gone not in content


def test_no_reading_is_logged_after_the_end(customer: Customer, vendor: Vendor, code: str) -> None:
    tokens = vendor.redeem(code)
    grants, gate = customer.consent.grants, threading.Barrier(13)

    def read() -> None:
        gate.wait()
        try:
            for _ in range(4):
                vendor.read(tokens.access_token)
        except (TokenError, GrantInactiveError):
            return

    def refresh() -> None:
        gate.wait()
        try:
            vendor.refresh(tokens.refresh_token)
        except CodeError:
            return

    threads = [threading.Thread(target=act) for act in [read] * 8 + [refresh] * 4]
    for thread in threads:
        thread.start()
    gate.wait()
    grants.revoke(customer.vault, tokens.grant_id)
    for thread in threads:
        thread.join()
    rows = customer.vault.engine.all(f"SELECT segment, seq FROM log_entries ORDER BY {IN_ORDER}")
    order = {(bytes(segment), seq): at for at, (segment, seq) in enumerate(rows)}
    by_event: dict[str, list[int]] = {}
    for (segment, seq), rowid in order.items():
        by_event.setdefault(_event(customer, segment, seq), []).append(rowid)
    [ended] = by_event["revoked"]
    late = [
        row for event in ("read", "refreshed", "connected") for row in by_event.get(event, []) if row > ended
    ]
    assert late == []
    assert (
        customer.vault.engine.all("SELECT 1 FROM tokens WHERE wrapped IS NOT NULL OR replay IS NOT NULL")
        == []
    )


def _event(customer: Customer, segment: bytes, seq: int) -> str:
    import json

    log, vault = customer.consent.log, customer.vault
    [(at, sealed)] = vault.engine.all(
        "SELECT at, sealed FROM log_entries WHERE segment = ? AND seq = ?", (segment, seq)
    )
    cipher = log._ciphers(vault, {})[segment]
    return str(json.loads(cipher.unseal(sealed, seq, log._link(vault.id, segment, seq - 1), at))["event"])


def _redeem_elsewhere(folder: Path, code: str, client_id: str, verifier: str, results: Any) -> None:
    engine = engine_of(folder)
    clock = SettableClock()
    consent = Consent(engine, Vaults(engine, serverkey.load(folder / "server.key"), clock=clock), clock)
    vendor = Vendor(consent, consent.vendors.get(client_id), verifier)
    outcomes = _together(lambda: vendor.redeem(code), 8)
    results.put(sum(not isinstance(one, CodeError) for one in outcomes))


def test_of_sixteen_redemptions_in_two_processes_one_wins(
    vendor: Vendor, code: str, engine: SqliteEngine, folder: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    given = (folder, code, vendor.registered.client_id, vendor.verifier, results)
    children = [spawn.Process(target=_redeem_elsewhere, args=given) for _ in range(2)]
    for child in children:
        child.start()
    won = sum(results.get(timeout=120) for _ in children)
    for child in children:
        child.join(60)
    assert won == 1
    assert engine.one("SELECT count(*) FROM tokens WHERE kind = 'access'") == (1,)


def test_a_token_whose_agreement_was_altered_gives_no_other(
    customer: Customer, vendor: Vendor, code: str, engine: SqliteEngine
) -> None:
    tokens = vendor.redeem(code)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET agreement = x'00'")
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)


def test_a_token_row_that_was_altered_is_no_token(vendor: Vendor, code: str, engine: SqliteEngine) -> None:
    tokens = vendor.redeem(code)
    with engine.write() as transaction:
        transaction.execute("UPDATE tokens SET wrapped = zeroblob(200)")
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    with pytest.raises(CodeError):
        vendor.refresh(tokens.refresh_token)
    vendor.consent.tokens.revoke(tokens.refresh_token, vendor.registered)


def test_a_dead_token_cannot_fill_the_log(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock
) -> None:
    tokens = vendor.connect(customer)
    consent.grants.revoke(customer.vault, tokens.grant_id)
    clock.forward(3600 - clock.now() % 3600)
    for _ in range(REFUSALS_MOST + 5):
        with pytest.raises(TokenError):
            vendor.read(tokens.access_token)
        with pytest.raises(CodeError):
            vendor.refresh(tokens.refresh_token)
    entries = [entry for entry in consent.log.read(customer.vault, 1000) if entry.event == "refused"]
    assert len(entries) == REFUSALS_MOST + 1
    assert [entry.reason for entry in entries].index("more") == 0, "she is told that some are left out"
    clock.forward(3600)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert consent.log.read(customer.vault, 1)[0].reason == "token ended"
    assert consent.log.problems(customer.vault) == []


def test_one_grants_refusals_leave_out_none_of_anothers(
    customer: Customer, vendor: Vendor, consent: Consent
) -> None:
    noisy, other = vendor.connect(customer), vendor.connect(customer)
    for grant in (noisy, other):
        consent.grants.revoke(customer.vault, grant.grant_id)
    for token in (*[noisy.access_token] * (REFUSALS_MOST + 5), other.access_token):
        with pytest.raises(TokenError):
            vendor.read(token)
    assert consent.log.read(customer.vault, 1)[0].grant_id == other.grant_id


def test_a_clock_that_was_put_back_gives_no_lost_answer_again(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock, engine: SqliteEngine
) -> None:
    first = vendor.connect(customer)
    vendor.refresh(first.refresh_token)
    clock.forward(-5)
    assert vendor.refresh(first.refresh_token).grant_id == first.grant_id, "a small step is no reuse"
    clock.forward(-3600)
    consent.sweep()
    assert engine.one("SELECT count(*) FROM tokens WHERE replay IS NOT NULL") == (0,)
    with pytest.raises(CodeError):
        vendor.refresh(first.refresh_token)


def test_an_unswept_lost_answer_is_not_given_under_a_clock_that_was_put_back(
    customer: Customer, vendor: Vendor, clock: SettableClock
) -> None:
    first = vendor.connect(customer)
    vendor.refresh(first.refresh_token)
    clock.forward(-3600)
    with pytest.raises(CodeError):
        vendor.refresh(first.refresh_token)
