"""A value counts once: for one thread, one process, one worker of many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SettableClock
from vrm.consent.once import Once
from vrm.consent.proofs import Proof
from vrm.consent.service import Consent
from vrm.errors import ReplayError
from vrm.vault.sqlite import SqliteEngine

ROOT = Path(__file__).resolve().parents[2]
RIVAL = """
import sys
from pathlib import Path
from vrm.clock import SystemClock
from vrm.consent.once import Once
from tests.postgres import engine_of
once = Once(engine_of(Path(sys.argv[1])), SystemClock())
print("ready", flush=True)
sys.stdin.readline()
print(*[n for n in range(200) if once.claim("jti", b"%d" % n, 4_000_000_000)], flush=True)
"""


@pytest.fixture
def once(engine: SqliteEngine, clock: SettableClock) -> Once:
    return Once(engine, clock)


def test_a_value_is_claimed_once(once: Once, clock: SettableClock) -> None:
    assert once.claim("jti", b"one", clock.now() + 60)
    assert not once.claim("jti", b"one", clock.now() + 60)
    assert not once.claim("jti", b"one", clock.now() + 9999)
    assert once.claim("jti", b"other", clock.now() + 60)
    assert once.claim("assertion", b"one", clock.now() + 60), "kinds do not know each other"


def test_a_claim_is_undone_with_its_transaction(
    once: Once, engine: SqliteEngine, clock: SettableClock
) -> None:
    def claim_and_fail() -> None:
        with engine.write() as transaction:
            assert once.claim("jti", b"one", clock.now() + 60, transaction)
            assert not once.claim("jti", b"one", clock.now() + 60, transaction)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_fail()
    assert once.claim("jti", b"one", clock.now() + 60)


def test_the_sweep_forgets_what_has_expired_and_nothing_else(consent: Consent, clock: SettableClock) -> None:
    assert consent.once.claim("jti", b"short", clock.now() + 60)
    assert consent.once.claim("jti", b"long", clock.now() + 61)
    clock.forward(60)
    consent.sweep()
    assert consent.once.claim("jti", b"short", clock.now() + 60)
    assert not consent.once.claim("jti", b"long", clock.now() + 60)


def test_the_table_does_not_tell_what_was_used(
    once: Once, engine: SqliteEngine, clock: SettableClock
) -> None:
    once.claim("jti", b"tell-tale", clock.now() + 60)
    assert b"tell-tale" not in b"".join(row[0] for row in engine.all("SELECT value FROM once"))


def test_of_two_processes_exactly_one_gets_each_value(engine: SqliteEngine, folder: Path) -> None:
    command = [sys.executable, "-c", RIVAL, str(folder)]
    rivals = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for rival in rivals:
        assert rival.stdout
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        assert rival.stdin
        rival.stdin.write("go\n")
        rival.stdin.flush()
    won = [rival.communicate(timeout=60)[0].split() for rival in rivals]
    assert sorted(map(int, won[0] + won[1])) == list(range(200))


def test_a_proof_whose_transaction_is_undone_is_not_spent(engine: SqliteEngine, once: Once) -> None:
    proof = Proof("thumbprint", "", once, b"value", 2_000_000_000)
    with pytest.raises(ValueError, match="undo"), engine.write() as transaction:  # noqa: PT012
        proof.spend(transaction)
        proof.spend(transaction)  # this very request has spent it
        raise ValueError("undo")
    with engine.write() as transaction:
        proof.spend(transaction)
    with pytest.raises(ReplayError):
        Proof("thumbprint", "", once, b"value", 2_000_000_000).spend()
