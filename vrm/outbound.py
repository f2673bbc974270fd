"""Calls that this host makes to addresses which strangers name: documents, keys, events.

Promises: a name is resolved once and the connection goes to the address that was looked at, whatever the
name says a moment later (DNS rebinding); only addresses of the public internet are called, and if a name has
several, each must be one; no redirect is followed; no proxy from the environment is used; one call ends
within its time, however slowly the other side sends, and takes no more bytes than it was given leave for;
each says `Sec-GPC: 1`. Refuses plain http, other ports below 1024 than 443 (so that nobody makes this host
knock at mail servers and the like), credentials in the address, and answers that are compressed or cut off.

`VRM_OUTBOUND_ALLOW` is the only way past: an address in one of its networks may be private, asked by plain
http, and on any port. Certificates are those that OpenSSL trusts (`SSL_CERT_FILE` names others).

What is refused is one OutboundError. Its text says what the other side may hear: before a public address has
answered, only that it could not be called, so that nobody maps a network by asking us.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from vrm.errors import OutboundError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

TIMEOUT = 5.0  # seconds that a whole call may take, from the name to the last byte
MAX_URL = 2000  # characters
MAX_ANSWER = 64 * 1024  # bytes
_CONNECT = 2.0  # seconds for one address of several
_UNREACHABLE = "the address could not be called"
_URL = re.compile(r"[!#-;=?-Z_a-z~\[\]]+")  # printable ASCII besides blanks, quotes, <, >, \, ^, `, {, |, }
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# The special-purpose registries of IANA (RFC 6890 and what came later), written down here because Python's
# `is_global` changes with its version. Of IPv6 only 2000::/3 is in use on the public internet.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver tells them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Outbound:
    """The way out. Holds no connection between two calls."""

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        timeout: float = TIMEOUT,
        resolve: Resolve = resolve,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._timeout = timeout
        self._resolve = resolve
        self._trust = trust

    def get(self, url: str, *, most: int = MAX_ANSWER, accept: str = "application/json") -> Answer:
        """What is at an address, `most` bytes of it; OutboundError."""
        return self._call("GET", url, None, {"Accept": accept}, most)

    def post(
        self, url: str, body: bytes, content_type: str, *, most: int = MAX_ANSWER, accept: str = "*/*"
    ) -> Answer:
        """The answer to something that is sent; OutboundError."""
        return self._call("POST", url, body, {"Content-Type": content_type, "Accept": accept}, most)

    def may_be_plain(self, url: str) -> bool:
        """Whether an http address is one by number that `VRM_OUTBOUND_ALLOW` names (or loopback by name)."""
        host = urlsplit(url).hostname or ""
        with suppress(ValueError):
            return self._allowed(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host))
        return False

    def _call(self, method: str, url: str, body: bytes | None, headers: dict[str, str], most: int) -> Answer:
        deadline = time.monotonic() + self._timeout
        parts = checked(url)
        addresses = self._addresses(parts, deadline)
        try:
            with self._connect(parts, addresses, deadline) as connected:
                wire = _Wire(connected, deadline)
                return _exchange(wire, method, parts, body, headers, most)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OutboundError(_UNREACHABLE) from error

    def _addresses(self, parts: SplitResult, deadline: float) -> list[Address]:
        """Every address of the host, if each of them may be called."""
        found = self._looked_up(parts.hostname or "", _port(parts), deadline)
        outside = [address for address in found if not self._allowed(address)]
        usual = parts.scheme == "https" and (_port(parts) == 443 or _port(parts) >= 1024)
        if not found or (outside and not usual) or not all(map(is_public, outside)):
            raise OutboundError(_UNREACHABLE)
        return found

    def _looked_up(self, host: str, port: int, deadline: float) -> list[Address]:
        """Resolved in a thread of its own: the system's resolver knows no deadline."""
        found: list[Address] = []

        def look() -> None:
            with suppress(OSError, ValueError):  # a UnicodeError, too, for labels that are too long
                found.extend([ipaddress.ip_address(one) for one in self._resolve(host, port)])

        looking = threading.Thread(target=look, name="vrm-resolve", daemon=True)
        looking.start()
        looking.join(deadline - time.monotonic())
        return [] if looking.is_alive() else found

    def _allowed(self, address: Address) -> bool:
        inner = _within(address)
        return any(inner.version == network.version and inner in network for network in self._allow)

    def _connect(self, parts: SplitResult, addresses: Sequence[Address], deadline: float) -> socket.socket:
        """A connection to the first of these very addresses that answers."""
        for address in addresses:
            left = deadline - time.monotonic()
            with suppress(OSError):
                raw = socket.create_connection(
                    (str(address), _port(parts)), timeout=min(max(left, 0.001), _CONNECT)
                )
                return self._secured(raw, parts, deadline)
        raise OSError(_UNREACHABLE)

    def _secured(self, raw: socket.socket, parts: SplitResult, deadline: float) -> socket.socket:
        if parts.scheme == "http":
            return raw
        try:
            raw.settimeout(max(deadline - time.monotonic(), 0.001))  # the whole of the handshake
            self._trust = self._trust or ssl.create_default_context()
            return self._trust.wrap_socket(raw, server_hostname=parts.hostname)
        except BaseException:
            raw.close()
            raise


def checked(url: str) -> SplitResult:
    """The pieces of an address that may be called at all; OutboundError."""
    try:
        parts = urlsplit(url) if len(url) <= MAX_URL and _URL.fullmatch(url) else None
        good = parts and parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        parts, good = None, False
    if parts is None or not good or "@" in parts.netloc or "#" in url:
        raise OutboundError("not an address that can be called")
    return parts


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet; IPv4 inside of IPv6 counts as what it is."""
    inner = _within(address)
    if isinstance(inner, ipaddress.IPv6Address) and inner not in _PUBLIC_IPV6:
        return False
    return not any(inner.version == network.version and inner in network for network in _NOT_PUBLIC)


def _within(address: Address) -> Address:
    """The address to which a packet goes in the end."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


class _Wire:
    """A connection of which every step knows how much time is left for all of them."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def _hurry(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)

    def sendall(self, sent: bytes) -> None:
        self._hurry()  # sendall counts the whole of what it sends
        self._socket.sendall(sent)

    def makefile(self, *_: object) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def receive(self, into: memoryview) -> int:
        self._hurry()
        return self._socket.recv_into(into)

    def close(self) -> None:
        """http.client ends a connection before it has read the last answer; who opened it closes it."""


class _Reader(io.RawIOBase):
    """What http.client reads from."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]
        return self._wire.receive(into)


def _exchange(
    wire: _Wire, method: str, parts: SplitResult, body: bytes | None, headers: dict[str, str], most: int
) -> Answer:
    """One request and its whole answer."""
    connection = http.client.HTTPConnection(parts.hostname or "", _port(parts))
    connection.sock = wire
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    told = {"Host": parts.netloc, "User-Agent": "vrm", "Sec-GPC": "1", "Connection": "close", **headers}
    connection.request(method, target, body, told)
    response = connection.getresponse()
    if 300 <= response.status < 400:
        raise OutboundError("redirects are not followed", answered=True)
    if response.getheader("Content-Encoding", "identity") != "identity":
        raise OutboundError("the answer is compressed", answered=True)
    found = response.read(most + 1)
    if len(found) > most:
        raise OutboundError("the answer is too large", answered=True)
    if response.length:  # what was announced and did not come
        raise OutboundError("the answer is cut off")
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, found)
