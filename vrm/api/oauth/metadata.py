"""What this server can do, for programs: RFC 8414 (authorization server) and RFC 9728 (protected resource).

Promises: only what is built is listed, and every listed endpoint exists. The resource is the vault's public
address as a whole.
"""

from __future__ import annotations

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from vrm import jose
from vrm.api.oauth.clients import GRANT_TYPES, METHODS
from vrm.api.oauth.dpop import ALGORITHMS
from vrm.api.oauth.introspect import INTROSPECT, PROVING
from vrm.api.oauth.management import ACTIONS, GRANTS
from vrm.api.oauth.par import PAR
from vrm.api.oauth.profile import Profile
from vrm.api.oauth.registration import REGISTER
from vrm.consent.scopes import MANAGEMENT
from vrm.device import DEVICE, DEVICE_AUTHORIZATION

DETAILS_TYPES = ["vrm_access"]


def authorization_server(
    public_url: str, scopes: list[str], profile: Profile, *, registration: bool, tools: bool
) -> dict[str, object]:
    """The document of RFC 8414, checked by Authlib before it is served."""
    methods = profile.allowed(METHODS)
    document: dict[str, object] = {
        "issuer": public_url,
        "authorization_endpoint": public_url + "/oauth/authorize",
        "token_endpoint": public_url + "/oauth/token",
        "pushed_authorization_request_endpoint": public_url + PAR,
        "require_pushed_authorization_requests": profile.pushed_only,
        "revocation_endpoint": public_url + "/oauth/revoke",
        "introspection_endpoint": public_url + INTROSPECT,
        "introspection_endpoint_auth_methods_supported": profile.allowed(PROVING),
        "introspection_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "grant_management_endpoint": public_url + GRANTS,
        "grant_management_actions_supported": ACTIONS,
        "grant_management_action_required": False,
        "jwks_uri": public_url + "/oauth/jwks.json",
        "scopes_supported": [*scopes, *MANAGEMENT],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": sorted(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(jose.ALGORITHMS),
        "client_id_metadata_document_supported": True,
        "code_challenge_methods_supported": ["S256"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "authorization_response_iss_parameter_supported": True,
        "authorization_details_types_supported": DETAILS_TYPES,
        "protected_resources": [public_url],
        "service_documentation": public_url + "/docs",
    }
    if registration:
        document["registration_endpoint"] = public_url + REGISTER
    if tools:
        document["device_authorization_endpoint"] = public_url + DEVICE_AUTHORIZATION
        document["grant_types_supported"] = sorted({*GRANT_TYPES, DEVICE})
    AuthorizationServerMetadata(document).validate()
    return document


def protected_resource(public_url: str, scopes: list[str], *, constrained: bool) -> dict[str, object]:
    """The document of RFC 9728."""
    return {
        "resource": public_url,
        "authorization_servers": [public_url],
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "dpop_bound_access_tokens_required": constrained,
        "authorization_details_types_supported": DETAILS_TYPES,
        "resource_name": "vrm vault",
        "resource_documentation": public_url + "/docs",
    }
