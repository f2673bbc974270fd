"""From what a visitor types to her vault: `alice@vault.example`, `vault.example` or its whole address.

A visitor's word leads your server to a place of her choice, so use `PublicTransport` for it: it refuses
whatever is not on the public internet (server-side request forgery). Nothing typed is believed: what is
found is a vault only if `discover` says so.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import SplitResult

import urllib3

from vrm_client.errors import ProtocolError, RefusedError
from vrm_client.transport import MAX_BYTES, TIMEOUT, Transport, check_url, place, require_success, with_query

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

REL = "urn:vrm:rel:vault"
_TYPED = re.compile(r"(?:(?:acct:)?([^@/\s]{1,80})@)?(https?://)?([^@/\s?#]{1,260})/?")
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")  # all that is in use of it on the public internet
_HOST = re.compile(r"[a-z0-9.:\[\]-]+")
_LOCAL = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")


class PublicTransport(Transport):
    """Speaks https with public addresses only, and with exactly the address that it checked.

    All addresses of a name must be public: a name that also leads inside is refused (DNS rebinding). `allow`
    names networks that count as public, plain http included: for development, such as `127.0.0.0/8`.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        timeout: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(timeout=timeout, max_bytes=max_bytes, ca_file=ca_file)
        self._allow = [ipaddress.ip_network(network) for network in allow]

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        parts = check_url(url)
        pool = self._pool_to(parts, public_address(parts, self._allow))
        return pool.request(
            method,
            parts._replace(scheme="", netloc="").geturl() or "/",
            headers={**headers, "Host": parts.netloc},
            body=body,
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout),
        )

    def _pool_to(self, parts: SplitResult, address: str) -> urllib3.HTTPConnectionPool:
        """Connections to that address, kept for the next request; the certificate must be the name's."""
        if parts.scheme == "http":  # only where `allow` lets it
            return self._pool.connection_from_host(address, parts.port, "http")
        named = {
            "server_hostname": parts.hostname,
            "assert_hostname": parts.hostname,
        }
        return self._pool.connection_from_host(address, parts.port, "https", pool_kwargs=named)


def public_address(parts: SplitResult, allow: Sequence[Network] = ()) -> str:
    """The first address of a URL's host where all of them may be spoken with; ProtocolError otherwise."""
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise ProtocolError("that is not the name of a host") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    allowed = [any(address in network for network in allow) for address in addresses]
    plain = parts.scheme == "http"
    for address, let in zip(addresses, allowed, strict=True):
        if not let and (plain or not _is_public(address)):
            raise ProtocolError(f"{parts.hostname} is not on the public internet")
    return str(addresses[0])


def _is_public(address: Address) -> bool:
    # An address that carries another one leads there.
    if isinstance(address, ipaddress.IPv6Address) and (
        address.sixtofour or address.teredo or address not in _PUBLIC_IPV6
    ):
        return False
    return address.is_global and not address.is_multicast


def find(typed: str, transport: Transport) -> str:
    """The public URL of the vault that a visitor named; ProtocolError whose sentence can be shown to her.

    With a name before the host, that host says where the vault is (WebFinger, RFC 7033); without, the host
    is the vault.
    """
    found = _TYPED.fullmatch(typed.strip())
    if found is None:
        raise ProtocolError("that is not an address of a vault, such as alice@vault.example or vault.example")
    name, scheme, host = found[1], found[2], _spelled(found[3])
    base = f"{scheme or ('http://' if _LOCAL.fullmatch(host) else 'https://')}{host}"
    check_url(base)
    return _fingered(base, f"acct:{name}@{host}", transport) if name else base


def _spelled(host: str) -> str:
    """The host as the network spells it, in small letters; the port stays."""
    try:
        spelled = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        spelled = ""
    if not _HOST.fullmatch(spelled):
        raise ProtocolError("that is not the name of a host")
    return spelled


def _fingered(base: str, account: str, transport: Transport) -> str:
    """What the host's WebFinger says; the host itself where it has none."""
    query = {"resource": account, "rel": REL}
    answer = transport.get(with_query(f"{base}/.well-known/webfinger", query))
    try:
        links = require_success(answer).json_object().get("links")
    except (RefusedError, ProtocolError):
        return base
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == REL and isinstance(link.get("href"), str):
            address = str(link["href"]).rstrip("/")
            check_url(address)
            return address
    raise ProtocolError(f"{place(base)} knows no vault of that name")
