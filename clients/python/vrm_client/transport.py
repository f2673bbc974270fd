"""One HTTP exchange with a vault.

Promises: https (plain http on loopback only), certificates checked, no redirect followed, no cookie
kept, no environment variable or .netrc consulted, JSON read strictly; each wait for the vault is limited,
and so are the time and size of an answer's body.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NoReturn, TypeAlias
from urllib.parse import SplitResult, urlencode, urlsplit

import urllib3

from vrm_client.errors import (
    BusyError,
    NotFoundError,
    NotGrantedError,
    Problem,
    ProtocolError,
    RefusedError,
    UnreachableError,
    parse_problem,
)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

TIMEOUT = 15.0  # seconds for one exchange
MAX_BYTES = 16 * 1024 * 1024  # of one answer, after decompression
CHUNK = 64 * 1024
PROBLEM = "application/problem+json"  # RFC 9457
_TOLD = {(403, "insufficient-scope"): NotGrantedError, (404, "not-in-view"): NotFoundError}
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower-case names) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """What the body is, in small letters and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Json:
        """The body as JSON; ProtocolError for anything else."""
        kind = self.media_type
        if kind != "application/json" and not kind.endswith("+json"):
            raise ProtocolError(f"expected JSON, got {kind or 'no content type'}")
        try:
            parsed: Json = json.loads(self.body, parse_constant=_not_json)
        except (ValueError, RecursionError):
            # Without the cause: its message quotes the body.
            raise ProtocolError("the answer is not valid JSON") from None
        return parsed

    def json_object(self) -> dict[str, Json]:
        """The body as a JSON object."""
        parsed = self.json()
        if not isinstance(parsed, dict):
            raise ProtocolError("expected a JSON object")
        return parsed


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)


class Transport:
    """A connection pool; safe to share between threads."""

    def __init__(
        self, *, timeout: float = TIMEOUT, max_bytes: int = MAX_BYTES, ca_file: str | None = None
    ) -> None:
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._pool = urllib3.PoolManager(
            num_pools=4, maxsize=8, retries=False, cert_reqs="CERT_REQUIRED", ca_certs=ca_file
        )

    def get(self, url: str, *, headers: Mapping[str, str] = _NONE) -> Answer:
        """GET."""
        return self._send("GET", url, {"Accept": "application/json", **headers}, None)

    def post_form(self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] = _NONE) -> Answer:
        """POST a form."""
        given = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self._send("POST", url, given, urlencode(form).encode())

    def send(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None) -> Answer:
        """Any request."""
        return self._send(method, url, {"Accept": "application/json", **headers}, body)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        check_url(url)
        deadline = time.monotonic() + self._timeout
        try:
            response = self._open(method, url, headers, body)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"no answer from {place(url)}: {type(error).__name__}") from None
        try:
            content = self._read(response, url, deadline)
        except BaseException:
            response.close()  # half-read: this connection must not be used again
            raise
        response.release_conn()
        answer = Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, content)
        if 300 <= answer.status < 400:
            raise ProtocolError(f"{place(url)} answered with a redirect; it was not followed")
        return answer

    def _open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        """Send, and return with the body still unread."""

        def once() -> urllib3.BaseHTTPResponse:
            return self._request(method, url, headers, body)

        try:
            return once()
        except urllib3.exceptions.ProtocolError:
            # The vault closed a kept connection just as it was used again. Reading twice does no harm;
            # a code or refresh token sent twice might, so what to do about that is its sender's decision.
            if method != "GET":
                raise
            return once()

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        """One try."""
        return self._pool.request(
            method,
            url,
            headers=dict(headers),
            body=body,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout),
        )

    def _read(self, response: urllib3.BaseHTTPResponse, url: str, deadline: float) -> bytes:
        content = bytearray()
        try:
            while chunk := response.read1(CHUNK, decode_content=True):
                content += chunk
                if len(content) > self._max_bytes:
                    raise ProtocolError(f"{place(url)} sent more than {self._max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{place(url)} did not finish its answer in time")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"answer from {place(url)} cut off: {type(error).__name__}") from None
        return bytes(content)


def with_query(url: str, query: Mapping[str, str]) -> str:
    """The URL with more query parameters, keeping those it has (RFC 6749 §3.1)."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(query)}"


def place(url: str) -> str:
    """Host and path of a URL, for messages: queries can carry codes and cursors."""
    parts = urlsplit(url)
    return f"{parts.hostname}{parts.path}"


def check_url(url: str) -> SplitResult:
    """The parts of a URL to which secrets may be sent, or ProtocolError."""
    try:
        parts = urlsplit(url.encode("ascii").decode())
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ProtocolError("not a URL") from None
    if not parts.hostname or not port_is_valid or parts.fragment or "@" in parts.netloc:
        raise ProtocolError("a URL needs a host, and neither credentials nor a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ProtocolError(f"{parts.hostname}: only https, or http on loopback, is used")
    return parts


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    parts = check_url(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def problem_of(answer: Answer) -> tuple[str, str, Problem | None]:
    """(code, message, problem) of a refusal, whether RFC 9457 or an OAuth error; tolerant by design."""
    try:
        document = answer.json_object()
    except ProtocolError:
        return f"http-{answer.status}", f"answered {answer.status}", None
    error = document.get("error")
    if isinstance(error, str):
        description = document.get("error_description")
        return error, description if isinstance(description, str) else error, None
    problem = parse_problem(document)
    return problem.slug, problem.detail or problem.title or f"answered {answer.status}", problem


def told_by_vault(answer: Answer) -> str:
    """The slug of the problem that a vault answers with, or "".

    A proxy or a captive portal refuses too, with the same status; what deletes must be the vault's own word.
    """
    if answer.media_type != PROBLEM:
        return ""
    _, _, problem = problem_of(answer)
    return "" if problem is None else problem.slug


def require_success(answer: Answer, status: int = 200) -> Answer:
    """The answer if its status is that, else the error that fits (401 is for the caller to judge)."""
    if answer.status == status:
        return answer
    if answer.status < 400:
        raise ProtocolError(f"unexpected status {answer.status}")
    code, message, problem = problem_of(answer)
    if answer.status == 429 or answer.status >= 500:
        wait = answer.headers.get("retry-after", "")
        raise BusyError(
            message,
            status=answer.status,
            retry_after=int(wait) if wait.isascii() and wait.isdigit() else None,
        )
    kind = _TOLD.get((answer.status, told_by_vault(answer)), RefusedError)
    raise kind(message, code=code, status=answer.status, problem=problem)
