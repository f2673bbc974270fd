"""Vendors that registered themselves (RFC 7591), and their word to change or end that (RFC 7592).

Promises: a few registrations an hour for each address and for all, counted for all processes; one that no
customer has said yes to in a week is forgotten; the token by which a vendor changes its registration is
stored as a keyed hash, and each change makes another. Refuses to let a vendor move to another domain:
customers know it by that.
"""

from __future__ import annotations

import secrets

from vrm.clock import Clock
from vrm.consent.claims import Claims, wrong
from vrm.consent.counting import Counting, network
from vrm.consent.vendors import REGISTERED, Vendor, Vendors
from vrm.errors import BusyError, TokenError, VendorNotFoundError
from vrm.vault.engine import Engine, Transaction
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE registrations (client_id TEXT PRIMARY KEY, token BLOB NOT NULL, created INTEGER NOT NULL,"
    " kept INTEGER NOT NULL)",
    "CREATE INDEX registrations_unused ON registrations (created) WHERE kept = 0",
)
AN_HOUR, OF_ONE = 100, 10  # registrations an hour: of all, and of one address on the network
UNUSED = 1000  # that no customer has said yes to, at any time
WEEK = 7 * 86_400  # seconds


class Registrations:
    """The vendors of origin "registered"."""

    def __init__(
        self, engine: Engine, server_key: ServerKey, vendors: Vendors, counting: Counting, clock: Clock
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._vendors = vendors
        self._counting = counting
        self._clock = clock

    def add(self, claims: Claims, asker: str) -> tuple[Vendor, str | None, str]:
        """(vendor, its secret if it has one, the token of its registration); both are told once.

        RateLimitedError, and BusyError where too many wait for their first customer.
        """
        self._counting.count("registrations", (network(asker), OF_ONE), ("", AN_HOUR))
        client_id = "vrm_client_" + secrets.token_urlsafe(16)
        secret = _new_secret() if claims.auth_method == "client_secret_basic" else None
        token, now = _new_token(), self._clock.now()
        with self._engine.write() as transaction:
            row = transaction.execute("SELECT count(*) FROM registrations WHERE kept = 0").fetchone()
            if row[0] >= UNUSED:
                raise BusyError("too many vendors that nobody knows yet")
            transaction.execute(
                "INSERT INTO registrations (client_id, token, created, kept) VALUES (?, ?, ?, 0)",
                (client_id, self._hash(client_id, token), now),
            )
            self._vendors.put(transaction, _vendor(client_id, claims, now), self._hashed(client_id, secret))
        return self._vendors.get(client_id), secret, token

    def find(self, client_id: str, token: str) -> Vendor:
        """The vendor whose registration this is; TokenError, alike for all that are none."""
        try:
            vendor = self._vendors.get(client_id)
        except VendorNotFoundError:
            raise TokenError() from None
        row = self._engine.one(
            "SELECT 1 FROM registrations WHERE client_id = ? AND token = ?",
            (client_id, self._hash(client_id, token)),
        )
        if row is None or vendor.blocked:
            raise TokenError()
        return vendor

    def change(self, client_id: str, token: str, claims: Claims) -> tuple[Vendor, str | None, str]:
        """(the vendor as it says now, a secret if it has a new one, the next token).

        ValidationError for another domain, TokenError also where the token was used meanwhile.
        """
        fresh = _new_token()
        with self._engine.write() as transaction:
            before = self.find(client_id, token)
            after = _vendor(client_id, claims, before.created)
            stays = before.auth_method == after.auth_method == "client_secret_basic"
            secret = None if stays or after.auth_method != "client_secret_basic" else _new_secret()
            stored = before.secret if stays else self._hashed(client_id, secret)
            transaction.execute(
                "UPDATE registrations SET token = ? WHERE client_id = ?",
                (self._hash(client_id, fresh), client_id),
            )
            self._vendors.put(transaction, after, stored)
            if self._vendors.get(client_id).name != before.name:
                raise wrong("redirect_uris", "must stay at the domain that was registered")
        return self._vendors.get(client_id), secret, fresh

    def remove(self, transaction: Transaction, client_id: str) -> None:
        """Forget a registration; its grants are ended before (`Sweeping.block`)."""
        for table in ("registrations", "vendors", "key_sets"):
            transaction.execute(f"DELETE FROM {table} WHERE client_id = ?", (client_id,))

    def keep(self, client_id: str) -> None:
        """A customer has said yes to it: it stays."""
        if self._engine.one("SELECT 1 FROM registrations WHERE client_id = ? AND kept = 0", (client_id,)):
            with self._engine.write() as transaction:
                transaction.execute("UPDATE registrations SET kept = 1 WHERE client_id = ?", (client_id,))

    def sweep(self) -> None:
        """Forget those to which no customer said yes in a week, and those of before a restore.

        A copy takes no registration along: a token that was replaced since would count again.
        """
        sql = "SELECT client_id FROM registrations WHERE kept = 0 AND created < ? LIMIT 500"
        with self._engine.write() as transaction:
            for (client_id,) in transaction.execute(sql, (self._clock.now() - WEEK,)).fetchall():
                self.remove(transaction, client_id)
            transaction.execute(
                "DELETE FROM vendors WHERE origin = ? AND blocked = 0"
                " AND client_id NOT IN (SELECT client_id FROM registrations)",
                (REGISTERED,),
            )

    def _hash(self, client_id: str, token: str) -> bytes:
        return self._server_key.hash_registration(client_id, token)

    def _hashed(self, client_id: str, secret: str | None) -> bytes | None:
        return None if secret is None else self._vendors.hash_secret(client_id, secret)


def _new_secret() -> str:
    return "vrm_cs_" + secrets.token_urlsafe(32)


def _new_token() -> str:
    return "vrm_cr_" + secrets.token_urlsafe(32)


def _vendor(client_id: str, told: Claims, created: int) -> Vendor:
    return Vendor(
        client_id,
        "",  # the register says by which domain it is shown
        told.redirect_uris,
        told.auth_method == "none",
        False,
        (),
        "RequestedServiceProvision",
        False,
        created,
        told.auth_method,
        told.jwks,
        told.jwks_uri,
        told.dpop_bound,
        told.events_uri,
        REGISTERED,
        told.name,
    )
