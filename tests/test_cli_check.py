"""`vrm check` without a passphrase: structure and plain chains of all vaults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import PASSPHRASE, SettableClock
from vrm.cli import main
from vrm.consent.service import Consent
from vrm.host import SCHEMAS
from vrm.vault import copies
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults


@pytest.fixture
def checked(
    vaults: Vaults, consent: Consent, engine: SqliteEngine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> object:
    """Two vaults in use; call with SQL to do something to the tables and to see what `vrm check` says."""
    for name in ("alice", "bob"):
        customer = Customer(vaults.create(name, PASSPHRASE)[0], consent)
        customer.buy("Dune")
        customer.buy("Emma")
        vendor = Vendor.register(consent, f"Shop of {name}")
        vendor.read(vendor.connect(customer).access_token)

    def check(*statements: str) -> list[str]:
        with engine.write() as transaction:
            for statement in statements:
                transaction.execute(statement)
        code = main(["check", "--data-dir", str(folder), "--json"])
        values = json.loads(capsys.readouterr().out)
        assert (code == 0) == values["ok"] == (not values["problems"])
        return values["problems"]

    return check


def test_what_was_written_here_is_well(checked) -> None:  # type: ignore[no-untyped-def]
    assert checked() == []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM journal WHERE seq = 1", "entries are missing in the journal of vault alice"),
        ("DELETE FROM journal_heads", "the journal of vault alice has no head"),
        ("DELETE FROM keyslots WHERE kind = 'passphrase'", "vault alice has no passphrase"),
        ("UPDATE keyslots SET params = x'00' WHERE kind = 'passphrase'", "has costs out of bounds"),
        (
            "INSERT INTO journal_heads VALUES ('ffffffffffffffffffffffffffffffff', x'00')",
            "table journal_heads has 1 rows of a vault that is not there",
        ),
        ("DELETE FROM log_entries WHERE seq = 1", "entries are missing in the log (segment "),
        ("UPDATE log_entries SET seq = seq + 100", "entries are missing in the log (segment "),
        ("DELETE FROM log_segments", "a part of the log has lost its key (segment "),
        ("UPDATE grants SET state = 'sleeping'", "is in no state that there is"),
        ("UPDATE grants SET state = 'revoked'", "has ended and still has rows of a view"),
        ("UPDATE grants SET state = 'paused'", "has ended and still has a credential"),
        ("UPDATE tokens SET grant_id = 'nobody'", "credentials of no grant"),
        ("CREATE TABLE backup (format INTEGER)", "a backup put in place by hand"),
    ],
)
def test_what_is_missing_or_left_over_is_named_without_a_passphrase(  # type: ignore[no-untyped-def]
    checked, statement: str, told: str
) -> None:
    assert [problem for problem in checked(statement) if told in problem]


def test_a_restored_host_is_well_and_names_its_paused_grants(
    checked,  # type: ignore[no-untyped-def]
    folder: Path,
    tmp_path: Path,
    clock: SettableClock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "copy", clock.now())
    there = tmp_path / "there"
    copies.put_back(tmp_path / "copy", there / "vrm.db", SCHEMAS, clock.now())
    (there / "server.key").write_bytes((folder / "server.key").read_bytes())
    (there / "server.key").chmod(0o600)
    assert main(["check", "--data-dir", str(there)]) == 0
    assert "2 grants of a restored copy are paused" in capsys.readouterr().out
