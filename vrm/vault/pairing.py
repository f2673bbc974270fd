"""How a program of the customer's own comes by its credential: she types its code into her vault.

The program holds the *device code*; she reads the short *user code* from it (RFC 8628). Promises: what she
approves is sealed to a key pair that only the device code makes, so who has the database, the server key and
the user code opens nothing; it is handed out once, to one of many who poll. Approving takes her passphrase,
typed for this. What she is shown of the program (when and from where it asked) is sealed under the server
key with its codes, so that nobody puts another program's key into its place in the table. Refuses a code that
is unknown, used, answered or ended, all alike, and to answer faster than it said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vrm.clock import Clock
from vrm.errors import BusyError, PairingError, TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.pacing import INTERVAL, slowed
from vrm.vault.serverkey import ServerKey
from vrm.vault.tools import Tools

if TYPE_CHECKING:
    from vrm.vault.vault import Vault

TABLES = (
    "CREATE TABLE pairings (lookup BLOB PRIMARY KEY, tag BLOB NOT NULL UNIQUE, vault TEXT NOT NULL,"
    " expires INTEGER NOT NULL, state TEXT NOT NULL, polled INTEGER NOT NULL, pace INTEGER NOT NULL,"
    " sealed BLOB NOT NULL, answer BLOB)",
    "CREATE INDEX pairings_expires ON pairings (expires)",
    "CREATE INDEX pairings_vault ON pairings (vault)",
)
WAITING, APPROVED, DECLINED, FETCHED = "waiting", "approved", "declined", "fetched"
SLOW, EXPIRED = "slow", "expired"  # outcomes beside the states
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # RFC 8628 section 6.1: no vowels, so no words; nothing to mistake
CODE_LETTERS = 8  # 20⁸: 34 bits
LIFE = 600  # seconds from the question to the fetched answer
FORGET = 3600  # seconds after its end for which a program is told how it ended
MOST_WAITING = 200  # codes at once: few, so that a guessed one is hardly ever one of them
_TYPED = str.maketrans("", "", "- \t\r\n")


@dataclass(frozen=True, slots=True)
class Begun:
    """What the program gets. `device` stays in it; `user_code` is for her to type."""

    device: bytes = field(repr=False)
    user_code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pairing:
    """A program that waits for her word."""

    lookup: bytes = field(repr=False)
    public: bytes = field(repr=False)
    user_code: str
    address: str
    created: int
    expires: int


@dataclass(frozen=True, slots=True)
class Polled:
    """How it stands: a state, SLOW or EXPIRED; where it is APPROVED the tool's secret, and when that ends."""

    outcome: str
    secret: bytes = field(default=b"", repr=False)
    expires: int = 0


