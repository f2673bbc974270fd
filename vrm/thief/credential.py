"""What a stolen token, code or session opens in a copy, once its owner's limits are forgotten."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from vrm.consent.credentials import carried_keys, read_token, split, wrap_cipher
from vrm.consent.policy import Agreement
from vrm.consent.rows import RowCiphers
from vrm.consent.scopes import SCOPES, WRITES, write_scope
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.consent.writers import Pen
from vrm.errors import TamperedError
from vrm.thief import keys
from vrm.thief.keys import Attempt, Database
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import Key, Probe
from vrm.vault.envelope import pack, unpack, unpack_named
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import SessionSlot
from vrm.vault.tools import ToolSlot

_ALL = 1 << 31


@dataclass
class Loot:
    """What one credential opened. `kind` is empty where it is none that this copy knows."""

    kind: str = ""
    grant: str = ""
    scopes: list[str] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    deposits: list[dict[str, Any]] = field(default_factory=list)  # states of what its vendor left
    agreement: dict[str, Any] | None = None
    tried: int = 0
    beyond: dict[str, int] = field(default_factory=dict)  # envelopes that are not the grant's, but opened


def open_with(database: Database, pepper: bytes, token: str) -> Loot:
    """Everything that this credential opens, and what of all the rest its keys open."""
    for kind in ("access", "refresh", "code"):
        raw = read_token(kind, token.strip())
        if raw is not None:
            return _with_token(database, pepper, kind, raw)
    tool = read_token("tool", token.strip())
    if tool is not None:
        return _with_tool(database, pepper, tool)
    return _with_session(database, pepper, token.strip())


def _with_token(database: Database, pepper: bytes, kind: str, raw: bytes) -> Loot:
    lookup, wrapping = split(kind, raw, pepper)
    sql = "SELECT grant_id, expires, wrapped FROM tokens WHERE lookup = ? AND kind = ?"
    loot, held = Loot(), [Key(raw), wrapping]
    for grant_id, expires, wrapped in database.rows(sql, lookup, kind):
        try:
            carried = unpack(wrap_cipher(wrapping, kind, lookup, grant_id, expires).unseal(wrapped or b""))
        except TamperedError:
            continue
        common, scopes = _carried(kind, grant_id, carried)
        sealed = database.rows("SELECT agreement FROM grants WHERE grant_id = ?", grant_id)[0][0]
        loot.kind, loot.grant = kind, grant_id
        loot.agreement = json.loads(agreement_cipher(common, grant_id).unseal(sealed))
        agreed = Agreement.decode(json.dumps(loot.agreement).encode()).scopes
        loot.scopes = [scope for scope in scopes if kind == "access" or scope in agreed]
        _take_view(database, loot, common, scopes)
        _take_deposits(database, loot, common, scopes)
        held += [common, *scopes.values(), *([] if kind == "access" else [Key(carried[0])])]
    _try_beyond(database, loot, held)
    return loot


def _carried(kind: str, grant_id: str, carried: list[bytes]) -> tuple[Key, dict[str, Key]]:
    """(common key, scope → key): an access token holds those of its scopes, the others the whole grant's."""
    if kind == "access":
        return Key(carried[2]), carried_keys(carried)
    grant = GrantKeys(grant_id, Key(carried[0]))
    return grant.common, {scope: grant.scope_key(scope) for scope in SCOPES}


def _take_view(database: Database, loot: Loot, common: Key, scopes: dict[str, Key]) -> None:
    ciphers = RowCiphers(loot.grant, common, scopes)
    sql = "SELECT item, seq, sealed FROM views WHERE grant_id = ? AND sealed IS NOT NULL ORDER BY shelf, seq"
    for item, seq, blob in database.rows(sql, loot.grant):
        opened = ciphers.open(blob, item, seq)
        if opened:
            parts = {scope.removesuffix(":read"): json.loads(text) for scope, (_, text) in opened.items()}
            loot.documents.append({"id": item.hex(), **parts})


def _take_deposits(database: Database, loot: Loot, common: Key, scopes: dict[str, Key]) -> None:
    pens = [
        Pen("", loot.grant, one, scopes[write_scope(one)], common)
        for one in WRITES
        if write_scope(one) in scopes
    ]
    sql = (
        "SELECT shelf, item, version, updated, sealed FROM deposits WHERE grant_id = ? AND sealed IS NOT NULL"
    )
    for shelf, *row in database.rows(sql, loot.grant):
        loot.deposits += [pen.open(*row).told() for pen in pens if pen.shelf == shelf]


def _try_beyond(database: Database, loot: Loot, held: list[Key]) -> None:
    probes = [Probe(key) for key in held]
    for attempt in keys.attempts(database, _ALL, _ALL):
        for probe in probes:
            loot.tried += 1
            if keys.opens(attempt, probe) and not _own(loot, attempt):
                loot.beyond[attempt.kind] = loot.beyond.get(attempt.kind, 0) + 1


def _own(loot: Loot, attempt: Attempt) -> bool:
    """Whether the credential is meant to open this."""
    if not loot.grant or attempt.grant != loot.grant:
        return False
    if attempt.kind == "scope key":
        return attempt.scope in loot.scopes
    if attempt.kind == "token key":
        return attempt.scope == loot.kind
    return attempt.kind == "common key" or (attempt.kind == "grant key" and loot.kind != "access")


def _with_session(database: Database, pepper: bytes, secret: str) -> Loot:
    loot = Loot()
    try:
        raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except (binascii.Error, ValueError):
        return loot
    lookup, wrapping = SessionSlot.lookup(raw, pepper)
    sql = "SELECT vault, wrapped, expires FROM sessions WHERE lookup = ?"
    for vault, wrapped, expires in database.rows(sql, lookup):
        root = SessionSlot.unwrap(vault, wrapping, lookup, expires, wrapped)
        loot.kind = "session"
        _take_records(database, loot, Keyring(vault, root))
    return loot


def _with_tool(database: Database, pepper: bytes, raw: bytes) -> Loot:
    loot = Loot()
    lookup, wrapping = ToolSlot.lookup(raw, pepper)
    sql = "SELECT vault, wrapped, expires FROM tools WHERE lookup = ?"
    for vault, wrapped, expires in database.rows(sql, lookup):
        root = ToolSlot.cipher(vault, wrapping, lookup, expires).unwrap(wrapped)
        loot.kind = "tool"
        _take_records(database, loot, Keyring(vault, root))
    return loot


def _take_records(database: Database, loot: Loot, keyring: Keyring) -> None:
    for collection in CATALOG_BY_NAME:
        ciphers = {facet.name: cipher for facet, cipher in keyring.record_ciphers(collection)}
        sql = "SELECT record, revision, body FROM records WHERE vault = ? AND collection = ?"
        for record, revision, body in database.rows(sql, keyring.vault, collection):
            named = unpack_named(body)
            parts = {
                name: json.loads(ciphers[name].unseal(blob, record, revision, pack(*named)))
                for name, blob in named.items()
            }
            loot.documents.append({"id": record, **parts})
