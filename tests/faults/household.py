"""Eight who use one served vault at once, each keeping its own book of what was acknowledged to it.

A book is filled only after an answer came; an act whose answer was lost is in nobody's book, or is noted as
under way: it may have happened or not.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from scripts.demo_browser import Page
from tests import postgres
from tests.attacks.actors import CALLBACK, Vendor
from tests.vault.importers.samples import retail
from vrm.host import Host

ROOT = Path(__file__).parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}


class EndedError(Exception):
    """The server went while it was asked."""


@dataclass
class Book:
    """What was acknowledged, and the one act under way."""

    records: dict[str, str] = field(default_factory=dict)  # record → title
    removed: set[str] = field(default_factory=set)
    imported: set[str] = field(default_factory=set)  # titles
    live: dict[str, str] = field(default_factory=dict)  # grant → access token
    refresh: dict[str, str] = field(default_factory=dict)  # grant → refresh token
    revoked: dict[str, tuple[str, str]] = field(default_factory=dict)  # grant → access, refresh
    codes: list[str] = field(default_factory=list)  # spent ones
    logged: int = 0
    under_way: str = ""
    acts: int = 0

    def note(self, logged: int = 0) -> None:
        self.acts += 1
        self.logged += logged
        self.under_way = ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`vrm serve` with two workers, in a process group of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "vrm", "serve", "--port", str(port), "--workers", "2"]
        with (folder.parent / "served.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(folder)],
                cwd=ROOT,
                env={**ENVIRON, "VRM_DATABASE_URL": postgres.chosen(folder)},
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self.wait()

    def wait(self, seconds: float = 30) -> float:
        """Until it answers; how long that took."""
        begun = time.monotonic()
        with httpx.Client(base_url=self.url, timeout=5, verify=False) as http:
            while time.monotonic() < begun + seconds:
                assert self.process.poll() is None, "the server ended by itself"
                with suppress(httpx.TransportError):
                    if http.get("/login").status_code == 200:
                        return time.monotonic() - begun
                time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def workers(self) -> list[int]:
        """The processes that answer requests."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]

    def kill(self) -> None:
        """End all of its processes at once."""
        kill(self.process)


