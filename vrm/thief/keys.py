"""Every stored value that could be a key, and every envelope on which one could be tried."""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from vrm.consent import standing
from vrm.consent.credentials import split, wrap_cipher
from vrm.consent.scopes import SCOPES, WRITES, write_scope
from vrm.consent.views import GrantKeys, agreement_cipher
from vrm.consent.writers import state_cipher
from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import Key, Lock, Probe, Purpose
from vrm.vault.envelope import Part, pack, unpack_named
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import SessionSlot, handover
from vrm.vault.serverkey import ServerKey
from vrm.vault.tools import ToolSlot

SIZE = crypto.KEY_BYTES
# Columns of sealed documents: no key stands in them, and they are what is tried to be opened.
BULK = {"body", "sealed", "agreement", "reserve", "roster", "routing"}
_LONGEST = 4096  # bytes: of longer values only the beginning and the digest are tried
_HEX = re.compile(rb"[0-9A-Fa-f]{64,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-]{43,}")
_SLUG = re.compile(r"[A-Za-z_]+")
Row = tuple[Any, ...]


class Database:
    """Rows of a (private copy of a) database, whatever tables it has."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite3.connect(path)

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """All rows; none where the table is not there or unreadable."""
        try:
            return self._raw.execute(sql, parameters).fetchall()
        except sqlite3.Error:
            return []

    def cells(self) -> Iterator[tuple[str, bytes | str]]:
        """(column, value) of every text and blob in every table."""
        for (table,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
            if not _SLUG.fullmatch(table):
                continue
            columns = [row[1] for row in self.rows(f"PRAGMA table_info({table})")]
            for row in self.rows(f"SELECT * FROM {table}"):  # noqa: S608 - a name of letters from the schema
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes | str):
                        yield column, value

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def windows(blob: bytes) -> Iterator[bytes]:
    """Every 32 bytes in a row."""
    for at in range(len(blob) - SIZE + 1):
        yield blob[at : at + SIZE]


def written(content: bytes) -> Iterator[bytes]:
    """32 bytes and more that are written in hex or base64."""
    for run in _HEX.findall(content):
        yield bytes.fromhex(run[: len(run) // 2 * 2].decode())
    for run in _BASE64.findall(content):
        for start in range(4):
            part = run[start : start + (len(run) - start) // 4 * 4 + (len(run) - start) % 4]
            try:
                padded = part + b"=" * (-len(part) % 4)
                yield base64.b64decode(padded.replace(b"-", b"+").replace(b"_", b"/"))
            except (binascii.Error, ValueError):
                continue


def of_database(database: Database) -> Iterator[bytes]:
    """Windows and digests of every stored value except sealed documents."""
    for column, value in database.cells():
        if column in BULK:
            continue
        raw = value.encode() if isinstance(value, str) else value
        yield crypto.digest(raw)
        if isinstance(value, str):
            for blob in written(raw):
                yield from windows(blob)
        else:
            yield from windows(raw[:_LONGEST])


def of_file(content: bytes) -> Iterator[bytes]:
    """Keys in any other file: as they are where it is short, written in hex or base64 anywhere."""
    yield crypto.digest(content)
    if len(content) <= _LONGEST:
        yield from windows(content)
    for blob in written(content):
        yield from windows(blob[:_LONGEST])


def of_server(key: ServerKey) -> Iterator[bytes]:
    """The server key's subkeys."""
    for value in vars(key).values():
        if isinstance(value, Key):
            yield value.reveal()
        elif isinstance(value, bytes):
            yield value


class Attempt(NamedTuple):
    """One envelope and how a key would open it; a function raises TamperedError where it does not."""

    kind: str
    grant: str  # empty where it belongs to no grant
    scope: str
    open: Callable[[Key], object] | Lock

    @classmethod
    def on(
        cls, blob: bytes, purpose: Purpose, *parts: Part, kind: str, grant: str = "", scope: str = ""
    ) -> Attempt:
        """On an envelope that a key opens as it is; `parts` as for `Lock`."""
        try:
            return cls(kind, grant, scope, Lock(blob, purpose, *parts))
        except TamperedError:
            return cls(kind, grant, scope, _to_nothing)


def _to_nothing(_: Key) -> object:
    """What is no envelope does not open."""
    raise TamperedError()


