"""`vrm vault rotate`: new keys by command, also after it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import PASSPHRASE
from vrm.cli import main
from vrm.consent.service import Consent
from vrm.errors import UnlockError
from vrm.vault.vault import Vault, Vaults

OTHER = "a passphrase for the time after"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(folder))
    (tmp_path / "now.txt").write_text(PASSPHRASE + "\n")
    (tmp_path / "new.txt").write_text(OTHER + "\n")


@pytest.fixture
def customer(vault: Vault, consent: Consent) -> Customer:
    made = Customer(vault, consent)
    made.buy("Kindred")
    Vendor.register(consent).connect(made)
    vault.open_session()
    return made


def rotate(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert main(["vault", "rotate", "alice", "--passphrase-file", "now.txt", "--json", *more]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def test_everything_ends_and_the_new_passphrase_opens(
    customer: Customer, vaults: Vaults, capsys: pytest.CaptureFixture[str]
) -> None:
    told = rotate(capsys, "--new-passphrase-file", "new.txt")
    assert told == {
        "vault": customer.vault.id,
        "generation": 2,
        "resumed": False,
        "sessions_ended": 1,
        "connections_ended": 1,
        "dropped": [],
        "copies": [],
    }
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    assert vaults.unlock("alice", OTHER).check() == []


def test_connections_can_be_kept(customer: Customer, capsys: pytest.CaptureFixture[str]) -> None:
    assert rotate(capsys, "--keep-connections")["connections_ended"] == 0


def test_what_was_interrupted_is_finished_and_not_begun_anew(
    customer: Customer, vaults: Vaults, capsys: pytest.CaptureFixture[str]
) -> None:
    customer.consent.rotate(customer.vault, PASSPHRASE)
    told = rotate(capsys)
    assert (told["resumed"], told["generation"]) == (True, 2)
    assert not vaults.is_rotating("alice")
    assert not vaults.is_rotating("../etc")
    customer.consent.rotate(vaults.unlock("alice", PASSPHRASE), PASSPHRASE)
    assert main(["vault", "rotate", "alice", "--passphrase-file", "now.txt"]) == 0
    assert "in force for everything (generation 3)" in capsys.readouterr().out
    customer.consent.rotate(vaults.unlock("alice", PASSPHRASE), PASSPHRASE)
    assert rotate(capsys, "--new-passphrase-file", "new.txt")["generation"] == 5


def test_what_was_dropped_is_named(customer: Customer, capsys: pytest.CaptureFixture[str]) -> None:
    with customer.vault.engine.write() as transaction:
        transaction.execute("UPDATE keyslots SET public_mac = ? WHERE kind = 'recovery'", (bytes(32),))
    assert main(["vault", "rotate", "alice", "--passphrase-file", "now.txt"]) == 0
    told = capsys.readouterr().out
    assert "(recovery)" in told
    assert "make a new one under Me" in told
    assert "The passphrase is the same" in told


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_a_wrong_passphrase_is_refused(
    customer: Customer, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vault", "rotate", name, "--passphrase-file", "new.txt"]) == 1
    assert "hint: check the name" in capsys.readouterr().err
    assert customer.vault.check() == []


def test_one_at_a_time(customer: Customer, capsys: pytest.CaptureFixture[str]) -> None:
    with customer.vault.engine.exclusive("rotation", of=customer.vault.id):
        assert main(["vault", "rotate", "alice", "--passphrase-file", "now.txt"]) == 1
        assert "another process is sealing the rest anew" in capsys.readouterr().err
        assert main(["vault", "rotate", "alice", "--passphrase-file", "now.txt"]) == 1
    assert rotate(capsys)["resumed"] is True
