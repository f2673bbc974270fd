"""An export that was written once opens for ever: by vrm, and by the script that needs no vrm."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scripts import read_export
from tests.conftest import CHEAP, SettableClock
from vrm.consent.service import Consent
from vrm.errors import TamperedError, VrmError
from vrm.host import SCHEMAS
from vrm.vault import serverkey
from vrm.vault.moving import Credential
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

FROZEN: dict[str, Any] = json.loads((Path(__file__).parent / "exports.json").read_text(encoding="utf-8"))
BLOB = bytes.fromhex(FROZEN["export"])
WAYS = [("passphrase", FROZEN["passphrase"]), ("recovery", FROZEN["recovery_code"])]


@pytest.fixture
def consent(tmp_path: Path) -> Any:
    engine = SqliteEngine(tmp_path / "vrm.db")
    engine.install(SCHEMAS)
    clock = SettableClock(FROZEN["taken"] + 1)
    vaults = Vaults(engine, serverkey.load(tmp_path / "server.key"), clock=clock, limits=CHEAP)
    yield Consent(engine, vaults, clock)
    engine.close()


@pytest.mark.parametrize(("kind", "credential"), WAYS)
def test_a_frozen_export_becomes_a_vault(consent: Consent, kind: str, credential: str) -> None:
    given = Credential(passphrase=credential) if kind == "passphrase" else Credential(code=credential)
    vault, manifest = consent.moves.bring(io.BytesIO(BLOB), given)
    assert (vault.id, vault.username, manifest.taken) == (
        FROZEN["vault"],
        FROZEN["username"],
        FROZEN["taken"],
    )
    for name, records in FROZEN["records"].items():
        assert dict(vault.records(name).scan()) == records
    assert consent.problems(vault) == []
    entries = [[entry.at, entry.event] for entry in consent.log.read(vault) if entry.event != "restored"]
    assert entries[::-1] == FROZEN["log"]


@pytest.mark.parametrize(("kind", "credential"), WAYS)
def test_a_frozen_export_is_read_without_vrm(kind: str, credential: str) -> None:
    reader: ModuleType = read_export
    found = reader.plain(reader.read(io.BytesIO(BLOB), kind, credential))
    assert (found["vault"], found["username"]) == (FROZEN["vault"], FROZEN["username"])
    for name, records in FROZEN["records"].items():
        assert {record.pop("id"): record for record in found["records"][name]} == records
    assert [[entry["at"], entry["event"]] for entry in found["log"]] == FROZEN["log"]
    assert [link["agreement"]["vendor_name"] for link in found["connections"]] == ["Corner Books"]


@pytest.mark.parametrize("at", [0, 17, 19, 30, 300, 700, 1000, 4000, len(BLOB) - 1])
def test_an_altered_frozen_export_is_refused_by_both(consent: Consent, at: int) -> None:
    spoilt = BLOB[:at] + bytes([BLOB[at] ^ 1]) + BLOB[at + 1 :]
    with pytest.raises(VrmError):
        consent.moves.bring(io.BytesIO(spoilt), Credential(FROZEN["passphrase"]))
    with pytest.raises((read_export.RefusedError, ValueError)):
        read_export.plain(read_export.read(io.BytesIO(spoilt), "passphrase", FROZEN["passphrase"]))


def test_a_frozen_export_with_something_behind_it_is_refused_by_both(consent: Consent) -> None:
    with pytest.raises(TamperedError):
        consent.moves.bring(io.BytesIO(BLOB + bytes(4)), Credential(FROZEN["passphrase"]))
    with pytest.raises(read_export.RefusedError):
        read_export.read(io.BytesIO(BLOB + bytes(4)), "passphrase", FROZEN["passphrase"])
