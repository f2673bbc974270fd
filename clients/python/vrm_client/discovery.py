"""From a vault's address to its endpoints: RFC 9728, then RFC 8414.

Refuses documents that speak of another resource or issuer, endpoints on another host than their
issuer's, authorization servers that do not know the vault as theirs, and vaults without PKCE S256 or without
the `iss` of RFC 9207: a document that steers codes, tokens and secrets elsewhere must not be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlunsplit

from vrm_client.errors import ProtocolError
from vrm_client.transport import Json, Transport, check_url, origin, require_success


@dataclass(frozen=True, slots=True)
class Vault:
    """Where a vault listens."""

    resource: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str
    pushed_endpoint: str = ""  # RFC 9126; empty where requests cannot be pushed
    jwks_uri: str = ""  # of the keys that sign events


def discover(address: str, transport: Transport) -> Vault:
    """Find the endpoints of the vault at this address (its public URL)."""
    address = address.rstrip("/")
    about = _metadata(address, "oauth-protected-resource", transport)
    resource = about.get("resource")
    # RFC 9728 §3.3: a document about another resource MUST NOT be used.
    if not isinstance(resource, str) or resource.rstrip("/") != address:
        raise ProtocolError("the vault's metadata speaks of another resource")
    servers = about.get("authorization_servers")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], str):
        raise ProtocolError("the vault names no authorization server")
    return _authorization_server(address, servers[0], transport)


def _authorization_server(address: str, issuer: str, transport: Transport) -> Vault:
    server = _metadata(issuer, "oauth-authorization-server", transport)
    # RFC 8414 §3.3: the issuer must be identical to the one asked for.
    if server.get("issuer") != issuer:
        raise ProtocolError("the authorization server's metadata names another issuer")
    # Else anybody's "vault" could name an honest one's server, and be sent the tokens that this one gives.
    if issuer.rstrip("/") != address and not _lists(server.get("protected_resources"), address):
        raise ProtocolError("the authorization server does not know this vault as one of its own")
    methods = server.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise ProtocolError("the authorization server does not offer PKCE with S256")
    if server.get("authorization_response_iss_parameter_supported") is not True:
        raise ProtocolError("the authorization server does not identify itself in its answers (RFC 9207)")
    names = ("authorization_endpoint", "token_endpoint", "revocation_endpoint")
    endpoints = {name: _endpoint(server, name, issuer) for name in names}
    optional = {
        name: _endpoint(server, said, issuer)
        for name, said in (
            ("pushed_endpoint", "pushed_authorization_request_endpoint"),
            ("jwks_uri", "jwks_uri"),
        )
        if said in server
    }
    return Vault(resource=address, issuer=issuer, **endpoints, **optional)


def _lists(resources: Json, address: str) -> bool:
    """RFC 9728 section 4: the server itself says for which resources its tokens are."""
    return isinstance(resources, list) and address in resources


def _endpoint(server: dict[str, Json], name: str, issuer: str) -> str:
    url = server.get(name)
    if not isinstance(url, str):
        raise ProtocolError(f"the authorization server's metadata lacks {name}")
    if origin(url) != origin(issuer):
        raise ProtocolError(f"{name} is on another host than its issuer")
    return url


def _metadata(address: str, kind: str, transport: Transport) -> dict[str, Json]:
    """Fetch a well-known document; its name goes between host and path (RFC 8414 §3.1, RFC 9728 §3.1)."""
    parts = check_url(address)
    path = f"/.well-known/{kind}{parts.path.rstrip('/')}"
    url = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return require_success(transport.get(url)).json_object()
