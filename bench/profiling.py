"""`python -m bench.profiling ROW`: where the time of a row goes, in one process and without a network.

Three runs of the same requests: CPU time alone; every SQL statement with its time; then cProfile, by room and
by function. A profiler makes what is called often look dearer than it is: the first run says what is true.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import sqlite3
import statistics
import sys
import sysconfig
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any
from unittest import mock

from werkzeug.test import EnvironBuilder

from bench import alone, goods, rows, servers
from bench.plans import ALSO, FRESH, ONCE, TOKEN, Plan, pieces
from bench.report import RESULTS
from bench.world import World
from vrm.app import create_app
from vrm.vault import intake, sqlite
from vrm.vault.pglink import Link

BATCHES = 5  # of the first run, whose median counts
Act = Callable[[], None]
_BUILTIN = {  # what a built-in's name holds, and whose it is
    "sqlite3": "sqlite",
    "orjson": "orjson",
    "json": "json",
    "cryptography": "cryptography",
    "_openssl": "cryptography",
    "HKDF": "cryptography",
    "AESGCM": "cryptography",
    "fcntl": "system",
    "posix": "system",
    "lock": "system",
}


# ---- requests, one after the other ---------------------------------------------------------------------


class Asking:
    """A plan's requests, made of an application as a server makes them."""

    def __init__(self, app: Callable[..., Iterable[bytes]], plan: Plan, base: str) -> None:
        self._app, self._plan, self._base = app, plan, base
        self._paths, self._waiting = cycle(plan.paths), list(plan.chain)
        self._once, self._also = cycle(plan.once or [""]), cycle(plan.also or [""])
        self._turn = 0
        self._prefix = f"{time.time_ns():016x}"

    def prepared(self) -> Act:
        """The next request, ready to be made; RuntimeError for a wrong answer."""
        self._turn += 1
        values = {FRESH: f"{self._prefix}{self._turn:016x}", ONCE: next(self._once), ALSO: next(self._also)}
        if self._waiting:
            values[TOKEN] = self._waiting.pop(0)
        plan = self._plan
        headers = {name: _filled(value, values) for name, value in plan.headers.items()}
        builder = EnvironBuilder(
            next(self._paths),
            base_url=self._base,
            method=plan.method,
            headers=list(headers.items()),
            data=_filled(plan.body, values) or None,
        )
        return partial(self._ask, builder.get_environ())

    def _ask(self, environ: dict[str, Any]) -> None:
        status: list[str] = []
        answer = self._app(environ, lambda line, _headers, _error=None: status.append(line))
        body = b"".join(answer)
        if not status[0].startswith(str(self._plan.expect)):
            raise RuntimeError(f"answered {status[0]}: {body[:300]!r}")
        if found := re.search(rb'"refresh_token": ?"([^"]+)"', body):
            self._waiting.append(found[1].decode())


def _filled(text: str, values: dict[str, str]) -> str:
    return "".join(values.get(one, one) for one in pieces(text))


def requests_of(world: World, name: str) -> Callable[[], Act]:
    """Makes requests of a row ready, one at a time."""
    (row,) = rows.rows(world, name.__eq__)
    app = create_app(world.settings, host=world.host)
    return Asking(app.wsgi_app, row.prepare(), world.settings.issuer).prepared


# ---- work that is no request ---------------------------------------------------------------------------


def importing(world: World, folder: Path, lines: int = 2000) -> Callable[[], Act]:
    """Histories of 2,000 lines, each into a new vault."""
    numbers = count(1)

    def prepared() -> Act:
        number = next(numbers)
        vault, history = world.vault(f"import{number}", 0), folder / f"history{number}.csv"
        goods.write_history(history, lines, number)

        def act() -> None:
            with history.open("rb") as file:
                intake.bring_in(vault, [("Retail.OrderHistory.1.csv", file)])

        return act

    return prepared


def approving(world: World, _: Path, records: int = 2000) -> Callable[[], Act]:
    """Grants over 2,000 records, preview and end included."""
    vault = world.vault("ana", records, gifts=False)

    def act() -> None:
        alone.approve(world, vault)

    return lambda: act


WORK = {"import": (importing, 3), "approval": (approving, 3)}  # and how often it is enough


# ---- three runs ----------------------------------------------------------------------------------------


