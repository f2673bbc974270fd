"""Moves one vault between hosts: out of the tables into an export, and out of an export into the tables.

Promises: an export shows one state of the vault and leaves out what only this host could use; what arrives
is one transaction, checked like `vrm check` before it is kept, so a vault is there whole or not at all.
Refuses: to export what is being re-keyed, to take in a vault or a name that is there already, and rows that
are not of the kind that stands in this version's tables.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from vrm.errors import ConflictError, DataNewerError, TamperedError, UnlockError, UsernameTakenError
from vrm.vault import crypto, export, rotation
from vrm.vault.crypto import Key
from vrm.vault.engine import Engine, MisfitError, Schema, Transaction
from vrm.vault.export import Manifest, Row, Section
from vrm.vault.generations import open_keyring
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, Slot
from vrm.vault.naming import normal_username
from vrm.vault.roster import Roster, open_roster, seal_roster
from vrm.vault.vault import Vault, Vaults

SECTIONS = (
    Section(
        "records",
        {
            "collection": "t",
            "record": "t",
            "revision": "i",
            "import": "i",
            "fingerprint": "b?",
            "body": "b",
        },
        "AND (import = 0 OR import NOT IN (SELECT i.import FROM imports i WHERE i.vault = records.vault))",
    ),
    Section("journal", {"seq": "i", "sealed": "b"}),
    Section("journal_heads", {"sealed": "b"}),
    Section("heirlooms", {"sealed": "b"}),
    Section(
        "mailbox",
        {
            "origin": "t",
            "number": "i",
            "item": "b",
            "size": "i",
            "mac": "b",
            "sealed": "b",
            "stopped": "t",
        },
        "ORDER BY place",  # which is given anew: items stay in the order in which they came
    ),
    Section("mailbox_marks", {"sealed": "b"}),
    Section("mailbox_notes", {"origin": "t", "item": "b", "sealed": "b"}),
)
_BATCH = 500  # rows written at once
Keep = Mapping[str, Callable[[Mapping[str, Any]], bool]]  # table → which of its rows travel
Progress = Callable[[str, int, int], None]
_MALFORMED = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, struct.error),
    MisfitError,
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens an export: a passphrase, or a recovery code."""

    passphrase: str | None = None
    code: str | None = None


def write(
    vault: Vault,
    out: BinaryIO,
    sections: Sequence[Section],
    schemas: Sequence[Schema],
    now: int,
    *,
    keep: Keep | None = None,
    progress: Progress | None = None,
) -> tuple[int, dict[str, int]]:
    """Write the vault to `out`; returns (bytes, table → rows). ConflictError while its keys are renewed."""
    with vault.engine.read() as transaction:
        if rotation.progress(vault) is not None:
            raise ConflictError(
                "the keys of this vault are being renewed", hint="wait until that has finished"
            )
        manifest = _describe(vault, sections, schemas, now)
        slots = [slot for slot in vault.own_slots() if slot.kind in (PassphraseSlot.kind, RecoverySlot.kind)]
        if not slots:
            raise TamperedError("no way into this vault is as it was written", hint="vrm check --vault NAME")
        writer = export.Writer(out, vault.keyring, slots)
        writer.manifest(manifest)
        done, total, counts = 0, sum(manifest.rows.values()), dict.fromkeys(manifest.tables, 0)
        for number, section in enumerate(sections):
            for row in _stored(transaction, vault.id, section, (keep or {}).get(section.table)):
                writer.row(number, row)
                counts[section.table] += 1
                done += 1
                if progress is not None and done % _BATCH == 0:
                    progress("exporting", done, total)
        writer.finish()
    return writer.size, counts


def _describe(vault: Vault, sections: Sequence[Section], schemas: Sequence[Schema], now: int) -> Manifest:
    row = vault.engine.one("SELECT created, roster FROM vaults WHERE vault = ?", (vault.id,))
    if row is None:
        raise TamperedError()
    return Manifest(
        vault=vault.id,
        username=vault.username,
        created=row[0],
        generation=vault.keyring.generation,
        confirmed=vault.recovery_confirmed,
        taken=now,
        roster=bytes(row[1]).hex(),
        versions={schema.name: schema.version for schema in schemas},
        tables={section.table: list(section.columns) for section in sections},
        rows={section.table: _count(vault.engine, vault.id, section) for section in sections},
    )


