"""Vendors as the host registered them. A vendor's name is the host's word, never the vendor's own.

Each row carries a MAC under the server key: who writes to the table alone can neither rename a vendor nor
send its codes elsewhere nor make it a client without a secret. Such a row is no vendor any more.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from vrm.clock import Clock
from vrm.consent.purposes import purpose as known_purpose
from vrm.errors import ValidationError, VendorNotFoundError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Row, Transaction
from vrm.vault.naming import is_plain
from vrm.vault.serverkey import ServerKey

TABLES = (
    "CREATE TABLE vendors (client_id TEXT PRIMARY KEY, name TEXT NOT NULL, redirect_uris TEXT NOT NULL,"
    " secret BLOB, resource_server INTEGER NOT NULL, sells_as TEXT NOT NULL, purpose TEXT NOT NULL,"
    " blocked INTEGER NOT NULL, created INTEGER NOT NULL, mac BLOB NOT NULL)",
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_COLUMNS = "client_id, name, redirect_uris, secret, resource_server, sells_as, purpose, blocked, created, mac"
_BLOCKED = 7  # where it stands in them


@dataclass(frozen=True, slots=True)
class Vendor:
    """A registered client."""

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    public: bool
    resource_server: bool
    sells_as: tuple[str, ...]
    purpose: str
    blocked: bool
    created: int


def check_redirect_uri(uri: str) -> str:
    """An https address, or http on loopback (RFC 8252 §7.3), without fragment; ValidationError."""
    try:
        url = urlsplit(uri)
        plain = url.scheme == "http" and url.hostname in _LOOPBACK
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
    it is no vendor any more, which is blocked as well.
    """
    sql, told = f"SELECT {_COLUMNS} FROM vendors ORDER BY client_id", []
    now = {row[0]: row for row in transaction.execute(sql).fetchall()}
    for row in former(sql):
        vendor = " ".join(part for part in (str(row[1]), f"({row[0]})") if is_plain(part))
        if row[0] not in now:
            told.append(f"{vendor} was registered since, and is not any more")
        elif row != now[row[0]] and row[_BLOCKED]:
            marks = ", ".join("?" * len(row))
            transaction.execute(f"INSERT OR REPLACE INTO vendors ({_COLUMNS}) VALUES ({marks})", row)
            told.append(f"{vendor} was blocked since, and stays blocked")
        elif row != now[row[0]]:
            told.append(f"{vendor} was changed since, and is as it was when the backup was taken")
    return told


class Vendors:
    """The host's register of vendors."""

    def __init__(self, engine: Engine, server_key: ServerKey, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._clock = clock

    def add(
        self,
        name: str,
        redirect_uris: Sequence[str] = (),
        *,
        public: bool = False,
        resource_server: bool = False,
        sells_as: Sequence[str] = (),
        purpose: str = "RequestedServiceProvision",
    ) -> tuple[Vendor, str | None]:
        """Register a vendor; returns it with its secret, which is shown once (None for public ones).

        Raises ValidationError for a bad name or redirect URI, ScopeError for an unknown purpose.
        """
        clean = " ".join(name.split())
        if len(clean) > 80 or not is_plain(clean):
            raise ValidationError(fields={"name": ["needs 1 to 80 printable characters"]})
        if not all(is_plain(seller) and len(seller) <= 120 for seller in sells_as):
            raise ValidationError(fields={"sells_as": ["needs 1 to 120 printable characters each"]})
        if not redirect_uris and not resource_server:
            raise ValidationError(fields={"redirect_uri": ["is missing"]})
        uris = [check_redirect_uri(uri) for uri in redirect_uris]
        client_id = "vrm_client_" + secrets.token_urlsafe(16)
        secret = None if public else "vrm_cs_" + secrets.token_urlsafe(32)
        stored = None if secret is None else self._server_key.hash_secret(client_id, secret)
        about = (client_id, clean, json.dumps(uris), stored, int(resource_server), json.dumps(list(sells_as)))
        row = (*about, known_purpose(purpose).id, 0, self._clock.now())
        with self._engine.write() as transaction:
            transaction.execute(
                "INSERT INTO vendors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, self._mac(row))
            )
        return self.get(client_id), secret

    def get(self, client_id: str) -> Vendor:
        """The vendor, blocked or not; VendorNotFoundError, also where its row was altered."""
        row = self._row(client_id)
        if not self._is_ours(row):
            raise VendorNotFoundError()
        return _vendor(row)

    def listing(self) -> list[Vendor]:
        """Every vendor by name."""
        rows = self._engine.all(f"SELECT {_COLUMNS} FROM vendors ORDER BY name, client_id")
        return [_vendor(row) for row in rows if self._is_ours(row)]

    def problems(self) -> list[str]:
        """Vendors that are none any more: their rows were altered, or the server key is another."""
        rows = self._engine.all(f"SELECT {_COLUMNS} FROM vendors ORDER BY name, client_id")
        altered = [row[0] for row in rows if not self._is_ours(row)]
        return [f"vendor {client_id}: not as this server key vouched for it" for client_id in altered]

    def set_blocked(self, client_id: str, blocked: bool) -> None:
        """Mark a vendor as blocked or not; VendorNotFoundError. Its grants are ended by `Grants.block`."""
        with self._engine.write() as transaction:
            row = self._row(client_id)
            if not self._is_ours(row):
                return  # altered: refused everywhere already, and its grants are to end
            values = (*row[:7], int(blocked), row[8])
            transaction.execute(
                "UPDATE vendors SET blocked = ?, mac = ? WHERE client_id = ?",
                (int(blocked), self._mac(values), client_id),
            )

    def _row(self, client_id: str) -> Row:
        row = self._engine.one(f"SELECT {_COLUMNS} FROM vendors WHERE client_id = ?", (client_id,))
        if row is None:
            raise VendorNotFoundError()
        return row

    def _is_ours(self, row: Row) -> bool:
        return crypto.equal(self._mac(row[:-1]), row[-1])

    def _mac(self, values: Row) -> bytes:
        """Over every column but the MAC itself."""
        told = [value.hex() if isinstance(value, bytes) else value for value in values]
        return self._server_key.vouch_vendor(crypto.digest(json.dumps(told).encode()))

    def check_secret(self, client_id: str, secret: str) -> bool:
        """Whether this is the vendor's secret, in constant time; a public vendor has none."""
        row = self._engine.one("SELECT secret FROM vendors WHERE client_id = ?", (client_id,))
        stored = bytes(row[0]) if row and row[0] is not None else bytes(32)
        same = crypto.equal(self._server_key.hash_secret(client_id, secret), stored)
        return same and bool(row) and row is not None and row[0] is not None


def _vendor(row: Row) -> Vendor:
    client_id, name, uris, secret, resource_server, sells_as, purpose, blocked, created, _ = row
    return Vendor(
        str(client_id),
        str(name),
        tuple(json.loads(str(uris))),
        secret is None,
        bool(resource_server),
        tuple(json.loads(str(sells_as))),
        str(purpose),
        bool(blocked),
        int(str(created)),
    )
