"""How people and vendors get here: the port, the public address, its certificate, the proxies, sign-up.

Asked are only the port on this machine and the public address. What the proxies add is asked of our own
server, which tells it only to who holds the server key (`proof` of a moment).
"""

from __future__ import annotations

import errno
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

from vrm.clock import SystemClock
from vrm.doctor.findings import Finding, fail, ok, warn
from vrm.errors import SettingsError
from vrm.settings import LOOPBACK, Settings, bracketed
from vrm.vault import serverkey

TIMEOUT = 5  # seconds
PROOF = "VRM-Doctor"  # header
_RENEW = 14  # days before its end that a certificate should have been renewed
_MOST = 65_536  # bytes of an answer


class _NoAnswerError(Exception):
    """Nothing that can be used came back; says why."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    document: dict[str, Any]
    certificate: dict[str, Any] = field(default_factory=dict)


def examine(settings: Settings) -> Iterator[Finding]:
    """From the inside out."""
    found, ours = port(settings)
    yield found
    yield listening(settings)
    if settings.metrics_address:
        yield numbers(settings.metrics_address)
    yield from public(settings, served=ours)
    yield signup(settings)


def port(settings: Settings) -> tuple[Finding, bool]:
    """(finding, whether our server answers there)"""
    host, number = settings.host, settings.port
    refused = _refused(host, number)
    if refused is None:
        return ok("port", f"{host}:{number} is free"), False
    if refused == errno.EACCES:
        do = "take one from 1024 on (--port) and let the proxy have 443"
        return fail("port", f"{number} is for the system's own services", do), False
    if refused != errno.EADDRINUSE:
        return fail("port", f"no address {host} on this machine", "VRM_HOST names the address"), False
    url = urlsplit(settings.issuer)
    if url.scheme == "https" and url.port == number:
        return ok("port", f"{host}:{number} is in use, with TLS: see public address"), True
    for scheme, told in (("http", ""), ("https", ", with a certificate of its own making")):
        here = urlsplit(f"{scheme}://{_inside(host)}:{number}")
        with suppress(_NoAnswerError):  # it has no other name than the public one
            if _ask(here, "/healthz", {"Host": url.netloc}, proven=False).document == {"status": "ok"}:
                return ok("port", f"vrm serves on {host}:{number}{told}"), True
    do = "stop it, or choose another port: VRM_PORT"
    return fail("port", f"something else listens on {host}:{number}", do), False


def _refused(host: str, number: int) -> int | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


def _inside(host: str) -> str:
    """Where this machine reaches who listens there."""
    return bracketed({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host))  # noqa: S104


def numbers(address: tuple[str, int]) -> Finding:
    """`/metrics` can be told there, or is told by a vrm."""
    host, number = address
    refused, place = _refused(host, number), f"{bracketed(host)}:{number}"
    if refused is None:
        return ok("metrics", f"{place} is free")
    if refused == errno.EACCES:
        return fail("metrics", f"{number} is for the system's own services", "another port in VRM_METRICS")
    if refused != errno.EADDRINUSE:
        return fail("metrics", f"no address {host} on this machine", "VRM_METRICS names the address")
    try:
        if b"vrm_requests_total" in _fetched(urlsplit(f"http://{_inside(host)}:{number}"), "/metrics")[1]:
            return ok("metrics", f"vrm tells its numbers on {place}")
    except _NoAnswerError:
        pass
    do = "stop it, or name another port in VRM_METRICS"
    return fail("metrics", f"something else listens on {place}", do)


def listening(settings: Settings) -> Finding:
    """Only the proxy should reach the plain port."""
    if settings.host in LOOPBACK:
        return ok("listening", "on this machine only")
    told = f"on {settings.host}, in plain HTTP"
    return warn("listening", told, "let only the proxy reach this port, or use VRM_HOST=127.0.0.1")


def public(settings: Settings, *, served: bool) -> Iterator[Finding]:
    """The public address leads here, by a certificate that holds."""
    url = urlsplit(settings.issuer)
    if url.scheme == "http":
        yield ok("public address", f"{settings.issuer}, from this machine only")
        return
    try:
        answer = _ask(url, "/.well-known/oauth-authorization-server")
    except _NoAnswerError as error:
        do = "look at DNS, the proxy and its certificate"
        level = fail if served else warn
        yield level("public address", f"{settings.issuer} does not answer: {error}", do)
        return
    issuer = answer.document.get("issuer")
    if issuer != settings.issuer:
        told = f"{settings.issuer} is answered by {'another vault' if issuer else 'something else'}"
        yield fail("public address", told, "VRM_PUBLIC_URL of the running server must be this one")
        return
    yield ok("public address", f"{settings.issuer} leads to a vault of that name")
    yield certificate(answer.certificate)
    yield _proxies(settings, url)


def certificate(found: dict[str, Any], now: int | None = None) -> Finding:
    """It holds (or nothing would have been answered); whether it is renewed in time."""
    now = SystemClock().now() if now is None else now
    end = ssl.cert_time_to_seconds(found["notAfter"])
    day = datetime.fromtimestamp(end, UTC).date().isoformat()
    if end - now < _RENEW * 86_400:
        return warn("certificate", f"ends on {day}", "see why the proxy has not renewed it")
    return ok("certificate", f"holds until {day}")


def _proxies(settings: Settings, url: SplitResult) -> Finding:
    try:
        key = serverkey.load(settings.server_key_path) if settings.server_key_path.exists() else None
        header = key.proof(SystemClock().now()) if key else ""
        seen = _ask(url, "/healthz", {PROOF: header} if header else {}).document.get("seen")
    except (_NoAnswerError, SettingsError) as error:
        return warn("proxies", f"could not be looked at: {error}", "run it again when the server answers")
    if not isinstance(seen, dict):
        do = "run doctor with the settings and the server key of the running server"
        return warn("proxies", "the server does not take us for its host", do)
    return proxies(settings, seen)


def proxies(settings: Settings, seen: dict[str, Any]) -> Finding:
    """What the server saw of a request of ours, against what it is told to believe."""
    came, trusted = int(seen["for"]), settings.trusted_proxies
    if came < trusted:
        do = f"set VRM_TRUSTED_PROXIES={came}: as it is, anybody can pretend to come from anywhere"
        return fail("proxies", f"{came} add X-Forwarded-For, {trusted} are trusted", do)
    if came > trusted:
        do = f"set VRM_TRUSTED_PROXIES={came}: as it is, all visitors share one address in the limits"
        return fail("proxies", f"{came} add X-Forwarded-For, {trusted} are trusted", do)
    if came and not seen["https"]:
        return fail("proxies", "no X-Forwarded-Proto arrives", "let the proxy send X-Forwarded-Proto: https")
    if not came and settings.host in LOOPBACK:
        do = "let the proxy add X-Forwarded-For and set VRM_TRUSTED_PROXIES=1"
        return warn("proxies", "none adds X-Forwarded-For: all visitors share one address in the limits", do)
    return ok("proxies", f"{came} in front, {trusted} trusted")


def signup(settings: Settings) -> Finding:
    """Who may create a vault here."""
    mode = settings.signup_mode
    if mode == "open" and urlsplit(settings.issuer).hostname not in LOOPBACK:
        return warn("sign-up", "anybody can create a vault here", "VRM_SIGNUP=invite, and vrm vault invite")
    return ok("sign-up", mode)


def _ask(
    url: SplitResult, path: str, headers: dict[str, str] | None = None, *, proven: bool = True
) -> _Answer:
    """GET without redirects; `_NoAnswerError` for what is no JSON object."""
    status, body, certificate = _fetched(url, path, headers, proven=proven)
    try:
        document = json.loads(body)
    except ValueError:
        raise _NoAnswerError("what answers there is not vrm") from None
    if not isinstance(document, dict):
        raise _NoAnswerError("what answers there is not vrm")
    return _Answer(status, document, certificate)


def _fetched(
    url: SplitResult, path: str, headers: dict[str, str] | None = None, *, proven: bool = True
) -> tuple[int, bytes, dict[str, Any]]:
    """(status, body, certificate) of GET without redirects; `_NoAnswerError`.

    Not `proven`: by any certificate. Only for what is no secret, asked of this machine.
    """
    host, number = url.hostname or "", url.port
    context = ssl.create_default_context()
    if not proven:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPSConnection(host, number, timeout=TIMEOUT, context=context)
        if url.scheme == "https"
        else http.client.HTTPConnection(host, number, timeout=TIMEOUT)
    )
    with closing(connection):
        try:
            connection.connect()
            sock = connection.sock
            found = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else {}
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read(_MOST), dict(found or {})
        except ssl.SSLCertVerificationError as error:
            raise _NoAnswerError(f"its certificate is not good ({error.verify_message})") from None
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise _NoAnswerError(str(error) or type(error).__name__) from None