def attempts(database: Database, most: int, documents: int) -> Iterator[Attempt]:
    """Attempts on up to `most` envelopes of every kind and vault, and on that many records and rows."""
    for vault, roster in database.rows("SELECT vault, roster FROM vaults LIMIT ?", most):
        yield from _of_vault(database, vault, roster, most)
        yield from _of_records(database, vault, documents)
    live_first = "SELECT grant_id, agreement FROM grants ORDER BY state <> 'live', created DESC LIMIT ?"
    for grant_id, agreement in database.rows(live_first, most):
        yield from _of_grant(database, grant_id, agreement, documents)
    yield from _of_tokens(database, most)


def _of_vault(database: Database, vault: str, roster: bytes, most: int) -> Iterator[Attempt]:
    def with_root(purpose: Purpose, blob: bytes, *parts: Any) -> Attempt:
        return Attempt(
            "root key", "", "", lambda key: Keyring(vault, key).cipher(purpose).unseal(blob, *parts)
        )

    def direct(kind: str, purpose: Purpose, blob: bytes, *parts: Any, grant: str = "") -> Attempt:
        return Attempt.on(blob, purpose, vault, *parts, kind=kind, grant=grant)

    if roster:
        yield with_root(Purpose.ROSTER, roster)
        yield direct("roster key", Purpose.ROSTER, roster)
    for (head,) in database.rows("SELECT sealed FROM journal_heads WHERE vault = ?", vault):
        yield with_root(Purpose.JOURNAL_HEAD, head)
        yield direct("journal key", Purpose.JOURNAL_HEAD, head)
    first = "SELECT seq, sealed FROM journal WHERE vault = ? ORDER BY seq LIMIT 1"
    for seq, blob in database.rows(first, vault):
        yield direct("journal key", Purpose.JOURNAL, blob, seq, bytes(SIZE))
    for generation, root in database.rows(
        "SELECT generation, previous FROM rotations WHERE vault = ?", vault
    ):
        yield with_root(Purpose.PREVIOUS_ROOT, root, generation - 1)
        yield direct("previous root key", Purpose.PREVIOUS_ROOT, root, generation - 1)
    for (blob,) in database.rows("SELECT sealed FROM heirlooms WHERE vault = ?", vault):
        yield with_root(Purpose.HEIRLOOMS, blob)
        yield direct("heirlooms key", Purpose.HEIRLOOMS, blob)
    for (heads,) in database.rows("SELECT sealed FROM log_heads WHERE vault = ?", vault):
        yield direct("log heads key", Purpose.LOG_HEADS, heads)
    sql = "SELECT grant_id, wrapped, reserve FROM grants WHERE vault = ? ORDER BY state <> 'live' LIMIT ?"
    for grant_id, wrapped, reserve in database.rows(sql, vault, most):
        yield direct("grant wrap key", Purpose.GRANT_WRAP, wrapped, grant_id, grant=grant_id)
        yield direct("reserve key", Purpose.RESERVE, reserve, grant_id, grant=grant_id)
    yield from _of_note(database, vault, roster)
    yield from _of_slots(database, vault, most)
    yield from _of_mailbox(database, vault, most)
    yield from _of_log(database, vault, most)


def _of_note(database: Database, vault: str, roster: bytes) -> Iterator[Attempt]:
    """On what the vault notes of its live grants; not where planted cells let nothing open it."""
    with suppress(TamperedError):
        place = standing.mark(roster, database.rows(standing.BOUND, vault))
        for (note,) in database.rows("SELECT sealed FROM standing WHERE vault = ?", vault):
            yield Attempt.on(note, Purpose.STANDING, vault, place, kind="standing key")


def _of_records(database: Database, vault: str, most: int) -> Iterator[Attempt]:
    def direct(collection: str, facet: str, blob: bytes, *parts: Part) -> Attempt:
        place = (vault, collection, facet, *parts)
        return Attempt.on(blob, Purpose.RECORD, *place, kind="record key", scope=f"{collection}.{facet}")

    for collection in CATALOG_BY_NAME:
        sql = "SELECT record, revision, body FROM records WHERE vault = ? AND collection = ? LIMIT ?"
        for record, revision, body in database.rows(sql, vault, collection, most):
            named = unpack_named(body)
            for facet, blob in named.items():
                yield direct(collection, facet, blob, record, revision, pack(*named))


