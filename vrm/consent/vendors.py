"""Vendors: those that the host registered, and those that say themselves who they are.

Promises: what a customer reads as a vendor's name is the host's word, or the domain where it can be reached,
in the characters that the network uses; what an unverified vendor calls itself is kept apart as its claim.
Each row carries a MAC under the server key: who writes to the table alone can neither rename a vendor nor
send its codes elsewhere nor change how it proves itself. Such a row is no vendor any more.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from vrm.clock import Clock
from vrm.consent import keysets
from vrm.consent.purposes import purpose as known_purpose
from vrm.errors import ValidationError, VendorNotFoundError
from vrm.settings import LOOPBACK
from vrm.vault import compact, crypto
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.naming import is_plain
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE vendors (client_id TEXT PRIMARY KEY, name TEXT NOT NULL, redirect_uris TEXT NOT NULL,"
    " secret BLOB, resource_server INTEGER NOT NULL, sells_as TEXT NOT NULL, purpose TEXT NOT NULL,"
    " blocked INTEGER NOT NULL, created INTEGER NOT NULL, mac BLOB NOT NULL,"
    " auth_method TEXT NOT NULL DEFAULT '', jwks TEXT NOT NULL DEFAULT '',"
    " jwks_uri TEXT NOT NULL DEFAULT '', dpop_bound INTEGER NOT NULL DEFAULT 0,"
    " events_uri TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT 'host',"
    " resource TEXT NOT NULL DEFAULT '')",
)
LATER: dict[str, tuple[str, str | int]] = {  # columns that 0.1.0 had not: their type, and what they were then
    "auth_method": ("TEXT", ""),
    "jwks": ("TEXT", ""),
    "jwks_uri": ("TEXT", ""),
    "dpop_bound": ("INTEGER", 0),
    "events_uri": ("TEXT", ""),
    "origin": ("TEXT", "host"),
    "resource": ("TEXT", ""),
}
STEPS = tuple(
    f"ALTER TABLE vendors ADD COLUMN {name} {kind} NOT NULL DEFAULT {default!r}"
    for name, (kind, default) in LATER.items()
)
METHODS = ("client_secret_basic", "private_key_jwt", "none")
HOST, REGISTERED, DOCUMENT = "host", "registered", "document"  # origins; but for the first, nobody vouches
_FIRST = (
    *("client_id", "name", "redirect_uris", "secret", "resource_server", "sells_as", "purpose", "blocked"),
    "created",
)
_TOLD = (*_FIRST, *LATER)
_COLUMNS = ", ".join((*_TOLD, "mac"))
_PUT = (
    f"INSERT INTO vendors ({_COLUMNS}) VALUES ({', '.join('?' * (len(_TOLD) + 1))}) ON CONFLICT (client_id)"
    f" DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in (*_TOLD[1:], 'mac'))}"
)
_BLOCKED, _ORIGIN = _TOLD.index("blocked"), _TOLD.index("origin")
_KEPT = 1024  # rows whose reading a process remembers
_AS_BEFORE = tuple(default for _, default in LATER.values())


@dataclass(frozen=True, slots=True)
class Vendor:
    """A client. `name` is what may be shown: `claimed` is what an unverified one calls itself."""

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    public: bool  # it cannot prove who it is: the same as auth_method "none"
    resource_server: bool
    sells_as: tuple[str, ...]
    purpose: str
    blocked: bool
    created: int
    auth_method: str = "client_secret_basic"  # of METHODS
    jwks: str = ""  # a JWK Set as JSON, or "": its keys are at `jwks_uri`, or it has none
    jwks_uri: str = ""
    dpop_bound: bool = False  # it always asks for tokens that are bound to a key
    events_uri: str = ""  # where signed events go; "": nowhere
    origin: str = HOST
    claimed: str = ""
    resource: str = ""  # a resource server's address, for which tokens can be asked (RFC 8707)
    secret: bytes | None = field(default=None, repr=False, compare=False)  # as it is stored, None for none

    @property
    def shown_name(self) -> str:
        """What a customer reads: the host's word, or a domain; never what an unverified vendor claims."""
        return self.name

    @property
    def verified(self) -> bool:
        """Whether the host vouches for the name."""
        return self.origin == HOST


