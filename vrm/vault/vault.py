"""The facade: create, unlock, resume, and what an unlocked vault can do.

Promises: one Argon2id run for every try, known name or not; what a wrong credential and altered bytes
look like outside is one thing; a session's secret is the only copy of what it opens. The list of keyslots
and live grants (the *roster*) is sealed under the root, so that what was planted in the tables is found.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vrm.clock import Clock
from vrm.errors import SessionExpiredError, TamperedError, UnlockError, UsernameTakenError, ValidationError
from vrm.vault import copies, crypto, invitations, journal, keyslots, records
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.crypto import KdfCost, KdfLimits, Key, Purpose
from vrm.vault.engine import Engine, Schema, Transaction
from vrm.vault.journal import Journal
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, SessionSlot, Slot
from vrm.vault.records import Records, Watcher
from vrm.vault.serverkey import ServerKey
from vrm.vault.tables import RecordTable

SCHEMA = Schema(
    "vault",
    2,
    (
        "CREATE TABLE vaults (vault TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE,"
        " created INTEGER NOT NULL, generation INTEGER NOT NULL, log_public BLOB NOT NULL,"
        " log_mac BLOB NOT NULL, roster BLOB NOT NULL, confirmed INTEGER NOT NULL, watched INTEGER NOT NULL)",
        "CREATE TABLE keyslots (vault TEXT NOT NULL, slot TEXT NOT NULL, kind TEXT NOT NULL,"
        " params BLOB NOT NULL, checked BLOB NOT NULL, public BLOB NOT NULL, public_mac BLOB NOT NULL,"
        " wrapped BLOB NOT NULL, generation INTEGER NOT NULL, created INTEGER NOT NULL,"
        " PRIMARY KEY (vault, slot))",
        "CREATE TABLE sessions (lookup BLOB PRIMARY KEY, vault TEXT NOT NULL, wrapped BLOB NOT NULL,"
        " created INTEGER NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL)",
        "CREATE INDEX sessions_vault ON sessions (vault)",
        *records.TABLES,
        *journal.TABLES,
        *copies.TABLES,
        *invitations.TABLES,
    ),
    left_out=("sessions", "invitations"),
    steps={
        2: (*copies.TABLES, *invitations.TABLES),
    },
)
_SLOT = "k.vault, k.slot, k.kind, k.params, k.checked, k.public, k.wrapped, k.generation"
_NAME = re.compile(r"[\w][\w.\-]{1,39}")
_STRETCHES = 2  # Argon2id runs at once on one machine
_STRETCH_WAIT = 8.0  # seconds in the queue before BusyError
_TOUCH = 60  # seconds between two notes that a session is in use


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """What the host sees of a vault."""

    id: str
    username: str
    created: int


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a browser keeps root power, in seconds."""

    idle: int = 30 * 60
    absolute: int = 12 * 3600


def normal_username(username: str) -> str:
    """The one spelling under which a name is stored; ValidationError for what is no name."""
    name = unicodedata.normalize("NFKC", username).strip().casefold()
    if not _NAME.fullmatch(name):
        raise ValidationError(
            fields={"username": ["needs 2 to 40 letters, digits, dots, dashes or underscores"]}
        )
    return name


