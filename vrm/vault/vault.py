"""The facade: create, unlock, resume, and what an unlocked vault can do.

Promises: one Argon2id run for every try, known name or not; what a wrong credential and altered bytes
look like outside is one thing; a session's secret is the only copy of what it opens. The list of keyslots
and live grants (the *roster*) is sealed under the root, so that what was planted in the tables is found.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property

from vrm.clock import Clock
from vrm.errors import (
    BusyError,
    SessionExpiredError,
    StorageError,
    TamperedError,
    UnlockError,
    UnvouchedError,
    UsernameTakenError,
    ValidationError,
)
from vrm.vault import checking, crypto, keyslots, mailbox, recovery, rotation, ways
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.changes import Watcher
from vrm.vault.crypto import KdfLimits, Key
from vrm.vault.engine import Engine, Transaction
from vrm.vault.generations import open_keyring, require_current
from vrm.vault.journal import Journal
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, Slot
from vrm.vault.naming import VaultEntry, normal_username
from vrm.vault.pairing import Pairings
from vrm.vault.records import Records
from vrm.vault.renewal import MailboxPart
from vrm.vault.roster import Roster, open_roster, seal_roster
from vrm.vault.serverkey import ServerKey
from vrm.vault.sessions import SessionLimits, Sessions
from vrm.vault.stretching import WAIT, Stretching
from vrm.vault.tables import RecordTable
from vrm.vault.tools import Tools, end_all
from vrm.vault.ways import Way

AT_UNLOCK = 20  # batches of an unfinished rotation: about a second


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
        stretch_wait: float = WAIT,
        stretch_places: int | None = None,
        at_unlock: int = AT_UNLOCK,
    ) -> None:
        self.engine = engine
        self.server_key = server_key
        self.clock = clock
        self.watcher = watcher
        self.parts: list[rotation.Part] = [MailboxPart(engine, server_key.vouch)]  # consent adds its own
        self.stretching = Stretching(engine, server_key, limits or KdfLimits(), stretch_wait, stretch_places)
        self.sessions = Sessions(engine, server_key, clock, sessions or SessionLimits())
        self.tools = Tools(engine, server_key, clock)
        self.pairings = Pairings(engine, server_key, self.tools, clock)
        self.at_unlock = at_unlock
        self.ailing = ""  # why the last sweep of this process could not be stored; "" where it was

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
        keyring = Keyring(vault, root)
        slot = self.stretching.slot(passphrase, keyring)
        log_public = crypto.public_of(keyring.log_private())
        log_mac = self.server_key.vouch(vault, "log", log_public)
        opened = Vault(self, keyring, name, Way(slot.slot, vouched=True))
        with self.engine.write() as transaction:
            if self.engine.one("SELECT 1 FROM vaults WHERE username = ?", (name,)):
                raise UsernameTakenError(fields={"username": ["is taken"]})
            if claim is not None:
                claim(transaction)
            transaction.execute(
                "INSERT INTO vaults (vault, username, created, generation, log_public, log_mac, roster,"
                " confirmed, watched) VALUES (?, ?, ?, 1, ?, ?, ?, 0, 0)",
                (vault, name, self.clock.now(), log_public, log_mac, b""),
            )
            Journal(self.engine, keyring).begin(transaction)
            opened.store_slots(transaction, slots := [slot, RecoverySlot.wrap(vault, code, root, 1)])
            seal_roster(transaction, keyring, Roster({one.slot: one.mark() for one in slots}, [], {}))
            opened.prepare_mailbox()
        return opened, code

    def unlock(self, username: str, passphrase: str) -> Vault:
        """The vault; UnlockError for an unknown name and a wrong passphrase alike."""
        raw = keyslots.passphrase_bytes(passphrase)
        try:
            name = normal_username(username)
        except ValidationError:
            name = ""
        rows = ways.of_kind(self.engine, name, PassphraseSlot.kind)
        if not rows:
            self.stretching.run(raw, self.stretching.usual_cost(name))  # the same work as for a known name
            raise UnlockError()
        opened = self._opened(name, *self.stretching.open(rows, raw))
        opened.renew_vouchers()
        self._raise_cost(opened, passphrase, rows)
        opened.try_to_go_on()
        return opened

    def recover(self, username: str, code: str, new_passphrase: str) -> Vault:
        """Open with the recovery code and set a new passphrase; every session ends.

        The code stays good. Raises UnlockError, ValidationError, and SessionExpiredError where the code was
        replaced meanwhile.
        """
        keyslots.require_good(new_passphrase)
        try:
            name = normal_username(username)
        except ValidationError:
            raise UnlockError() from None
        for row in ways.of_kind(self.engine, name, RecoverySlot.kind):
            try:
                root = RecoverySlot.unwrap(row, code)
            except UnlockError:
                continue
            opened = self._opened(name, root, row)
            opened.renew_vouchers()
            # After a handover this way in wraps the root itself again, as from now on the roster knows.
            anew = [RecoverySlot.rewrap(row, code, root, opened.keyring.generation)] if row.handed else []
            opened.replace_passphrase(new_passphrase, anew)
            opened.try_to_go_on()
            return opened
        raise UnlockError()

    def resume(self, session_secret: str) -> Vault:
        """The vault of a running session; SessionExpiredError for any other secret."""
        username, keyring, confirmed = self.sessions.resume(session_secret)
        opened = Vault(self, keyring, username)
        opened.recovery_confirmed = confirmed  # read with the session
        return opened

    def resume_tool(self, secret: bytes) -> Vault:
        """The vault that a tool was let into; SessionExpiredError for any other secret."""
        username, keyring = self.tools.resume(secret)
        return Vault(self, keyring, username)

    def listing(self) -> list[VaultEntry]:
        """Every vault's name and day of creation: all that a host can see."""
        rows = self.engine.all("SELECT vault, username, created FROM vaults ORDER BY username")
        return [VaultEntry(*row) for row in rows]

    def is_rotating(self, username: str) -> bool:
        """Whether the keys of this vault are being renewed; False for a name that is not there."""
        sql = "SELECT 1 FROM rotations r JOIN vaults v ON v.vault = r.vault WHERE v.username = ?"
        try:
            return self.engine.one(sql, (normal_username(username),)) is not None
        except ValidationError:
            return False

    def log_public(self, vault: str) -> bytes:
        """The key to which this vault's disclosure log is sealed; UnvouchedError for a foreign one."""
        return self.log_key(vault)[0]

    def log_key(self, vault: str) -> tuple[bytes, int]:
        """(that key, the generation of the root that it derives from)."""
        row = self.engine.one("SELECT log_public, log_mac, generation FROM vaults WHERE vault = ?", (vault,))
        if row is None or not crypto.equal(row[1], self.server_key.vouch(vault, "log", row[0])):
            raise UnvouchedError()
        return bytes(row[0]), int(row[2])

    def mailbox_public(self, vault: str) -> bytes:
        """The key to which this vault's mailbox is sealed; TamperedError for a foreign one.

        StorageError for a vault of an older version that was not unlocked since.
        """
        return mailbox.public_key(self.engine, self.server_key.vouch, vault)

    def sweep(self) -> int:
        """Delete ended sessions, tools and codes; returns how many sessions."""
        self.pairings.sweep()
        return self.sessions.sweep()

    def try_passphrase(self, slots: Iterable[Slot], passphrase: str) -> tuple[Key, int]:
        """(root, its generation) of the first of these slots that the passphrase opens; UnlockError."""
        root, slot = self.stretching.open(slots, keyslots.passphrase_bytes(passphrase))
        return root, slot.newest()

    def way_of(self, slot: Slot) -> Way:
        """The way of a stored slot that a credential has just opened."""
        return ways.way_of(self.engine, self.server_key, slot)

    def adopt(self) -> list[str]:
        """After the server key was replaced: the ways in that stand there now may be vouched for anew.

        An act of the host, for the database alone cannot tell them from planted ones; the next log-in does
        it. Returns the names of the vaults that have two ways in of a kind: those are left as they are.
        """
        with self.engine.write() as transaction:
            return [
                entry.username
                for entry in self.listing()
                if not ways.adopt(transaction, self.engine, self.server_key, entry.id)
            ]

    def _raise_cost(self, vault: Vault, passphrase: str, rows: Sequence[Slot]) -> None:
        """After a log-in: a slot that costs less than new ones is made anew; if that fails, the next time."""
        if len(rows) != 1 or not self.stretching.is_cheap(rows[0]):
            return  # of two one was planted: it stays, for `problems` to name it
        with suppress(BusyError, StorageError, TamperedError, SessionExpiredError):
            slot = self.stretching.slot(passphrase, vault.keyring, rows[0].slot)
            with self.engine.write() as transaction:
                vault.enrol(transaction, [slot], drop=(PassphraseSlot.kind,))
            self.engine.purge()

    def _opened(self, name: str, root: Key, slot: Slot) -> Vault:
        row = self.engine.one("SELECT vault FROM vaults WHERE username = ?", (name,))
        if row is None:
            raise UnlockError()
        keyring = open_keyring(self.engine, row[0], root, slot.newest())
        return Vault(self, keyring, name, self.way_of(slot))


