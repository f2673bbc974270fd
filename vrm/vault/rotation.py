"""A new root for a vault: "I lost a device". From then on the old root opens nothing that is written here.

Promises: one transaction makes the new root, hands it to every verified way in and ends all sessions; from
then on everything is sealed under it, and nothing that the old root opens leads to it. What lies under the
old root is sealed anew in batches, each a transaction of its own; the old root stands under the new one until
the last batch. Killed or out of disk anywhere, every way in that is good at that point opens everything, and
the next unlock goes on. Refuses ways in that the roster or the server key does not vouch for: they are
dropped and named. It heals no damage and hides none: what the journal did not vouch for before, it does not
vouch for afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vrm.errors import ConflictError, TamperedError
from vrm.vault import crypto, envelope
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Transaction, as_text
from vrm.vault.generations import Resealed, is_mark, key_of, mark, open_keyring, require_current
from vrm.vault.journal import Journal, Newest, Noted, body_hash
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, Slot, hand_over
from vrm.vault.roster import Roster, open_roster, seal_roster
from vrm.vault.tools import end_all

if TYPE_CHECKING:
    from vrm.vault.vault import Vault

BATCH = 500  # rows sealed anew in one transaction
_RECORDS = "records"


class Part(Protocol):
    """What else is sealed under the root of a vault, or to a key pair that derives from it.

    Whoever seals such things implements this and adds itself to `Vaults.parts`.
    """

    name: str

    def begin(self, transaction: Transaction, keyring: Keyring) -> None:
        """In the transaction that makes the new root; `keyring` is the new one, with the old one before.

        Public keys that derive from the root are replaced here, and heads sealed anew that vouch for others.
        """

    def count(self, vault: str) -> int:
        """About how many rows there are to do."""

    def reseal(self, transaction: Transaction, keyring: Keyring, after: str, limit: int) -> Resealed:
        """Seal up to `limit` rows anew that stand after the place `after` ("": from the first).

        Rows that are under the new root already are passed over; rows that do not open stay as they are.
        """


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A way in that got no new root, because nobody vouches for it."""

    slot: str
    kind: str


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a new root changed at once."""

    generation: int
    dropped: tuple[Dropped, ...]
    sessions: int  # that ended


Tell = Callable[[Progress], object]
Beside = Callable[[Transaction], object]


def begin(vault: Vault, passphrase: str, new: str | None, beside: Beside | None) -> Rotated:
    """Make the new root, and do `beside` in the same transaction.

    UnlockError for a wrong passphrase, ConflictError while another process is at an earlier rotation.
    """
    vault.check_passphrase(passphrase)
    if progress(vault) is not None and proceed(vault) is not None:
        raise ConflictError("the keys are being renewed already", hint="wait until that has finished")
    old = vault.keyring
    root, generation = crypto.random_key(), old.generation + 1
    heirlooms = Keyring(vault.id, root, generation).cipher(Purpose.HEIRLOOMS).seal(old.heirlooms())
    ring = Keyring(vault.id, root, generation, heirlooms=heirlooms, before=old.alone())
    slot = vault.passphrase_slot(new or passphrase, ring)
    with vault.engine.write() as transaction:
        require_current(vault.engine, old)
        vault.require_standing()
        dropped = _replace_slots(transaction, vault, ring, slot)
        _store(transaction, vault, ring, heirlooms)
        for part in vault.parts:
            part.begin(transaction, ring)
        ended = end_all(transaction, vault.id)
        vault.use(transaction, ring, slot)
        if beside is not None:
            beside(transaction)
    vault.engine.purge()
    return Rotated(generation, tuple(dropped), ended)


def _replace_slots(transaction: Transaction, vault: Vault, ring: Keyring, slot: Slot) -> list[Dropped]:
    """The passphrase's slot anew; the new root handed to the others that are verified; the roster."""
    before = ring.of(ring.generation - 1)
    try:
        roster = open_roster(vault.engine, before)
    except TamperedError:
        roster = Roster({}, [], {})  # then nobody vouches for any other way in, nor for a grant
    kept, proofs, dropped = [slot], {}, []
    for row, vouched in vault.slots_vouched():
        known = roster.slots.get(row.slot) == row.mark()
        if known and row.kind == PassphraseSlot.kind:
            continue  # `slot` stands for it
        proof = _proof(roster, before, row)
        if not known or not vouched or proof is None:
            dropped.append(Dropped(row.slot, row.kind))
            continue
        kept.append(hand_over(row, ring.root(), ring.generation, proof))
        proofs[row.slot] = proof.reveal().hex()
    transaction.execute("DELETE FROM keyslots WHERE vault = ?", (vault.id,))
    vault.store_slots(transaction, kept)
    seal_roster(transaction, ring, Roster({one.slot: one.mark() for one in kept}, roster.grants, proofs))
    return dropped


