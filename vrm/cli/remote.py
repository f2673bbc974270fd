"""A vault elsewhere, as the customer's own program sees it: discovery, log-in, calls, and what is kept.

Promises: talks https only (plain http to this machine only), follows no redirect, waits and reads within
limits; the vault's own word for its addresses counts only where it is the vault that was named (RFC 8414
section 3.3) and they are below it. A credential is kept in a file of its own, 0600, below
`$XDG_CONFIG_HOME/vrm`, and is shown nowhere.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import secrets
import ssl
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from vrm.clock import Clock, SystemClock
from vrm.device import DEVICE, DEVICE_AUTHORIZATION, MANAGE, TOOL, TOOLS
from vrm.errors import OutboundError, SettingsError, ValidationError
from vrm.plain import FORM
from vrm.settings import LOOPBACK, expanded, is_host
from vrm.vault.wholefile import make_folder, whole_file

TIMEOUT = 30  # seconds
PATIENCE = 600  # seconds: a large import is read and stored before it is answered
MOST = 8 * 2**20  # bytes of an answer
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PIECE = 64 * 1024
_SLOWEST = 60  # seconds between two polls
_WORDS = {
    "access_denied": "the vault's owner said no",
    "expired_token": "nobody typed the code in time",
}
_METADATA = "/.well-known/oauth-authorization-server"


@dataclass(frozen=True, slots=True)
class Question:
    """What the vault says to a program that asks to be let in."""

    device_code: str = field(repr=False)
    user_code: str
    page: str
    page_with_code: str
    expires_in: int
    interval: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A credential as it is kept."""

    url: str
    username: str
    expires: str
    token: str = field(repr=False)


