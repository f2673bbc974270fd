"""The disk refuses a write or a sync, each of an act in turn: 503, nothing half done, and then it works.

What is committed with others' acts is synced after its COMMIT: where that fails, it is made good at once;
here that fails, too, so nobody knows, and 500 says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.disk import strace
from tests.faults.failing import WHEN, World
from tests.faults.household import ENVIRON, ROOT

LONG = os.environ.get("VRM_TEST_LONG") == "1"
GOOD = {"read": 200, "edit": 303, "bring": 200, "approve": 303, "redeem": 200, "refresh": 200, "revoke": 303}
EVERYDAY = [("read", "pwrite64"), ("read", "fdatasync"), ("approve", "fdatasync"), ("bring", "fdatasync")]
SHARED = {  # acts that are committed with others', and what says that nobody knows
    "read": "outcome-unknown",
    "redeem": "server_error",
    "refresh": "server_error",
    "edit": "cannot say whether it was stored",
}
ALL = [(act, call) for act in GOOD for call in ("pwrite64", "fdatasync")]


@pytest.mark.parametrize(("act", "call"), ALL if LONG else EVERYDAY)
def test_a_write_or_sync_that_fails_is_said_and_nothing_is_half_done(
    tmp_path: Path, act: str, call: str
) -> None:
    World(tmp_path / "data")
    error = {"pwrite64": "ENOSPC", "fdatasync": "EIO"}[call]
    shared = call == "fdatasync" and act in SHARED
    inject = f"inject={call}:error={error}:when={WHEN}..{WHEN + shared}"
    command = [strace(), "-f", "-e", f"trace={call}", "-e", inject, "-o", "/dev/null"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "tests.faults.failing", act, call, tmp_path / "data"],
        cwd=ROOT,
        env=ENVIRON,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told, done.stderr
    assert told[-1]["over"], done.stderr  # every write had its turn
    assert len(told) > 1
    for one in told:
        unknown = shared and SHARED[act] in one["body"]
        assert one["status"] in (GOOD[act], 500 if unknown else 503), one
        assert one["changed"] == (one["status"] == GOOD[act]) or unknown, one
        assert one["problems"] == [], one
        assert one["last"], one
        if one["status"] != GOOD[act]:
            spent = act == "redeem" and unknown and one["changed"]  # a code is good once
            assert one["second"] == (400 if spent else GOOD[act]), one
            assert act != "read" or "Dune" not in one["body"], one
            assert "rror" not in one["body"].partition("</head>")[2], one  # a plain reason, no trace
    assert (500 if shared else 503) in {one["status"] for one in told}
