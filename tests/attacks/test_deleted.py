"""A deleted vault: no row, no byte, no way in; and nobody else's is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.attacks.conftest import Story
from tests.beside import only_sqlite
from tests.conftest import PASSPHRASE
from vrm.consent.service import Consent
from vrm.errors import CodeError, ConflictError, SessionExpiredError, TokenError, UnlockError, VrmError
from vrm.thief.texts import look
from vrm.vault import crypto, removal
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

pytestmark = only_sqlite


def grants_of(engine: SqliteEngine, vault: str) -> list[str]:
    return [row[0] for row in engine.all("SELECT grant_id FROM grants WHERE vault = ?", (vault,))]


def rows_of(engine: SqliteEngine, vault: str, grants: list[str]) -> dict[str, int]:
    """Table → how many rows name the vault or one of its grants, in any column there is."""
    found = {}
    for table, columns in engine.tables().items():
        for column in columns:
            for value in (vault, *grants):
                row = engine.one(f"SELECT count(*) FROM {table} WHERE {column} = ?", (value,))
                found[table] = found.get(table, 0) + (row[0] if row else 0)
    return {table: count for table, count in found.items() if count}


@pytest.fixture
def busy(story: Story, engine: SqliteEngine) -> Story:
    """Everything that a vault can leave somewhere."""
    story.vendor.read(story.tokens.access_token)
    story.vendor.refresh(story.tokens.refresh_token)
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    story.customer.consent.reader.refuse(access, "not granted", "purchases")
    story.customer.vault.open_session()
    story.customer.consent.at_unlock(story.customer.vault)
    return story


def test_no_table_keeps_a_row_of_a_deleted_vault(busy: Story, engine: SqliteEngine) -> None:
    vault = busy.customer.vault.id
    grants = grants_of(engine, vault)
    before = rows_of(engine, vault, grants)
    assert before.keys() >= {
        "records",
        "journal",
        "grants",
        "tokens",
        "views",
        "refusals",
        "sessions",
        "log_entries",
    }
    deleted = removal.delete(engine, vault)
    assert rows_of(engine, vault, grants) == {}
    assert before.keys() <= deleted.keys()


def test_no_byte_of_a_deleted_vault_is_left_on_the_disk(
    busy: Story, engine: SqliteEngine, folder: Path
) -> None:
    vault = busy.customer.vault
    bodies = [
        bytes(row[0])[:64] for row in engine.all("SELECT body FROM records WHERE vault = ?", (vault.id,))
    ]
    wraps = [bytes(row[0]) for row in engine.all("SELECT wrapped FROM keyslots WHERE vault = ?", (vault.id,))]
    wraps += [bytes(row[0]) for row in engine.all("SELECT wrapped FROM tokens WHERE wrapped IS NOT NULL")]
    assert len(bodies) + len(wraps) >= 12
    removal.delete(engine, vault.id)
    for path in (folder / "vrm.db", folder / "vrm.db-wal"):
        content = path.read_bytes()
        assert [piece for piece in [*bodies, *wraps] if piece in content] == []
        assert vault.id.encode() not in content
        assert b"alice" not in content
    assert look(folder, busy.canaries) == []
    assert [path.name for path in folder.rglob("*") if vault.id in path.name] == []


def test_no_name_of_a_file_tells_that_a_deleted_vault_was_there(
    busy: Story, consent: Consent, engine: SqliteEngine, folder: Path
) -> None:
    vault = busy.customer.vault
    before = {path.name for path in folder.rglob("*")}
    with vault.records("purchases").staging():
        during = {path.name for path in folder.rglob("*")} - before
        assert len(during) == 1  # a lock
        assert vault.id not in during.pop()
    consent.rotate(vault, PASSPHRASE)
    vault.go_on_rotating()
    for name in ("import", "rotation"):  # as killed processes leave them: of this version, of an older one
        (folder / f"vrm.db.{name}-{vault.id}.lock").touch()
        (folder / f"vrm.db.{name}-{crypto.digest(vault.id.encode()).hex()[:32]}.lock").touch()
    removal.delete(engine, vault.id)
    left = {path.name for path in folder.rglob("*")} - {"vrm.db-wal", "vrm.db-shm"}
    assert left <= before | {"vrm.db.argon2.0.lock", "vrm.db.argon2.1.lock"}


def test_nothing_opens_a_deleted_vault(busy: Story, vaults: Vaults, engine: SqliteEngine) -> None:
    vault, code = vaults.create("bob", PASSPHRASE)
    session, secret = busy.customer.vault.open_session(), vault.open_session()
    removal.delete(engine, busy.customer.vault.id)
    removal.delete(engine, vault.id)
    for name in ("alice", "bob"):
        with pytest.raises(UnlockError):
            vaults.unlock(name, PASSPHRASE)
    with pytest.raises(UnlockError):
        vaults.recover("bob", code, PASSPHRASE)
    for one in (session, secret):
        with pytest.raises(SessionExpiredError):
            vaults.resume(one)
    with pytest.raises(TokenError):
        busy.vendor.consent.reader.authenticate(busy.tokens.access_token)
    with pytest.raises(CodeError):
        busy.vendor.refresh(busy.tokens.refresh_token)
    assert vaults.listing() == []


def test_other_vaults_are_not_touched(
    busy: Story, vaults: Vaults, consent: Consent, engine: SqliteEngine
) -> None:
    bob, _ = vaults.create("bob", PASSPHRASE)
    customer = Customer(bob, consent)
    customer.buy("Emma")
    vendor = Vendor.register(consent, "Other Books")
    tokens = vendor.connect(customer)
    removal.delete(engine, busy.customer.vault.id)
    assert vendor.titles(tokens.access_token) == ["Emma"]
    assert bob.check() == []
    assert consent.problems(bob) == []


def test_who_still_holds_the_vault_open_writes_nothing_into_it(busy: Story, engine: SqliteEngine) -> None:
    vault: Vault = busy.customer.vault
    removal.delete(engine, vault.id)
    with pytest.raises(VrmError):
        busy.customer.buy("too late")
    with pytest.raises(VrmError):
        busy.customer.approve(busy.vendor.ask())
    with pytest.raises(VrmError):
        vault.records("purchases").put({"item": {"title": "too late"}})
    assert {table for table in rows_of(engine, vault.id, []) if table != "sessions"} == set()


def test_a_vault_into_which_an_import_runs_is_not_deleted(vault: Vault, engine: SqliteEngine) -> None:
    with vault.records("purchases").staging(), pytest.raises(ConflictError):
        removal.delete(engine, vault.id)
    assert vault.check() == []
    removal.delete(engine, vault.id)


def test_a_vault_whose_planted_id_is_no_name_of_a_file_is_deleted(
    vault: Vault, engine: SqliteEngine, folder: Path
) -> None:
    with engine.write() as transaction:
        transaction.execute("INSERT INTO journal VALUES ('../../x', 1, x'00')")
    assert removal.delete(engine, "../../x") == {"journal": 1}
    assert not (folder.parent.parent / "x.lock").exists()
    assert vault.check() == []


def test_the_name_is_free_again(vault: Vault, vaults: Vaults, engine: SqliteEngine) -> None:
    removal.delete(engine, vault.id)
    assert vaults.create("alice", PASSPHRASE)[0].id != vault.id