def check_redirect_uri(uri: str) -> str:
    """An https address, or http on loopback (RFC 8252 §7.3), without fragment; ValidationError."""
    try:
        url = urlsplit(uri)
        plain = url.scheme == "http" and url.hostname in LOOPBACK
        good = (url.scheme == "https" or plain) and url.hostname and not url.username and url.port != 0
    except ValueError:
        good = False
    if (
        not good
        or "#" in uri
        or len(uri) > 2000
        or any(mark.isspace() or not mark.isprintable() for mark in uri)
    ):
        raise ValidationError(
            fields={"redirect_uri": ["must be an https address (or http on this machine) without a fragment"]}
        )
    return uri


def carry_over(former: Callable[[str], list[Row]], transaction: Transaction) -> list[str]:
    """At a restore: whom the host blocked since the backup stays blocked; says so, and what else changed.

    A blocked row is taken over as it stands, because the server key may not be at hand. Where it was altered,
    it is no vendor any more, which is blocked as well. One that is a document comes again by itself, so it is
    missed by nobody, and blocked also where the backup did not know it.
    """
    sql, told = "SELECT {} FROM vendors ORDER BY client_id", []
    now = {row[0]: row for row in transaction.execute(sql.format(_COLUMNS)).fetchall()}
    there = {row[0] for row in former("SELECT name FROM pragma_table_info('vendors')")}
    lacking = {name: f"{LATER[name][1]!r}" for name in LATER if name not in there}  # it may be an older one
    for row in former(sql.format(", ".join(lacking.get(name, name) for name in (*_TOLD, "mac")))):
        names = (str(row[1]), f"({row[0]})") if row[_ORIGIN] == HOST else (str(row[0]),)  # no claim
        vendor = " ".join(part for part in names if is_plain(part))
        here = now.get(row[0])
        if row[_BLOCKED] and row != here and (here or row[_ORIGIN] == DOCUMENT):
            transaction.execute(_PUT, row)
            told.append(f"{vendor} was blocked since, and stays blocked")
        elif here is None and row[_ORIGIN] != DOCUMENT:
            told.append(f"{vendor} was registered since, and is not any more")
        elif here is not None and row != here:
            told.append(f"{vendor} was changed since, and is as it was when the backup was taken")
    return told


