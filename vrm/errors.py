"""Every error that the project raises on purpose, in one tree.

    VrmError
    ├─ SettingsError            a setting cannot be used
    ├─ JoseError                a signed token is not good
    ├─ OutboundError            another server could not be called, or not with success
    ├─ VaultError
    │  ├─ UnlockError           no way in with this credential
    │  ├─ SessionExpiredError   the session ended
    │  ├─ TamperedError         stored bytes are not what was written
    │  │  └─ UnvouchedError     … the keys of a vault, as far as this server key knows
    │  ├─ BusyError             too many expensive requests at once
    │  ├─ StorageError          the disk or database refused
    │  │  ├─ StorageConflictError   undone for another change's sake; can be tried again
    │  │  └─ UncertainError         whether it was stored is not known
    │  ├─ DrainingError         this server is about to stop
    │  ├─ DataNewerError        written by a newer version
    │  ├─ PairingError          a program's code: unknown, used or ended: one and the same
    │  ├─ UsernameTakenError
    │  ├─ InvitationError       unknown, used, revoked or expired: one and the same
    │  ├─ ValidationError       fields with reasons
    │  ├─ RecordNotFoundError
    │  ├─ ConflictError         somebody else changed it meanwhile
    │  ├─ FormatError           a file in no known layout
    │  ├─ ImportLimitError      a file beyond the limits
    │  └─ RateLimitedError      too many tries
    └─ ConsentError
       ├─ VendorNotFoundError
       ├─ ScopeError            unknown scope or malformed request part
       │  └─ DetailsError       parts that are not within what was granted
       ├─ RequestNotFoundError
       ├─ RequestChangedError   what would leave is not what was shown
       ├─ TargetError           a resource that is unknown, or not among those granted
       ├─ CodeError             code or refresh token is not (or no longer) good
       ├─ ProofError            a proof of possession (DPoP) is not good
       │  ├─ NonceError         … lacks the server's newest nonce
       │  └─ ReplayError        … was used before
       ├─ TokenError            access token is not (or no longer) good
       ├─ GrantInactiveError    the grant has ended
       ├─ InsufficientScopeError
       ├─ GrantNotFoundError
       ├─ UnfitRequestError     cannot be one permission with what was agreed before
       ├─ NotItsGrantError      another grant than that of the token
       ├─ NotInViewError        absent, filtered out, not granted: one and the same
       ├─ ParameterError        a request parameter that is not understood
       ├─ QuotaError            more was left for a vault than may wait there
       ├─ KeyReusedError        an Idempotency-Key came again with another body
       ├─ ConditionMissingError a change without the version that it changes
       └─ ConditionError        a change of a version that is not the newest

`slug` is stable: API answers, pages, logs and docs name it. Misuse by our own code is a plain
ValueError or RuntimeError and is never caught.
"""

from __future__ import annotations

from collections.abc import Mapping


class VrmError(Exception):
    """Base of all; `hint` says what to do, `fields` names what was wrong where."""

    slug = "error"

    def __init__(
        self, message: str = "", *, hint: str = "", fields: Mapping[str, list[str]] | None = None
    ) -> None:
        super().__init__(message or (self.__doc__ or self.slug).splitlines()[0].rstrip("."))
        self.hint = hint
        self.fields: dict[str, list[str]] = dict(fields or {})


class SettingsError(VrmError):
    """A setting cannot be used."""

    slug = "settings-invalid"


class JoseError(VrmError):
    """A signed token is not good."""

    slug = "signed-token-invalid"


