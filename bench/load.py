"""Load generators: `wrk` where it is installed, else a small client of our own. Both run any plan."""

from __future__ import annotations

import asyncio
import os
import random
import re
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from bench.plans import ALSO, FRESH, ONCE, TOKEN, Load, Plan, pieces

CONNECTIONS = 16
_PATIENCE = 10  # seconds that an answer may take
_SCRIPT = Path(__file__).with_name("wrk.lua")
_TOKEN = re.compile(rb'"refresh_token": ?"([^"]+)"')


def generator() -> str:
    """Which load generator this machine has."""
    return "wrk" if shutil.which("wrk") else "asyncio"


def run(
    plan: Plan, url: str, seconds: float, tool: str | None = None, connections: int = CONNECTIONS
) -> Load:
    """Send the plan's requests over so many connections for so long."""
    if (tool or generator()) == "wrk":
        return _wrk(plan, url, seconds, connections)
    return asyncio.run(_Client(plan, url, connections).run(seconds))


def run_paced(plan: Plan, url: str, seconds: float, pause: float) -> Load:
    """The same by our own client, each connection pausing for so many seconds between its requests."""
    return asyncio.run(_Client(plan, url, CONNECTIONS, pause).run(seconds))


def run_all(plan: Plan, urls: Sequence[str], seconds: float) -> list[Load]:
    """The same to several servers at once, the connections shared among them."""
    with ThreadPoolExecutor(len(urls)) as pool:
        shared = CONNECTIONS // len(urls)
        return list(pool.map(lambda url: run(plan, url, seconds, connections=shared), urls))


# ---- wrk -------------------------------------------------------------------------------------------------


def _wrk(plan: Plan, url: str, seconds: float, connections: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file, tempfile.NamedTemporaryFile("w") as values:
        values.writelines(f"{value}\n" for value in (*plan.once, *plan.also))
        values.flush()
        file.write("return " + _lua(_fields(plan) | {"values": values.name}))
        file.flush()
        # wrk knows whole seconds only; a signal ends a shorter run as well as a long one
        running = subprocess.Popen(
            [
                "wrk",
                "-t1",
                f"-c{connections}",
                "-d60s",
                "--timeout",
                f"{_PATIENCE}s",
                "-s",
                str(_SCRIPT),
                url,
            ],
            env={**os.environ, "VRM_BENCH_PLAN": file.name},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            time.sleep(seconds)
            running.send_signal(2)  # wrk reports at SIGINT
            told = running.communicate(timeout=20)[0]
        finally:
            running.kill()
    found = re.search(r"^result (\d+) (\d+) (\S+) (\S+) (\S+) (\d+)$", told, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk gave no result:\n{told}")
    requests, wrong, *times, status = found.groups()
    passed, p50, p99 = map(float, times)
    return Load(int(requests), int(wrong), passed, p50, p99, int(status))


def _fields(plan: Plan) -> dict[str, object]:
    marked = plan.marked()
    return {
        "method": plan.method,
        "paths": list(plan.paths),
        "headers": {name: value for name, value in plan.headers.items() if name != marked},
        "marked": marked,
        "head": pieces(plan.headers.get(marked, "")),
        "body": pieces(plan.body),
        "once": len(plan.once),
        "prefix": secrets.token_hex(8),
        "chain": list(plan.chain),
        "expect": plan.expect,
        "holds": plan.holds,
    }


def _lua(value: object) -> str:
    """A literal of Lua."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{_lua(name)}] = {_lua(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(_lua, value)) + "}"
    raise TypeError(type(value).__name__)


# ---- our own ---------------------------------------------------------------------------------------------


class _Client:
    """All connections in one thread; slower than wrk, so the server has less to do, at the same cost."""

    def __init__(self, plan: Plan, url: str, connections: int, pause: float = 0.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._plan = plan
        self._connections, self._pause = connections, pause
        self._prefix = secrets.token_hex(8)
        self._turns = count(1)
        self._waiting = deque(plan.chain)
        self._latencies: list[float] = []
        self._wrong = self._status = 0
        head = {"Host": parts.netloc, **plan.headers}
        self._head = pieces("".join(f"{name}: {value}\r\n" for name, value in head.items()))
        self._body = pieces(plan.body)

    async def run(self, seconds: float) -> Load:
        begun = time.perf_counter()
        end = begun + seconds
        await asyncio.gather(*(self._connection(end) for _ in range(self._connections)))
        times = sorted(self._latencies)
        if len(times) < 2:
            raise RuntimeError("the server answered nothing")
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        passed = time.perf_counter() - begun
        return Load(len(times), self._wrong, passed, cuts[49] * 1e6, cuts[98] * 1e6, self._status)

    async def _connection(self, end: float) -> None:
        """One after the other; a connection that fails is one wrong answer, and made anew."""
        await asyncio.sleep(random.uniform(0, self._pause))  # not all in the same moment
        while time.perf_counter() < end:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                self._wrong += 1
                await asyncio.sleep(0.01)
                continue
            try:
                await self._requests(reader, writer, end)
            except (OSError, asyncio.IncompleteReadError):  # a TimeoutError is an OSError
                self._wrong += 1
            finally:
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: float) -> None:
        holds = self._plan.holds.encode()
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(self._request())
            try:
                async with asyncio.timeout(_PATIENCE):
                    status, body = await _answer(reader)
            finally:  # however it ended, somebody waited so long
                self._latencies.append(time.perf_counter() - begun)
            if status != self._plan.expect or holds not in body:
                self._wrong, self._status = self._wrong + 1, status
            if self._pause:
                await asyncio.sleep(self._pause)
            if self._plan.chain:
                found = _TOKEN.search(body)
                self._waiting.append(found[1].decode() if found else "none")

    def _request(self) -> bytes:
        plan, turn = self._plan, next(self._turns)
        values = {FRESH: f"{self._prefix}{turn:016x}"}
        if plan.once:
            values[ONCE] = plan.once[turn % len(plan.once)]
        if plan.also:
            values[ALSO] = plan.also[turn % len(plan.also)]
        if plan.chain:
            values[TOKEN] = self._waiting.popleft()
        head, body = ("".join(values.get(one, one) for one in text) for text in (self._head, self._body))
        length = f"Content-Length: {len(body.encode())}\r\n" if plan.method != "GET" else ""
        path = plan.paths[turn % len(plan.paths)]
        return f"{plan.method} {path} HTTP/1.1\r\n{head}{length}\r\n{body}".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split(b" ", 2)[1]), body
