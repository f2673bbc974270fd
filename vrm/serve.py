"""`vrm serve`: the application on granian, in several processes."""

from __future__ import annotations

import errno
import gc
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from flask import Flask
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer, WorkerProcess

from vrm import logs, meters, metrics, observed, worker
from vrm import settings as settings_module
from vrm.app import create_app
from vrm.errors import SettingsError
from vrm.host import SCHEMAS, forbid_core_dumps, open_engine, open_host, start_sweeper
from vrm.settings import THREADS, Settings, bracketed
from vrm.vault import crypto
from vrm.vault.occupied import Occupied

_CONNECTIONS = 1024  # at a time for each worker; others wait with the system, as many again
_HEAD_WITHIN = 10_000  # milliseconds from the first byte of a request to the end of its head, or between two
_HEAD_MOST = 64 * 1024  # bytes of a request's head
_FINISH_WITHIN = 30  # seconds that running requests have after TERM
_FIXED = ("data_dir", "database_url", "host", "port", "workers", "metrics", "drain")  # until a restart
_log = logging.getLogger("vrm.serve")
_FILES = 4096  # more than a server has open as it starts
_LEFT = 20_000  # objects that requests leave before garbage is looked for
_PATIENCE = 1200  # looks whether a worker has started, each after a twentieth of a second
_ELSEWHERE = {
    errno.EADDRINUSE: "choose another with --port, or stop what listens there",
    errno.EACCES: "ports below 1024 are the system's: choose another with --port, and put a proxy in front",
}
_NOT_TOLD = {
    errno.EADDRINUSE: "name another port with VRM_METRICS, or stop what listens there",
    errno.EACCES: "ports below 1024 are the system's: name another with VRM_METRICS",
}


def application() -> Flask:
    """What each worker serves; its settings come through the environment from `serve`."""
    heed_only_the_parent()
    settings = settings_module.load()
    forbid_core_dumps()
    logs.setup(settings.log_level, settings.log_format)
    host = open_host(settings)
    app = create_app(settings, host=host)
    meters.BOARD.share(settings.state_path)
    start_sweeper(host)
    if settings.send_events:
        worker.start(host)
    if settings.metrics_address:
        metrics.start(host, observed.series_of(app), settings.metrics_address)
    seldom_collect()
    tell_ready(settings)
    return app


def seldom_collect() -> None:
    """What is there now stays: garbage is looked for among what requests leave, and not so often."""
    gc.freeze()
    gc.set_threshold(_LEFT, 20, 20)


def tell_ready(settings: Settings) -> None:
    """This worker is about to take requests: who serves in its place may go."""
    _ready(settings.state_path, os.getpid()).touch(mode=0o600)


def heed_only_the_parent() -> None:
    """Let TERM end this worker, whenever it comes, and nothing else do.

    Ctrl-C reaches the whole process group; a worker that had it beside its parent's TERM would not end.
    Workers begin with both blocked (`_Server._start`), for with what they inherited they would act as their
    parent does. They stay blocked: one that comes between a thread's giving the interpreter up and its
    waiting for a lock wakes nobody. A thread of their own waits for TERM. Another one waits for the parent's
    end: killed without a word, it tells nobody, and whoever starts anew wants the port and the data.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_when_told, name="vrm-term", daemon=True).start()
    threading.Thread(target=_end_when_alone, name="vrm-parent", daemon=True).start()


def _end_when_alone() -> None:
    """Tell this worker to end, as its parent would."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _end_when_told() -> None:
    """Finish running requests as granian would, or end at once where it serves none yet."""
    signal.sigwait({signal.SIGTERM})
    finish = signal.getsignal(signal.SIGTERM)
    if not callable(finish):
        os._exit(0)
    finish(signal.SIGTERM, None)


def export(settings: Settings) -> None:
    """Hand the settings to the worker processes."""
    for item in fields(Settings):
        value = getattr(settings, item.name)
        os.environ[item.metadata["env"]] = str(value)
    os.environ["VRM_PUBLIC_URL"] = settings.issuer


def require_free(settings: Settings) -> None:
    """SettingsError with a hint where the port is taken or not ours."""
    _try_out((settings.host, settings.port), _ELSEWHERE, "VRM_HOST names an address of this machine")


def _try_out(address: tuple[str, int], hints: dict[int, str], otherwise: str) -> None:
    """Bind it once: without SO_REUSEPORT, by which two servers would share it and neither hear of it."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {bracketed(address[0])}:{address[1]}: {error.strerror}",
                hint=hints.get(error.errno or 0, otherwise),
            ) from None


def _is_news(record: logging.LogRecord) -> bool:
    """All but that threads are more than processors: they wait for each other's work (groupcommit.py)."""
    return not str(record.msg).startswith("Configuration allows spawning up to")


def prepare(settings: Settings) -> None:
    """Whatever can be refused before serving is refused here; the data is made, or lifted, once."""
    require_free(settings)
    if settings.metrics_address:
        _try_out(settings.metrics_address, _NOT_TOLD, "VRM_METRICS names an address of this machine")
    open_host(settings, replace_key=True).engine.close()  # here, not once per worker


def _place(settings: Settings) -> AbstractContextManager[object]:
    """A place at the database, if it is a file; connections to PostgreSQL are their own."""
    return nullcontext() if settings.on_postgresql else Occupied(settings.database_path)


