"""The only table from errors to HTTP answers (RFC 9457 problem details).

Promises: every class in `vrm.errors` has a row; an answer carries a stable `type`, a status, a title and,
for what the client can mend, a reason and the fields at fault. Refuses to tell anything about a failure on
this side: a 5xx says its title and nothing more.

`type` is the path `/problems/<slug>`: a relative reference, so it is the same string at every vault and
still opens that vault's explanation when a person follows it (RFC 9457 section 3.1.1).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from flask import Response
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    LengthRequired,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    RequestURITooLarge,
    SecurityError,
    UnsupportedMediaType,
)
from werkzeug.http import HTTP_STATUS_CODES

from vrm import errors, logs

LOG = logging.getLogger("vrm.api")
TYPE_PREFIX = "/problems/"
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5  # seconds, where the error itself names none


@dataclass(frozen=True, slots=True)
class Row:
    """What one error class becomes."""

    status: int
    title: str


TABLE: dict[type[errors.VrmError], Row] = {
    errors.VrmError: Row(500, "Something failed on this side"),
    errors.SettingsError: Row(500, "This vault is not set up correctly"),
    errors.JoseError: Row(400, "A signed token is not good"),
    errors.OutboundError: Row(502, "Another server gave no answer that can be used"),
    errors.VaultError: Row(500, "Something failed in the vault"),
    errors.UnlockError: Row(401, "No way in with this credential"),
    errors.SessionExpiredError: Row(401, "The session has ended"),
    errors.PairingError: Row(404, "No program waits with this code"),
    errors.TamperedError: Row(500, "Stored bytes are not what was written"),
    errors.UnvouchedError: Row(503, "Her log takes nothing in before her vault is looked after"),
    errors.BusyError: Row(503, "Too many expensive requests at once"),
    errors.StorageError: Row(503, "The storage is not available"),
    errors.StorageConflictError: Row(503, "The storage was busy with the same; nothing was changed"),
    errors.UncertainError: Row(500, "Whether it was stored is not known"),
    errors.DrainingError: Row(503, "This server is about to stop"),
    errors.DataNewerError: Row(500, "The data was written by a newer version"),
    errors.UsernameTakenError: Row(409, "This name is taken"),
    errors.InvitationError: Row(403, "This invitation makes no vault"),
    errors.ValidationError: Row(422, "Something in the input is not valid"),
    errors.RecordNotFoundError: Row(404, "There is no such record"),
    errors.ConflictError: Row(409, "Changed meanwhile"),
    errors.FormatError: Row(422, "Not a known format"),
    errors.ImportLimitError: Row(413, "Larger than an import may be"),
    errors.RateLimitedError: Row(429, "Too many tries"),
    errors.ConsentError: Row(500, "Something failed in consent"),
    errors.VendorNotFoundError: Row(404, "There is no such vendor"),
    errors.ScopeError: Row(400, "Not a scope or request part of this vault"),
    errors.DetailsError: Row(400, "Not within what was granted"),
    errors.RequestNotFoundError: Row(404, "There is no such request"),
    errors.RequestChangedError: Row(409, "What would leave is not what was shown"),
    errors.TargetError: Row(400, "Not a resource of this vault"),
    errors.CodeError: Row(400, "The code or refresh token is not good"),
    errors.ProofError: Row(401, "The proof of possession is not good"),
    errors.NonceError: Row(401, "The proof of possession needs a newer nonce"),
    errors.ReplayError: Row(401, "The proof of possession was used before"),
    errors.TokenError: Row(401, "The access token is not good"),
    errors.GrantInactiveError: Row(401, "The grant has ended"),
    errors.InsufficientScopeError: Row(403, "The token does not carry the scope for this"),
    errors.GrantNotFoundError: Row(404, "There is no such grant"),
    errors.UnfitRequestError: Row(409, "Not one permission with what was agreed before"),
    errors.NotItsGrantError: Row(403, "The token is of another grant"),
    errors.NotInViewError: Row(404, "There is no such record for this token"),
    errors.ParameterError: Row(400, "A parameter is not understood"),
    errors.QuotaError: Row(429, "More waits for this customer than may"),
    errors.KeyReusedError: Row(409, "The key was used for something else"),
    errors.ConditionMissingError: Row(428, "A change must say what it changes"),
    errors.ConditionError: Row(412, "Not the newest state"),
}

HTTP_SLUGS: dict[int, str] = {
    400: "bad-request",
    404: "no-such-path",
    405: "method-not-allowed",
    411: "length-required",
    413: "body-too-large",
    414: "address-too-long",
    415: "unsupported-media-type",
    429: "rate-limited",
    500: "internal-error",
    503: "busy",
}


REASONS: dict[type[HTTPException], str] = {
    SecurityError: "this vault is not reached under that host name",
    ClientDisconnected: "the body ended before its length",
    BadRequest: "the request cannot be read",
    NotFound: "there is nothing at this address",
    MethodNotAllowed: "this address does not take that method",
    LengthRequired: "the request must say how long its body is, in Content-Length",
    RequestEntityTooLarge: "the body is larger than what is taken here",
    RequestURITooLarge: "the address is too long",
    UnsupportedMediaType: "the body is not of the media type that is taken here",
}


def reason(error: HTTPException) -> str:
    """One sentence that a client can act by; "" for a failure on this side."""
    return next((REASONS[cls] for cls in type(error).__mro__ if cls in REASONS), "")


def row(error: errors.VrmError) -> Row:
    """The row of this error's class, or of its nearest base that has one."""
    for cls in type(error).__mro__:
        if cls in TABLE:
            return TABLE[cls]
    raise RuntimeError("an error outside the tree")  # pragma: no cover


def answer(error: errors.VrmError) -> Response:
    """The whole HTTP answer for an error that we raised on purpose; a failure of ours is written down."""
    found = row(error)
    logs.failed(LOG, error, found.status)
    detail = str(error) if found.status < 500 else ""
    response = problem(found.status, error.slug, found.title, detail, error.fields)
    if found.status in (429, 503):
        response.headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER))
    return response


def http_answer(error: HTTPException) -> Response:
    """The same shape for what Flask and Werkzeug refuse (404, 405, 413, 415, 500 …)."""
    status = error.code or 500
    slug = HTTP_SLUGS.get(status, f"http-{status}")
    response = problem(status, slug, HTTP_STATUS_CODES.get(status, "Error"), reason(error))
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    if status in (429, 503):
        response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    return response


def problem(
    status: int, slug: str, title: str, detail: str = "", fields: Mapping[str, list[str]] | None = None
) -> Response:
    """One problem document; `errors` maps a field to its reasons."""
    document: dict[str, object] = {"type": TYPE_PREFIX + slug, "title": title, "status": status}
    if detail:
        document["detail"] = detail
    if fields and status < 500:
        document["errors"] = {name: list(reasons) for name, reasons in fields.items()}
    # A name that somebody sent may be half a character, which JSON can write and UTF-8 cannot.
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(body, status=status, content_type=MEDIA_TYPE)


def explanations() -> dict[str, tuple[int, str, str]]:
    """Slug → (status, title, what it means), for `/problems/<slug>` and the written list."""
    told = {
        cls.slug: (found.status, found.title, (cls.__doc__ or "").strip().splitlines()[0])
        for cls, found in TABLE.items()
    }
    for status, slug in HTTP_SLUGS.items():
        title = HTTP_STATUS_CODES[status]
        told.setdefault(slug, (status, title, f"The server answered {status} {title}."))
    return told