def _count(engine: Engine, vault: str, section: Section) -> int:
    chosen = f"SELECT 1 FROM {section.table} WHERE vault = ? {section.where}"
    row = engine.one(f"SELECT count(*) FROM ({chosen}) AS chosen", (vault,))
    return int(row[0]) if row else 0


def _stored(
    transaction: Transaction, vault: str, section: Section, kept: Callable[[Mapping[str, Any]], bool] | None
) -> Iterator[Row]:
    columns = tuple(section.columns)
    names = ", ".join(columns)
    sql = f"SELECT {names} FROM {section.table} WHERE vault = ? {section.where}"
    for row in transaction.each(sql, (vault,)):
        if kept is None or kept(dict(zip(columns, row, strict=True))):
            yield row


def bring(
    vaults: Vaults,
    source: BinaryIO,
    credential: Credential,
    sections: Sequence[Section],
    schemas: Sequence[Schema],
    *,
    name: str = "",
    arrive: Callable[[Transaction, Vault], list[str]],
    damaged: bool = False,
    progress: Progress | None = None,
) -> tuple[Vault, Manifest]:
    """Make a vault of an export, under its own name or `name`; nothing is kept unless all of it is good.

    `arrive` brings in order what the vault itself does not know, and returns problems. A vault in which
    something was altered before it was exported is taken in only if `damaged`. Raises UnlockError,
    ConflictError (the vault is here), UsernameTakenError, FormatError, DataNewerError, TamperedError.
    """
    with _whatever_is_in_it():
        ways = export.read_ways(source)
        root, generation = _open(vaults, ways.slots, credential)
        keyring = Keyring(ways.vault, root, generation)
        reader = export.Reader(source, ways, keyring)
        manifest = reader.manifest
        _require_known(manifest, sections, schemas)
        if manifest.generation != generation:
            raise export.damaged()
        username = normal_username(name or manifest.username)
        fresh = _at_our_cost(vaults, ways.slots, credential, keyring)
    with _whatever_is_in_it(), vaults.engine.write() as transaction:
        _require_free(vaults.engine, ways.vault, username)
        _make(transaction, vaults, manifest, username, root)
        _insert(transaction, ways.vault, sections, reader, progress)
        vault = Vault(vaults, open_keyring(vaults.engine, ways.vault, root, generation), username)
        _take_slots(transaction, vault, ways.slots, fresh)
        found = [*arrive(transaction, vault), *vault.check()]
        if found and not damaged:
            raise TamperedError(
                f"the vault was damaged before it was exported: {found[0]}",
                hint="nothing was stored; --damaged takes it in as it is",
            )
        transaction.execute(
            "INSERT INTO restored VALUES (?, ?, ?)", (vault.id, manifest.taken, vaults.clock.now())
        )
    return vault, manifest


@contextmanager
def _whatever_is_in_it() -> Iterator[None]:
    """Who holds a vault can seal anything into an export of it: what fits nowhere is damage."""
    try:
        yield
    except _MALFORMED as error:
        raise export.damaged() from error


def _at_our_cost(
    vaults: Vaults, slots: Sequence[Slot], credential: Credential, keyring: Keyring
) -> list[Slot]:
    """The passphrase's way in at this host's cost, where it has another.

    With the recovery code it cannot be made anew; ConflictError where it costs too much until it is used.
    """
    for slot in slots:
        if slot.kind != PassphraseSlot.kind or vaults.stretching.is_usual(slot):
            continue
        if credential.passphrase is not None:
            return [vaults.stretching.slot(credential.passphrase, keyring)]
        if not vaults.stretching.is_bearable(slot):
            raise ConflictError(
                "a try at the passphrase of this export costs more than this host allows",
                hint="import it with the passphrase: then it gets the cost of this host",
            )
    return []