def serve(
    settings: Settings,
    *,
    self_signed: bool = False,
    listening: Callable[[], object] = lambda: None,
    target: str = "vrm.serve:application",
    again: Callable[[], Settings] | None = None,
) -> None:
    """Serve until a signal ends it: TERM finishes running requests, a killed worker is replaced.

    HUP replaces one worker after the other by one that runs what is installed now, with the settings that
    `again` finds. `listening` is called once connections are taken, in another process. `target` makes a
    worker's application.
    """
    forbid_core_dumps()
    logs.setup(settings.log_level, settings.log_format)
    logging.getLogger("_granian").addFilter(_is_news)
    outside = dict(os.environ)
    export(settings)
    with (
        _place(settings),  # also between two workers: nobody replaces the data of a server
        _state(settings),
        _certificate(settings.host) if self_signed else nullcontext((None, None)) as certificate,
    ):
        server = _Server(
            target,
            factory=True,
            interface=Interfaces.WSGI,
            address=settings.host,
            port=settings.port,
            workers=settings.workers,
            blocking_threads=THREADS,
            backlog=_CONNECTIONS,
            backpressure=_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=_HEAD_WITHIN, max_buffer_size=_HEAD_MOST),
            http=HTTPModes.http1,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            websockets=False,
            log_level=LogLevels.warning,
            log_dictconfig={"loggers": {"_granian": {"propagate": True}}, "handlers": {}},
            ssl_cert=certificate[0],
            ssl_key=certificate[1],
            workers_kill_timeout=_FINISH_WITHIN,
        )
        server.state, server.drains = settings.state_path, settings.draining_path
        server.drain = settings.drain
        server.on_startup(lambda: _announce(settings, listening))
        server.read_again = partial(_read_again, settings, again, outside)
        server.serve()


class _Server(MPServer):
    """Granian that says at /readyz when it goes, and lets no worker go before the next takes requests."""

    state: Path
    drains: Path
    drain = 0  # seconds
    reloading = False
    read_again: Callable[[], None]

    def signal_handler_interrupt(self, *_: object) -> None:
        """The first signal begins to drain; the end of that, or a second one, ends the server."""
        drained = self.drains.exists()
        self.drains.touch(mode=0o600)
        if self.drain and not drained:
            signal.signal(signal.SIGALRM, self.signal_handler_interrupt)
            signal.alarm(self.drain)
        else:
            self.interrupt_signal = True
            self.main_loop_interrupt.set()

    def _reload(self, *given: Any) -> None:
        """Let the next workers begin in a fresh interpreter, to run what is installed, if it fits."""
        self.read_again()
        command = [sys.executable, "-c", "from vrm import serve; serve.require_fit()"]
        fits = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if fits.returncode:
            _log.error("nothing is replaced: %s", (fits.stderr.strip().splitlines() or [""])[-1])
            self.reload_signal = False
            self.main_loop_interrupt.clear()
            return
        multiprocessing.set_start_method("spawn", force=True)
        super()._reload(*given)  # type: ignore[no-untyped-call]

    def _respawn_workers(self, *given: Any, **named: Any) -> None:
        self.reloading = True
        try:
            super()._respawn_workers(*given, **named)
        finally:
            self.reloading = False

    def _spawn_worker(self, *given: Any, **named: Any) -> WorkerProcess:
        made = super()._spawn_worker(*given, **named)
        made.start = partial(self._start, made, made.start)  # type: ignore[method-assign]
        made.join = partial(joined, made.inner)  # type: ignore[method-assign]
        return made

    def _start(self, made: WorkerProcess, start: Callable[[], None]) -> None:
        """Start a worker that acts on no signal as its parent would (`heed_only_the_parent`)."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for _ in range(_PATIENCE if self.reloading else 0):
            if _ready(self.state, made.inner.pid).exists() or not made.inner.is_alive():
                return
            time.sleep(0.05)


def joined(worker: BaseProcess, timeout: float | None = None) -> None:
    """Wait for a worker's end until all of this process know of it.

    Granian has a thread that waits for it, too. Where that hears of it first, and has not said so yet, the
    worker seems to go on, and is said to be killed.
    """
    worker.join(timeout)
    ended = connection.wait([worker.sentinel], 0)
    for _ in range(_PATIENCE if ended else 0):
        if not worker.is_alive():
            return
        time.sleep(0.05)


def require_fit() -> None:
    """End with a reason where this code cannot take the place of the one that serves."""
    engine = open_engine(settings_module.load())
    versions: dict[str, int] = dict(engine.all("SELECT name, version FROM schemas"))
    engine.close()
    if any(versions.get(schema.name) != schema.version for schema in SCHEMAS):
        raise SystemExit("the version that is installed lifts the data: stop the server, then start it")


def _ready(state: Path, pid: int) -> Path:
    """The file that is there once this worker is about to take requests."""
    return state.with_name(f"{state.name}.{pid}.ready")


def _read_again(before: Settings, again: Callable[[], Settings] | None, outside: dict[str, str]) -> None:
    """Hand the next workers the settings as they are now; what cannot be used changes nothing."""
    if again is None:
        return
    inside = dict(os.environ)
    os.environ.clear()
    os.environ.update(outside)
    try:
        found = again()
    except SettingsError as error:
        _log.error("settings stay as they are: %s", error)
        found = None
    os.environ.clear()
    os.environ.update(inside)
    if found is not None:
        for name in _FIXED:
            if getattr(found, name) != getattr(before, name):
                _log.warning("%s stays as it is until a restart", name)
        export(replace(found, **{name: getattr(before, name) for name in _FIXED}))


@contextmanager
def _state(settings: Settings) -> Iterator[None]:
    """Away with what a server on this port left behind; and with ours in the end."""
    for name in settings.data_dir.glob(f"{settings.state_path.name}.*"):
        name.unlink(missing_ok=True)
    try:
        yield
    finally:
        for name in settings.data_dir.glob(f"{settings.state_path.name}.*"):
            name.unlink(missing_ok=True)


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
