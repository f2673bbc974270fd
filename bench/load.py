"""Load generators: `wrk` where it is installed, else a small client of our own. Both run any plan."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from bench.plans import Load, Plan

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("wrk.lua")
_TOKEN = re.compile(rb'"refresh_token": ?"([^"]+)"')


def generator() -> str:
    """Which load generator this machine has."""
    return "wrk" if shutil.which("wrk") else "asyncio"


def run(plan: Plan, url: str, seconds: float, tool: str | None = None) -> Load:
    """Send the plan's requests over 16 connections for so long."""
    if (tool or generator()) == "wrk":
        return _wrk(plan, url, seconds)
    return asyncio.run(_Client(plan, url).run(seconds))


# ---- wrk -------------------------------------------------------------------------------------------------


def _wrk(plan: Plan, url: str, seconds: float) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file, tempfile.NamedTemporaryFile("w") as proofs:
        proofs.write("\n".join(plan.proofs))
        proofs.flush()
        fields = _fields(plan) | ({"proofs": proofs.name} if plan.proofs else {})
        file.write("return " + _lua(fields))
        file.flush()
        # wrk knows whole seconds only; a signal ends a shorter run as well as a long one
        running = subprocess.Popen(
            ["wrk", "-t1", f"-c{CONNECTIONS}", "-d60s", "--timeout", "10s", "-s", str(_SCRIPT), url],
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
    found = re.search(r"^result (\d+) (\d+) (\S+) (\S+) (\S+)$", told, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk gave no result:\n{told}")
    requests, wrong, *times = found.groups()
    return Load(int(requests), int(wrong), *map(float, times))


def _fields(plan: Plan) -> dict[str, object]:
    before, after, fresh = _parts(plan)
    return {
        "method": plan.method,
        "paths": list(plan.paths),
        "headers": dict(plan.headers),
        "before": before,
        "after": after,
        "fresh": fresh,
        "prefix": secrets.token_hex(8),
        "chain": list(plan.chain),
        "expect": plan.expect,
    }


def _parts(plan: Plan) -> tuple[str, str, bool]:
    """The body before and after what changes, and whether that is fresh digits."""
    for mark in ("{fresh}", "{token}"):
        before, found, after = plan.body.partition(mark)
        if found:
            return before, after, mark == "{fresh}"
    return plan.body, "", False


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
    """Sixteen connections in one thread; slower than wrk, so the server has less to do, at the same cost."""

    def __init__(self, plan: Plan, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._plan = plan
        self._before, self._after, self._fresh = _parts(plan)
        self._prefix = secrets.token_hex(8)
        self._turns = count(1)
        self._waiting = deque(plan.chain)
        self._latencies: list[float] = []
        self._wrong = 0
        head = {"Host": parts.netloc, **plan.headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in head.items())

    async def run(self, seconds: float) -> Load:
        begun = time.perf_counter()
        end = begun + seconds
        await asyncio.gather(*(self._connection(end) for _ in range(CONNECTIONS)))
        times = sorted(self._latencies)
        if len(times) < 2:
            raise RuntimeError("the server answered nothing")
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        return Load(len(times), self._wrong, time.perf_counter() - begun, cuts[49] * 1e6, cuts[98] * 1e6)

    async def _connection(self, end: float) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                writer.write(self._request())
                status, body = await _answer(reader)
                self._latencies.append(time.perf_counter() - begun)
                self._wrong += status != self._plan.expect
                if self._plan.chain:
                    found = _TOKEN.search(body)
                    self._waiting.append(found[1].decode() if found else "none")
        finally:
            writer.close()
            await writer.wait_closed()

    def _request(self) -> bytes:
        plan, turn = self._plan, next(self._turns)
        path = plan.paths[turn % len(plan.paths)]
        body = self._before
        if plan.chain:
            body += self._waiting.popleft() + self._after
        elif self._fresh:
            body += f"{self._prefix}{turn:016x}{self._after}"
        head = self._head
        if plan.proofs:
            head += f"DPoP: {plan.proofs[(turn - 1) % len(plan.proofs)]}\r\n"
            path = plan.paths[0]
        length = f"Content-Length: {len(body.encode())}\r\n" if plan.method != "GET" else ""
        return f"{plan.method} {path} HTTP/1.1\r\n{head}{length}\r\n{body}".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split(b" ", 2)[1]), body
