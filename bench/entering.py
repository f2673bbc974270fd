"""A storm of log-ins: twenty begin every second, whether or not the earlier ones have been answered.

They come from many addresses of this machine (127.0.0.0/8), as one address alone would soon be told to wait.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlencode

from bench.world import PASSPHRASE

PER_SECOND = 20
CUSTOMERS = 20
_PATIENCE = 30.0  # seconds that somebody waits for an answer


class Crowd:
    """Customers with their passphrases."""

    def __init__(self, port: int, names: Sequence[str]) -> None:
        self._port = port
        self._names = names
        self._turns = count()
        self._answers: Counter[int] = Counter()
        self._head, self._token = self._form()

    def told(self) -> str:
        """What came of it so far."""
        other = sum(self._answers.values()) - self._answers[303] - self._answers[503]
        return f"{self._answers[303]} got in, {self._answers[503]} were told to come back, {other} else"

    @contextmanager
    def coming(self) -> Iterator[None]:
        """They come until the block ends; who waits then is not waited for."""
        ending = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._come(ending)), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    async def _come(self, ending: threading.Event) -> None:
        clock, waiting = asyncio.get_running_loop(), set()
        due = clock.time()
        while not ending.is_set():
            task = asyncio.create_task(self._enter())
            waiting.add(task)
            due += 1 / PER_SECOND
            await asyncio.sleep(max(0.0, due - clock.time()))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _enter(self) -> None:
        turn = next(self._turns)
        place = (f"127.{1 + turn // 60_000 % 200}.{turn // 250 % 240}.{1 + turn % 250}", 0)
        name = self._names[turn % len(self._names)]
        body = urlencode({"csrf_token": self._token, "username": name, "passphrase": PASSPHRASE})
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=place)
        try:
            writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            async with asyncio.timeout(_PATIENCE):
                answer = await reader.readuntil(b"\r\n")
            self._answers[int(answer.split()[1])] += 1
        finally:
            writer.close()

    def _form(self) -> tuple[str, str]:
        """The head of a request with the form's cookie, and the form's token."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", "/login")
            answer = connection.getresponse()
            cookies = [
                value.partition(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"
            ]
            token = re.search(r'name="csrf_token" value="([^"]+)"', answer.read().decode())
        finally:
            connection.close()
        if token is None or not cookies:
            raise RuntimeError("the log-in page holds no form")
        head = {
            "Host": f"127.0.0.1:{self._port}",
            "Cookie": "; ".join(cookies),
            "Content-Type": "application/x-www-form-urlencoded",
            "Connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        return f"POST /login HTTP/1.1\r\n{lines}", token[1]