class Remote:
    """One vault by its address."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        """ValidationError for what is no address of a vault."""
        self.url = checked_address(url)
        self._clock = clock or SystemClock()

    def discover(self) -> None:
        """Make sure that a vault is there that lets programs in; OutboundError."""
        told = self.call("GET", _METADATA)
        if told.get("issuer") != self.url:
            raise _refusal(f"{self.url} calls itself something else", "use the vault's own address")
        for name, path in (
            ("device_authorization_endpoint", DEVICE_AUTHORIZATION),
            ("token_endpoint", "/oauth/token"),
        ):
            if told.get(name) != self.url + path:
                raise _refusal(f"{self.url} lets no programs in", "its host may have switched that off")

    def ask(self) -> Question:
        """Ask to be let in; OutboundError."""
        told = self._form(DEVICE_AUTHORIZATION, client_id=TOOL, scope=MANAGE)
        try:
            asked = Question(
                str(told["device_code"]),
                str(told["user_code"]),
                str(told["verification_uri"]),
                str(told.get("verification_uri_complete", told["verification_uri"])),
                int(told["expires_in"]),
                int(told.get("interval", 5)),
            )
        except (KeyError, TypeError, ValueError):
            raise _refusal(f"{self.url} gave no code that can be used") from None
        if not all(page.startswith(self.url + "/") for page in (asked.page, asked.page_with_code)):
            raise _refusal(f"{self.url} would send you somewhere else")
        return asked

    def wait(self, asked: Question) -> str:
        """The credential, once she typed the code (RFC 8628 section 3.5); OutboundError for all else."""
        pause, ends = min(max(asked.interval, 1), _SLOWEST), self._clock.now() + asked.expires_in
        resting = threading.Event()
        while self._clock.now() < ends:
            try:
                told = self._form(
                    "/oauth/token",
                    good=(200, 400, 429, 503),
                    grant_type=DEVICE,
                    client_id=TOOL,
                    device_code=asked.device_code,
                )
            except OutboundError as error:
                if error.answered:
                    raise
                told = {"error": "slow_down"}  # section 3.5: the same where the connection timed out
            if "access_token" in told:
                return str(told["access_token"])
            if told.get("error") in ("slow_down", "temporarily_unavailable"):
                pause = min(pause + 5, _SLOWEST)
            elif told.get("error") != "authorization_pending":
                raise _refusal(_WORDS.get(str(told.get("error")), f"{self.url} let this program not in"))
            resting.wait(pause)
        raise _refusal(_WORDS["expired_token"], "start again: vrm login")

    # ---- with a credential -----------------------------------------------------------------------------

    def about(self, token: str) -> dict[str, Any]:
        """Whose vault it is, and until when."""
        return self.call("GET", f"{TOOLS}/self", token)

    def leave(self, token: str) -> None:
        """Give the credential back."""
        self.call("DELETE", f"{TOOLS}/self", token, good=(204, 401))

    def connections(self, token: str) -> list[dict[str, Any]]:
        """Who reads what."""
        found: list[dict[str, Any]] = self.call("GET", f"{TOOLS}/connections", token).get("items", [])
        return found

    def stop(self, token: str, name: str) -> None:
        """Stop a connection."""
        if not _ID.fullmatch(name):
            raise ValidationError("that is no connection", hint="vrm connections list names them")
        self.call("DELETE", f"{TOOLS}/connections/{name}", token, good=(204,))

    def bring_in(self, token: str, paths: list[Path]) -> dict[str, Any]:
        """Import files, read as they are sent."""
        boundary = secrets.token_hex(16)
        heads = [_head(boundary, path.name) for path in paths]
        tail = f"--{boundary}--\r\n".encode()
        length = sum(map(len, heads)) + sum(path.stat().st_size + 2 for path in paths) + len(tail)
        return self.call(
            "POST",
            f"{TOOLS}/imports",
            token,
            body=_pieces(heads, paths, tail),
            patience=PATIENCE,
            headers={
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Content-Length": str(length),
            },
        )

    # ---- HTTP ------------------------------------------------------------------------------------------

    def _form(self, path: str, good: tuple[int, ...] = (200,), **fields: str) -> dict[str, Any]:
        return self.call(
            "POST", path, body=urlencode(fields).encode(), headers={"Content-Type": FORM}, good=good
        )

    def call(
        self,
        method: str,
        path: str,
        token: str = "",
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        good: tuple[int, ...] = (200,),
        patience: int = TIMEOUT,
    ) -> dict[str, Any]:
        """One request and its JSON; OutboundError in words for people."""
        sent = {"Accept": "application/json", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        connection = self._connection(patience)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            status, raw = answer.status, answer.read(MOST + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self.url, error) from None
        finally:
            connection.close()
        told = _document(raw)
        if status in good and told is not None:
            return told
        raise _said(self.url, status, told or {})

    def _connection(self, patience: int) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=patience)
        return http.client.HTTPSConnection(host, port, timeout=patience, context=ssl.create_default_context())


def checked_address(url: str) -> str:
    """The origin of a vault: https, or http on this machine; ValidationError."""
    try:
        parts = urlsplit(url.rstrip("/"))
        parts.port  # noqa: B018 - raises for what is none
    except ValueError:
        parts = urlsplit("")
    known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if not (known and plain and is_host(parts.hostname or "") and url.isascii() and url.isprintable()):
        raise ValidationError("that is no address of a vault", hint="such as https://vault.example")
    return f"{parts.scheme}://{parts.netloc}"


def _head(boundary: str, name: str) -> bytes:
    safe = "".join("_" if char in '"\\' or not char.isprintable() else char for char in name)
    disposition = f'Content-Disposition: form-data; name="files"; filename="{safe}"'
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()


def _pieces(heads: list[bytes], paths: list[Path], tail: bytes) -> Iterator[bytes]:
    for head, path in zip(heads, paths, strict=True):
        yield head
        with path.open("rb") as source:
            while piece := source.read(_PIECE):
                yield piece
        yield b"\r\n"
    yield tail


def _document(raw: bytes) -> dict[str, Any] | None:
    """An object; {} for an empty body, None for anything else."""
    if not raw:
        return {}
    try:
        told = json.loads(raw) if len(raw) <= MOST else None
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _said(url: str, status: int, told: dict[str, Any]) -> OutboundError:
    if 300 <= status < 400:
        return _refusal(f"{url} sends elsewhere, and that is not followed", "use the vault's own address")
    if status == 401:
        return _refusal(f"{url} does not know this program, or no longer", f"vrm login {url}")
    errors = told.get("errors")
    wrong = "; ".join(f"{name} {', '.join(map(str, why))}" for name, why in errors.items()) if errors else ""
    reason = wrong or told.get("detail") or told.get("title") or told.get("error_description") or ""
    return _refusal(str(reason)[:500] or f"{url} answered with {status}")


def _unreachable(url: str, error: Exception) -> OutboundError:
    made = OutboundError(f"{url} cannot be reached ({str(error) or type(error).__name__})")
    made.hint = "is the address right, and the vault running?"
    return made


def _refusal(message: str, hint: str = "") -> OutboundError:
    made = OutboundError(message, answered=True)
    made.hint = hint
    return made


# ---- what is kept ----------------------------------------------------------------------------------------


def folder() -> Path:
    """`$XDG_CONFIG_HOME/vrm/vaults`, else below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return Path(base or expanded("~/.config", "XDG_CONFIG_HOME")) / "vrm" / "vaults"


def _place(url: str) -> Path:
    return folder() / (hashlib.sha256(url.encode()).hexdigest()[:24] + ".json")


def keep(kept: Kept) -> None:
    """Write a credential down for the next commands, whole and 0600."""
    make_folder(folder())
    with whole_file(_place(kept.url), force=True) as part:
        part.write_text(json.dumps(asdict(kept)))


def forget(url: str) -> None:
    """Delete a credential here."""
    _place(url).unlink(missing_ok=True)


def kept(url: str | None = None) -> Kept:
    """The credential for this vault, or the only one there is; SettingsError."""
    if url is not None:
        address = checked_address(url)
        if not _place(address).exists():
            raise SettingsError(f"not logged in to {address}", hint=f"vrm login {address}")
        return _read(_place(address))
    found = all_kept()
    if len(found) != 1:
        told = "logged in to no vault" if not found else "logged in to several vaults"
        raise SettingsError(told, hint="--at URL says which" if found else "vrm login URL")
    return found[0]


def all_kept() -> list[Kept]:
    """Every credential, by address."""
    return sorted((_read(path) for path in folder().glob("*.json")), key=lambda one: one.url)


def _read(path: Path) -> Kept:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingsError(
            f"{path} can be read by others", hint=f"delete it, and vrm login again: rm {path}"
        )
    try:
        return Kept(**json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise SettingsError(
            f"{path} cannot be read", hint=f"delete it, and vrm login again: rm {path}"
        ) from None
