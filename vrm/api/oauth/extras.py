"""What OAuth's extensions add to a request: a key, resources, what becomes of an earlier grant.

Promises: only the form is judged here, and only what was asked for is returned. Refuses values of the wrong
form with the error that each RFC names: `dpop_jkt` (RFC 9449 section 10), `resource` (RFC 8707 section 2),
`grant_id` and `grant_management_action` (Grant Management for OAuth 2.0).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError

from vrm.api.oauth.parameters import Parameters

ACTIONS = {"create": "create", "replace": "replace", "merge": "merge", "update": "merge"}
MOST_RESOURCES = 10
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256, base64url without padding
_GRANT_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class InvalidTargetError(OAuth2Error):
    """RFC 8707 section 2."""

    error = "invalid_target"
    description = "resource is not an absolute address without a fragment"


class InvalidGrantIdError(OAuth2Error):
    """Grant Management for OAuth 2.0, section 5: unknown, not this vendor's, or no id at all."""

    error = "invalid_grant_id"
    description = "grant_id is unknown"


def read_extras(parameters: Parameters) -> dict[str, Any]:
    """`jkt`, `resource`, `action` and `grant_id`, each only if the vendor said something of it."""
    found: dict[str, Any] = {}
    thumbprint = parameters.data.get("dpop_jkt")
    if thumbprint is not None:
        if not _THUMBPRINT.fullmatch(thumbprint):
            raise InvalidRequestError("dpop_jkt is not a SHA-256 thumbprint")
        found["jkt"] = thumbprint
    resources = read_resources(parameters)
    if resources:
        found["resource"] = resources
    return found | _read_action(parameters)


def read_resources(parameters: Parameters) -> list[str]:
    """The resources that the token is to be for: absolute addresses, each once."""
    if len(parameters.resources) > MOST_RESOURCES or not all(map(_is_resource, parameters.resources)):
        raise InvalidTargetError()
    return list(dict.fromkeys(parameters.resources))


def _is_resource(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme and urlsplit(text).netloc) and "#" not in text
    except ValueError:
        return False


def _read_action(parameters: Parameters) -> dict[str, str]:
    action, grant_id = parameters.data.get("grant_management_action"), parameters.data.get("grant_id")
    if action is None and grant_id is None:
        return {}
    if action is None:
        raise InvalidRequestError("grant_id needs a grant_management_action")
    if action not in ACTIONS:
        raise InvalidRequestError("grant_management_action is create, replace or merge")
    if (grant_id is None) != (ACTIONS[action] == "create"):
        raise InvalidRequestError("grant_id goes with replace and merge, and only with them")
    if grant_id is None:
        return {"action": "create"}
    if not _GRANT_ID.fullmatch(grant_id):
        raise InvalidGrantIdError()
    return {"action": ACTIONS[action], "grant_id": grant_id}