def _open(vaults: Vaults, slots: Sequence[Slot], credential: Credential) -> tuple[Key, int]:
    try:
        if credential.passphrase is not None:
            rows = [slot for slot in slots if slot.kind == PassphraseSlot.kind]
            return vaults.try_passphrase(rows, credential.passphrase)
        for slot in slots:
            if slot.kind == RecoverySlot.kind:
                try:
                    return RecoverySlot.unwrap(slot, credential.code or ""), slot.newest()
                except UnlockError:
                    continue
    except TamperedError:
        raise export.damaged() from None
    raise UnlockError("this does not open the export")


def _require_known(manifest: Manifest, sections: Sequence[Section], schemas: Sequence[Schema]) -> None:
    known = {schema.name: schema.version for schema in schemas}
    if any(version > known.get(name, 0) for name, version in manifest.versions.items()):
        raise DataNewerError(hint=f"it was written by vrm {manifest.by}")
    export.check_columns(manifest, sections)


def _require_free(engine: Engine, vault: str, username: str) -> None:
    row = engine.one("SELECT username FROM vaults WHERE vault = ?", (vault,))
    if row is not None:
        raise ConflictError(
            f"this vault is here already, as {row[0]}",
            hint=f"to put the export in its place: vrm vault delete {row[0]}",
        )
    if engine.one("SELECT 1 FROM vaults WHERE username = ?", (username,)):
        raise UsernameTakenError(fields={"username": [f"{username} is taken; --as NAME gives another"]})


def _make(transaction: Transaction, vaults: Vaults, manifest: Manifest, username: str, root: Key) -> None:
    vault, public = manifest.vault, crypto.public_of(Keyring(manifest.vault, root).log_private())
    transaction.execute(
        "INSERT INTO vaults (vault, username, created, generation, log_public, log_mac, roster, confirmed,"
        " watched) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
        (
            *(vault, username, manifest.created, manifest.generation, public),
            *(vaults.server_key.vouch(vault, "log", public), bytes.fromhex(manifest.roster)),
            int(manifest.confirmed),
        ),
    )


def _insert(
    transaction: Transaction,
    vault: str,
    sections: Sequence[Section],
    reader: export.Reader,
    progress: Progress | None,
) -> None:
    known = {section.table: section for section in sections}
    done, total, last = 0, sum(reader.manifest.rows.values()), ""
    batch: list[Row] = []
    for table, cells in reader.rows():
        if not export.fits(known[table], reader.manifest.tables[table], cells):
            raise export.damaged()
        if batch and (table != last or len(batch) == _BATCH):
            _store(transaction, vault, known[last], reader.manifest.tables[last], batch)
            done += len(batch)
            batch = []
            if progress is not None:
                progress("importing", done, total)
        last = table
        batch.append(cells)
    if batch:
        _store(transaction, vault, known[last], reader.manifest.tables[last], batch)


def _store(
    transaction: Transaction, vault: str, section: Section, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    names = ("vault", *columns, *section.filled)
    marks = ", ".join("?" * len(names))
    filled = tuple(section.filled.values())
    cursor = transaction.executemany(
        f"INSERT INTO {section.table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING",
        [(vault, *row, *filled) for row in rows],
    )
    if cursor.rowcount != len(rows):  # twice in the file, or another vault's
        raise export.damaged()


def _take_slots(transaction: Transaction, vault: Vault, slots: Sequence[Slot], fresh: Sequence[Slot]) -> None:
    """The ways in that the file brings: the roster under the root must know them; it forgets all others.

    `fresh` replaces those of the same kind.
    """
    known = open_roster(vault.engine, vault.keyring)
    if any(known.slots.get(slot.slot) != slot.mark() for slot in slots):
        raise export.damaged()
    made = {slot.kind for slot in fresh}
    slots = [*(slot for slot in slots if slot.kind not in made), *fresh]
    vault.store_slots(transaction, slots)
    names = {slot.slot for slot in slots}
    proofs = {slot: proof for slot, proof in known.proofs.items() if slot in names}
    seal_roster(transaction, vault.keyring, Roster({one.slot: one.mark() for one in slots}, [], proofs))
    vault.prepare_mailbox()
