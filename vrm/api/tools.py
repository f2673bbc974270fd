"""`/api/v1/tools`: what a program of the customer's own can do with her vault.

Promises: the credential comes in the one Authorization header and opens the vault for this request only; what
it does is what her pages do, with the same words for what went wrong. A program can bring histories in, see
who may read what, stop that, and give its own credential back. Refuses tokens of vendors, as these refuse a
tool's; and all that her pages ask the passphrase for: no program takes everything out, changes the ways in
or lets another one in.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException, default_exceptions

from vrm.api import guards, problems
from vrm.api.failures import one_too_many
from vrm.api.gate import REALM, presented
from vrm.clock import rfc3339
from vrm.consent.counting import Permits
from vrm.consent.credentials import read_token
from vrm.consent.grants import GrantView
from vrm.consent.service import Consent
from vrm.device import TOOLS
from vrm.errors import ParameterError, SessionExpiredError, TokenError, ValidationError, VrmError
from vrm.settings import Settings
from vrm.vault.vault import Vault, Vaults

FILES_MOST = 50


class ToolDesk:
    """One for each application."""

    def __init__(self, vaults: Vaults, consent: Consent, max_upload: int) -> None:
        self._vaults = vaults
        self._consent = consent
        self._max_upload = max_upload

    def about(self) -> Response:
        """Whose vault it is, and until when."""
        vault, secret = self._opened()
        own = self._vaults.tools.id_of(secret)
        ends = [one.expires for one in self._vaults.tools.listing(vault.keyring) if one.id == own]
        if not ends:  # disconnected a moment ago
            raise TokenError()
        return _json({"username": vault.username, "expires": rfc3339(ends[0])})

    def leave(self) -> Response:
        """The program gives its credential back."""
        vault, secret = self._opened()
        self._vaults.tools.close(vault.id, self._vaults.tools.id_of(secret))
        return Response(status=204)

    def bring_in(self) -> Response:
        """Import the files of a form; all of them or, if one cannot be read, none."""
        from vrm.vault import intake

        vault, _ = self._opened()
        request.max_content_length = self._max_upload
        files = [upload for upload in request.files.getlist("files") if upload.filename]
        if not 0 < len(files) <= FILES_MOST:
            raise ValidationError(fields={"files": [f"needs 1 to {FILES_MOST} files"]})
        reports = intake.bring_in(vault, [(str(one.filename)[-200:], one.stream) for one in files])
        return _json({"files": [report.as_json() for report in reports]})

    def connections(self) -> Response:
        """Every connection with a vendor, the newest first."""
        vault, _ = self._opened()
        found = self._consent.grants.listing(vault)
        return _json({"items": [connection(one) for one in found]})

    def stop(self, grant_id: str) -> Response:
        """Stop a connection: in force when this answers. GrantNotFoundError."""
        vault, _ = self._opened()
        self._consent.grants.revoke(vault, grant_id)
        return Response(status=204)

    def _opened(self) -> tuple[Vault, bytes]:
        if request.args:
            raise ParameterError("no parameter belongs in this address")
        scheme, token = presented(request) or ("", "")
        secret = read_token("tool", token) if scheme == "bearer" else None
        if secret is None:
            raise TokenError("no credential of a program in the Authorization header")
        try:
            return self._vaults.resume_tool(secret), secret
        except SessionExpiredError:
            raise TokenError("this program is not connected, or no longer") from None


def connection(grant: GrantView) -> dict[str, Any]:
    """A connection as programs read it."""
    return {
        "id": grant.id,
        "vendor": grant.vendor_name,
        "state": grant.state,
        "reads": [*grant.facets],
        "writes": [*grant.writes],
        "created": rfc3339(grant.created),
        "expires": rfc3339(grant.expires),
        "last_read": None if grant.last_read is None else rfc3339(grant.last_read),
        "readings": grant.reads,
    }


def blueprint(vaults: Vaults, consent: Consent, settings: Settings) -> Blueprint:
    """The routes under /api/v1/tools."""
    desk = ToolDesk(vaults, consent, settings.max_upload)
    routes = Blueprint("tools", __name__, url_prefix=TOOLS)
    routes.add_url_rule("/self", "about", desk.about)
    routes.add_url_rule("/self", "leave", desk.leave, methods=["DELETE"])
    routes.add_url_rule("/imports", "bring_in", desk.bring_in, methods=["POST"])
    routes.add_url_rule("/connections", "connections", desk.connections)
    routes.add_url_rule("/connections/<grant_id>", "stop", desk.stop, methods=["DELETE"])
    routes.after_request(guards.protect)
    routes.register_error_handler(VrmError, partial(_refused, consent.permits))
    for code in default_exceptions:  # by code: otherwise the app's own pages for that code come first
        routes.register_error_handler(code, _http)
    return routes


def _refused(permits: Permits, error: VrmError) -> Response:
    if not isinstance(error, TokenError):
        return problems.answer(error)
    code = "invalid_token" if "Authorization" in request.headers else ""
    limited = one_too_many(permits, code)
    answer = problems.answer(limited or error)
    if limited is None:
        told = f', error="{code}"' if code else ""
        answer.headers["WWW-Authenticate"] = f'Bearer realm="{REALM}"{told}'
    return answer


def _http(error: HTTPException) -> Response:
    return problems.http_answer(error)


def _json(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json")