class Vendors:
    """The host's register of vendors."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock
        # What a row says depends on the row alone. It holds no key, and is looked up anew every time.
        self._read = lru_cache(_KEPT)(self._vouched)

    def add(
        self,
        name: str,
        redirect_uris: Sequence[str] = (),
        *,
        public: bool = False,
        resource_server: bool = False,
        sells_as: Sequence[str] = (),
        purpose: str = "RequestedServiceProvision",
        jwks: str = "",
        jwks_uri: str = "",
        dpop_bound: bool = False,
        events_uri: str = "",
        resource: str = "",
    ) -> tuple[Vendor, str | None]:
        """Register a vendor; returns it with its secret, which is shown once.

        A public one has none, nor has one that proves itself by a key of its own (`jwks` or `jwks_uri`).
        Raises ValidationError for what cannot be, ScopeError for an unknown purpose.
        """
        if not all(is_plain(seller) and len(seller) <= 120 for seller in sells_as):
            raise ValidationError(fields={"sells_as": ["needs 1 to 120 printable characters each"]})
        if not redirect_uris and not resource_server:
            raise ValidationError(fields={"redirect_uri": ["is missing"]})
        method = keysets.method_of(jwks, jwks_uri, public=public)
        if resource and (public or not resource_server):
            raise ValidationError(fields={"resource": ["is for resource servers that prove who they are"]})
        client_id = "vrm_client_" + secrets.token_urlsafe(16)
        secret = "vrm_cs_" + secrets.token_urlsafe(32) if method == "client_secret_basic" else None
        vendor = Vendor(
            client_id,
            check_name(name),
            tuple(check_redirect_uri(uri) for uri in redirect_uris),
            public,
            resource_server,
            tuple(sells_as),
            known_purpose(purpose).id,
            False,
            self._clock.now(),
            method,
            jwks,
            check_address("jwks_uri", jwks_uri),
            dpop_bound,
            check_address("events_uri", events_uri),
            resource=check_address("resource", resource),
        )
        with self._engine.write() as transaction:
            if resource and self.of_resource(resource):
                raise ValidationError(fields={"resource": ["is another server's already"]})
            self.put(transaction, vendor, None if secret is None else self.hash_secret(client_id, secret))
        return vendor, secret

    def hash_secret(self, client_id: str, secret: str) -> bytes:
        """What is stored of a secret."""
        return self._server_key.hash_secret(client_id, secret)

    def put(self, transaction: Transaction, vendor: Vendor, secret: bytes | None) -> None:
        """Store a vendor as it is, in place of what stood there; `secret`: as hashed, None if it has none."""
        row = _row(vendor, secret)
        transaction.execute(_PUT, (*row, self._mac(row)))

    def get(self, client_id: str) -> Vendor:
        """The vendor, blocked or not; VendorNotFoundError, also where its row was altered."""
        vendor = self._read(self._row(client_id))
        if vendor is None:
            raise VendorNotFoundError()
        return vendor

    def of_resource(self, resource: str) -> Vendor | None:
        """The resource server at this address, to the character; none that is blocked or was altered."""
        rows = self._engine.all(
            f"SELECT {_COLUMNS} FROM vendors WHERE resource = ? AND resource <> '' AND blocked = 0",
            (resource,),
        )
        return next(filter(None, map(self._read, rows)), None)

    def listing(self) -> list[Vendor]:
        """Every vendor by name."""
        rows = self._engine.all(f"SELECT {_COLUMNS} FROM vendors ORDER BY name, client_id")
        return list(filter(None, map(self._read, rows)))

    def problems(self) -> list[str]:
        """Vendors that are none any more: their rows were altered, or the server key is another."""
        rows = self._engine.all(f"SELECT {_COLUMNS} FROM vendors ORDER BY name, client_id")
        altered = [row[0] for row in rows if not self._is_ours(row)]
        return [f"vendor {client_id}: not as this server key vouched for it" for client_id in altered]

    def set_blocked(self, client_id: str, blocked: bool) -> None:
        """Mark a vendor as blocked or not; VendorNotFoundError. Its grants are ended by `Sweeping.block`.

        Where the row was altered, or the server key is another, nothing that it says is taken over: what is
        blocked is an empty one of its id. It is not deleted, for a document would come again by itself.
        """
        with self._engine.write() as transaction:
            row = self._row(client_id)
            if not self._is_ours(row):  # refused everywhere already
                if blocked:
                    self.put(transaction, _nobody(client_id, self._clock.now()), None)
                return
            values = (*row[:_BLOCKED], int(blocked), *row[_BLOCKED + 1 : -1])
            transaction.execute(
                "UPDATE vendors SET blocked = ?, mac = ? WHERE client_id = ?",
                (int(blocked), self._mac(values), client_id),
            )

    def _row(self, client_id: str) -> Row:
        row = self._engine.one(f"SELECT {_COLUMNS} FROM vendors WHERE client_id = ?", (client_id,))
        if row is None:
            raise VendorNotFoundError()
        return row

    def _vouched(self, row: Row) -> Vendor | None:
        """The vendor that this row is; None where it was altered."""
        return _vendor(row) if self._is_ours(row) else None

    def _is_ours(self, row: Row) -> bool:
        return crypto.equal(self._mac(row[:-1]), row[-1])

    def _mac(self, values: Row) -> bytes:
        """Over every column but the MAC itself; where all later ones are as in 0.1.0, over its columns.

        So what that version vouched for stays, and a row with other values is none that it vouched for.
        """
        counted = values[: len(_FIRST)] if values[len(_FIRST) :] == _AS_BEFORE else values
        told = [value.hex() if isinstance(value, bytes) else value for value in counted]
        return self._server_key.vouch_vendor(crypto.digest(json.dumps(told).encode()))

    def check_secret(self, vendor: Vendor, secret: str) -> bool:
        """Whether this is the vendor's secret, in constant time; a public vendor has none."""
        stored = bytes(32) if vendor.secret is None else vendor.secret
        same = crypto.equal(self._server_key.hash_secret(vendor.client_id, secret), stored)
        return same and vendor.secret is not None