def _of_slots(database: Database, vault: str, most: int) -> Iterator[Attempt]:
    def slot(name: str, kind: str, params: bytes, wrapped: bytes) -> Attempt:
        return Attempt.on(wrapped, Purpose.ROOT, vault, name, kind, params, kind="keyslot key")

    def handed(name: str, kind: str, blob: bytes) -> Attempt:
        generation, sealed, _ = handover(blob)
        place = (vault, name, kind, generation)
        return Attempt(
            "slot private key", "", "", lambda key: crypto.open_sealed(key, sealed, Purpose.HANDOVER, *place)
        )

    def session(lookup: bytes, expires: int, wrapped: bytes) -> Attempt:
        return Attempt(
            "session key", "", "", lambda key: SessionSlot.unwrap(vault, key, lookup, expires, wrapped)
        )

    sql = "SELECT slot, kind, params, wrapped FROM keyslots WHERE vault = ? LIMIT ?"
    for row in database.rows(sql, vault, 2 * most):
        yield slot(*row)
    sql = "SELECT slot, kind, handed FROM keyslots WHERE vault = ? AND length(handed) > 0 LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield handed(*row)
    for row in database.rows(
        "SELECT lookup, expires, wrapped FROM sessions WHERE vault = ? LIMIT ?", vault, most
    ):
        yield session(*row)
    sql = "SELECT lookup, expires, wrapped FROM tools WHERE vault = ? LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield _of_tool(vault, *row)
    sql = "SELECT lookup, expires, answer FROM pairings WHERE vault = ? AND answer IS NOT NULL LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield _of_pairing(vault, *row)


def _of_tool(vault: str, lookup: bytes, expires: int, wrapped: bytes) -> Attempt:
    return Attempt(
        "tool key", "", "", lambda key: ToolSlot.cipher(vault, key, lookup, expires).unwrap(wrapped)
    )


def _of_pairing(vault: str, lookup: bytes, expires: int, answer: bytes) -> Attempt:
    place = (lookup, vault, expires)
    return Attempt(
        "device private key",
        "",
        "",
        lambda key: crypto.open_sealed(key, answer, Purpose.PAIRING_ANSWER, *place),
    )


def _of_mailbox(database: Database, vault: str, most: int) -> Iterator[Attempt]:
    def item(origin: str, number: int, name: bytes, sealed: bytes) -> Attempt:
        place = (vault, origin, number, name)
        return Attempt(
            "mailbox private key",
            origin,
            "",
            lambda key: crypto.open_sealed(key, sealed, Purpose.MAILBOX_ITEM, *place),
        )

    def note(origin: str, name: bytes, sealed: bytes) -> Attempt:
        place = (vault, origin, name)
        return Attempt.on(sealed, Purpose.MAILBOX_NOTE, *place, kind="mailbox note key", grant=origin)

    sql = "SELECT origin, number, item, sealed FROM mailbox WHERE vault = ? LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield item(*row)
    sql = "SELECT origin, item, sealed FROM mailbox_notes WHERE vault = ? LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield note(*row)


def _of_log(database: Database, vault: str, most: int) -> Iterator[Attempt]:
    def segment(name: bytes, sealed: bytes) -> Attempt:
        return Attempt(
            "log private key",
            "",
            "",
            lambda key: crypto.open_sealed(key, sealed, Purpose.LOG_SEGMENT, vault, name),
        )

    def entry(name: bytes, at: int, sealed: bytes) -> Attempt:
        place = (vault, name, 1, bytes(SIZE), at)
        return Attempt.on(sealed, Purpose.LOG_ENTRY, *place, kind="log segment key")

    for row in database.rows(
        "SELECT segment, sealed_key FROM log_segments WHERE vault = ? LIMIT ?", vault, most
    ):
        yield segment(*row)
    sql = "SELECT segment, at, sealed FROM log_entries WHERE vault = ? AND seq = 1 LIMIT ?"
    for row in database.rows(sql, vault, most):
        yield entry(*row)