class Pairings:
    """The programs of all customers that wait to be let in."""

    def __init__(self, engine: Engine, server_key: ServerKey, tools: Tools, clock: Clock) -> None:
        self._engine = engine
        self._server_key = server_key
        self._tools = tools
        self._clock = clock

    def begin(self, address: str) -> Begun:
        """Two new codes for a program at this address; BusyError where too many wait."""
        device, user_code = crypto.random_bytes(32), _new_code()
        lookup, key = self._split(device)
        now = self._clock.now()
        tag, expires = self._server_key.user_code(user_code), now + LIFE
        public = crypto.public_of(_private(key))
        told = json.dumps([public.hex(), address, now]).encode()
        sealed = self._server_key.pairings.seal(told, lookup, tag, expires)
        with self._engine.write() as transaction:
            waiting = self._engine.one("SELECT count(*) FROM pairings WHERE expires > ?", (now,))
            if waiting is not None and waiting[0] >= MOST_WAITING:
                raise BusyError("too many programs wait to be let in")
            transaction.execute(
                "INSERT INTO pairings (lookup, tag, vault, expires, state, polled, pace, sealed, answer)"
                " VALUES (?, ?, '', ?, ?, 0, ?, ?, NULL)",
                (lookup, tag, expires, WAITING, INTERVAL, sealed),
            )
        return Begun(device, user_code)

    # ---- the customer's side -------------------------------------------------------------------------

    def find(self, typed: str) -> Pairing:
        """The program that shows this code; PairingError. Whoever calls it bounds how often."""
        user_code = _read_code(typed)
        tag = self._server_key.user_code(user_code)
        row = self._engine.one(
            "SELECT lookup, tag, expires, state, sealed FROM pairings WHERE tag = ?", (tag,)
        )
        if row is None or not crypto.equal(row[1], tag) or row[3] != WAITING or self._clock.now() >= row[2]:
            raise PairingError()
        lookup, _, expires, _, sealed = row
        try:
            told = json.loads(self._server_key.pairings.unseal(sealed, lookup, tag, expires))
        except TamperedError:
            raise PairingError() from None
        public, address, created = told
        return Pairing(lookup, bytes.fromhex(public), user_code, address, created, expires)

    def approve(self, vault: Vault, typed: str, passphrase: str) -> None:
        """Let the program in; UnlockError, PairingError, SessionExpiredError."""
        pairing = self.find(typed)
        vault.check_passphrase(passphrase)
        with self._engine.write() as transaction:
            vault.require_standing()
            secret = self._tools.open(transaction, vault.keyring, pairing.address)
            place = (pairing.lookup, vault.id, pairing.expires)
            answer = crypto.seal_to(pairing.public, secret, Purpose.PAIRING_ANSWER, *place)
            self._settle(transaction, pairing, APPROVED, vault.id, answer)

    def decline(self, vault: Vault, typed: str) -> None:
        """Tell the program no; PairingError."""
        pairing = self.find(typed)
        with self._engine.write() as transaction:
            self._settle(transaction, pairing, DECLINED, vault.id, None)

    def _settle(
        self, transaction: Transaction, pairing: Pairing, state: str, vault: str, answer: bytes | None
    ) -> None:
        cursor = transaction.execute(
            "UPDATE pairings SET state = ?, vault = ?, answer = ? WHERE lookup = ? AND state = ?"
            " AND expires > ?",
            (state, vault, answer, pairing.lookup, WAITING, self._clock.now()),
        )
        if cursor.rowcount != 1:  # somebody else answered it meanwhile: what was inserted goes, too
            raise PairingError()

    # ---- the program's side --------------------------------------------------------------------------

    def poll(self, device: bytes) -> Polled:
        """How it stands, and the secret once; PairingError for a code that is unknown or was used."""
        lookup, key = self._split(device)
        with self._engine.write() as transaction:
            row = self._engine.one(
                "SELECT state, expires, polled, pace, vault, answer FROM pairings WHERE lookup = ?", (lookup,)
            )
            if row is None:
                raise PairingError()
            state, expires, polled, pace, vault, answer = row
            if state == DECLINED:
                return Polled(DECLINED)
            if self._clock.now() >= expires:
                return Polled(EXPIRED)
            if state == WAITING:
                return self._too_soon(transaction, lookup, polled, pace)
            self._spend(transaction, lookup)
            secret = _opened(key, answer, lookup, vault, expires)
            ends = self._tools.fetched(transaction, vault, secret)
        self._engine.purge()
        return Polled(DECLINED) if ends is None else Polled(APPROVED, secret, ends)

    def _too_soon(self, transaction: Transaction, lookup: bytes, polled: int, pace: int) -> Polled:
        now = self._clock.now()
        slow, pace = slowed(now, polled, pace)
        transaction.execute("UPDATE pairings SET polled = ?, pace = ? WHERE lookup = ?", (now, pace, lookup))
        return Polled(SLOW if slow else WAITING)

    @staticmethod
    def _spend(transaction: Transaction, lookup: bytes) -> None:
        cursor = transaction.execute(
            "UPDATE pairings SET state = ?, answer = NULL WHERE lookup = ? AND state = ?",
            (FETCHED, lookup, APPROVED),
        )
        if cursor.rowcount != 1:
            raise PairingError()

    def sweep(self) -> None:
        """Forget what ended long ago, and delete at once what can no longer be fetched."""
        now = self._clock.now()
        with self._engine.write() as transaction:
            transaction.execute(
                "UPDATE pairings SET answer = NULL WHERE answer IS NOT NULL AND expires <= ?", (now,)
            )
            transaction.execute("DELETE FROM pairings WHERE expires <= ?", (now - FORGET,))
        self._tools.sweep(LIFE)

    def _split(self, device: bytes) -> tuple[bytes, Key]:
        return crypto.split_secret(device, self._server_key.pepper, Purpose.PAIRING)


def _private(key: Key) -> Key:
    """The X25519 key that only the device code makes."""
    return crypto.derive(key, Purpose.PAIRING_PAIR)


def _opened(key: Key, answer: bytes, lookup: bytes, vault: str, expires: int) -> bytes:
    try:
        return crypto.open_sealed(_private(key), answer, Purpose.PAIRING_ANSWER, lookup, vault, expires)
    except TamperedError:
        raise PairingError() from None


def _new_code() -> str:
    """Eight random letters. Bytes that would make some letters likelier are thrown away."""
    letters = ""
    fair = 256 - 256 % len(LETTERS)
    while len(letters) < CODE_LETTERS:
        letters += "".join(LETTERS[one % len(LETTERS)] for one in crypto.random_bytes(16) if one < fair)
    return letters[:CODE_LETTERS]


def shown(user_code: str) -> str:
    """As people read it: in two groups."""
    return f"{user_code[:4]}-{user_code[4:]}"


def _read_code(typed: str) -> str:
    """Case, blanks and dashes do not matter; PairingError for what is no code."""
    letters = typed[:40].upper().translate(_TYPED)
    if len(letters) != CODE_LETTERS or any(letter not in LETTERS for letter in letters):
        raise PairingError()
    return letters
