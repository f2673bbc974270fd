"""docs/format.md says enough: a reader made from it, without our code, opens what we stored."""

import json
from pathlib import Path
from typing import Any

from tests.vectors import reader

FOLDER = Path(__file__).parent


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_a_passphrase_alone_leads_to_the_root() -> None:
    case = load("keyslots")["cases"][0]
    assert reader.passphrase_root(case["row"], case["credential"]).hex() == case["root"]


def test_a_recovery_code_alone_leads_to_the_root() -> None:
    case = next(case for case in load("keyslots")["cases"] if case["name"] == "recovery")
    assert reader.recovery_root(case["row"], case["credential"]).hex() == case["root"]


def test_the_root_opens_records() -> None:
    file = load("records")
    for case in file["cases"][:2]:
        found = reader.record(
            bytes.fromhex(file["root"]),
            file["vault"],
            case["collection"],
            case["record"],
            case["revision"],
            bytes.fromhex(case["body"]),
        )
        assert found == case["document"]


def test_the_root_follows_the_journal() -> None:
    file = load("journals")
    case = file["cases"][0]
    entries = [(seq, bytes.fromhex(sealed)) for seq, sealed in case["entries"]]
    root, head = bytes.fromhex(file["root"]), bytes.fromhex(case["head"])
    assert reader.journal(root, file["vault"], entries, head) == case["changes"]


def test_a_recovery_code_leads_to_a_root_that_was_made_in_its_absence() -> None:
    for case in load("rotations")["handovers"][:2]:
        assert reader.received_root(case["row"], case["credential"]).hex() == case["root"]


def test_the_root_follows_a_journal_that_was_written_anew() -> None:
    file = load("rotations")
    case = file["journals"][0]
    entries = [(seq, bytes.fromhex(sealed)) for seq, sealed in case["entries"]]
    root, head = bytes.fromhex(file["root"]), bytes.fromhex(case["head"])
    assert reader.journal(root, file["vault"], entries, head) == case["changes"]
