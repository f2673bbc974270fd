"""Passphrase, recovery code and root are changed, and each write is the last one in turn.

Whatever a kill or a full disk leaves, the ways in that are good at that point open everything, nothing is
amiss, and the next unlock goes on to the end. With VRM_TEST_LONG=1 also in a larger vault and at each page.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.conftest import PASSPHRASE
from tests.faults.test_vault_faults import ENVIRON, ROOT
from vrm.consent.service import Consent
from vrm.host import SCHEMAS
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

OTHER = "a passphrase for the time after"
LONG = os.environ.get("VRM_TEST_LONG") == "1"
STRICT = os.environ.get("VRM_TEST_STRICT") == "1"
BOOKS = 10 if LONG else 3


@pytest.fixture
def base(folder: Path, vaults: Vaults, consent: Consent, engine: SqliteEngine) -> Path:
    """Records, a connection that was read, one that was stopped, a session, and the code beside them."""
    engine.install(SCHEMAS)
    vault, code = vaults.create("alice", PASSPHRASE)
    customer, vendor = Customer(vault, consent), Vendor.register(consent)
    for number in range(BOOKS):
        customer.buy(f"Book {number}")
    vendor.read(vendor.connect(customer).access_token)
    vendor.connect(customer)
    consent.grants.revoke(vault, consent.grants.listing(vault)[0].id)
    vault.open_session()
    consent.at_unlock(vault)
    (folder / "code.txt").write_text(code)
    return folder


def told(kind: str, fault: str, base: Path, stride: int = 1) -> list[str]:
    """A verdict for each distinct state."""
    command = [sys.executable, "-m", "tests.faults.keys", kind, fault, str(base), str(stride)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.partition(": ")[2] for line in done.stdout.splitlines()]


def stride(everyday: int) -> int:
    """Every so many-th write on ordinary days, twice as many where a change lands, every one in long runs."""
    return 1 if LONG else everyday // 2 if STRICT else everyday


@pytest.mark.parametrize(("kind", "after"), [("rotate", PASSPHRASE), ("lose", OTHER)])
def test_a_rotation_killed_at_any_write_opens_and_goes_on(base: Path, kind: str, after: str) -> None:
    lines = told(kind, "kill", base, stride(6 if kind == "rotate" else 18))
    assert lines[0] == f"generation 1, finished, {PASSPHRASE}, 0"
    assert lines[-1] == f"generation 2, finished, {after}, 0"
    assert set(lines[1:-1]) == {f"generation 2, unfinished, {after}, 0"}
    assert len(lines) >= (6 if LONG else 4)  # the first step, the batches of each part, the last step


def test_a_change_of_passphrase_killed_at_any_write_leaves_one_that_opens(base: Path) -> None:
    assert told("change", "kill", base) == [
        f"generation 1, finished, {PASSPHRASE}, 0",
        f"generation 1, finished, {OTHER}, 0",
    ]


def test_a_renewal_of_the_code_killed_at_any_write_leaves_one_that_opens(base: Path) -> None:
    assert told("renew", "kill", base) == [
        f"generation 1, finished, {PASSPHRASE}, 0",
        f"generation 1, finished, {PASSPHRASE}, 1",
    ]


def test_a_recovery_after_a_rotation_killed_at_any_write_opens_and_goes_on(
    base: Path, consent: Consent
) -> None:
    vault = consent.moves._vaults.unlock("alice", PASSPHRASE)
    consent.rotate(vault, PASSPHRASE, keep_connections=True)
    lines = told("recover", "kill", base, stride(6))
    assert lines[0] == f"generation 2, unfinished, {PASSPHRASE}, 0"
    assert f"generation 2, unfinished, {OTHER}, 0" in lines
    assert lines[-1] == f"generation 2, finished, {OTHER}, 0"


@pytest.mark.parametrize(
    ("kind", "after"), [("rotate", PASSPHRASE), ("lose", OTHER), ("change", OTHER), ("renew", PASSPHRASE)]
)
def test_a_disk_that_fills_at_any_page_leaves_every_way_in(base: Path, kind: str, after: str) -> None:
    lines = told(kind, "full", base, stride(24 if kind in ("rotate", "lose") else 6))
    assert lines[0].startswith(f"generation 1, finished, {PASSPHRASE}, 0")
    assert lines[-1].split(", ")[1:3] == ["finished", after]
    assert not [line for line in lines if "BROKEN" in line]


def test_a_full_disk_keeps_nobody_out_who_could_go_on(base: Path, consent: Consent, vaults: Vaults) -> None:
    consent.rotate(vaults.unlock("alice", PASSPHRASE), PASSPHRASE)
    lines = told("unlock", "full", base)  # how far it came differs with the room there was
    assert set(lines) == {f"generation 2, unfinished, {PASSPHRASE}, 0"}