class OutboundError(VrmError):
    """Another server could not be called, or gave no answer that can be used."""

    slug = "outbound"

    def __init__(self, message: str = "", *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered  # it was reached, and what it said cannot be used


class VaultError(VrmError):
    """Base of what the vault refuses."""

    slug = "vault"


class UnlockError(VaultError):
    """This name and credential open no vault."""

    slug = "wrong-credential"


class SessionExpiredError(VaultError):
    """This session has ended; log in again."""

    slug = "session-expired"


class PairingError(VaultError):
    """No program waits with this code, or no longer."""

    slug = "code-not-waiting"


class TamperedError(VaultError):
    """Stored bytes are not what the vault wrote."""

    slug = "tampered"


class UnvouchedError(TamperedError):
    """The server key does not vouch for the keys of this vault: its host and its customer can mend that."""

    slug = "unvouched"


class BusyError(VaultError):
    """Too many log-ins at once; try again in a few seconds."""

    slug = "busy"


class StorageError(VaultError):
    """The storage refused; nothing was changed."""

    slug = "storage-unavailable"


class StorageConflictError(StorageError):
    """Somebody else changed the same at the same time; nothing was changed, try again."""

    slug = "storage-conflict"


class UncertainError(StorageError):
    """The storage went away while it stored this; look whether it is there before you try again."""

    slug = "outcome-unknown"


class DrainingError(VaultError):
    """This server is about to stop; another one answers."""

    slug = "draining"


class DataNewerError(VaultError):
    """The data was written by a newer version of vrm."""

    slug = "data-newer"


class UsernameTakenError(VaultError):
    """A vault with this name exists already."""

    slug = "username-taken"


class InvitationError(VaultError):
    """This invitation makes no vault, or no longer."""

    slug = "invitation-invalid"


class ValidationError(VaultError):
    """Something in the input is not valid; `errors` says what and why."""

    slug = "invalid"


class RecordNotFoundError(VaultError):
    """There is no such record."""

    slug = "not-found"


class ConflictError(VaultError):
    """The record was changed meanwhile; load it again."""

    slug = "conflict"


class FormatError(VaultError):
    """Not a format I know."""

    slug = "unknown-format"


class ImportLimitError(VaultError):
    """The file is beyond what an import accepts."""

    slug = "import-too-large"


class RateLimitedError(VaultError):
    """Too many tries; wait before the next one."""

    slug = "rate-limited"

    def __init__(self, message: str = "", *, retry_after: int = 60) -> None:
        super().__init__(message, hint=f"try again in {retry_after} seconds")
        self.retry_after = retry_after  # seconds


class ConsentError(VrmError):
    """Base of what consent refuses."""

    slug = "consent"


class VendorNotFoundError(ConsentError):
    """There is no such vendor, or it is blocked."""

    slug = "vendor-not-found"


class ScopeError(ConsentError):
    """The scope or request part is unknown, not built, or malformed."""

    slug = "invalid-scope"


class DetailsError(ScopeError):
    """The parts asked for are not within what was granted."""

    slug = "invalid-authorization-details"


class RequestNotFoundError(ConsentError):
    """There is no such request, or it was decided or expired."""

    slug = "request-not-found"


class RequestChangedError(ConsentError):
    """What would leave differs from what was shown; look again."""

    slug = "request-changed"


class TargetError(ConsentError):
    """The resource is not one for which this vault gives tokens, or not among those granted."""

    slug = "invalid-target"


class CodeError(ConsentError):
    """The code or refresh token is not good, or no longer."""

    slug = "code-invalid"


class ProofError(ConsentError):
    """The proof of possession (DPoP) is missing or not good."""

    slug = "dpop-proof-invalid"


class NonceError(ProofError):
    """The proof of possession needs the nonce of this answer's `DPoP-Nonce`."""

    slug = "dpop-nonce-required"

    def __init__(self, nonce: str = "") -> None:
        super().__init__()
        self.nonce = nonce


class ReplayError(ProofError):
    """The proof of possession was used before."""

    slug = "dpop-proof-used"


class TokenError(ConsentError):
    """The access token is not good, or no longer."""

    slug = "token-invalid"


class GrantInactiveError(TokenError):
    """The grant behind the token has ended."""

    slug = "grant-inactive"


class InsufficientScopeError(ConsentError):
    """The token does not carry the scope for this."""

    slug = "insufficient-scope"


class GrantNotFoundError(ConsentError):
    """There is no such grant."""

    slug = "grant-not-found"


class UnfitRequestError(ConsentError):
    """What a request wants to add cannot be one permission with what was agreed before."""

    slug = "request-unfit"


class NotItsGrantError(ConsentError):
    """This token is of another grant."""

    slug = "not-its-grant"


class NotInViewError(ConsentError):
    """There is no such record for this token."""

    slug = "not-in-view"


class ParameterError(ConsentError):
    """A parameter is not understood or not allowed."""

    slug = "invalid-parameter"


class QuotaError(ConsentError):
    """More waits for this customer than may; try again when she has looked at it."""

    slug = "quota"
    retry_after = 3600  # seconds


class KeyReusedError(ConsentError):
    """This Idempotency-Key was used for another body."""

    slug = "idempotency-key-reused"


class ConditionMissingError(ConsentError):
    """A change needs If-Match with the ETag of what it changes."""

    slug = "precondition-required"


class ConditionError(ConsentError):
    """What If-Match names is not the newest state; read it again."""

    slug = "precondition-failed"