def _proof(roster: Roster, before: Keyring, row: Slot) -> Key | None:
    """What this way in believes: a key of the root that it knows itself."""
    if row.slot in roster.proofs:
        return Key(bytes.fromhex(roster.proofs[row.slot]))
    return before.handover_proof(row.slot) if row.generation == before.generation else None


def _store(transaction: Transaction, vault: Vault, ring: Keyring, heirlooms: bytes) -> None:
    """Everything else of the first step that belongs to the vault itself."""
    public, names = crypto.public_of(ring.log_private()), [part.name for part in vault.parts]
    before = ring.of(ring.generation - 1)
    previous = ring.alone().cipher(Purpose.PREVIOUS_ROOT).wrap(before.root(), before.generation)
    total = _Records(vault.engine, ring).count(vault.id) + sum(part.count(vault.id) for part in vault.parts)
    transaction.execute(
        "UPDATE vaults SET generation = ?, log_public = ?, log_mac = ? WHERE vault = ?",
        (ring.generation, public, vault.vouch("log", public), vault.id),
    )
    transaction.execute(
        "INSERT INTO rotations (vault, generation, previous, parts, part, after, done, total)"
        " VALUES (?, ?, ?, ?, ?, '', 0, ?)",
        (vault.id, ring.generation, previous, json.dumps(names), _RECORDS, total),
    )
    transaction.execute(
        "INSERT INTO heirlooms (vault, sealed) VALUES (?, ?)"
        " ON CONFLICT (vault) DO UPDATE SET sealed = excluded.sealed",
        (vault.id, heirlooms),
    )
    # An import that runs with the old keys can write nothing more; what it has hidden would show by them.
    for table in ("records", "staged"):
        transaction.execute(
            f"DELETE FROM {table} WHERE vault = ? AND import IN (SELECT import FROM imports WHERE vault = ?)",
            (vault.id, vault.id),
        )
    transaction.execute("DELETE FROM imports WHERE vault = ?", (vault.id,))
    with suppress(TamperedError):  # a head that was altered stays so: `problems` names it
        Journal(vault.engine, ring).take_over(transaction, before)


def progress(vault: Vault) -> Progress | None:
    """How far the rotation of this vault is; None where there is none."""
    row = vault.engine.one(
        "SELECT CAST(done AS INTEGER), CAST(total AS INTEGER) FROM rotations WHERE vault = ?", (vault.id,)
    )
    return Progress(min(row[0], row[1]), row[1]) if row else None


def proceed(vault: Vault, batches: int | None = None, tell: Tell | None = None) -> Progress | None:
    """Go on with an unfinished rotation, for so many batches or to its end.

    Returns what is left, None where it is finished. One at a time: where another one is at it, it is left
    to that one, and so it is where not everybody is here who must seal something anew.
    """
    now = progress(vault)
    if now is None or not _all_here(vault):
        return now
    with vault.engine.exclusive("rotation", of=vault.id) as mine:
        run = _Run(vault)
        while mine and (batches is None or batches > 0) and run.batch():
            batches = None if batches is None else batches - 1
            if tell is not None:
                tell(progress(vault) or now)
    left = progress(vault)
    if left is None:
        vault.keyring = open_keyring(vault.engine, vault.id, vault.keyring.root(), vault.keyring.generation)
        vault.engine.purge()
    return left


def _all_here(vault: Vault) -> bool:
    note = _note(vault.engine, vault.id)
    return note is not None and note.parts is not None and note.parts <= {part.name for part in vault.parts}


class _Note(NamedTuple):
    """Whose turn it is, after which row, and who must seal something anew (None: that was altered)."""

    part: str
    after: str
    parts: frozenset[str] | None


def _note(engine: Engine, vault: str) -> _Note | None:
    row = engine.one(
        "SELECT CAST(part AS BLOB), CAST(after AS BLOB), CAST(parts AS BLOB) FROM rotations WHERE vault = ?",
        (vault,),
    )
    if row is None:
        return None
    part, after, parts = map(as_text, row)
    try:
        names = json.loads(parts)
    except (ValueError, RecursionError):
        names = None
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return _Note(part, after, frozenset(names) if known else None)


def problems(engine: Engine, keyring: Keyring) -> list[str]:
    """What does not fit in what a rotation left; empty if all is well."""
    found = []
    note = _note(engine, keyring.vault)
    if note and keyring.before is None:
        found.append("the earlier root of an unfinished renewal of the keys was altered")
    if note and (note.parts is None or not is_mark(note.after)):
        found.append("the note of how far the renewal of the keys is was altered")
    try:
        keyring.heirlooms()
    except TamperedError:
        found.append("the keys that outlive a root were altered or taken away")
    return found


