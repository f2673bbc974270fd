"""`vrm serve`: the application on granian, in several processes."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path

from flask import Flask
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from vrm import bodies, logs, meters, metrics, observed, worker
from vrm import settings as settings_module
from vrm.app import create_app, open_host, start_sweeper
from vrm.errors import SettingsError
from vrm.settings import Settings
from vrm.vault import crypto
from vrm.vault.occupied import Occupied

_FILES = 4096  # more than a server has open as it starts
_PATIENCE = 1200  # looks whether a worker has started, each after a twentieth of a second
_ELSEWHERE = {
    errno.EADDRINUSE: "choose another with --port, or stop what listens there",
    errno.EACCES: "ports below 1024 are the system's: choose another with --port, and put a proxy in front",
}


def application() -> Flask:
    """What each worker serves; its settings come through the environment from `serve`."""
    settings = settings_module.load()
    forbid_core_dumps()
    leave_interrupts_to_the_parent()
    logs.setup(settings.log_level, settings.log_format)
    host = open_host(settings)
    app = create_app(settings, host=host)
    meters.BOARD.share(settings.state_path)
    start_sweeper(host)
    if settings.send_events:
        worker.start(host)
    if settings.metrics_address:
        metrics.start(host, observed.series_of(app), settings.metrics_address)
    return app


def forbid_core_dumps() -> None:
    """A crash must not write the memory of this process, keys and all, to the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches the whole process group; a worker that had it beside its parent's TERM would not end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def export(settings: Settings) -> None:
    """Hand the settings to the worker processes."""
    for item in fields(Settings):
        value = getattr(settings, item.name)
        os.environ[item.metadata["env"]] = str(value)
    os.environ["VRM_PUBLIC_URL"] = settings.issuer


def require_free(settings: Settings) -> None:
    """SettingsError with a hint where the port is taken or not ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
                hint=_ELSEWHERE.get(error.errno or 0, "VRM_HOST names an address of this machine"),
            ) from None


def prepare(settings: Settings) -> None:
    """Whatever can be refused before serving is refused here; the data is made, or lifted, once."""
    require_free(settings)
    open_host(settings).engine.close()  # here, not once per worker


def serve(
    settings: Settings,
    *,
    self_signed: bool = False,
    listening: Callable[[], object] = lambda: None,
    target: str = "vrm.serve:application",
) -> None:
    """Serve until a signal ends it: TERM finishes running requests, a killed worker is replaced.

    `listening` is called once connections are taken, in another process. `target` makes a worker's
    application.
    """
    forbid_core_dumps()
    export(settings)
    with (
        Occupied(settings.database_path),  # also between two workers: nobody replaces the data of a server
        _certificate(settings.host) if self_signed else nullcontext((None, None)) as certificate,
    ):
        server = Granian(
            target,
            factory=True,
            interface=Interfaces.WSGI,
            address=settings.host,
            port=settings.port,
            workers=settings.workers,
            blocking_threads=bodies.THREADS,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            websockets=False,
            log_level=LogLevels.warning,
            ssl_cert=certificate[0],
            ssl_key=certificate[1],
            workers_kill_timeout=10,
        )
        server.on_startup(lambda: _announce(settings, listening))
        server.serve()


def _announce(settings: Settings, listening: Callable[[], object]) -> None:
    """Call `listening` once a worker takes connections, which only trying tells.

    In a process of its own, a grandchild whom nobody need wait for: granian forks its workers next, and what
    a thread of this process holds at that moment would stay locked in them for ever.
    """
    if (child := os.fork()) != 0:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            os.closerange(3, _FILES)  # a lock that it kept would outlive a server that is killed
            if _is_taken(settings):
                listening()
    finally:
        os._exit(0)


def _is_taken(settings: Settings) -> bool:
    for _ in range(_PATIENCE):
        try:
            socket.create_connection((settings.host, settings.port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@contextmanager
def _certificate(host: str) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="vrm-tls-") as folder:
        paths = Path(folder) / "cert.pem", Path(folder) / "key.pem"
        for path, text in zip(paths, crypto.self_signed(host), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(text)
        yield paths