def _nobody(client_id: str, now: int) -> Vendor:
    """A blocked vendor of which nothing is known but its id."""
    origin = DOCUMENT if client_id.startswith(("https://", "http://")) else HOST
    purpose = "RequestedServiceProvision"
    return Vendor(client_id, client_id, (), True, False, (), purpose, True, now, "none", origin=origin)


def _row(vendor: Vendor, secret: bytes | None) -> Row:
    """Every column but the MAC."""
    first = (
        vendor.client_id,
        vendor.name if vendor.verified else vendor.claimed,
        json.dumps(vendor.redirect_uris),
        secret,
        int(vendor.resource_server),
        json.dumps(vendor.sells_as),
        vendor.purpose,
        int(vendor.blocked),
        vendor.created,
    )
    later = (vendor.auth_method, vendor.jwks, vendor.jwks_uri, int(vendor.dpop_bound), vendor.events_uri)
    return (*first, *later, vendor.origin, vendor.resource)


def _vendor(row: Row) -> Vendor:
    of = dict(zip(_TOLD, row, strict=False))
    uris = tuple(compact.loads(of["redirect_uris"]))
    method = of["auth_method"] or ("none" if of["secret"] is None else "client_secret_basic")
    vouched = of["origin"] == HOST
    return Vendor(
        of["client_id"],
        of["name"] if vouched else domain(_home(of, uris)),
        uris,
        method == "none",
        bool(of["resource_server"]),
        tuple(compact.loads(of["sells_as"])),
        of["purpose"],
        bool(of["blocked"]),
        of["created"],
        method,
        of["jwks"],
        of["jwks_uri"],
        bool(of["dpop_bound"]),
        of["events_uri"],
        of["origin"],
        "" if vouched else of["name"],
        of["resource"],
        of["secret"],
    )


def _home(of: Mapping[str, Any], uris: Sequence[str]) -> str:
    """The address that says whose an unverified vendor is."""
    if of["origin"] == DOCUMENT:
        return str(of["client_id"])
    abroad = [uri for uri in uris if urlsplit(uri).hostname not in LOOPBACK]
    return (abroad or uris or ("",))[0]


def domain(uri: str) -> str:
    """The host of an address, with its port where that is not the usual one: what says whose it is."""
    return urlsplit(uri).netloc


def check_name(name: str, field: str = "name") -> str:
    """The name with single blanks; ValidationError, for that field, unless every character can be seen."""
    clean = " ".join(name.split())
    if len(clean) > 80 or not is_plain(clean):
        raise ValidationError(fields={field: ["needs 1 to 80 printable characters"]})
    return clean


def check_address(field: str, uri: str) -> str:
    """An address that this host will call, or "": as a redirect address is; ValidationError.

    Plain http passes for loopback, which `VRM_OUTBOUND_ALLOW` may name; `vrm.outbound` decides.
    """
    try:
        return check_redirect_uri(uri) if uri else ""
    except ValidationError:
        raise ValidationError(fields={field: ["must be an https address without a fragment"]}) from None