class Vault:
    """An unlocked vault. The root lives in this object and nowhere else in the process.

    `way` is how it was opened; None for one that was resumed, until it proves a passphrase.
    """

    def __init__(self, vaults: Vaults, keyring: Keyring, username: str, way: Way | None = None) -> None:
        self._vaults = vaults
        self.engine = vaults.engine
        self.keyring = keyring
        self.id = keyring.vault
        self.username = username
        self._way = way

    def __repr__(self) -> str:
        return f"<Vault {self.id}>"

    @cached_property
    def recovery_confirmed(self) -> bool:
        """Whether the customer proved that she wrote the recovery code down."""
        row = self.engine.one("SELECT confirmed FROM vaults WHERE vault = ?", (self.id,))
        return bool(row and row[0])

    def records(self, collection: str) -> Records:
        """The records of a collection; KeyError for a name that is not in the catalog."""
        name = CATALOG_BY_NAME[collection].name
        return Records(self.engine, self.keyring, name, self._vaults.watcher, self._vaults.clock)

    def position(self) -> int:
        """A number that grows with every change of records: the same number means that none has changed."""
        return Journal(self.engine, self.keyring).position()

    def table(self, collection: str) -> RecordTable:
        """The same records as a TinyDB table."""
        return RecordTable(self.records(collection))

    def open_session(self) -> str:
        """A new session; the secret is for the browser's cookie only.

        SessionExpiredError where the way by which this vault was opened was replaced meanwhile.
        """
        return self._vaults.sessions.open(self.keyring, self._way)

    def close_session(self, secret: str) -> None:
        """End one session: its wrap is deleted."""
        self._vaults.sessions.close(self.id, secret)

    def close_all_sessions(self) -> int:
        """End every session of this vault; returns how many there were."""
        return self._vaults.sessions.close_all(self.id)

    def check_passphrase(self, passphrase: str) -> Way:
        """Ask again before what cannot be taken back; the way in that it is. UnlockError.

        What opens must be a way in that this vault knows, and give the very root that is open here.
        """
        rows = ways.of_kind(self.engine, self.username, PassphraseSlot.kind)
        root, slot = self._vaults.stretching.open(rows, keyslots.passphrase_bytes(passphrase))
        require_current(self.engine, self.keyring)
        same = crypto.equal(root.reveal(), self.keyring.root().reveal())
        if not same or not self._is_known(slot):
            raise UnlockError()
        self._way = self._vaults.way_of(slot)
        return self._way

    def go_on_by(self, way: Way) -> None:
        """Go on as who came by this way: its passphrase was asked for a moment ago, in this session."""
        self._way = way

    def _is_known(self, slot: Slot) -> bool:
        try:
            return open_roster(self.engine, self.keyring).slots.get(slot.slot) == slot.mark()
        except TamperedError:  # then the server's word decides, and a new root makes the roster anew
            return ways.is_vouched(self._vaults.server_key, slot)

    def change_passphrase(self, old: str, new: str) -> None:
        """A new passphrase for the same root; every session ends. UnlockError, ValidationError.

        It does not heal a leaked one: an old copy of the database still opens with the old passphrase.
        """
        keyslots.require_good(new)
        self.check_passphrase(old)
        self.replace_passphrase(new)

    def replace_passphrase(self, new: str, beside: Sequence[Slot] = ()) -> None:
        """Set a passphrase without asking for the old one (after recovery); every session ends.

        `beside` are other ways in that are stored anew.
        """
        slot = self.passphrase_slot(new, self.keyring)
        with self.engine.write() as transaction:
            self.enrol(transaction, [slot, *beside], drop=(PassphraseSlot.kind,))
            end_all(transaction, self.id)
            self.use(transaction, self.keyring, slot)
        self.engine.purge()

    def new_recovery_code(self, passphrase: str) -> str:
        """Replace the recovery code; the old one opens nothing any more. UnlockError."""
        self.check_passphrase(passphrase)
        code = keyslots.new_code()
        recovery.replace(self, code, confirmed=False)
        return code

    def confirm_recovery_code(self, code: str) -> bool:
        """Whether this is the code; if so, that is noted."""
        for row in ways.of_kind(self.engine, self.username, RecoverySlot.kind):
            try:
                RecoverySlot.unwrap(row, code)
            except UnlockError:
                continue
            with self.engine.write() as transaction:
                transaction.execute("UPDATE vaults SET confirmed = 1 WHERE vault = ?", (self.id,))
            self.recovery_confirmed = True
            return True
        return False

    def enrol(self, transaction: Transaction, fresh: Sequence[Slot], *, drop: Iterable[str]) -> None:
        """Store keyslots, drop those of the given kinds, and note exactly that in the roster.

        The roster never learns from the table: a slot that somebody planted there stays a stranger.
        SessionExpiredError where the way by which this vault was opened was replaced meanwhile.
        """
        require_current(self.engine, self.keyring)
        ways.require_standing(self.engine, self.keyring, self._way)
        slots, grants, proofs = open_roster(self.engine, self.keyring)
        for kind in drop:
            for (dropped,) in self.engine.all(
                "SELECT slot FROM keyslots WHERE vault = ? AND kind = ?", (self.id, kind)
            ):
                slots.pop(dropped, None)
                proofs.pop(dropped, None)
            transaction.execute("DELETE FROM keyslots WHERE vault = ? AND kind = ?", (self.id, kind))
        for slot in fresh:
            slots[slot.slot] = slot.mark()
            proofs.pop(slot.slot, None)
        self.store_slots(transaction, fresh)
        seal_roster(transaction, self.keyring, Roster(slots, grants, proofs))

    def store_slots(self, transaction: Transaction, slots: Sequence[Slot]) -> None:
        """Insert keyslots; whoever calls it notes them in the roster."""
        ways.store(transaction, self._vaults.server_key, slots, self._vaults.clock.now())

    def require_standing(self) -> None:
        """In a transaction that changes the ways in: SessionExpiredError, TamperedError."""
        ways.require_standing(self.engine, self.keyring, self._way)

    def vouch(self, name: str, public: bytes) -> bytes:
        """The server's word for a public key of this vault."""
        return self._vaults.server_key.vouch(self.id, name, public)

    def passphrase_slot(self, passphrase: str, keyring: Keyring) -> Slot:
        """A new keyslot that wraps this ring's root; ValidationError."""
        return self._vaults.stretching.slot(passphrase, keyring)

    def slots_vouched(self) -> list[tuple[Slot, bool]]:
        """The stored keyslots, each with whether the server key vouches for its public key."""
        return [(slot, ways.is_vouched(self._vaults.server_key, slot)) for slot in self.stored_slots()]

    def stored_slots(self) -> list[Slot]:
        """The keyslots as they stand in the table."""
        return ways.stored(self.engine, self.id)

    def renew_vouchers(self) -> None:
        """After the server key was replaced: vouch anew for the public keys that the root knows.

        Only for who came by a way that the server vouches for: anybody can plant one with a root of his own.
        """
        if self._is_vouched():
            self.prepare_mailbox()
            ways.vouch_anew(self.engine, self._vaults.server_key, self.keyring)

    def prepare_mailbox(self) -> None:
        """Make the mailbox's pair where there is none, and vouch anew for our own public key."""
        if self._is_vouched():
            mailbox.prepare(self.engine, self.keyring, self._vaults.server_key.vouch)

    def _is_vouched(self) -> bool:
        """Whether the server may take this root for that of the vault; a resumed one by the log's key."""
        if self._way is not None:
            return self._way.vouched
        try:
            public = self._vaults.log_public(self.id)
        except TamperedError:
            return False
        return crypto.equal(public, crypto.public_of(self.keyring.log_private()))

    def own_slots(self) -> list[Slot]:
        """The stored keyslots that are as the roster knows them."""
        return ways.own(self.engine, self.keyring)

    def roster_grants(self) -> list[str]:
        """What consent noted of the grants that this customer approved and has not ended."""
        return open_roster(self.engine, self.keyring).grants

    def set_roster_grants(self, transaction: Transaction, grants: list[str]) -> None:
        """Note which grants are live; from then on a vault with any refuses writes that nobody watches."""
        roster = open_roster(self.engine, self.keyring)
        seal_roster(transaction, self.keyring, roster._replace(grants=grants))
        transaction.execute("UPDATE vaults SET watched = ? WHERE vault = ?", (len(grants), self.id))

    @property
    def parts(self) -> list[rotation.Part]:
        """What else is sealed under this vault's root."""
        return self._vaults.parts

    def rotate(
        self, passphrase: str, new: str | None = None, beside: rotation.Beside | None = None
    ) -> rotation.Rotated:
        """Make a new root, after a device was lost; every session ends. `go_on_rotating` does what is left.

        `new` is the passphrase from then on; `beside` is done in the same transaction, with the new keys.
        UnlockError, ValidationError; ConflictError while another process is at an earlier one.
        """
        if new is not None:
            keyslots.require_good(new)
        if self._watched_by_nobody():
            raise RuntimeError("this vault has live grants and nobody here seals them anew")
        return rotation.begin(self, passphrase, new, beside)

    def use(self, transaction: Transaction, keyring: Keyring, slot: Slot) -> None:
        """Go on with these keys and this way in, unless the transaction that makes them is undone."""
        before, way = self.keyring, self._way

        def undo() -> None:
            self.keyring, self._way = before, way

        transaction.on_rollback(undo)
        self.keyring, self._way = keyring, Way(slot.slot, vouched=True)

    def rotating(self) -> rotation.Progress | None:
        """How far an unfinished rotation is; None where there is none."""
        return rotation.progress(self)

    def go_on_rotating(
        self, batches: int | None = None, tell: rotation.Tell | None = None
    ) -> rotation.Progress | None:
        """Go on with an unfinished rotation; returns what is left, None where there is nothing."""
        return rotation.proceed(self, batches, tell)

    def try_to_go_on(self) -> None:
        """At an unlock: a while of what an unfinished rotation left; a full disk keeps nobody out."""
        with suppress(StorageError):
            self.go_on_rotating(self._vaults.at_unlock)

    def _watched_by_nobody(self) -> bool:
        row = self.engine.one("SELECT watched FROM vaults WHERE vault = ?", (self.id,))
        return bool(row and row[0]) and self._vaults.watcher is None

    def problems(self) -> list[str]:
        """What does not fit between the tables and what was sealed under the root; empty if all is well."""
        vaults = self._vaults
        found = checking.problems(self, vaults.log_public)
        return found + mailbox.problems(self.engine, self.keyring, vaults.server_key.vouch)

    def check(self) -> list[str]:
        """`problems`, and every stored record against the journal: old envelopes put back are found."""
        return checking.check(self)
