"""`vrm worker`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import Any

from vrm import logs, worker
from vrm.cli.frame import add_json, command, host_of, show
from vrm.consent import outbox
from vrm.host import Host, forbid_core_dumps


def add(commands: Any) -> None:
    """Sending events."""
    made = command(
        commands,
        "worker",
        _run,
        "send vendors the events that wait, until a signal ends it",
        "vrm worker",
        "vrm worker --once",
        "vrm worker --test vrm_client_…",
    )
    made.add_argument("--once", action="store_true", help="send what is due now, and end")
    made.add_argument(
        "--test", metavar="CLIENT_ID", help="send this vendor a test event and print its answer"
    )
    add_json(made)


def _run(chosen: argparse.Namespace) -> int:
    host = host_of(chosen)  # who only sends begins no host: its folder would be a mistyped one
    forbid_core_dumps()
    logs.setup(host.settings.log_level, host.settings.log_format)
    if chosen.test is not None:
        return _test(host, chosen)
    if chosen.once:
        done = worker.Worker(host).work()
        values = {name: done[name] for name in (outbox.ACKNOWLEDGED, outbox.REFUSED, worker.FAILED)}
        values |= {"waiting": host.consent.outbox.waiting()}
        show(chosen, values, ", ".join(f"{name} {count}" for name, count in values.items()))
        return 0
    return _work(host)


def _test(host: Host, chosen: argparse.Namespace) -> int:
    uri, reply = worker.Worker(host).test(chosen.test)
    values = {"client_id": chosen.test, "events_uri": uri, "outcome": reply.outcome, "reason": reply.reason}
    show(chosen, values, f"{uri}: {reply.outcome}{reply.reason and f' ({reply.reason})'}")
    return 0 if reply.outcome == outbox.ACKNOWLEDGED else 1


def _work(host: Host) -> int:
    """Until TERM or Ctrl-C; an exchange that runs is finished."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    lanes = [worker.start(host, stop) for _ in range(worker.LANES)]
    print(
        f"vrm worker sends events (data in {host.settings.data_dir}); Ctrl-C ends it",
        file=sys.stderr,
        flush=True,
    )
    stop.wait()
    for lane in lanes:
        lane.join()
    return 0