class Vaults:
    """All vaults of one host."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        *,
        clock: Clock,
        limits: KdfLimits | None = None,
        sessions: SessionLimits | None = None,
        watcher: Watcher | None = None,
        stretch_wait: float = _STRETCH_WAIT,
    ) -> None:
        self.engine = engine
        self.server_key = server_key
        self.clock = clock
        self.watcher = watcher
        self._limits = limits or KdfLimits()
        self._sessions = sessions or SessionLimits()
        self._stretch_wait = stretch_wait

    def create(
        self, username: str, passphrase: str, *, claim: Callable[[Transaction], object] | None = None
    ) -> tuple[Vault, str]:
        """A new vault and its recovery code, which is shown once and stored nowhere.

        Raises ValidationError (name or passphrase), UsernameTakenError, and what `claim` raises: it runs
        in the same transaction.
        """
        name = normal_username(username)
        keyslots.require_good(passphrase)
        vault, root, code = secrets.token_hex(16), crypto.random_key(), keyslots.new_code()
        slot = self._passphrase_slot(vault, passphrase, root)
        keyring = Keyring(vault, root)
        log_public = crypto.public_of(keyring.log_private())
        log_mac = self.server_key.vouch(vault, "log", log_public)
        opened = Vault(self, keyring, name)
        with self.engine.write() as transaction:
            if self.engine.one("SELECT 1 FROM vaults WHERE username = ?", (name,)):
                raise UsernameTakenError(fields={"username": ["is taken"]})
            if claim is not None:
                claim(transaction)
            transaction.execute(
                "INSERT INTO vaults VALUES (?, ?, ?, 1, ?, ?, ?, 0, 0)",
                (vault, name, self.clock.now(), log_public, log_mac, b""),
            )
            Journal(self.engine, keyring).begin(transaction)
            opened.enrol(transaction, [slot, RecoverySlot.wrap(vault, code, root, 1)], drop=())
        return opened, code

    def unlock(self, username: str, passphrase: str) -> Vault:
        """The vault; UnlockError for an unknown name and a wrong passphrase alike."""
        raw = keyslots.passphrase_bytes(passphrase)
        try:
            name = normal_username(username)
        except ValidationError:
            name = ""
        rows = self._slots(name, PassphraseSlot.kind)
        if not rows:
            self._stretch(raw, self._limits.fresh())  # the same work as for a known name
            raise UnlockError()
        opened = self._opened(name, self._try_passphrase(rows, raw))
        opened.renew_vouchers()
        return opened

    def recover(self, username: str, code: str, new_passphrase: str) -> Vault:
        """Open with the recovery code and set a new passphrase; every session ends.

        The code stays good. Raises UnlockError and ValidationError.
        """
        keyslots.require_good(new_passphrase)
        try:
            name = normal_username(username)
        except ValidationError:
            raise UnlockError() from None
        for row in self._slots(name, RecoverySlot.kind):
            try:
                opened = self._opened(name, RecoverySlot.unwrap(row, code))
            except UnlockError:
                continue
            opened.renew_vouchers()
            opened.replace_passphrase(new_passphrase)
            return opened
        raise UnlockError()

    def resume(self, session_secret: str) -> Vault:
        """The vault of a running session; SessionExpiredError for any other secret."""
        lookup, wrapping = SessionSlot.lookup(_session_bytes(session_secret), self.server_key.pepper)
        row = self.engine.one(
            "SELECT s.vault, s.wrapped, s.expires, s.used, v.username, v.generation FROM sessions s"
            " JOIN vaults v ON v.vault = s.vault WHERE s.lookup = ?",
            (lookup,),
        )
        now = self.clock.now()
        if (
            row is None
            or now >= row[2]
            or now >= row[3] + self._sessions.idle
            or now + self._sessions.absolute < row[3]
        ):
            raise SessionExpiredError()
        root = SessionSlot.unwrap(row[0], wrapping, lookup, row[2], row[1])
        if now >= row[3] + _TOUCH:
            with self.engine.write() as transaction:
                transaction.execute("UPDATE sessions SET used = ? WHERE lookup = ?", (now, lookup))
        return Vault(self, Keyring(row[0], root, row[5]), row[4])

    def listing(self) -> list[VaultEntry]:
        """Every vault's name and day of creation: all that a host can see."""
        rows = self.engine.all("SELECT vault, username, created FROM vaults ORDER BY username")
        return [VaultEntry(*row) for row in rows]

    def log_public(self, vault: str) -> bytes:
        """The key to which this vault's disclosure log is sealed; TamperedError for a foreign one."""
        row = self.engine.one("SELECT log_public, log_mac FROM vaults WHERE vault = ?", (vault,))
        if row is None or not crypto.equal(row[1], self.server_key.vouch(vault, "log", row[0])):
            raise TamperedError()
        return bytes(row[0])

    def sweep(self) -> int:
        """Delete ended sessions; returns how many."""
        now = self.clock.now()
        with self.engine.write() as transaction:
            cursor = transaction.execute(
                "DELETE FROM sessions WHERE expires <= ? OR used <= ?", (now, now - self._sessions.idle)
            )
            return int(cursor.rowcount)

    def _slots(self, name: str, kind: str) -> list[Slot]:
        rows = self.engine.all(
            f"SELECT {_SLOT} FROM keyslots k JOIN vaults v ON v.vault = k.vault"
            " WHERE v.username = ? AND k.kind = ? ORDER BY k.slot",
            (name, kind),
        )
        return [Slot(*row) for row in rows]

    def _stretch(self, raw: bytes, cost: KdfCost) -> bytes:
        with self.engine.slot("argon2", _STRETCHES, self._stretch_wait):
            return crypto.stretch(raw, cost)

    def _passphrase_slot(self, vault: str, passphrase: str, root: Key) -> Slot:
        cost = PassphraseSlot.fresh_cost(self._limits)
        stretched = self._stretch(keyslots.passphrase_bytes(passphrase), cost)
        return PassphraseSlot.wrap(vault, stretched, cost, root, 1)

    def _try_passphrase(self, rows: Iterable[Slot], raw: bytes) -> Key:
        for row in rows:
            try:
                return PassphraseSlot.unwrap(row, self._stretch(raw, KdfCost.decode(row.params)))
            except UnlockError:
                continue
        raise UnlockError()

    def _opened(self, name: str, root: Key) -> Vault:
        row = self.engine.one("SELECT vault, generation FROM vaults WHERE username = ?", (name,))
        if row is None:
            raise UnlockError()
        return Vault(self, Keyring(row[0], root, row[1]), name)


