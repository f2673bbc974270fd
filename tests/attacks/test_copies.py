"""Copies of the whole host: a backup opens nothing, a restore revives nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.attacks.conftest import Story
from tests.beside import only_sqlite
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm import thief as robbery
from vrm.consent.service import Consent
from vrm.consent.vendors import DOCUMENT
from vrm.errors import CodeError, SessionExpiredError, TokenError, UnlockError, VendorNotFoundError
from vrm.host import SCHEMAS
from vrm.thief.credential import open_with
from vrm.thief.exports import attempts
from vrm.thief.keys import Database, opens
from vrm.thief.texts import look
from vrm.vault import copies, keyslots, serverkey
from vrm.vault.crypto import Probe
from vrm.vault.moving import Credential
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

pytestmark = only_sqlite


@dataclass
class Elsewhere:
    """The host after a restore: the same server key, the same clock."""

    engine: SqliteEngine
    vaults: Vaults
    consent: Consent
    vendor: Vendor

    def log_in(self) -> Customer:
        """As the log-in page does."""
        vault = self.vaults.unlock("alice", PASSPHRASE)
        assert self.consent.at_unlock(vault) == []
        return Customer(vault, self.consent)


@pytest.fixture
def backup(folder: Path, tmp_path: Path, story: Story, clock: SettableClock) -> Path:
    """Taken while the vendor is connected, a code is unspent, a request waits and she is logged in."""
    target = tmp_path / "vault.backup"
    copies.take(folder / "vrm.db", SCHEMAS, target, clock.now())
    return target


@pytest.fixture
def restore(folder: Path, tmp_path: Path, clock: SettableClock, story: Story) -> Iterator[object]:
    opened: list[SqliteEngine] = []

    def run(backup: Path) -> Elsewhere:
        there = tmp_path / f"restored-{len(opened)}"
        copies.put_back(backup, there / "vrm.db", SCHEMAS, clock.now())
        clock.forward(60)
        shutil.copy(folder / "server.key", there)
        engine = SqliteEngine(there / "vrm.db")
        opened.append(engine)
        engine.install(SCHEMAS)
        vaults = Vaults(engine, serverkey.load(there / "server.key"), clock=clock, limits=CHEAP)
        consent = Consent(engine, vaults, clock)
        vendor = Vendor(consent, story.vendor.registered, story.vendor.verifier)
        return Elsewhere(engine, vaults, consent, vendor)

    yield run
    for engine in opened:
        engine.close()


def refused(vendor: Vendor, story: Story) -> bool:
    """Whether access token, refresh token and code of the story all open nothing."""
    with pytest.raises(TokenError):
        vendor.consent.reader.authenticate(story.tokens.access_token)
    with pytest.raises(CodeError):
        vendor.refresh(story.tokens.refresh_token)
    with pytest.raises(CodeError):
        vendor.redeem(story.code)
    return True


def test_a_copy_from_before_a_revocation_restored_opens_nothing_with_kept_tokens(
    story: Story, backup: Path, restore, consent: Consent
) -> None:
    (grant,) = consent.grants.listing(story.customer.vault)
    consent.grants.revoke(story.customer.vault, grant.id)
    host = restore(backup)
    assert refused(host.vendor, story)
    customer = host.log_in()
    assert refused(host.vendor, story)
    assert [view.state for view in host.consent.grants.listing(customer.vault)] == ["revoked"]
    assert customer.events()[0] == "restored"
    assert host.engine.one("SELECT count(*) FROM views") == (0,)
    assert host.log_in().events().count("restored") == 1


def test_without_the_stripping_a_kept_token_would_open_a_restored_copy(
    story: Story, folder: Path, tmp_path: Path, clock: SettableClock
) -> None:
    shutil.copytree(folder, tmp_path / "plain")  # what `cp` takes: the row "an old full copy" says so
    with closing(SqliteEngine(tmp_path / "plain" / "vrm.db")) as engine:
        vaults = Vaults(engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
        vendor = Vendor(Consent(engine, vaults, clock), story.vendor.registered, story.vendor.verifier)
        assert len(vendor.read(story.tokens.access_token)) == 2


def test_an_unspent_code_opens_nothing_in_a_restored_copy(
    customer: Customer,
    vendor: Vendor,
    story: Story,
    folder: Path,
    tmp_path: Path,
    restore,
    clock: SettableClock,
) -> None:
    other = Vendor.register(customer.consent, "Other Books")
    code = customer.approve(other.ask())
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "early", clock.now())
    host = restore(tmp_path / "early")
    with pytest.raises(CodeError):
        Vendor(host.consent, other.registered, other.verifier).redeem(code)
    host.log_in()
    with pytest.raises(CodeError):
        Vendor(host.consent, other.registered, other.verifier).redeem(code)


def test_an_ended_session_opens_nothing_in_a_restored_copy(
    story: Story, folder: Path, tmp_path: Path, restore, clock: SettableClock
) -> None:
    secret = story.customer.vault.open_session()
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "early", clock.now())
    story.customer.vault.close_session(secret)
    with pytest.raises(SessionExpiredError):
        restore(tmp_path / "early").vaults.resume(secret)


def wraps(database: Path) -> list[bytes]:
    """Every stored value that a credential of this host opens, and what finds it."""
    raw = sqlite3.connect(database)
    try:
        found = raw.execute("SELECT lookup, wrapped, replay FROM tokens").fetchall()
        found += raw.execute("SELECT lookup, wrapped, NULL FROM sessions").fetchall()
        found += raw.execute("SELECT lookup, sealed, NULL FROM requests").fetchall()
        found += raw.execute("SELECT sealed, NULL, NULL FROM views").fetchall()
    finally:
        raw.close()
    return [bytes(value) for row in found for value in row if value]


def test_no_wrap_of_a_credential_stands_anywhere_in_a_backup(
    story: Story, folder: Path, tmp_path: Path, clock: SettableClock
) -> None:
    story.customer.vault.open_session()
    story.vendor.ask()
    story.vendor.refresh(story.tokens.refresh_token)
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "b", clock.now())
    content = (tmp_path / "b").read_bytes()
    values = wraps(folder / "vrm.db")
    assert len(values) >= 12
    assert [value for value in values if value in content] == []
    assert (folder / "server.key").read_text().split()[1].encode() not in content


def test_a_stolen_backup_with_the_server_key_and_a_live_token_opens_nothing(
    story: Story, backup: Path, folder: Path
) -> None:
    pepper = serverkey.load(folder / "server.key").pepper
    with closing(Database(backup)) as database:
        for token in (story.tokens.access_token, story.tokens.refresh_token, story.code):
            loot = open_with(database, pepper, token)
            assert (loot.kind, loot.documents) == ("", [])
    report = robbery.rob(backup, token=story.tokens.access_token, look_for=story.canaries)
    assert report.safe
    assert report.token is not None
    assert report.token.kind == ""
    assert {link["state"] for link in report.clear.connections} == {"paused"}


def test_rows_planted_in_a_backup_do_not_come_back(
    story: Story, folder: Path, backup: Path, restore, clock: SettableClock
) -> None:
    raw = sqlite3.connect(backup)
    raw.execute("ATTACH ? AS live", (str(folder / "vrm.db"),))
    for table in ("tokens", "views", "sessions", "requests"):
        raw.execute(f"INSERT INTO {table} SELECT * FROM live.{table}")
    raw.execute("UPDATE grants SET state = 'live'")
    raw.commit()
    raw.close()
    host = restore(backup)
    assert refused(host.vendor, story)
    host.log_in()
    assert refused(host.vendor, story)


def test_an_altered_grant_of_a_backup_ends_at_her_unlock_like_any_other(
    story: Story, backup: Path, restore
) -> None:
    host = restore(backup)
    with host.engine.write() as transaction:
        transaction.execute("UPDATE grants SET agreement = x'00'")
    vault = host.vaults.unlock("alice", PASSPHRASE)
    host.consent.at_unlock(vault)
    assert host.engine.all("SELECT DISTINCT state FROM grants") == [("revoked",)]
    assert refused(host.vendor, story)
    [told] = [entry for entry in host.consent.log.read(vault) if entry.event == "restored"]
    assert (told.client_id, told.vendor_name) == ("", "")


def test_a_paused_grant_reads_nothing_before_she_unlocks(story: Story, backup: Path, restore) -> None:
    host = restore(backup)
    assert host.engine.all("SELECT DISTINCT state FROM grants") == [("paused",)]
    assert host.consent.sweep()
    assert refused(host.vendor, story)
    assert host.engine.one("SELECT count(*) FROM tokens") == (0,)


@pytest.fixture
def put_back(
    folder: Path, backup: Path, engine: SqliteEngine, clock: SettableClock
) -> Iterator[Callable[[], tuple[copies.PutBack, Consent]]]:
    """Restores over the database that is here."""
    opened: list[SqliteEngine] = []

    def run() -> tuple[copies.PutBack, Consent]:
        engine.close()
        back = copies.put_back(backup, folder / "vrm.db", SCHEMAS, clock.now(), force=True)
        opened.append(SqliteEngine(folder / "vrm.db"))
        key = serverkey.load(folder / "server.key")
        return back, Consent(opened[-1], Vaults(opened[-1], key, clock=clock, limits=CHEAP), clock)

    yield run
    for one in opened:
        one.close()


def test_a_restore_unblocks_nobody_and_says_who_has_changed_since(
    story: Story, backup: Path, consent: Consent, put_back: Callable[[], tuple[copies.PutBack, Consent]]
) -> None:
    blocked = story.vendor.registered
    later = Vendor.register(consent, "Later Books").registered
    consent.vendors.set_blocked(blocked.client_id, True)
    back, there = put_back()
    assert there.vendors.get(blocked.client_id).blocked
    assert there.vendors.problems() == []
    with pytest.raises(VendorNotFoundError):
        there.vendors.get(later.client_id)
    assert set(back.changed or ()) == {
        f"{blocked.name} ({blocked.client_id}) was blocked since, and stays blocked",
        f"Later Books ({later.client_id}) was registered since, and is not any more",
    }


def test_a_vendor_that_is_a_document_stays_blocked_where_the_backup_did_not_know_it(
    story: Story, backup: Path, consent: Consent, put_back: Callable[[], tuple[copies.PutBack, Consent]]
) -> None:
    for place, blocked in (("evil.example", True), ("books.example", False)):
        stranger = replace(
            story.vendor.registered,
            client_id=f"https://{place}/vrm.json",
            origin=DOCUMENT,
            blocked=blocked,
            claimed="Your Bank",
        )
        with consent.engine.write() as transaction:
            consent.vendors.put(transaction, stranger, None)
    back, there = put_back()
    assert back.changed == ("https://evil.example/vrm.json was blocked since, and stays blocked",)
    assert there.vendors.get("https://evil.example/vrm.json").blocked


def test_a_restore_says_nothing_of_vendors_that_are_as_they_were(
    story: Story, put_back: Callable[[], tuple[copies.PutBack, Consent]]
) -> None:
    back, there = put_back()
    assert back.changed == ()
    assert there.vendors.get(story.vendor.registered.client_id) == story.vendor.registered


def test_who_was_unblocked_since_a_backup_is_named_and_blocked_again(
    story: Story,
    folder: Path,
    backup: Path,
    consent: Consent,
    clock: SettableClock,
    put_back: Callable[[], tuple[copies.PutBack, Consent]],
) -> None:
    blocked = story.vendor.registered
    consent.vendors.set_blocked(blocked.client_id, True)
    copies.take(folder / "vrm.db", SCHEMAS, backup, clock.now(), force=True)
    consent.vendors.set_blocked(blocked.client_id, False)
    back, there = put_back()
    assert there.vendors.get(blocked.client_id).blocked
    told = (
        f"{blocked.name} ({blocked.client_id}) was changed since, and is as it was when the backup was taken"
    )
    assert back.changed == (told,)


def test_a_blocked_vendor_whose_row_was_altered_is_none_after_a_restore(
    story: Story,
    backup: Path,
    consent: Consent,
    engine: SqliteEngine,
    put_back: Callable[[], tuple[copies.PutBack, Consent]],
) -> None:
    blocked = story.vendor.registered.client_id
    consent.vendors.set_blocked(blocked, True)
    with engine.write() as transaction:
        transaction.execute("UPDATE vendors SET name = ?", ("\x1b[2J",))
    back, there = put_back()
    with pytest.raises(VendorNotFoundError):
        there.vendors.get(blocked)
    assert back.changed == (f"({blocked}) was blocked since, and stays blocked",)


def test_a_restore_over_a_database_that_cannot_be_read_says_that_blocks_are_not_known(
    story: Story,
    folder: Path,
    backup: Path,
    engine: SqliteEngine,
    put_back: Callable[[], tuple[copies.PutBack, Consent]],
) -> None:
    engine.close()
    (folder / "vrm.db").write_bytes(b"no database")
    back, there = put_back()
    assert back.changed is None
    assert not there.vendors.get(story.vendor.registered.client_id).blocked


def test_after_a_restore_the_vendor_may_ask_again(story: Story, backup: Path, restore) -> None:
    host = restore(backup)
    customer = host.log_in()
    tokens = host.vendor.connect(customer)
    assert len(host.vendor.read(tokens.access_token)) >= 2
    assert customer.vault.check() == []
    assert host.consent.problems(customer.vault) == []


def test_every_table_that_credentials_open_is_left_out_of_copies(engine: SqliteEngine) -> None:
    left_out = {table for schema in SCHEMAS for table in schema.left_out}
    opened = {
        table
        for table, columns in engine.tables().items()
        if {"lookup", "replay", "grant_id"} & set(columns) and table != "grants"
    }
    assert opened - left_out == set()


def test_a_backup_shows_nothing_of_her(story: Story, backup: Path) -> None:
    assert look(backup.parent, story.canaries) == []


# --- an export of one vault


@pytest.fixture
def exported(story: Story, consent: Consent, tmp_path: Path) -> Path:
    kept = tmp_path / "kept"
    kept.mkdir()
    with (kept / "alice.vrm").open("wb") as out:
        consent.moves.export(story.customer.vault, out)
    return kept / "alice.vrm"


def test_an_export_shows_no_text_and_no_name(story: Story, exported: Path) -> None:
    assert look(exported.parent, [*story.canaries, "Corner Books", "purchases", "username"]) == []


def test_nothing_that_lies_in_an_export_opens_it(story: Story, exported: Path, folder: Path) -> None:
    shutil.copy(folder / "server.key", exported.parent)
    report = robbery.rob(exported.parent, look_for=story.canaries)
    assert report.safe
    assert report.server_keys == 1
    assert report.tried.keys() >= {"root key", "file key", "export key", "keyslot key"}


def test_a_thief_would_see_what_opens_an_export(story: Story, exported: Path) -> None:
    root = Probe(story.customer.vault.keyring.root())
    opened = [attempt.kind for attempt in attempts(exported.read_bytes()) if opens(attempt, root)]
    assert opened == ["root key"]
    assert list(attempts(exported.read_bytes()[:30])) == []


def test_no_token_and_no_key_of_the_host_stands_in_an_export(
    story: Story, exported: Path, server_key: ServerKey
) -> None:
    content = exported.read_bytes()
    rows = story.customer.vault.engine.all("SELECT lookup, wrapped FROM tokens")
    values = [server_key.pepper, *(bytes(value) for row in rows for value in row if value)]
    assert [value for value in values if value in content] == []


def test_a_wrong_passphrase_and_a_wrong_code_open_no_export(
    exported: Path, tmp_path: Path, consent: Consent
) -> None:
    for credential in (Credential("four other words here"), Credential(code=keyslots.new_code())):
        with exported.open("rb") as source, pytest.raises(UnlockError):
            consent.moves.bring(source, credential, name="other")