class _Run:
    """Batches of one vault's rotation, by the process that holds its lock."""

    def __init__(self, vault: Vault) -> None:
        self._engine = vault.engine
        self._keyring = vault.keyring
        self._records = _Records(vault.engine, vault.keyring)
        self._parts: Sequence[Part] = (self._records, *vault.parts)

    def batch(self) -> bool:
        """One transaction; False where the rotation has ended with it or before."""
        with self._engine.write() as transaction:
            require_current(self._engine, self._keyring)
            note = _note(self._engine, self._keyring.vault)
            if note is None:
                return False
            names = [part.name for part in self._parts]
            at, place = (names.index(note.part), note.after) if note.part in names else (0, "")
            after, rows = self._parts[at].reseal(transaction, self._keyring, place, BATCH)
            if after is None and at + 1 == len(names):
                self._finish(transaction)
                return False
            name = names[at] if after is not None else names[at + 1]
            transaction.execute(
                "UPDATE rotations SET part = ?, after = ?, done = done + ? WHERE vault = ?",
                (name, after or "", rows, self._keyring.vault),
            )
        return True

    def _finish(self, transaction: Transaction) -> None:
        """The journal anew, and the old root goes: no record is under it, wherever the note stood."""
        place: str | None = ""
        while place is not None:  # passes over what is done
            place, _ = self._records.reseal(transaction, self._keyring, place, BATCH)
        with suppress(TamperedError):  # a broken chain stays broken, and `check` goes on saying so
            self._records.renew_journal(transaction)
        transaction.execute("DELETE FROM rotations WHERE vault = ?", (self._keyring.vault,))


class _Records:
    """The part that every vault has: its records. Revisions stay; the journal notes the new bytes."""

    name = _RECORDS

    def __init__(self, engine: Engine, keyring: Keyring) -> None:
        self._engine = engine
        self._journal = Journal(engine, keyring)
        self._newest = Newest(self._journal)

    def begin(self, transaction: Transaction, keyring: Keyring) -> None:
        """Nothing: records are sealed anew in batches."""

    def count(self, vault: str) -> int:
        """How many records there are."""
        row = self._engine.one("SELECT count(*) FROM records WHERE vault = ?", (vault,))
        return int(row[0]) if row else 0

    def reseal(self, transaction: Transaction, keyring: Keyring, after: str, limit: int) -> Resealed:
        """A batch in the order of their keys; those of a running import are new already."""
        rows = self._engine.all(
            "SELECT collection, record, revision, CAST(body AS BLOB) FROM records WHERE vault = ?"
            " AND (collection, record) > (?, ?) AND CAST(collection AS TEXT) = collection"
            " AND CAST(record AS TEXT) = record ORDER BY collection, record LIMIT ?",
            (keyring.vault, *(key_of(after, str, str) or ("", "")), limit),
        )
        states, changed, noted = self._states(), [], []
        for collection, record, revision, body in rows:
            fresh = _resealed(keyring, collection, record, revision, body)
            if fresh is None:
                continue
            changed.append((fresh, keyring.vault, collection, record))
            if states.get((collection, record)) == (revision, body_hash(body)):
                noted.append(Noted(collection, record, revision, body_hash(fresh)))
        transaction.executemany(
            "UPDATE records SET body = ? WHERE vault = ? AND collection = ? AND record = ?", changed
        )
        if noted:
            self._journal.append(transaction, noted)
        return Resealed(mark(*rows[-1][:2]) if len(rows) == limit else None, len(rows))

    def _states(self) -> dict[tuple[str, str], tuple[int, str]]:
        """What the journal vouches for: nothing where its chain is broken."""
        try:
            self._newest.follow()
        except TamperedError:
            return {}
        return self._newest.states

    def renew_journal(self, transaction: Transaction) -> None:
        """The journal anew, with the newest state of each record; TamperedError where its chain is broken."""
        self._newest.follow()
        self._journal.renew(transaction, self._newest.noted())


def _resealed(keyring: Keyring, collection: str, record: str, revision: int, body: bytes) -> bytes | None:
    """The same facets under the newest root; None where they are already, or where they do not open."""
    try:
        named = envelope.unpack_named(body)
        if {envelope.parse(blob).generation for blob in named.values()} <= {keyring.generation}:
            return None
        ciphers = {facet.name: cipher for facet, cipher in keyring.record_ciphers(collection)}
        bound = envelope.pack_record(record, revision) + envelope.lp(envelope.pack(*named))
        texts = [
            (ciphers[name], ciphers[name].unseal_packed(blob, bound), bound) for name, blob in named.items()
        ]
    except (TamperedError, KeyError):
        return None
    return envelope.pack_named(dict(zip(named, crypto.seal_all(texts), strict=True)))