def read_roster(engine: Engine, keyring: Keyring) -> tuple[dict[str, str], list[str]]:
    """(keyslot → mark of its row, entries of live grants) as sealed under the root; TamperedError."""
    row = engine.one("SELECT roster FROM vaults WHERE vault = ?", (keyring.vault,))
    if row is None or not row[0]:
        return {}, []
    slots, grants = json.loads(keyring.cipher(Purpose.ROSTER).unseal(row[0]))
    return slots, grants


def _session_bytes(secret: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except (binascii.Error, ValueError):
        raise SessionExpiredError() from None
    if len(raw) != 32:
        raise SessionExpiredError()
    return raw


class Vault:
    """An unlocked vault. The root lives in this object and nowhere else in the process."""

    def __init__(self, vaults: Vaults, keyring: Keyring, username: str) -> None:
        self._vaults = vaults
        self.engine = vaults.engine
        self.keyring = keyring
        self.id = keyring.vault
        self.username = username

    def __repr__(self) -> str:
        return f"<Vault {self.id}>"

    @property
    def recovery_confirmed(self) -> bool:
        """Whether the customer proved that she wrote the recovery code down."""
        row = self.engine.one("SELECT confirmed FROM vaults WHERE vault = ?", (self.id,))
        return bool(row and row[0])

    def records(self, collection: str) -> Records:
        """The records of a collection; KeyError for a name that is not in the catalog."""
        name = CATALOG_BY_NAME[collection].name
        return Records(self.engine, self.keyring, name, self._vaults.watcher, self._vaults.clock)

    def table(self, collection: str) -> RecordTable:
        """The same records as a TinyDB table."""
        return RecordTable(self.records(collection))

    def open_session(self) -> str:
        """A new session; the secret is for the browser's cookie only."""
        raw = crypto.random_bytes(32)
        lookup, wrapping = SessionSlot.lookup(raw, self._vaults.server_key.pepper)
        now = self._vaults.clock.now()
        expires = now + self._vaults._sessions.absolute
        wrapped = SessionSlot.wrap(
            self.id, wrapping, lookup, expires, self.keyring.root(), self.keyring.generation
        )
        with self.engine.write() as transaction:
            transaction.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                (lookup, self.id, wrapped, now, expires, now),
            )
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    def close_session(self, secret: str) -> None:
        """End one session: its wrap is deleted."""
        try:
            lookup, _ = SessionSlot.lookup(_session_bytes(secret), self._vaults.server_key.pepper)
        except SessionExpiredError:
            return
        with self.engine.write() as transaction:
            transaction.execute("DELETE FROM sessions WHERE lookup = ? AND vault = ?", (lookup, self.id))
        self.engine.purge()

    def close_all_sessions(self) -> int:
        """End every session of this vault; returns how many there were."""
        with self.engine.write() as transaction:
            cursor = transaction.execute("DELETE FROM sessions WHERE vault = ?", (self.id,))
        self.engine.purge()
        return int(cursor.rowcount)

    def check_passphrase(self, passphrase: str) -> None:
        """Ask again before what cannot be taken back; UnlockError."""
        rows = self._vaults._slots(self.username, PassphraseSlot.kind)
        self._vaults._try_passphrase(rows, keyslots.passphrase_bytes(passphrase))

    def change_passphrase(self, old: str, new: str) -> None:
        """A new passphrase for the same root; every session ends. UnlockError, ValidationError.

        It does not heal a leaked one: an old copy of the database still opens with the old passphrase.
        """
        keyslots.require_good(new)
        self.check_passphrase(old)
        self.replace_passphrase(new)

    def replace_passphrase(self, new: str) -> None:
        """Set a passphrase without asking for the old one (after recovery); every session ends."""
        slot = self._vaults._passphrase_slot(self.id, new, self.keyring.root())
        with self.engine.write() as transaction:
            self.enrol(transaction, [slot], drop=(PassphraseSlot.kind,))
            transaction.execute("DELETE FROM sessions WHERE vault = ?", (self.id,))
        self.engine.purge()

    def new_recovery_code(self, passphrase: str) -> str:
        """Replace the recovery code; the old one opens nothing any more. UnlockError."""
        self.check_passphrase(passphrase)
        code = keyslots.new_code()
        with self.engine.write() as transaction:
            self.enrol(
                transaction,
                [RecoverySlot.wrap(self.id, code, self.keyring.root(), self.keyring.generation)],
                drop=(RecoverySlot.kind,),
            )
            transaction.execute("UPDATE vaults SET confirmed = 0 WHERE vault = ?", (self.id,))
        self.engine.purge()
        return code

    def confirm_recovery_code(self, code: str) -> bool:
        """Whether this is the code; if so, that is noted."""
        for row in self._vaults._slots(self.username, RecoverySlot.kind):
            try:
                RecoverySlot.unwrap(row, code)
            except UnlockError:
                continue
            with self.engine.write() as transaction:
                transaction.execute("UPDATE vaults SET confirmed = 1 WHERE vault = ?", (self.id,))
            return True
        return False

    def enrol(self, transaction: Transaction, slots: Iterable[Slot], *, drop: Iterable[str]) -> None:
        """Store keyslots, drop those of the given kinds, and note exactly that in the roster.

        The roster never learns from the table: a slot that somebody planted there stays a stranger.
        """
        vouch, now = self._vaults.server_key.vouch, self._vaults.clock.now()
        rostered, grants = self._roster()
        for kind in drop:
            for (dropped,) in self.engine.all(
                "SELECT slot FROM keyslots WHERE vault = ? AND kind = ?", (self.id, kind)
            ):
                rostered.pop(dropped, None)
            transaction.execute("DELETE FROM keyslots WHERE vault = ? AND kind = ?", (self.id, kind))
        for slot in slots:
            rostered[slot.slot] = slot.mark()
            transaction.execute(
                "INSERT INTO keyslots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    slot.vault,
                    slot.slot,
                    slot.kind,
                    slot.params,
                    slot.check,
                    slot.public,
                    vouch(slot.vault, slot.slot, slot.public),
                    slot.wrapped,
                    slot.generation,
                    now,
                ),
            )
        self._seal_roster(transaction, rostered, grants)

    def _stored_slots(self) -> list[Slot]:
        rows = self.engine.all(f"SELECT {_SLOT} FROM keyslots k WHERE k.vault = ?", (self.id,))
        return [Slot(*row) for row in rows]

    def renew_vouchers(self) -> None:
        """After the server key was replaced: vouch anew for the public keys that the root knows."""
        vouch, own = self._vaults.server_key.vouch, crypto.public_of(self.keyring.log_private())
        row = self.engine.one("SELECT log_public, log_mac FROM vaults WHERE vault = ?", (self.id,))
        mac = vouch(self.id, "log", own)
        if row is None or row[0] != own or row[1] == mac:
            return
        with self.engine.write() as transaction:
            transaction.execute("UPDATE vaults SET log_mac = ? WHERE vault = ?", (mac, self.id))
            transaction.executemany(
                "UPDATE keyslots SET public_mac = ? WHERE vault = ? AND slot = ?",
                [(vouch(self.id, slot.slot, slot.public), self.id, slot.slot) for slot in self._own_slots()],
            )

    def _own_slots(self) -> list[Slot]:
        """The stored keyslots that are as the roster knows them."""
        try:
            rostered, _ = self._roster()
        except TamperedError:
            return []
        return [slot for slot in self._stored_slots() if rostered.get(slot.slot) == slot.mark()]

    def _roster(self) -> tuple[dict[str, str], list[str]]:
        return read_roster(self.engine, self.keyring)

    def _seal_roster(self, transaction: Transaction, slots: dict[str, str], grants: list[str]) -> None:
        sealed = self.keyring.cipher(Purpose.ROSTER).seal(json.dumps([slots, grants]).encode())
        transaction.execute("UPDATE vaults SET roster = ? WHERE vault = ?", (sealed, self.id))

    def roster_grants(self) -> list[str]:
        """What consent noted of the grants that this customer approved and has not ended."""
        return self._roster()[1]

    def set_roster_grants(self, transaction: Transaction, grants: list[str]) -> None:
        """Note which grants are live; from then on a vault with any refuses writes that nobody watches."""
        self._seal_roster(transaction, self._roster()[0], grants)
        transaction.execute("UPDATE vaults SET watched = ? WHERE vault = ?", (len(grants), self.id))

    def problems(self) -> list[str]:
        """What does not fit between the tables and what was sealed under the root; empty if all is well."""
        found = []
        stored = {slot.slot: slot.mark() for slot in self._stored_slots()}
        try:
            slots, _ = self._roster()
        except TamperedError:
            slots, found = {}, ["the list of keyslots and grants was altered"]
        else:
            found += [
                f"keyslot {slot} was planted or altered"
                for slot, mark in stored.items()
                if slots.get(slot) != mark
            ]
            found += [f"keyslot {slot} is missing" for slot in slots if slot not in stored]
        if not Journal(self.engine, self.keyring).check_head():
            found.append("the journal was cut or altered")
        try:
            if self._vaults.log_public(self.id) != crypto.public_of(self.keyring.log_private()):
                raise TamperedError()
        except TamperedError:
            found.append("the log's public key was swapped")
        return found

    def check(self) -> list[str]:
        """`problems`, and every stored record against the journal: old envelopes put back are found."""
        found = self.problems()
        newest: dict[tuple[str, str], tuple[int, str]] = {}
        try:
            for noted in Journal(self.engine, self.keyring).walk():
                newest[noted.collection, noted.record] = (noted.revision, noted.body_hash)
        except TamperedError:
            return [*found, "the journal's chain is broken"]
        for collection in CATALOG_BY_NAME:
            found += self._check_collection(self.records(collection), newest)
        missing = [record for (_, record), (revision, _) in newest.items() if revision]
        return found + [f"record {record} is missing" for record in missing]

    def _check_collection(self, held: Records, newest: dict[tuple[str, str], tuple[int, str]]) -> list[str]:
        found = []
        for record, revision, body in held.stored():
            if newest.pop((held.name, record), None) != (revision, journal.body_hash(body)):
                found.append(f"record {record} is not the newest state")
                continue
            try:
                held.unseal(record, revision, body)
            except TamperedError:
                found.append(f"record {record} does not open")
        return found
