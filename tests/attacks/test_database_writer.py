"""Who writes to the database without a credential adds no reader: every change is refused or found."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.attacks.actors import Customer, Vendor, part, writing
from tests.beside import beside
from tests.conftest import CHEAP, PASSPHRASE
from vrm.consent import views
from vrm.consent.credentials import read_token, split, wrap_cipher, write_token
from vrm.consent.grants import DAY
from vrm.consent.service import Consent
from vrm.errors import (
    CodeError,
    GrantNotFoundError,
    RequestNotFoundError,
    StorageError,
    TamperedError,
    TokenError,
    UnlockError,
    VendorNotFoundError,
)
from vrm.vault import crypto, serverkey
from vrm.vault.crypto import KdfCost, Key, Purpose
from vrm.vault.envelope import pack
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

OWN = "the writer's own passphrase"


class Writer:
    """Writes to the database past every check."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with beside(self._folder) as raw:
            return list(raw.execute(sql, parameters).fetchall())

    def row(self, table: str, key: str, value: Any) -> tuple[Any, ...]:
        [found] = self.run(f"SELECT * FROM {table} WHERE {key} = ?", value)
        return found

    def put(self, table: str, row: tuple[Any, ...]) -> None:
        self.run(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", *row)

    def put_back(self, table: str, key: str, value: Any, row: tuple[Any, ...]) -> None:
        self.run(f"DELETE FROM {table} WHERE {key} = ?", value)
        self.put(table, row)


@pytest.fixture
def writer(folder: Path, engine: SqliteEngine) -> Writer:
    return Writer(folder)


def lookup(consent: Consent, kind: str, token: str) -> bytes:
    raw = read_token(kind, token)
    assert raw
    return split(kind, raw, consent.tokens._pepper)[0]


@pytest.fixture
def books(customer: Customer) -> list[str]:
    return [customer.buy(title) for title in ("Kindred", "Beloved", "Emma")]


# --- keyslots


def test_planted_keyslot_opens_no_record_and_is_found(
    customer: Customer, vaults: Vaults, writer: Writer, books: list[str]
) -> None:
    stretched = crypto.stretch(b"the writer's own passphrase", cost := CHEAP.fresh())
    slot = PassphraseSlot.wrap(customer.vault.id, stretched, cost, crypto.random_key(), 1)
    stored = (
        slot.vault,
        slot.slot,
        slot.kind,
        slot.params,
        slot.check,
        slot.public,
        bytes(32),
        slot.wrapped,
        1,
        0,
        slot.handed,
    )
    writer.put("keyslots", stored)
    planted = vaults.unlock("alice", "the writer's own passphrase")
    with pytest.raises(TamperedError):
        planted.records("purchases").get(books[0])
    assert any(slot.slot in problem for problem in customer.consent.problems(customer.vault))
    assert vaults.unlock("alice", PASSPHRASE).records("purchases").get(books[0])


def plant(writer: Writer, vault: str) -> Keyring:
    """A way in with a root of the writer's own, and a roster under it that knows every keyslot."""
    root, cost = crypto.random_key(), CHEAP.fresh()
    slot = PassphraseSlot.wrap(vault, crypto.stretch(OWN.encode(), cost), cost, root, 1)
    writer.run(
        "INSERT INTO keyslots (vault, slot, kind, params, checked, public, public_mac, wrapped, generation,"
        " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 1)",
        *(vault, slot.slot, slot.kind, slot.params, slot.check, slot.public, bytes(32), slot.wrapped),
    )
    return Keyring(vault, root)


def seal_own_roster(writer: Writer, vault: Vault, ring: Keyring) -> None:
    marks = {slot.slot: slot.mark() for slot in vault.stored_slots()}
    sealed = ring.cipher(Purpose.ROSTER).seal(json.dumps([marks, []]).encode())
    writer.run("UPDATE vaults SET roster = ?", sealed)


def use_every_door(vaults: Vaults) -> None:
    """What the pages do with a passphrase: log in, change, renew, make new keys, in a session or not."""
    planted = vaults.unlock("alice", OWN)
    for opened in (planted, vaults.resume(planted.open_session())):
        for act in (
            opened.prepare_mailbox,
            opened.renew_vouchers,
            lambda opened=opened: opened.change_passphrase(OWN, "another of the writer's own"),
            lambda opened=opened: opened.new_recovery_code(OWN),
            lambda opened=opened: opened.rotate(OWN),
        ):
            with suppress(TamperedError, UnlockError):
                act()


@pytest.mark.parametrize("own_roster", [False, True])
def test_nobody_gets_the_servers_word_for_a_mailbox_of_his_own(
    own_roster: bool, customer: Customer, vendor: Vendor, vaults: Vaults, writer: Writer
) -> None:
    token = vendor.connect(customer, writing(), writing("inbox")).access_token
    ring = plant(writer, customer.vault.id)
    if own_roster:
        seal_own_roster(writer, customer.vault, ring)
    writer.run("UPDATE vaults SET mailbox_public = x''")
    use_every_door(vaults)
    with pytest.raises(StorageError):
        vaults.mailbox_public(customer.vault.id)
    with pytest.raises(StorageError):
        vendor.leave(token, {"message": {"subject": "s", "text": "Your diagnosis"}}, collection="inbox")
    assert writer.run("SELECT count(*) FROM mailbox") == [(0,)]


@pytest.mark.parametrize("own_roster", [False, True])
def test_nobody_gets_the_servers_word_for_a_log_of_his_own(
    own_roster: bool, customer: Customer, vendor: Vendor, vaults: Vaults, writer: Writer
) -> None:
    vendor.connect(customer)
    ring = plant(writer, customer.vault.id)
    if own_roster:
        seal_own_roster(writer, customer.vault, ring)
    writer.run("UPDATE vaults SET log_public = ?", crypto.public_of(ring.log_private()))
    use_every_door(vaults)
    with pytest.raises(TamperedError):
        vaults.log_public(customer.vault.id)


@pytest.mark.parametrize("own_roster", [False, True])
def test_a_planted_passphrase_does_not_answer_for_hers(
    own_roster: bool, customer: Customer, vaults: Vaults, writer: Writer
) -> None:
    session = vaults.resume(customer.vault.open_session())  # one that was left open
    ring = plant(writer, session.id)
    if own_roster:
        seal_own_roster(writer, customer.vault, ring)
    for act in (session.check_passphrase, session.new_recovery_code, session.rotate):
        with pytest.raises(UnlockError):
            act(OWN)


def test_after_a_new_server_key_who_plants_a_way_in_gets_no_word_either(
    customer: Customer, engine: SqliteEngine, folder: Path, writer: Writer
) -> None:
    """Planted after the host took the vaults over: hers is vouched for. Before: nobody's is."""
    (folder / "server.key").unlink()
    later = Vaults(engine, serverkey.load(folder / "server.key"), clock=customer.consent.log._clock)
    assert later.adopt() == []
    ring = plant(writer, customer.vault.id)
    writer.run("UPDATE vaults SET log_public = ?", own := crypto.public_of(ring.log_private()))
    use_every_door(later)
    with pytest.raises(TamperedError):
        later.log_public(customer.vault.id)
    writer.run("DELETE FROM adoptions")
    assert later.adopt() == ["alice"]
    use_every_door(later)
    with pytest.raises(TamperedError):
        later.log_public(customer.vault.id)
    assert writer.run("SELECT log_public FROM vaults") == [(own,)]
    later.unlock("alice", PASSPHRASE)
    with pytest.raises(TamperedError):
        later.log_public(customer.vault.id)


def test_planted_keyslot_survives_no_change_of_passphrase(
    customer: Customer, vaults: Vaults, writer: Writer
) -> None:
    [(slot,)] = writer.run("SELECT slot FROM keyslots WHERE kind = 'passphrase'")
    row = list(writer.row("keyslots", "slot", slot))
    row[1] = "planted0planted0"
    writer.put("keyslots", tuple(row))
    customer.vault.change_passphrase(PASSPHRASE, "another good passphrase")
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [
        (0, 1, 1),
        (19 * 1024 - 1, 1, 1),
        (512 * 1024 + 1, 1, 1),
        (2**32 - 1, 1, 1),
        (65536, 0, 1),
        (65536, 2**32 - 1, 1),
        (65536, 1, 0),
        (65536, 1, 2**32 - 1),
    ],
)
def test_planted_kdf_cost_is_refused_before_anything_is_allocated(
    memory: int,
    passes: int,
    lanes: int,
    customer: Customer,
    vaults: Vaults,
    writer: Writer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = KdfCost(memory, passes, lanes, bytes(16)).encode()
    writer.run("UPDATE keyslots SET params = ? WHERE kind = 'passphrase'", planted)

    def never(*given: object) -> bytes:
        raise AssertionError("Argon2 was started")

    monkeypatch.setattr(crypto, "stretch", never)
    with pytest.raises(TamperedError):
        vaults.unlock("alice", PASSPHRASE)


def test_wrong_passphrase_and_a_flipped_byte_differ_inside(
    customer: Customer, vaults: Vaults, writer: Writer
) -> None:
    with pytest.raises(UnlockError):
        vaults.unlock("alice", "a wrong passphrase here")
    [(wrapped,)] = writer.run("SELECT wrapped FROM keyslots WHERE kind = 'passphrase'")
    flipped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    writer.run("UPDATE keyslots SET wrapped = ? WHERE kind = 'passphrase'", flipped)
    with pytest.raises(TamperedError):
        vaults.unlock("alice", PASSPHRASE)
    with pytest.raises(UnlockError):
        vaults.unlock("alice", "a wrong passphrase here")


# --- tokens


def test_swapped_wraps_between_kinds_and_grants_open_nothing(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    one = vendor.connect(customer)
    other = vendor.connect(customer, part("purchases.price"))
    consent = customer.consent
    mine = lookup(consent, "access", one.access_token)
    sources = {
        "another kind": lookup(consent, "refresh", one.refresh_token),
        "another grant": lookup(consent, "access", other.access_token),
    }
    for source in sources.values():
        [(wrapped,)] = writer.run("SELECT wrapped FROM tokens WHERE lookup = ?", source)
        writer.run("UPDATE tokens SET wrapped = ? WHERE lookup = ?", wrapped, mine)
        with pytest.raises(TokenError):
            consent.reader.authenticate(one.access_token)


@pytest.mark.parametrize("column", ["grant_id", "expires", "kind"])
def test_edited_token_row_is_refused(
    column: str, customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    one, other = vendor.connect(customer), vendor.connect(customer, part("purchases.price"))
    values = {"grant_id": other.grant_id, "expires": 1 << 40, "kind": "access"}
    kind = "refresh" if column == "kind" else "access"
    token = one.refresh_token if column == "kind" else one.access_token
    writer.run(
        f"UPDATE tokens SET {column} = ? WHERE lookup = ?",
        values[column],
        lookup(customer.consent, kind, token),
    )
    if column == "kind":
        with pytest.raises(CodeError):
            vendor.refresh(token)
    with pytest.raises(TokenError):
        customer.consent.reader.authenticate(token)


def test_a_planted_token_row_has_no_keys(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str], clock: Any
) -> None:
    """Even with the server key: a token that the writer draws himself can wrap only keys that he has."""
    tokens = vendor.connect(customer)
    consent = customer.consent
    raw = crypto.random_bytes(32)
    found, wrapping = split("access", raw, consent.tokens._pepper)
    expires = clock.now() + 600
    scope = "purchases.item:read"
    carried = pack(customer.vault.id, vendor.registered.client_id, bytes(32), scope, bytes(32))
    sealed = wrap_cipher(wrapping, "access", found, tokens.grant_id, expires).seal(carried)
    writer.put("tokens", (found, "access", tokens.grant_id, expires, sealed, None, None, None))
    access = consent.reader.authenticate(write_token("access", raw))
    assert consent.reader.page(access, "purchases") == ([], None)
    with pytest.raises(TamperedError):
        consent.reader.grant(access)


def test_a_spent_code_made_unspent_opens_nothing(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    code = customer.approve(vendor.ask())
    vendor.redeem(code)
    writer.run("UPDATE tokens SET spent = NULL WHERE kind = 'code'")
    with pytest.raises(CodeError):
        vendor.redeem(code)


# --- grants


def test_edited_end_of_a_grant_gives_no_longer_token_and_is_found(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str], clock: Any
) -> None:
    tokens = vendor.connect(customer, days=1)
    writer.run("UPDATE grants SET expires = ?", clock.now() + 300 * DAY)
    assert f"grant {tokens.grant_id} was planted or altered" in customer.consent.problems(customer.vault)
    clock.forward(DAY - 10)
    late = vendor.refresh(tokens.refresh_token)
    assert late.expires_in == 10
    clock.forward(11)
    for attempt in (lambda: vendor.read(late.access_token), lambda: vendor.refresh(late.refresh_token)):
        with pytest.raises((TokenError, CodeError)):
            attempt()


def test_planted_grant_is_found_and_gets_no_row(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    row = list(writer.row("grants", "grant_id", tokens.grant_id))
    row[0] = "planted"
    writer.put("grants", tuple(row))
    assert "grant planted was planted or altered" in customer.consent.problems(customer.vault)
    customer.change(books[0], "item", title="Passing")
    assert writer.run("SELECT count(*) FROM views WHERE grant_id = 'planted'") == [(0,)]
    assert writer.run("SELECT state FROM grants WHERE grant_id = 'planted'") == [("revoked",)]
    assert vendor.titles(tokens.access_token) == ["Beloved", "Emma", "Passing"]


def test_revoked_grant_made_live_again_gets_no_row_and_is_found(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    customer.consent.grants.revoke(customer.vault, tokens.grant_id)
    writer.run("UPDATE grants SET state = 'live', ended = NULL")
    assert f"grant {tokens.grant_id} was planted or altered" in customer.consent.problems(customer.vault)
    customer.buy("Passing")
    assert writer.run("SELECT count(*) FROM views") == [(0,)]
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


def test_older_state_of_a_narrowed_grant_put_back_never_widens(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    older = writer.row("grants", "grant_id", tokens.grant_id)
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({books[0]}))
    writer.put_back("grants", "grant_id", tokens.grant_id, older)
    assert f"grant {tokens.grant_id} was planted or altered" in customer.consent.problems(customer.vault)
    customer.change(books[0], "item", title="Kindred, second edition")
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert "revoked" in customer.events()


def test_a_grant_whose_wrap_is_destroyed_ends_rather_than_keeping_a_row_that_she_withdrew(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    """A writer in league with a vendor must not freeze its view."""
    tokens = vendor.connect(customer)
    writer.run("UPDATE grants SET wrapped = x'00'")
    customer.change(books[0], "context", **{"for": "gift"})
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


def test_removed_grant_is_found(customer: Customer, vendor: Vendor, writer: Writer, books: list[str]) -> None:
    tokens = vendor.connect(customer)
    for table in ("grants", "views", "tokens"):
        writer.run(f"DELETE FROM {table} WHERE grant_id = ?", tokens.grant_id)
    assert f"grant {tokens.grant_id} is missing" in customer.consent.problems(customer.vault)


def test_swapped_agreements_are_refused(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    narrow = vendor.connect(customer)
    wide = vendor.connect(customer, part("purchases.item", "purchases.price"))
    [(agreement,)] = writer.run("SELECT agreement FROM grants WHERE grant_id = ?", wide.grant_id)
    writer.run("UPDATE grants SET agreement = ? WHERE grant_id = ?", agreement, narrow.grant_id)
    with pytest.raises(CodeError):
        vendor.refresh(narrow.refresh_token)
    with pytest.raises(TamperedError):
        customer.consent.grants.open(customer.vault, narrow.grant_id)


def test_a_grant_moved_to_another_vault_opens_nothing_there(
    customer: Customer, vendor: Vendor, vaults: Vaults, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    mallory = Customer(vaults.create("mallory", PASSPHRASE)[0], customer.consent)
    writer.run("UPDATE grants SET vault = ?", mallory.vault.id)
    with pytest.raises(TamperedError):
        customer.consent.grants.open(mallory.vault, tokens.grant_id)
    assert mallory.consent.grants.listing(mallory.vault) == []
    with pytest.raises(GrantNotFoundError):
        customer.consent.grants.open(customer.vault, tokens.grant_id)


def test_altered_routing_stops_neither_block_nor_sweep(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str], clock: Any
) -> None:
    first, second = vendor.connect(customer), vendor.connect(customer, days=2)
    writer.run("UPDATE grants SET routing = x'00' WHERE grant_id = ?", first.grant_id)
    assert customer.consent.sweeping.block(vendor.registered.client_id) == 1
    with pytest.raises(TokenError):
        vendor.read(second.access_token)
    for _ in range(95):
        clock.forward(DAY)
        customer.consent.sweep()
    assert writer.run("SELECT state FROM grants WHERE grant_id = ?", first.grant_id) == [("expired",)]


@pytest.mark.parametrize("ending", ["sweep", "block", "revoke"])
def test_an_altered_log_key_keeps_no_grant_alive(
    ending: str,
    customer: Customer,
    vendor: Vendor,
    writer: Writer,
    books: list[str],
    clock: Any,
    engine: SqliteEngine,
    vaults: Vaults,
) -> None:
    for _ in range(2):
        vendor.connect(customer, days=2)
    writer.run("UPDATE vaults SET log_mac = x'00'")
    elsewhere = Consent(engine, vaults, clock)  # a process that has not written into this log before
    if ending == "block":
        assert elsewhere.sweeping.block(vendor.registered.client_id) == 2
    elif ending == "revoke":
        for grant in elsewhere.grants.listing(customer.vault):
            elsewhere.grants.revoke(customer.vault, grant.id)
    else:
        for _ in range(3):
            clock.forward(DAY)
            elsewhere.sweep()
    assert writer.run("SELECT count(*) FROM grants WHERE state = 'live'") == [(0,)]
    assert writer.run("SELECT count(*) FROM views") == [(0,)]
    assert writer.run("SELECT count(*) FROM tokens WHERE wrapped IS NOT NULL") == [(0,)]


# --- view rows


def test_planted_and_moved_view_rows_open_nothing(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    rows = writer.run("SELECT * FROM views ORDER BY seq")
    writer.run("UPDATE views SET sealed = ? WHERE seq = ?", rows[1][5], rows[0][2])
    with pytest.raises(TamperedError):
        vendor.read(tokens.access_token)
    assert f"grant {tokens.grant_id} was planted or altered" in customer.consent.problems(customer.vault)
    customer.consent.grants.retire(customer.vault)
    assert len(vendor.read(tokens.access_token)) == 2


def test_old_view_row_put_back_is_found(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    [older] = writer.run("SELECT * FROM views WHERE seq = 1")
    record = next(
        record
        for record in books
        if customer.vault.keyring.pairwise(vendor.registered.client_id, "purchases", record) == older[3]
    )
    customer.change(record, "context", **{"for": "gift"})
    assert customer.consent.grants.differences(customer.vault) == []
    writer.run("DELETE FROM views WHERE item = ?", older[3])
    writer.put("views", older)
    assert customer.consent.grants.differences(customer.vault) != []
    assert len(vendor.read(tokens.access_token)) == 3


def test_altered_view_row_does_not_keep_her_from_her_record(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    tokens = vendor.connect(customer)
    writer.run("UPDATE views SET sealed = x'0001'")
    customer.change(books[0], "context", **{"for": "gift"})
    customer.change(books[1], "item", title="Beloved, again")
    customer.consent.grants.retire(customer.vault)
    assert vendor.titles(tokens.access_token) == ["Beloved, again"]


def test_log_in_does_not_fail_for_an_altered_view(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    vendor.connect(customer, part("purchases.item", period="P2Y"))
    writer.run("UPDATE views SET sealed = x'0001'")
    found = customer.consent.at_unlock(customer.vault)
    assert any("planted or altered" in problem for problem in found)


# --- records, journal, requests, the log's key


def test_old_record_put_back_is_found(customer: Customer, writer: Writer, books: list[str]) -> None:
    older = writer.row("records", "record", books[0])
    customer.change(books[0], "context", **{"for": "gift"})
    writer.put_back("records", "record", books[0], older)
    assert f"record {books[0]} is not the newest state" in customer.vault.check()


def test_record_of_another_id_does_not_open(customer: Customer, writer: Writer, books: list[str]) -> None:
    [(body,)] = writer.run("SELECT body FROM records WHERE record = ?", books[0])
    writer.run("UPDATE records SET body = ? WHERE record = ?", body, books[1])
    with pytest.raises(TamperedError):
        customer.vault.records("purchases").get(books[1])


def test_foreign_log_key_stops_the_reading(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    """Else every later entry would be sealed to the writer."""
    tokens = vendor.connect(customer)
    own = crypto.public_of(Key(bytes(32)))
    writer.run("UPDATE vaults SET log_public = ?", own)
    customer.consent.log.here.forget()  # as a process that starts anew
    with pytest.raises(TamperedError):
        vendor.read(tokens.access_token)
    assert "the log's public key was swapped" in customer.consent.problems(customer.vault)


def test_altered_request_is_gone(customer: Customer, vendor: Vendor, writer: Writer) -> None:
    one, other = vendor.ask(), vendor.ask(part("purchases.context"))
    sealed = dict(writer.run("SELECT lookup, sealed FROM requests"))
    first, second = sealed
    writer.run("UPDATE requests SET sealed = ? WHERE lookup = ?", sealed[first], second)
    writer.run("UPDATE requests SET sealed = ? WHERE lookup = ?", sealed[second], first)
    for request in (one, other):
        with pytest.raises(RequestNotFoundError):
            customer.preview(request)


def test_prolonged_request_is_gone(customer: Customer, vendor: Vendor, writer: Writer) -> None:
    request = vendor.ask()
    writer.run("UPDATE requests SET expires = expires + 1000000")
    with pytest.raises(RequestNotFoundError):
        customer.preview(request)


# --- the register of vendors

ALTERED = {
    "another address": """UPDATE vendors SET redirect_uris = '["https://writer.example/cb"]'""",
    "a client without a secret": "UPDATE vendors SET secret = NULL",
    "another name": "UPDATE vendors SET name = 'Your Bank'",
    "another shop's orders": """UPDATE vendors SET sells_as = '["books.example"]'""",
    "not blocked": "UPDATE vendors SET blocked = 1 - blocked",
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_vendor_is_none(
    how: str, customer: Customer, vendor: Vendor, writer: Writer, books: list[str]
) -> None:
    request, tokens = vendor.ask(), vendor.connect(customer)
    writer.run(ALTERED[how])
    consent, client_id = customer.consent, vendor.registered.client_id
    with pytest.raises(VendorNotFoundError):
        consent.vendors.get(client_id)
    with pytest.raises(RequestNotFoundError):
        customer.preview(request)
    assert consent.vendors.listing() == []
    assert consent.sweeping.block(client_id) == 1
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)


# --- the defences, removed


def test_without_the_roster_an_older_state_would_widen(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = vendor.connect(customer)
    older = writer.row("grants", "grant_id", tokens.grant_id)
    customer.consent.grants.narrow(customer.vault, tokens.grant_id, exclude=frozenset({books[0]}))
    writer.put_back("grants", "grant_id", tokens.grant_id, older)
    monkeypatch.setattr(views, "roster_entry", lambda *row: views.LOGGED)
    customer.change(books[0], "item", title="Kindred, second edition")
    assert "Kindred, second edition" in vendor.titles(tokens.access_token)


class Unbound:
    """AES-GCM that binds nothing beside the text."""

    def __init__(self, key: bytes) -> None:
        self._bound = AESGCM(key)

    def encrypt(self, nonce: bytes, text: bytes, _: bytes) -> bytes:
        return self._bound.encrypt(nonce, text, b"")

    def decrypt(self, nonce: bytes, sealed: bytes, _: bytes) -> bytes:
        return self._bound.decrypt(nonce, sealed, b"")


def test_without_associated_data_a_moved_row_would_open(
    customer: Customer, vendor: Vendor, writer: Writer, books: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "AESGCM", Unbound)
    fresh = Customer(_anew(customer), customer.consent)
    for title in ("One", "Two"):
        fresh.buy(title)
    tokens = vendor.connect(fresh)
    rows = writer.run("SELECT * FROM views ORDER BY seq")
    writer.run("UPDATE views SET sealed = ? WHERE seq = ?", rows[1][5], rows[0][2])
    assert len(set(vendor.titles(tokens.access_token))) == 1


def _anew(customer: Customer) -> Vault:
    return customer.vault._vaults.create("erin", PASSPHRASE)[0]
