"""Vendors whose client id is the address of a document about them.

draft-ietf-oauth-client-id-metadata-document. Promises: whoever can publish at a domain may ask in its name,
without registering anywhere, and customers read that domain and nothing else as its name; every other
address in the document belongs to the same origin, so that who may put a file somewhere at a shop cannot
send the shop's answers elsewhere. A document is kept between five minutes and a day; an outage is outlasted
for a day, a document that is gone or broken is not. Strangers make this host call and store a bounded
number of things: each address some an hour, each domain a few, all together so many, until a customer has
said yes to one. Whom the host blocked stays so, whatever is published.

Refuses documents with a shared secret in them, larger ones than 5 KiB, ids that are written in more than
one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vrm.clock import Clock
from vrm.consent import claims
from vrm.consent.counting import Counting, network
from vrm.consent.fetching import HOLD_BACK, LONGEST, Fetched, Fetching
from vrm.consent.vendors import DOCUMENT, Vendor, Vendors
from vrm.errors import BusyError, OutboundError, ValidationError, VendorNotFoundError
from vrm.outbound import checked
from vrm.vault.engine import Engine, Transaction

TABLES = (
    "CREATE TABLE documents (client_id TEXT PRIMARY KEY, host TEXT NOT NULL, expires INTEGER NOT NULL,"
    " tried INTEGER NOT NULL, used INTEGER NOT NULL, kept INTEGER NOT NULL)",
    "CREATE INDEX documents_used ON documents (used) WHERE kept = 0",
)
METHODS = ("private_key_jwt", "none")  # a public document holds no shared secret
MOST = 5 * 1024  # bytes of a document
OF_ALL, OF_HOST = 1000, 20  # documents that no customer has said yes to: of all, and of one host
AN_HOUR = 40  # unknown documents for one address on the network, an hour
_DAY = 86_400  # seconds: how long an outage is outlasted, and how long an unused document is kept
_HOUR = 3600  # seconds: how exactly its use is noted
_SECRETS = ("client_secret", "client_secret_expires_at")


@dataclass(frozen=True, slots=True)
class _State:
    """What is known of a document: until when it counts (0: never good), and when it was asked for last."""

    expires: int
    tried: int
    used: int
    kept: bool = False


def is_address(client_id: str) -> bool:
    """Whether a client id is meant as the address of a document."""
    return client_id.startswith(("https://", "http://"))


class Documents:
    """The vendors of origin "document"."""

    def __init__(
        self, engine: Engine, vendors: Vendors, counting: Counting, fetching: Fetching, clock: Clock
    ) -> None:
        self._engine = engine
        self._vendors = vendors
        self._counting = counting
        self._fetching = fetching
        self._clock = clock

    def vendor(self, client_id: str, asker: str = "") -> Vendor:
        """The vendor that a document describes, fetched where it is not at hand; `asker`: for whose sake.

        VendorNotFoundError tells its author what is wrong with it. BusyError, RateLimitedError.
        """
        self._check_id(client_id)
        state = self._state(client_id)  # before the vendor: who is known since is taken
        vendor, now = self._stored(client_id), self._clock.now()
        if vendor and (vendor.blocked or (state and now < state.expires <= now + LONGEST)):
            self._note_use(client_id, state, now)
            return vendor
        if state is None:
            self._make_room(client_id, asker)
        elif 0 <= now - state.tried < HOLD_BACK:
            return self._outlasting(vendor, state, "it could not be used a moment ago")
        try:
            return self._fetched(client_id, known=state is not None and state.kept)
        except OutboundError as error:
            state = _State(0 if error.answered or not state else state.expires, now, now)
            self._note(client_id, state)
            return self._outlasting(vendor, state, str(error))

    def _check_id(self, client_id: str) -> None:
        """Section 3 of the draft, and one spelling only; VendorNotFoundError."""
        try:
            parts = checked(client_id)
            inside = self._fetching.outbound.may_be_plain(client_id)
            if not inside:
                claims.check_host(client_id, "client_id")
        except (OutboundError, ValidationError):
            raise VendorNotFoundError("it is not the address of a document") from None
        segments = [unquote(segment) for segment in parts.path.split("/")]
        if (parts.scheme != "https" and not inside) or not parts.path or {".", ".."} & {*segments}:
            raise VendorNotFoundError("it is not the address of a document")

    def _stored(self, client_id: str) -> Vendor | None:
        try:
            return self._vendors.get(client_id)
        except VendorNotFoundError:
            if not self._engine.one("SELECT 1 FROM vendors WHERE client_id = ?", (client_id,)):
                return None
            # Known since, or somebody altered it: nothing that is fetched makes that a vendor again.
            return self._vendors.get(client_id)

    def _state(self, client_id: str) -> _State | None:
        sql = "SELECT expires, tried, used, kept FROM documents WHERE client_id = ?"
        row = self._engine.one(sql, (client_id,))
        return _State(row[0], row[1], row[2], bool(row[3])) if row else None

    def _outlasting(self, vendor: Vendor | None, state: _State, why: str) -> Vendor:
        if vendor is None or self._clock.now() >= state.expires + _DAY:
            raise VendorNotFoundError(why)
        return vendor

    def _make_room(self, client_id: str, asker: str) -> None:
        """Count a document that was not asked for before; BusyError, RateLimitedError."""
        self._counting.count("documents", (network(asker), AN_HOUR))
        of_all, of_host = self._engine.all(
            "SELECT count(*) FROM documents WHERE kept = 0 UNION ALL"
            " SELECT count(*) FROM documents WHERE kept = 0 AND host = ?",
            (claims.origin(client_id)[1],),
        )
        if of_all[0] >= OF_ALL or of_host[0] >= OF_HOST:
            raise BusyError("too many vendors that nobody knows yet")

    def _fetched(self, client_id: str, *, known: bool) -> Vendor:
        fetched = self._fetching.json(client_id, most=MOST, known=known)
        try:
            told = _read(client_id, fetched)
        except ValidationError as error:
            why = (f"{name} {reason}" for name, reasons in error.fields.items() for reason in reasons)
            raise OutboundError("; ".join(why), answered=True) from None
        now = self._clock.now()
        with self._engine.write() as transaction:
            vendor = self._put(transaction, client_id, told, now)
            self._note(client_id, _State(now + fetched.keep, now, now))
        return vendor

    def _put(self, transaction: Transaction, client_id: str, told: claims.Claims, now: int) -> Vendor:
        """Store what was published; what the host said of it meanwhile stays."""
        before = self._stored(client_id)
        vendor = Vendor(
            client_id,
            urlsplit(client_id).netloc,
            told.redirect_uris,
            told.auth_method == "none",
            False,
            (),
            "RequestedServiceProvision",
            before.blocked if before else False,
            before.created if before else now,
            told.auth_method,
            told.jwks,
            told.jwks_uri,
            told.dpop_bound,
            told.events_uri,
            DOCUMENT,
            told.name,
        )
        if vendor != before:
            self._vendors.put(transaction, vendor, None)
        return vendor

    def _note(self, client_id: str, state: _State) -> None:
        with self._engine.write() as transaction:
            transaction.execute(
                "INSERT INTO documents (client_id, host, expires, tried, used, kept)"
                " VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (client_id) DO UPDATE"
                " SET expires = excluded.expires, tried = excluded.tried, used = excluded.used",
                (client_id, claims.origin(client_id)[1], state.expires, state.tried, state.used),
            )

    def _note_use(self, client_id: str, state: _State | None, now: int) -> None:
        if state and now >= state.used + _HOUR:
            with self._engine.write() as transaction:
                transaction.execute("UPDATE documents SET used = ? WHERE client_id = ?", (now, client_id))

    def keep(self, client_id: str) -> None:
        """A customer has said yes to it: it is forgotten no more."""
        if self._engine.one("SELECT 1 FROM documents WHERE client_id = ? AND kept = 0", (client_id,)):
            with self._engine.write() as transaction:
                transaction.execute("UPDATE documents SET kept = 1 WHERE client_id = ?", (client_id,))

    def sweep(self) -> None:
        """Forget what nobody said yes to and nobody asked for in a day, or what was never good."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            gone = transaction.execute(
                "SELECT client_id FROM documents WHERE kept = 0"
                " AND (used < ? OR (expires = 0 AND tried < ?)) LIMIT 500",
                (now - _DAY, now - HOLD_BACK),
            ).fetchall()
            for (client_id,) in gone:
                transaction.execute("DELETE FROM documents WHERE client_id = ?", (client_id,))
                transaction.execute("DELETE FROM vendors WHERE client_id = ? AND blocked = 0", (client_id,))


def _read(client_id: str, fetched: Fetched) -> claims.Claims:
    """What a document says, if it is about its own address (section 4.1 of the draft)."""
    if fetched.document.get("client_id") != client_id:
        raise claims.wrong("client_id", "must be the address of the document")
    if any(member in fetched.document for member in _SECRETS):
        raise claims.wrong("client_secret", "has no place in a public document")
    return claims.read(fetched.document, METHODS, "none", client_id)