def kill(*group: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process group that the first one leads."""
    if group[0].returncode is None:
        os.killpg(group[0].pid, signal.SIGKILL)
    for process in group:
        process.wait()


class Household:
    """The writers. `play` lets them act until `enough` says so, or until the server goes."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.vault = host.vaults.listing()[0]
        self.secret = ""
        self.vendor = Vendor.register(host.consent)
        self.shop_secret = ""
        self.books = [Book() for _ in range(8)]
        self.turn = 0
        self.ended = threading.Event()
        self.calm = threading.Event()  # nobody decides on a request: a change of records would disturb that
        self.troubles: list[str] = []
        self.unexpected: list[str] = []
        self.guard = threading.Lock()

    # ---- one who acts

    def client(self, url: str) -> httpx.Client:
        return httpx.Client(base_url=url, cookies={"vrm": self.secret}, timeout=30, follow_redirects=False)

    def ask(self, http: httpx.Client, method: str, path: str, **rest: Any) -> httpx.Response:
        """An answer; EndedError where there is none."""
        if self.ended.is_set():
            raise EndedError
        try:
            answer = http.request(method, path, **rest)
        except httpx.TransportError:
            raise EndedError from None
        if answer.status_code >= 500:
            self.unexpected.append(f"{method} {path.partition('?')[0]}: {answer.status_code}")
        return answer

    def form(self, http: httpx.Client, path: str) -> str:
        """The form token of this session."""
        return shown(self.ask(http, "GET", path)).forms[-1].value("csrf_token")

    def number(self) -> int:
        with self.guard:
            self.turn += 1
            return self.turn

    def editor(self, http: httpx.Client, book: Book) -> None:
        """Adds, edits, deletes on the pages."""
        token = self.form(http, "/things/new")
        mine: list[tuple[str, int]] = []
        while True:
            self.calm.wait(1)
            number = self.number()
            record = os.urandom(16).hex()
            title = f"typed {number}"
            book.under_way = record
            fields = {"csrf_token": token, "record": record, "item.title": title, "context.for": "self"}
            if self.ask(http, "POST", "/things/new", data=fields).status_code != 303:
                continue
            book.records[record] = title
            book.note()
            mine.append((record, 1))
            if number % 3 == 0:
                record, revision = mine[-1]
                title = f"edited {number}"
                book.under_way = record
                fields = {"csrf_token": token, "revision": str(revision), "item.title": title}
                if self.ask(http, "POST", f"/things/{record}", data=fields).status_code == 303:
                    book.records[record] = title
                    book.note()
                    mine[-1] = (record, revision + 1)
            if len(mine) > 12:
                record, revision = mine.pop(0)
                book.under_way = record
                fields = {"csrf_token": token, "revision": str(revision)}
                if self.ask(http, "POST", f"/things/{record}/delete", data=fields).status_code == 200:
                    book.records.pop(record, None)
                    book.removed.add(record)
                    book.note()

    def importer(self, http: httpx.Client, book: Book, lines: int = 3) -> None:
        """Brings in order histories."""
        token = self.form(http, "/import")
        while True:
            self.calm.wait(1)
            number = self.number()
            titles = [f"brought {number}-{at}" for at in range(lines)]
            content = retail(
                *[
                    {"ASIN": f"B{number}-{at}", "Product Name": title, "Order ID": f"9-{number}-{at}"}
                    for at, title in enumerate(titles)
                ]
            )
            answer = self.ask(
                http,
                "POST",
                "/import",
                data={"csrf_token": token},
                files={"files": ("Retail.OrderHistory.1.csv", content)},
            )
            if answer.status_code == 200:
                book.imported |= set(titles)
                book.note()

    def approver(self, http: httpx.Client, book: Book) -> None:
        """Is asked, approves, the vendor redeems, she stops the eldest."""
        token = self.form(http, "/things/new")
        while True:
            code = self.approve(http, book)
            if not code:
                continue
            given = self.redeem(http, code)
            if given:
                book.codes.append(code)
                book.live[given["grant_id"]] = given["access_token"]
                book.refresh[given["grant_id"]] = given["refresh_token"]
                book.note(logged=1)
            if len(book.live) > 2:
                grant = next(iter(book.live))
                book.under_way = grant
                answer = self.ask(http, "POST", f"/companies/{grant}/stop", data={"csrf_token": token})
                if answer.status_code == 303:
                    book.revoked[grant] = (book.live.pop(grant), book.refresh.pop(grant))
                    book.note(logged=1)

    def approve(self, http: httpx.Client, book: Book) -> str:
        question = {
            "response_type": "code",
            "client_id": self.vendor.registered.client_id,
            "redirect_uri": CALLBACK,
            "scope": "purchases.item:read",
            "code_challenge": self.vendor.challenge,
            "code_challenge_method": "S256",
        }
        asked = self.ask(http, "GET", "/oauth/authorize", params=question)
        if asked.status_code != 303:
            return ""
        self.calm.clear()
        try:
            return self.decide(http, book, urlsplit(asked.headers["Location"]).path)
        finally:
            self.calm.set()

    def decide(self, http: httpx.Client, book: Book, path: str) -> str:
        """Look and approve; the code."""
        page = shown(self.ask(http, "GET", path))
        for _ in range(40):  # programs beside the server change the vault meanwhile: she looks again
            form = page.form(field="decision")
            sent = [pair for pair in form.fields if pair[0]] + [("decision", "approve")]
            answer = self.ask(
                http,
                "POST",
                path,
                content=httpx.QueryParams(sent).__str__(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            if answer.status_code == 303:
                book.note(logged=1)
                return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
            if answer.status_code != 409:
                return ""
            page = shown(answer)
        return ""

    def token(self, http: httpx.Client, **fields: str) -> httpx.Response:
        pair = (self.vendor.registered.client_id, self.shop_secret)
        return self.ask(http, "POST", "/oauth/token", data=fields, auth=httpx.BasicAuth(*pair))

    def redeem(self, http: httpx.Client, code: str) -> dict[str, Any] | None:
        answer = self.token(
            http,
            grant_type="authorization_code",
            code=code,
            redirect_uri=CALLBACK,
            code_verifier=self.vendor.verifier,
        )
        return answer.json() if answer.status_code == 200 else None

    def vendor_at_work(self, http: httpx.Client, book: Book) -> None:
        """Reads, and refreshes now and then, on a grant of its own."""
        while not book.live:
            code = self.approve(http, book)
            given = self.redeem(http, code) if code else None
            if given:
                book.live[given["grant_id"]] = given["access_token"]
                book.refresh[given["grant_id"]] = given["refresh_token"]
                book.note(logged=1)
        grant = next(iter(book.live))
        while True:
            for _ in range(5):
                headers = {"Authorization": f"Bearer {book.live[grant]}"}
                answer = self.ask(http, "GET", "/api/v1/purchases?limit=5", headers=headers)
                if answer.status_code == 200:
                    book.note(logged=1)
                else:
                    self.unexpected.append(f"reading: {answer.status_code}")
            book.under_way = "refresh"
            answer = self.token(http, grant_type="refresh_token", refresh_token=book.refresh[grant])
            if answer.status_code == 200:
                given = answer.json()
                book.live[grant], book.refresh[grant] = given["access_token"], given["refresh_token"]
                book.note(logged=1)

    # ---- all of them

    def play(self, server: Server, enough: int, fall: Callable[[], None], lines: int = 3) -> None:
        """Act until so many acts were acknowledged in all, then let the fault `fall`; all have ended."""
        self.ended.clear()
        self.calm.set()
        roles = [self.editor] * 3 + [self.importer] + [self.approver] * 2 + [self.vendor_at_work] * 2

        def run(act: Callable[..., None], book: Book) -> None:
            with self.client(server.url) as http:
                extra = {"lines": lines} if act == self.importer else {}
                while not self.ended.is_set():
                    try:
                        act(http, book, **extra)
                    except EndedError:
                        if server.process.poll() is not None or not again.is_set():
                            return
                        time.sleep(0.05)
                    except Exception as error:  # noqa: BLE001 - told at the end, by the main thread
                        self.troubles.append(repr(error))
                        return

        again = threading.Event()
        again.set()
        begun = sum(book.acts for book in self.books)
        threads = [
            threading.Thread(target=run, args=(act, book))
            for act, book in zip(roles, self.books, strict=True)
        ]
        for thread in threads:
            thread.start()
        try:
            while not self.troubles and not self._enough(begun + enough):
                assert any(thread.is_alive() for thread in threads)
                time.sleep(0.002)
            fall()
        finally:
            again.clear()
            self.ended.set()
            for thread in threads:
                thread.join()
        assert not self.troubles, self.troubles

    def _enough(self, acts: int) -> bool:
        """So many acts, and something that was shared."""
        shared = any(book.live or book.revoked for book in self.books)
        return shared and sum(book.acts for book in self.books) >= acts


def shown(answer: httpx.Response) -> Page:
    """An answer as the demo's browser parses it."""
    return Page(answer.status_code, str(answer.url), answer.text, Message())
