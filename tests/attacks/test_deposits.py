"""Attacks on what vendors leave: by vendors, by who writes to the database, by thieves, by bad luck."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, part, writing
from tests.beside import only_sqlite
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent import receipts
from vrm.consent.deposits import Deposits, Quota
from vrm.consent.scopes import write_scope
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.consent.views import agreement_cipher
from vrm.consent.writers import Pen
from vrm.errors import (
    GrantInactiveError,
    InsufficientScopeError,
    KeyReusedError,
    NotInViewError,
    QuotaError,
    TamperedError,
)
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.envelope import pad
from vrm.vault.mailbox import Mailbox
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

RECEIPT = {
    "item": {"title": "Canary Receipt 4711"},
    "order": {"order_number": "canary-order-1"},
    "recipient": {"name": "Canary Recipient 4711"},
}
MANY = 100_000 if os.environ.get("VRM_TEST_LONG") else 300


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor) -> TokenSet:
    return vendor.connect(customer, writing(), writing("inbox"))


def planted(engine: SqliteEngine, **changes: Any) -> None:
    """Write a row into the mailbox as somebody with the database would."""
    row = engine.one("SELECT vault, origin, number, item, size, mac, sealed, stopped FROM mailbox")
    assert row
    names = ("vault", "origin", "number", "item", "size", "mac", "sealed", "stopped")
    values = {**dict(zip(names, row, strict=True)), **changes}
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO mailbox (vault, origin, number, item, size, mac, sealed, stopped)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [values[name] for name in names],
        )


def edit(engine: SqliteEngine, change: str, *values: Any) -> None:
    with engine.write() as transaction:
        transaction.execute(f"UPDATE mailbox SET {change}", values)


def reasons(customer: Customer) -> list[str]:
    return [one.reason for one in customer.consent.filing.put_aside(customer.vault)]


def titles(customer: Customer) -> list[str]:
    found = customer.vault.records("purchases").scan()
    return sorted(document["item"].get("title", "") for _, document in found)


# ---- vendors --------------------------------------------------------------------------------------


def test_a_write_only_grant_reads_nothing_but_the_states_of_its_own_deposits(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    customer.buy("Hers")
    other = Vendor.register(consent, "Other")
    others = other.connect(customer, writing())
    foreign, _ = other.leave(others.access_token, {"item": {"title": "Of the other"}})
    own, _ = vendor.leave(tokens.access_token, RECEIPT)
    consent.at_unlock(customer.vault)
    access = consent.reader.authenticate(tokens.access_token)
    for collection in ("purchases", "preferences", "profile", "inbox"):
        with pytest.raises(InsufficientScopeError):
            consent.reader.page(access, collection)
    rows, _ = consent.deposits.page(access, "purchases", limit=500, cursor=None)
    assert [row.told() for row in rows] == [
        {"id": own.item.hex(), "status": "filed", "updated_at": "2026-11-18T11:06:40Z"}
    ]
    with pytest.raises(NotInViewError):
        consent.deposits.one(access, "purchases", foreign.item.hex())
    with pytest.raises(NotInViewError):
        consent.deposits.replace(access, "purchases", foreign.item.hex(), RECEIPT, ["*"])
    with pytest.raises(NotInViewError):
        consent.deposits.withdraw(access, "purchases", foreign.item.hex(), ["*"])
    with pytest.raises(NotInViewError):  # of the same writer, left under its other scope
        consent.deposits.one(access, "inbox", own.item.hex())


def test_a_flood_while_locked_meets_the_quota_and_a_bounded_disk(
    customer: Customer,
    vendor: Vendor,
    tokens: TokenSet,
    consent: Consent,
    engine: SqliteEngine,
    vaults: Vaults,
    clock: SettableClock,
    folder: Path,
) -> None:
    quota = Quota(grant_items=1000 if MANY > 1000 else 100)
    deposits = Deposits(engine, vaults, consent.tokens, consent.log, clock, quota)
    access = consent.reader.authenticate(tokens.access_token)
    taken = 0
    for number in range(MANY):
        try:
            deposits.submit(access, "purchases", RECEIPT, str(number))
            taken += 1
        except QuotaError:
            pass
    assert taken == quota.grant_items
    assert Mailbox(engine).size(customer.vault.id) == (taken, taken * 1073)
    engine.purge()
    assert sum(path.stat().st_size for path in folder.iterdir()) < taken * 4096 + (4 << 20)
    assert consent.filing.run(customer.vault) == taken


def test_a_flood_of_one_vendor_leaves_room_for_another() -> None:
    quota = Quota()
    assert 10 * quota.grant_items <= quota.vault_items
    assert 10 * quota.grant_bytes <= quota.vault_bytes


def test_a_flood_does_not_hold_the_log_in_up(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        vendor.leave(tokens.access_token, RECEIPT)
    monkeypatch.setattr(consent.filing, "_batch", 1)
    consent.filing_while = 0.0
    assert consent.at_unlock(customer.vault) == []
    assert consent.filing.left(customer.vault) == 2
    assert [consent.go_on_filing(customer.vault) for _ in range(3)] == [1, 0, 0]


def test_a_replayed_idempotency_key_stores_nothing_and_tells_nothing_new(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    first = vendor.leave(tokens.access_token, RECEIPT, "once")
    consent.at_unlock(customer.vault)
    assert vendor.leave(tokens.access_token, RECEIPT, "once") == first
    with pytest.raises(KeyReusedError):
        vendor.leave(tokens.access_token, {"item": {"title": "Other"}}, "once")
    other = Vendor.register(consent, "Other")
    others = other.connect(customer, writing())
    other.leave(others.access_token, {"item": {"title": "Of the other"}}, "once")  # keys are per grant
    assert consent.filing.run(customer.vault) == 1
    assert titles(customer) == ["Canary Receipt 4711", "Of the other"]


def test_a_deposit_that_races_the_end_is_not_stored(
    customer: Customer, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    access = consent.reader.authenticate(tokens.access_token)
    consent.grants.revoke(customer.vault, tokens.grant_id)
    for act in (
        lambda: consent.deposits.submit(access, "purchases", RECEIPT, "late"),
        lambda: consent.deposits.replace(access, "purchases", "0" * 32, RECEIPT, ["*"]),
        lambda: consent.deposits.withdraw(access, "purchases", "0" * 32, ["*"]),
    ):
        with pytest.raises(GrantInactiveError):
            act()
    assert Mailbox(engine).size(customer.vault.id) == (0, 0)
    assert engine.all("SELECT 1 FROM deposits") == []


@pytest.mark.parametrize("said", [{"ordered": "2026-11-01"}, {"status": "cancelled"}])
def test_who_knows_an_order_cannot_move_it_into_a_view_nor_cancel_it(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, said: dict[str, str]
) -> None:
    """An import left a line without a date, which its period withholds it; a stranger knows the line."""
    title, order = {"title": "Canary Quiet Book"}, {"order_number": "R-1", "seller": "shop.example"}
    known = {"item": {**title, "category": "books"}, "order": order, "context": {"for": "self"}}
    records = customer.vault.records("purchases")
    (line,) = receipts.lines_of(known)
    with records.staging() as staging:
        staging.add([(customer.vault.keyring.fingerprint(*line), records.check(known))])
        staging.publish(lambda current, newer: newer)
    bookshop = Vendor.register(consent, "Bookshop")
    reads = bookshop.connect(customer, part("purchases.item", "purchases.order", period="P2Y"))
    before = list(records.scan())
    state, _ = vendor.leave(tokens.access_token, {"item": title, "order": {**order, **said}})
    assert consent.at_unlock(customer.vault) == []
    access = consent.reader.authenticate(tokens.access_token)
    consent.deposits.withdraw(access, "purchases", state.item.hex(), ["*"])
    assert consent.at_unlock(customer.vault) == []
    assert bookshop.titles(reads.access_token) == []
    assert list(records.scan()) == before


def test_her_own_words_cannot_be_reached(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    """Not even by who skips the check at the door: filing checks again."""
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    grant = consent.grants.open(customer.vault, tokens.grant_id)
    key = crypto.derive(grant.keys.scope_key("purchases:write"), Purpose.DEPOSIT, tokens.grant_id)
    evil = {"scope": "purchases:write", "at": 1, "document": {"context": {"for": "self"}, **RECEIPT}}
    with customer.vault.engine.write() as transaction:
        Mailbox(customer.vault.engine).deposit(
            transaction,
            customer.vault.id,
            crypto.public_of(customer.vault.keyring.mailbox_private()),
            json.dumps(evil).encode(),
            origin=tokens.grant_id,
            number=2,
            item=bytes(16),
            key=key,
        )
    consent.at_unlock(customer.vault)
    assert reasons(customer) == ["invalid"]
    assert titles(customer) == ["Canary Receipt 4711"]
    [(_, document)] = customer.vault.records("purchases").scan()
    assert document["context"] == {}
    assert vendor.state(tokens.access_token, state.item).status == "filed"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"scope": "purchases:write"}',
        b'{"scope": "purchases:write", "at": "x", "document": {"item": {"title": "A"}}}',
        b'{"scope": "purchases:write", "at": 99999999999999999999, "document": {"item": {"title": "A"}}}',
        b'{"scope": "purchases:write", "at": 1, "document": {"item": {"title": 7}}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_poison_item_never_blocks_the_others(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, text: bytes
) -> None:
    vendor.leave(tokens.access_token, {"item": {"title": "Before"}})
    grant = consent.grants.open(customer.vault, tokens.grant_id)
    key = crypto.derive(grant.keys.scope_key("purchases:write"), Purpose.DEPOSIT, tokens.grant_id)
    engine = customer.vault.engine
    with engine.write() as transaction:
        Mailbox(engine).deposit(
            transaction,
            customer.vault.id,
            crypto.public_of(customer.vault.keyring.mailbox_private()),
            text,
            origin=tokens.grant_id,
            number=2,
            item=bytes(16),
            key=key,
        )
        transaction.execute("UPDATE deposit_numbers SET number = 2")
    vendor.leave(tokens.access_token, {"item": {"title": "After"}})
    consent.at_unlock(customer.vault)
    assert titles(customer) == ["After", "Before"]
    [aside] = consent.filing.put_aside(customer.vault)
    assert (aside.reason, aside.vendor_name) == ("invalid", "Corner Books")
    assert consent.filing.discard(customer.vault, aside.origin, aside.number)
    assert not consent.filing.discard(customer.vault, aside.origin, aside.number)
    assert consent.filing.put_aside(customer.vault) == []


# ---- who writes to the database -------------------------------------------------------------------


def made_with_the_token(
    consent: Consent, tokens: TokenSet, customer: Customer, collection: str, item: bytes
) -> None:
    """What who holds a token of the grant and writes to the database can put into the mailbox."""
    access, engine = consent.reader.authenticate(tokens.access_token), customer.vault.engine
    pen = Pen(access.vault, access.grant_id, collection, access.keys[write_scope(collection)], access.common)
    said = {
        "scope": pen.scope,
        "at": 1,
        "document": {"message": {"subject": "Canary Letter", "text": "Hello"}},
    }
    with engine.write() as transaction:
        Mailbox(engine).deposit(
            transaction,
            customer.vault.id,
            crypto.public_of(customer.vault.keyring.mailbox_private()),
            json.dumps(said).encode(),
            origin=access.grant_id,
            number=50,
            item=item,
            key=pen.deposit_key,
        )


def reworded(engine: SqliteEngine, consent: Consent, tokens: TokenSet, old: bytes, new: bytes) -> None:
    """An agreement sealed anew under the grant's common key, which every token of it carries."""
    access = consent.reader.authenticate(tokens.access_token)
    cipher = agreement_cipher(access.common, access.grant_id)
    row = engine.one("SELECT agreement FROM grants WHERE grant_id = ?", (access.grant_id,))
    assert row
    text = new if old == b"" else cipher.unseal(row[0]).replace(old, new)
    with engine.write() as transaction:
        sql = "UPDATE grants SET agreement = ? WHERE grant_id = ?"
        transaction.execute(sql, (cipher.seal(text), access.grant_id))