def _of_grant(database: Database, grant_id: str, agreement: bytes, most: int) -> Iterator[Attempt]:
    """Attempts on a grant's agreement and on up to `most` rows of its view, under every scope there is."""

    def with_grant(key: Key) -> object:
        return agreement_cipher(GrantKeys(grant_id, key).common, grant_id).unseal(agreement)

    def part(scope: str, item: bytes, seq: int, blob: bytes) -> Attempt:
        place = (grant_id, scope, item, seq)
        return Attempt.on(blob, Purpose.VIEW, *place, kind="scope key", grant=grant_id, scope=scope)

    yield Attempt("grant key", grant_id, "", with_grant)
    yield Attempt("common key", grant_id, "", lambda key: agreement_cipher(key, grant_id).unseal(agreement))
    sql = "SELECT item, seq, sealed FROM views WHERE grant_id = ? AND sealed IS NOT NULL LIMIT ?"
    for item, seq, sealed in database.rows(sql, grant_id, most):
        for blob in unpack_named(sealed).values():
            for scope in SCOPES:
                yield part(scope, item, seq, blob)
    sql = (
        "SELECT item, version, updated, sealed FROM deposits"
        " WHERE grant_id = ? AND sealed IS NOT NULL LIMIT ?"
    )
    for row in database.rows(sql, grant_id, most):
        for collection in WRITES:
            yield _of_state(grant_id, write_scope(collection), *row)


def _of_state(grant_id: str, scope: str, item: bytes, version: int, updated: int, blob: bytes) -> Attempt:
    return Attempt(
        "scope key",
        grant_id,
        scope,
        lambda key: state_cipher(key, grant_id, scope).unseal(blob, item, version, updated),
    )


def _of_tokens(database: Database, most: int) -> Iterator[Attempt]:
    def wrap(lookup: bytes, kind: str, grant_id: str, expires: int, wrapped: bytes) -> Attempt:
        return Attempt(
            "token key",
            grant_id,
            kind,
            lambda key: wrap_cipher(key, kind, lookup, grant_id, expires).unseal(wrapped),
        )

    def replay(lookup: bytes, grant_id: str, blob: bytes) -> Attempt:
        return Attempt.on(blob, Purpose.REPLAY, lookup, kind="replay key", grant=grant_id)

    def request(lookup: bytes, expires: int, blob: bytes) -> Attempt:
        return Attempt.on(blob, Purpose.REQUEST_BODY, lookup, expires, kind="request key")

    columns = "lookup, kind, grant_id, expires, wrapped"
    for row in database.rows(f"SELECT {columns} FROM tokens WHERE wrapped IS NOT NULL LIMIT ?", 3 * most):  # noqa: S608
        yield wrap(*row)
    sql = "SELECT lookup, grant_id, replay FROM tokens WHERE replay IS NOT NULL LIMIT ?"
    for row in database.rows(sql, most):
        yield replay(*row)
    for row in database.rows("SELECT lookup, expires, sealed FROM requests LIMIT ?", most):
        yield request(*row)


def secrets(database: Database, pepper: bytes) -> Iterator[tuple[str, Callable[[bytes], bool]]]:
    """(kind, whether these 32 bytes are the secret of a row that still opens something)."""
    rows = database.rows("SELECT kind, lookup FROM tokens WHERE wrapped IS NOT NULL")
    for kind in ("code", "access", "refresh"):
        known = {lookup for name, lookup in rows if name == kind}
        if known:
            yield "token secret", _is_token(kind, known, pepper)
    sessions = {row[0] for row in database.rows("SELECT lookup FROM sessions")}
    if sessions:
        yield "session secret", lambda raw: SessionSlot.lookup(raw, pepper)[0] in sessions
    tools = {row[0] for row in database.rows("SELECT lookup FROM tools")}
    if tools:
        yield "tool secret", lambda raw: ToolSlot.lookup(raw, pepper)[0] in tools
    requests = {row[0] for row in database.rows("SELECT lookup FROM requests")}
    if requests:
        yield "request handle", lambda raw: crypto.split_secret(raw, pepper, Purpose.REQUEST)[0] in requests


def _is_token(kind: str, known: set[bytes], pepper: bytes) -> Callable[[bytes], bool]:
    return lambda raw: split(kind, raw, pepper)[0] in known


def opens(attempt: Attempt, probe: Probe) -> bool:
    """Whether this key opens this envelope."""
    if isinstance(attempt.open, Lock):
        return probe.opens(attempt.open)
    try:
        attempt.open(probe.key)
    except TamperedError:
        return False
    return True


def distinct(values: Iterable[bytes]) -> list[bytes]:
    """Each once, all of 32 bytes."""
    return [value for value in dict.fromkeys(values) if len(value) == SIZE]