def cpu(prepared: Callable[[], Act], times: int) -> float:
    """Microseconds of CPU time for one, the median of some batches."""
    batches = []
    for _ in range(BATCHES):
        spent = 0.0
        for _ in range(max(1, times // BATCHES)):
            act = prepared()
            begun = time.process_time()
            act()
            spent += time.process_time() - begun
        batches.append(spent / max(1, times // BATCHES) * 1e6)
    return statistics.median(batches)


class Statements:
    """What statements cost: calls and seconds, the fetching of rows included."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.spent: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timed(self, sql: str, calls: int = 0) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.calls[sql] += calls
            self.spent[sql] += time.perf_counter() - begun

    def connect(self, *given: Any, **named: Any) -> sqlite3.Connection:
        """In place of `sqlite3.connect`."""
        told = self

        class Cursor(sqlite3.Cursor):
            sql = ""

            def execute(self, sql: str, parameters: Any = ()) -> Cursor:
                self.sql = sql
                with told.timed(sql, 1):
                    return super().execute(sql, parameters)

            def executemany(self, sql: str, parameters: Any) -> Cursor:
                self.sql = sql
                with told.timed(sql, 1):
                    return super().executemany(sql, parameters)

            def fetchone(self) -> Any:
                with told.timed(self.sql):
                    return super().fetchone()

            def fetchall(self) -> list[Any]:
                with told.timed(self.sql):
                    return super().fetchall()

            def fetchmany(self, size: int | None = 1) -> list[Any]:
                with told.timed(self.sql):
                    return super().fetchmany(size)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: Any = None) -> Any:
                return super().cursor(factory or Cursor)

            def execute(self, sql: str, parameters: Any = ()) -> Any:
                return self.cursor().execute(sql, parameters)

            def executemany(self, sql: str, parameters: Any) -> Any:
                return self.cursor().executemany(sql, parameters)

        return _connect(*given, **named, factory=Connection)

    def asked(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """In place of what asks PostgreSQL."""

        def timed(link: Link, sql: str | bytes, *given: Any) -> Any:
            with self.timed(sql.decode() if isinstance(sql, bytes) else sql, 1):
                return ask(link, sql, *given)

        return timed

    def at_once(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """In place of what asks it several things in one message, or for the end."""

        def timed(link: Link, asked: Sequence[Any] = (), **end: bool) -> Any:
            many = len(link._unsent) + len(asked)  # noqa: SLF001
            with self.timed(f"{many} statements at once{' and COMMIT' * any(end.values())}", 1):
                return ask(link, asked, **end)

        return timed


_connect = sqlite3.connect


def statements(prepared: Callable[[], Act], times: int) -> Statements:
    """Every statement of so many, in a thread of its own, over connections that are fresh."""
    told = Statements()

    def run() -> None:
        prepared()()  # opens the connection
        told.calls.clear()
        told.spent.clear()
        for _ in range(times):
            prepared()()

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(sqlite3, "connect", told.connect))
        for name in ("execute", "executemany", "simple"):
            stack.enter_context(mock.patch.object(Link, name, told.asked(getattr(Link, name))))
        stack.enter_context(mock.patch.object(Link, "_at_once", told.at_once(Link._at_once)))  # noqa: SLF001
        sqlite.close_idle()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    sqlite.close_idle()
    return told


def profile(prepared: Callable[[], Act], times: int) -> pstats.Stats:
    """What cProfile says of so many, by CPU time."""
    profiler = cProfile.Profile(time.process_time)
    for _ in range(times):
        act = prepared()
        profiler.enable()
        act()
        profiler.disable()
    return pstats.Stats(profiler)


# ---- what is said of it --------------------------------------------------------------------------------


def room(path: str, name: str) -> str:
    """To whom a function's own time belongs: a room of ours, a library, Python, SQLite."""
    if path == "~":
        return next((whose for held, whose in _BUILTIN.items() if held in name), "built-ins")
    parts = Path(path).parts
    for folder in ("site-packages", "vrm"):
        if folder in parts[:-1]:
            at = len(parts) - 1 - parts[::-1].index(folder)
            inner = parts[at + 1].removesuffix(".py")
            return inner if folder == "site-packages" else f"vrm.{inner}"
    return "python" if path.startswith((sysconfig.get_path("stdlib"), "<")) else Path(path).stem


def rooms(stats: pstats.Stats) -> list[tuple[str, float]]:
    """Own seconds by room, most first."""
    spent: defaultdict[str, float] = defaultdict(float)
    for (path, _, name), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        spent[room(path, name)] += own
    return sorted(spent.items(), key=lambda pair: -pair[1])


def show(prepared: Callable[[], Act], times: int, top: int) -> None:
    """All three runs, printed; microseconds of one request."""
    prepared()()
    print(f"{cpu(prepared, times):.0f} µs of CPU time each, without a profiler")
    _show_statements(statements(prepared, times), times, top)
    stats = profile(prepared, times)
    whole = stats.total_tt  # type: ignore[attr-defined]
    print(f"\nby room, own time, under the profiler ({whole / times * 1e6:.0f} µs each)")
    for name, spent in rooms(stats)[:top]:
        if spent > whole / 200:
            print(f"{spent / times * 1e6:>9.1f} µs {spent / whole:>6.1%}  {name}")
    print(f"\nby function ({top} of most own time)")
    functions = sorted(stats.stats.items(), key=lambda pair: -pair[1][2])  # type: ignore[attr-defined]
    print(f"{'own µs':>9}{'with all µs':>13}{'calls':>8}")
    for (path, line, name), (_, calls, own, whole_own, _) in functions[:top]:
        where = f"{room(path, name)}: {name}" + (f" ({Path(path).name}:{line})" if line else "")
        print(f"{own / times * 1e6:>9.1f}{whole_own / times * 1e6:>13.1f}{calls / times:>8.1f}  {where}")


def _show_statements(told: Statements, times: int, top: int) -> None:
    whole = sum(told.spent.values())
    print(f"\nSQL, {whole / times * 1e6:.0f} µs each with the wait for the disk")
    print(f"{'µs':>9}{'calls':>8}")
    for sql, spent in sorted(told.spent.items(), key=lambda pair: -pair[1])[:top]:
        text = " ".join(sql.split())
        print(f"{spent / times * 1e6:>9.1f}{told.calls[sql] / times:>8.1f}  {text[:140]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile what was named; returns the exit code."""
    known = [*rows.NAMES, *WORK]
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description=__doc__)
    parser.add_argument(
        "row", nargs="?", default="read-one", choices=known, metavar="ROW", help=", ".join(known)
    )
    parser.add_argument("--times", type=int, help="requests in each run (default 300)")
    parser.add_argument("--top", type=int, default=30, help="lines of each list")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix=".world-", dir=RESULTS.parent) as name:
        folder = Path(name)
        world = World(folder / "world", servers.free_port(), os.environ.get("VRM_DATABASE_URL", ""))
        with closing(world):
            if chosen.row in WORK:
                make, usual = WORK[chosen.row]
                prepared = make(world, folder)
            else:
                prepared, usual = requests_of(world, chosen.row), 300
            show(prepared, chosen.times or usual, chosen.top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