@pytest.mark.parametrize(
    "change", ["mac = CAST(mac AS TEXT)", "sealed = 'x'", "item = 'x'", "origin = x'00'"]
)
def test_an_item_of_another_kind_of_value_never_makes_the_log_in_endless(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine, change: str
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    edit(engine, change)
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    consent.at_unlock(customer.vault)
    assert "Next" in titles(customer)
    assert Mailbox(engine).waiting(customer.vault.id, 9) == []


def test_a_letter_under_the_id_of_a_receipt_stops_nothing_else(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    consent.at_unlock(customer.vault)
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    made_with_the_token(consent, tokens, customer, "inbox", state.item)
    consent.at_unlock(customer.vault)
    assert titles(customer) == ["Canary Receipt 4711", "Next"]
    assert reasons(customer) == ["invalid"]


@pytest.mark.parametrize("ended", [False, True])
def test_a_letter_comes_under_the_name_that_she_approved(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine, ended: bool
) -> None:
    """Not under that of an agreement which who holds a token sealed anew."""
    letter = {"message": {"subject": "Your account", "text": "Call us."}}
    vendor.leave(tokens.access_token, letter, collection="inbox")
    reworded(engine, consent, tokens, b"Corner Books", b"Your Bank AG")
    if ended:
        consent.grants.revoke(customer.vault, tokens.grant_id)
    consent.at_unlock(customer.vault)
    [(_, document)] = customer.vault.records("inbox").scan()
    assert document["message"]["from"] == "Corner Books"
    assert {grant.vendor_name for grant in consent.grants.listing(customer.vault)} == {"Corner Books"}


@pytest.mark.parametrize("text", [b"[]", b"7", b"{}", b"\xff", b'{"vendor": 7}', b"[" * 100_000])
def test_an_agreement_that_is_none_keeps_nobody_out(
    customer: Customer,
    vendor: Vendor,
    tokens: TokenSet,
    consent: Consent,
    engine: SqliteEngine,
    text: bytes,
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    reworded(engine, consent, tokens, b"", text)
    assert f"grant {tokens.grant_id} was planted or altered" in consent.at_unlock(customer.vault)
    assert consent.grants.listing(customer.vault) == []
    assert engine.one("SELECT state FROM grants") == ("revoked",)
    assert reasons(customer) == ["foreign"]


@only_sqlite
def test_a_step_of_the_log_in_that_fails_is_named_and_the_others_go_on(
    customer: Customer,
    vendor: Vendor,
    consent: Consent,
    engine: SqliteEngine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A value that nothing foresaw: one step meets it."""
    tokens = vendor.connect(customer, writing(), part("purchases.item"))
    vendor.leave(tokens.access_token, RECEIPT)
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET edition = 'Canary'")
    try:
        found = consent.at_unlock(customer.vault)
    except TypeError:
        pytest.fail("it keeps her out")
    assert [problem for problem in found if "failed" in problem]
    assert titles(customer) == ["Canary Receipt 4711"]
    assert "Canary" not in caplog.text


def test_a_foreign_mailbox_key_takes_nothing_and_is_found(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    foreign = crypto.public_of(crypto.random_key())
    with engine.write() as transaction:
        transaction.execute("UPDATE vaults SET mailbox_public = ?", (foreign,))
    with pytest.raises(TamperedError):
        vendor.leave(tokens.access_token, RECEIPT)
    assert Mailbox(engine).size(customer.vault.id) == (0, 0)
    assert "the mailbox's public key was swapped" in consent.at_unlock(customer.vault)
    customer.vault.renew_vouchers()  # what an unlock does: it never vouches for a stranger
    assert "the mailbox's public key was swapped" in consent.problems(customer.vault)


def test_a_key_of_another_vault_on_this_host_is_foreign_too(
    customer: Customer, vendor: Vendor, tokens: TokenSet, vaults: Vaults, engine: SqliteEngine
) -> None:
    vaults.create("mallory", "another good passphrase")
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE vaults SET (mailbox_public, mailbox_mac) = (SELECT mailbox_public, mailbox_mac FROM"
            " vaults WHERE username = 'mallory') WHERE username = 'alice'"
        )
    with pytest.raises(TamperedError):
        vendor.leave(tokens.access_token, RECEIPT)


def test_a_planted_item_is_put_aside_and_named(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    """The public key is no secret: anybody can seal to it. Without a token of the grant it is not filed."""
    vendor.leave(tokens.access_token, {"item": {"title": "Genuine"}})
    public = consent.deposits._vaults.mailbox_public(customer.vault.id)
    text = json.dumps({"scope": "purchases:write", "at": 1, "document": RECEIPT}).encode()
    for number, origin in enumerate([tokens.grant_id, "nobody", "\ufffd"], start=50):
        place = (customer.vault.id, origin, number, bytes(16))
        sealed = crypto.seal_to(public, pad(text, 1024), Purpose.MAILBOX_ITEM, *place)
        mac = crypto.mac(Key(bytes(32)), Purpose.DEPOSIT, *place, crypto.digest(text))
        planted(engine, origin=origin, number=number, item=bytes(16), mac=mac, sealed=sealed)
    assert len(consent.filing.check(customer.vault)) == 3  # found without filing anything
    assert titles(customer) == []
    found = consent.at_unlock(customer.vault)
    assert titles(customer) == ["Genuine"]
    assert reasons(customer) == ["foreign"] * 3
    assert len([problem for problem in found if "mailbox was planted" in problem]) == 3
    assert all(not one.vendor_name for one in consent.filing.put_aside(customer.vault))


@only_sqlite
@pytest.mark.parametrize(
    ("change", "value", "reason"),
    [
        ("sealed = ?", b"\x01" + bytes(80), "unreadable"),
        ("sealed = ?", b"", "unreadable"),
        ("sealed = ?", "text", "unreadable"),
        ("sealed = CAST(? AS TEXT)", b"\xff\xfe", "unreadable"),
        ("number = ?", 9, "unreadable"),
        ("number = ?", -9, "unreadable"),
        ("number = ?", "nine", "unreadable"),
        ("item = ?", bytes(16), "unreadable"),
        ("item = ?", "text", "unreadable"),
        ("origin = ?", "other", "unreadable"),
        ("origin = CAST(? AS TEXT)", b"\xff", "unreadable"),
        ("mac = ?", bytes(32), "foreign"),
        ("mac = ?", "text", "foreign"),
        ("mac = CAST(? AS TEXT)", b"\xff", "foreign"),
    ],
)
def test_an_edited_item_is_put_aside_and_named(
    customer: Customer,
    vendor: Vendor,
    tokens: TokenSet,
    consent: Consent,
    engine: SqliteEngine,
    change: str,
    value: Any,
    reason: str,
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    edit(engine, change, value)
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    found = consent.at_unlock(customer.vault)
    assert titles(customer) == ["Next"]
    assert reasons(customer) == [reason]
    assert any("an item of the mailbox was planted or altered" in problem for problem in found)
    [aside] = consent.filing.put_aside(customer.vault)
    assert consent.filing.discard(customer.vault, aside.origin, aside.number)
    assert consent.problems(customer.vault) == []


def test_an_item_put_back_after_it_was_filed_is_not_filed_again(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    state, _ = vendor.leave(tokens.access_token, RECEIPT)
    row = engine.one("SELECT vault, origin, number, item, size, mac, sealed, stopped FROM mailbox")
    consent.at_unlock(customer.vault)
    access = consent.reader.authenticate(tokens.access_token)
    consent.deposits.replace(access, "purchases", state.item.hex(), {"item": {"title": "Newer"}}, ["*"])
    consent.at_unlock(customer.vault)
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO mailbox (vault, origin, number, item, size, mac, sealed, stopped)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row or (),
        )
    consent.at_unlock(customer.vault)
    assert titles(customer) == ["Newer"]
    assert reasons(customer) == ["again"]


def test_marks_that_were_altered_or_taken_away_stop_filing_and_are_found(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    with engine.write() as transaction:
        transaction.execute("DELETE FROM mailbox_marks")
    assert "the marks of the mailbox were altered or taken away" in consent.at_unlock(customer.vault)
    assert titles(customer) == []
    assert Mailbox(engine).size(customer.vault.id)[0] == 1


def test_swapped_and_altered_states_tell_a_writer_nothing(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, engine: SqliteEngine
) -> None:
    one, _ = vendor.leave(tokens.access_token, RECEIPT)
    vendor.leave(tokens.access_token, {"item": {"title": "Next"}})
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE deposits SET sealed = (SELECT sealed FROM deposits WHERE item <> ?) WHERE item = ?",
            (one.item, one.item),
        )
    with pytest.raises(TamperedError):
        vendor.state(tokens.access_token, one.item)
    consent.at_unlock(customer.vault)
    assert titles(customer) == ["Canary Receipt 4711", "Next"]


# ---- two sessions, killed processes ---------------------------------------------------------------

FILE = """
import sys
from pathlib import Path
from tests.conftest import CHEAP, SettableClock
from tests.postgres import chosen
from vrm.host import open_host
from vrm.settings import Settings

FOLDER = Path(sys.argv[1])
host = open_host(Settings(data_dir=FOLDER, database_url=chosen(FOLDER)), clock=SettableClock(), limits=CHEAP)
vault = host.vaults.resume(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print(host.consent.filing.run(vault), flush=True)
"""


def filer(folder: Path, session: str) -> subprocess.Popen[str]:
    """A process that waits for a line, then files."""
    started = subprocess.Popen(
        [sys.executable, "-c", FILE, str(folder), session],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert started.stdout
    assert started.stdout.readline() == "ready\n"
    return started


def test_two_unlocks_at_once_file_each_thing_once(
    customer: Customer,
    vendor: Vendor,
    tokens: TokenSet,
    folder: Path,
    engine: SqliteEngine,
) -> None:
    for number in range(60):
        vendor.leave(tokens.access_token, {"item": {"title": f"Book {number:02}"}})
    session = customer.vault.open_session()
    both = [filer(folder, session) for _ in range(2)]
    for one in both:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    for one in both:
        one.communicate(timeout=60)
        assert one.returncode == 0
    assert titles(customer) == [f"Book {number:02}" for number in range(60)]
    assert Mailbox(engine).size(customer.vault.id) == (0, 0)
    assert customer.consent.at_unlock(customer.vault) == []
    assert customer.vault.check() == []


def test_a_killed_filing_files_each_thing_once(
    customer: Customer, vendor: Vendor, tokens: TokenSet, folder: Path
) -> None:
    for number in range(40):
        vendor.leave(tokens.access_token, {"item": {"title": f"Book {number:02}"}})
    session = customer.vault.open_session()
    for pause in (0.0, 0.004, 0.012):
        victim = filer(folder, session)
        assert victim.stdin
        victim.stdin.write("\n")
        victim.stdin.flush()
        try:
            victim.wait(pause)
        except subprocess.TimeoutExpired:
            victim.send_signal(signal.SIGKILL)
        victim.communicate(timeout=60)
    customer.consent.at_unlock(customer.vault)
    assert titles(customer) == [f"Book {number:02}" for number in range(40)]
    assert customer.vault.check() == []


def test_what_waits_survives_new_keys(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent
) -> None:
    """A lost device: the root is replaced while deposits wait; none is lost."""
    state, _ = vendor.leave(tokens.access_token, {"item": {"title": "Filed before"}})
    consent.at_unlock(customer.vault)
    access = consent.reader.authenticate(tokens.access_token)
    vendor.leave(tokens.access_token, {"item": {"title": "Waiting"}})
    consent.deposits.replace(access, "purchases", state.item.hex(), {"item": {"title": "Newer"}}, ["*"])
    customer.vault.rotate(PASSPHRASE)
    vault = consent.deposits._vaults.unlock("alice", PASSPHRASE)
    while vault.go_on_rotating():
        pass
    assert consent.at_unlock(vault) == []
    titles = [document["item"]["title"] for _, document in vault.records("purchases").scan()]
    assert sorted(titles) == ["Newer", "Waiting"]
    assert vault.check() == []


# ---- thieves --------------------------------------------------------------------------------------


def test_disk_with_server_key_opens_no_deposit(
    customer: Customer, vendor: Vendor, tokens: TokenSet, thief: Thief
) -> None:
    vendor.leave(tokens.access_token, RECEIPT)
    vendor.leave(tokens.access_token, {"message": {"text": "Canary Message 4711"}}, collection="inbox")
    look_for = ["Canary Receipt 4711", "canary-order-1", "Canary Recipient 4711", "Canary Message 4711"]
    report = thief.rob(look_for=look_for)
    assert not report.found
    assert not report.opened


def test_a_live_write_token_and_the_disk_open_the_states_of_its_own_deposits_only(
    customer: Customer, vendor: Vendor, tokens: TokenSet, consent: Consent, thief: Thief
) -> None:
    other = Vendor.register(consent, "Other")
    others = other.connect(customer, writing())
    other.leave(others.access_token, {"item": {"title": "Canary Other 4711"}})
    own, _ = vendor.leave(tokens.access_token, RECEIPT)
    customer.buy("Canary Hers 4711")
    loot = thief.open(tokens.access_token)
    assert [state["id"] for state in loot.deposits] == [own.item.hex()]
    assert loot.documents == []
    assert loot.beyond == {}
    assert "4711" not in json.dumps(loot.deposits)
