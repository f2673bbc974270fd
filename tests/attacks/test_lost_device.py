"""What a thief gains who knows the old root, the old passphrase and an old copy, once she has new keys.

He copied the disk and learned the passphrase before; he copies the disk again afterwards. The old root and
everything that it opened on the old copy is tried on everything on the new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, writing
from tests.conftest import PASSPHRASE, SettableClock
from vrm.consent.scopes import SCOPES
from vrm.consent.service import Consent
from vrm.consent.views import GrantKeys
from vrm.errors import TamperedError, TokenError, UnlockError
from vrm.thief import keys
from vrm.thief.keys import Database
from vrm.vault import crypto, rotation, serverkey
from vrm.vault.catalog import CATALOG
from vrm.vault.crypto import Key, Probe, Purpose
from vrm.vault.keyring import Keyring
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

OTHER = "a passphrase for the time after"
_ALL = 1 << 31


def loot(copy: Path, vault: str, root: Key) -> Iterator[Key]:
    """The root and every key that it derives or opens in a copy."""
    ring = Keyring(vault, root)
    yield root
    for purpose in Purpose:
        yield crypto.derive(root, purpose, vault)
    for collection in CATALOG:
        for facet in collection.facets:
            yield crypto.derive(root, Purpose.RECORD, vault, collection.name, facet.name)
    yield from (ring.log_private(), ring.mailbox_private(), ring._pairwise, ring._fingerprint)
    database = Database(copy / "vrm.db")
    for grant_id, wrapped in database.rows("SELECT grant_id, wrapped FROM grants"):
        grant = GrantKeys(grant_id, ring.cipher(Purpose.GRANT_WRAP).unwrap(wrapped, grant_id))
        yield from (grant.key, grant.common, *(grant.scope_key(scope) for scope in SCOPES))
    for segment, sealed in database.rows("SELECT segment, sealed_key FROM log_segments"):
        yield Key(crypto.open_sealed(ring.log_private(), sealed, Purpose.LOG_SEGMENT, vault, segment))
    database.close()


def opened(copy: Path, held: list[Key]) -> Counter[str]:
    """How many envelopes of each kind these keys open in a copy."""
    database, probes = Database(copy / "vrm.db"), [Probe(key) for key in held]
    found = Counter(
        attempt.kind
        for attempt in keys.attempts(database, _ALL, _ALL)
        if any(keys.opens(attempt, probe) for probe in probes)
    )
    database.close()
    return found


@pytest.fixture
def held(customer: Customer, vendor: Vendor, thief: Thief) -> list[Key]:
    """Everything of her vault on the day of the old copy, after some life."""
    for number in range(4):
        customer.buy(f"before {number}")
    customer.put({"statement": {"topic": "novels"}}, "preferences")
    token = vendor.connect(customer).access_token
    vendor.read(token)
    customer.vault.open_session()
    customer.consent.at_unlock(customer.vault)
    return list(loot(thief.copy("old"), customer.vault.id, customer.vault.keyring.root()))


def test_the_old_root_opens_the_old_copy(held: list[Key], thief: Thief) -> None:
    """So that the tests below would see it."""
    found = opened(thief.lair / "old", held)
    assert {"root key", "record key", "grant key", "scope key", "log private key", "log segment key"} <= set(
        found
    )


def test_with_every_connection_ended_the_old_root_and_an_old_copy_open_nothing_new(
    customer: Customer, vendor: Vendor, thief: Thief, held: list[Key], vaults: Vaults
) -> None:
    rotated, ended = customer.consent.rotate(customer.vault, PASSPHRASE, OTHER)
    assert (rotated.sessions, ended) == (1, 1)
    customer.vault.go_on_rotating()
    customer.buy("after")
    fresh = Vendor.register(customer.consent, "Another Shop")
    fresh.read(fresh.connect(customer).access_token)
    customer.vault.open_session()
    new = thief.copy("new")
    left = opened(new, held)
    # lines that stood in the log before, under keys that the old copy holds
    assert set(left) <= {"log segment key"}
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    assert customer.consent.problems(customer.vault) == []


def test_with_connections_kept_the_old_root_and_an_old_copy_open_exactly_their_views(
    customer: Customer, vendor: Vendor, thief: Thief, held: list[Key]
) -> None:
    kept = vendor.connect(customer)
    held += list(loot(thief.copy("a little later"), customer.vault.id, customer.vault.keyring.root()))
    assert customer.consent.rotate(customer.vault, PASSPHRASE, OTHER, keep_connections=True)[1] == 0
    customer.vault.go_on_rotating()
    customer.change(customer.vault.records("purchases").ids()[0], "item", title="after")
    fresh = Vendor.register(customer.consent, "Another Shop")
    fresh.connect(customer)
    left = opened(thief.copy("new"), held)
    assert set(left) == {"grant key", "common key", "scope key", "log segment key"}
    assert left["grant key"] == 2  # of the two connections that were there; not of the new one
    assert vendor.titles(kept.access_token) == customer.titles()
    assert customer.consent.grants.differences(customer.vault) == []
    assert customer.consent.problems(customer.vault) == []


def test_ended_connections_read_nothing_and_the_log_tells_both(
    customer: Customer, vendor: Vendor, held: list[Key], clock: SettableClock
) -> None:
    tokens = vendor.connect(customer)
    clock.forward(1)
    customer.consent.rotate(customer.vault, PASSPHRASE)
    with pytest.raises(TokenError):
        vendor.read(tokens.access_token)
    assert customer.events()[:4] == ["refused", "revoked", "revoked", "new-keys"]
    customer.vault.go_on_rotating()
    assert customer.events()[:4] == ["refused", "revoked", "revoked", "new-keys"]
    assert {grant.state for grant in customer.consent.grants.listing(customer.vault)} == {"revoked"}
    assert {grant.vendor_name for grant in customer.consent.grants.listing(customer.vault)} == {
        "Corner Books"
    }


def test_no_entry_goes_into_a_part_of_the_log_whose_key_the_old_root_opens(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, clock: SettableClock
) -> None:
    customer.buy("before")
    token = vendor.connect(customer).access_token
    vendor.read(token)
    before = {row[0] for row in engine.all("SELECT segment FROM log_segments")}
    count: dict[bytes, int] = dict(engine.all("SELECT segment, count(*) FROM log_entries GROUP BY segment"))
    clock.forward(1)
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    vendor.read(token)  # the thread's segment began under the old root
    vendor.read(token)
    after: dict[bytes, int] = dict(engine.all("SELECT segment, count(*) FROM log_entries GROUP BY segment"))
    assert {segment: after[segment] for segment in before} == count
    assert sum(after.values()) == sum(count.values()) + 3
    assert len(after) == len(before) + 1
    assert customer.events()[:3] == ["read", "read", "new-keys"]


@pytest.mark.usefixtures("held")
def test_at_every_batch_connections_work_and_nothing_is_amiss(
    customer: Customer, vendor: Vendor, vaults: Vaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    vaults.at_unlock = 0
    token = vendor.connect(customer).access_token
    other = Vendor.register(customer.consent, "Another Shop")
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    turn = 0
    while customer.vault.rotating():
        customer.change(
            customer.vault.records("purchases").ids()[turn % 4], "item", title=f"meanwhile {turn}"
        )
        assert vendor.titles(token) == customer.titles()
        opened = vaults.unlock("alice", PASSPHRASE)
        assert customer.consent.at_unlock(opened) == []
        assert opened.check() == []
        if turn == 3:
            narrowed = next(one for one in customer.consent.grants.listing(opened) if one.state == "live")
            customer.consent.grants.narrow(opened, narrowed.id, days=1)
            other.connect(customer)
        assert customer.consent.grants.differences(opened) == []
        opened.go_on_rotating(1)
        turn += 1
    assert turn > 10
    assert customer.consent.problems(customer.vault) == []
    assert customer.consent.grants.differences(customer.vault) == []
    assert len(customer.events()) >= 10


def test_without_the_rest_of_the_project_nothing_is_renewed(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, server_key: ServerKey
) -> None:
    """A process that does not know the grants can neither begin nor finish."""
    customer.buy("before")
    vendor.connect(customer)
    bare = Vaults(engine, server_key, clock=customer.consent.log._clock)
    with pytest.raises(RuntimeError):
        bare.unlock("alice", PASSPHRASE).rotate(PASSPHRASE)
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    left = bare.unlock("alice", PASSPHRASE).go_on_rotating()
    assert left is not None
    assert customer.vault.rotating() == left
    assert customer.vault.go_on_rotating() is None
    assert customer.consent.problems(customer.vault) == []


def test_what_nobody_vouched_for_is_not_made_good(
    customer: Customer, vendor: Vendor, engine: SqliteEngine
) -> None:
    customer.buy("before")
    vendor.connect(customer)
    log_public, name = customer.vault._vaults.log_public(customer.vault.id), bytes(16)
    sealed = crypto.seal_to(log_public, bytes(32), Purpose.LOG_SEGMENT, customer.vault.id, name)
    cipher = crypto.Cipher(Key(bytes(32)), Purpose.LOG_ENTRY, customer.vault.id, name)
    forged = cipher.seal(b'{"event": "read"}', 1, bytes(32), 5)
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO log_segments VALUES (?, ?, ?, ?)", (customer.vault.id, name, sealed, bytes(32))
        )
        transaction.execute(
            "INSERT INTO log_entries VALUES (?, ?, 1, 5, ?)", (customer.vault.id, name, forged)
        )
        transaction.execute("UPDATE grants SET agreement = ?", (bytes(100),))
    before = customer.consent.problems(customer.vault)
    assert len(before) == 2
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    assert customer.consent.problems(customer.vault) == before
    customer.vault.go_on_rotating()
    assert customer.consent.problems(customer.vault) == before


@pytest.mark.parametrize("table", ["log_heads", "mailbox_marks"])
def test_altered_heads_stay_altered(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, table: str
) -> None:
    customer.buy("before")
    vendor.connect(customer)
    customer.consent.at_unlock(customer.vault)
    with engine.write() as transaction:
        transaction.execute(f"UPDATE {table} SET sealed = x'01'")
    before = customer.consent.problems(customer.vault)
    assert len(before) == 1
    customer.consent.rotate(customer.vault, PASSPHRASE)
    customer.vault.go_on_rotating()
    assert customer.consent.problems(customer.vault) == before


@pytest.mark.usefixtures("held")
def test_while_keys_are_renewed_the_new_root_opens_the_one_before_and_only_that_way_round(
    customer: Customer, thief: Thief
) -> None:
    """So that a new kind of envelope is among those that the law above is held against."""
    old = customer.vault.keyring
    customer.consent.rotate(customer.vault, PASSPHRASE, OTHER, keep_connections=True)
    new, copy = customer.vault.keyring, thief.copy("in between")
    kinds = ["previous root key", "heirlooms key", "root key"]
    purposes = [Purpose.PREVIOUS_ROOT, Purpose.HEIRLOOMS]
    of_new = [new.root(), *(crypto.derive(new.root(), purpose, new.vault) for purpose in purposes)]
    assert set(kinds) <= set(opened(copy, of_new))
    of_old = [old.root(), *(crypto.derive(old.root(), purpose, new.vault) for purpose in purposes)]
    assert not set(kinds) & set(opened(copy, of_old))
    assert opened(copy, [crypto.random_key()]) == Counter()


# --- what vendors left


@pytest.mark.parametrize("keep", [True, False])
def test_what_waits_in_the_mailbox_is_sealed_anew_and_filed_with_the_new_keys(
    customer: Customer, vendor: Vendor, thief: Thief, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    consent, vault = customer.consent, customer.vault
    token = vendor.connect(customer, writing()).access_token
    for number in range(3):  # filed, with notes
        vendor.leave(token, {"item": {"title": f"Filed {number}"}})
    consent.at_unlock(vault)
    for number in range(3):
        vendor.leave(token, {"item": {"title": f"Waiting {number}"}})
    held = list(loot(thief.copy("old"), vault.id, vault.keyring.root()))
    private = vault.keyring.mailbox_private()
    consent.rotate(vault, PASSPHRASE, keep_connections=keep)
    if keep:
        vendor.leave(token, {"item": {"title": "Meanwhile"}})
    assert vault.go_on_rotating() is None
    sealed = vault.engine.all("SELECT origin, number, item, sealed FROM mailbox")
    assert len(sealed) == 3 + keep
    for origin, number, item, blob in sealed:
        with pytest.raises(TamperedError):
            crypto.open_sealed(private, blob, Purpose.MAILBOX_ITEM, vault.id, origin, number, item)
    left = opened(thief.copy("new"), held)
    of_grant = {"grant key", "common key", *(["scope key"] if keep else [])}  # its agreement, and its states
    assert set(left) <= {"log segment key", *of_grant}
    assert consent.at_unlock(vault) == []
    filed = [*(f"Filed {number}" for number in range(3)), *(f"Waiting {number}" for number in range(3))]
    assert customer.titles() == sorted([*filed, *(["Meanwhile"] if keep else [])])


def test_rows_that_are_nothing_stop_no_rotation(
    customer: Customer, vendor: Vendor, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.buy("before")
    vendor.leave(vendor.connect(customer, writing()).access_token, {"item": {"title": "Left"}})
    with engine.write() as transaction:
        transaction.execute("UPDATE mailbox SET sealed = 'x'")
        transaction.execute("UPDATE records SET body = 'x'")
        transaction.execute("UPDATE log_segments SET sealed_key = 'x'")
        transaction.execute("INSERT INTO mailbox_notes VALUES (?, 'o', ?, 'x')", (customer.vault.id, b"i"))
        transaction.execute("UPDATE grants SET wrapped = 'x'")
        [one] = transaction.execute("SELECT * FROM records").fetchall()
        transaction.executemany(
            f"INSERT INTO records VALUES ({', '.join('?' * len(one))})",
            [(one[0], b"\xff", bytes([number]), *one[3:]) for number in range(3)],
        )
    monkeypatch.setattr(rotation, "BATCH", 2)
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    assert customer.vault.go_on_rotating() is None
    assert customer.vault.keyring.generation == 2


# --- the server key


def test_a_server_key_replaced_and_lost_stops_no_rotation(
    customer: Customer, vendor: Vendor, folder: Path, engine: SqliteEngine
) -> None:
    record = customer.buy("before")
    token = vendor.connect(customer).access_token
    customer.consent.at_unlock(customer.vault)
    for number in range(2):  # another one was put there; then that was lost, too
        (folder / "server.key").unlink()
        later = Vaults(engine, serverkey.load(folder / "server.key"), clock=customer.consent.log._clock)
        assert later.adopt() == []
        consent = Consent(engine, later, customer.consent.log._clock)
        with pytest.raises(TokenError):
            consent.reader.authenticate(token)
        opened = later.unlock("alice", PASSPHRASE)
        assert opened.records("purchases").get(record)["item"]["title"] == "before"
        assert consent.problems(opened) == []
        rotated, _ = consent.rotate(opened, PASSPHRASE, keep_connections=bool(number))
        assert (rotated.generation, rotated.dropped) == (2 + number, ())
        assert opened.go_on_rotating() is None
        assert consent.problems(opened) == []
        assert opened.check() == []
        assert consent.at_unlock(opened) == []


def test_a_server_key_lost_in_the_middle_of_a_rotation(
    customer: Customer, vendor: Vendor, folder: Path, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.buy("before")
    vendor.connect(customer)
    customer.consent.at_unlock(customer.vault)
    customer.consent.rotate(customer.vault, PASSPHRASE, keep_connections=True)
    (folder / "server.key").unlink()
    later = Vaults(engine, serverkey.load(folder / "server.key"), clock=customer.consent.log._clock)
    assert later.adopt() == []
    Consent(engine, later, customer.consent.log._clock)
    opened = later.unlock("alice", PASSPHRASE)
    assert opened.rotating() is None
    assert opened.check() == []
