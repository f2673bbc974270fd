"""Where this process goes on writing in the log of each vault: the chains that it began itself.

Promises: a chain is written by one transaction at a time, of whatever thread, and goes on only where that
transaction is durable: what was undone ends its chain. A forked child goes on with none of its parent's.
Keeps so many chains; the one that rested longest goes first. These keys are the one key cache of the
project (docs/adr/0006): they open only what this process wrote.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Transaction

FIRST = bytes(32)  # what the first entry of a chain follows
MOST = 12_000  # vaults whose chains a process keeps; each takes about 1 KB


class Segment:
    """One chain, and how far it reaches."""

    __slots__ = ("cipher", "generation", "id", "link", "seq")

    def __init__(self, segment: bytes, generation: int, cipher: Cipher) -> None:
        self.id = segment
        self.generation = generation  # of the root that opens its key
        self.cipher = cipher
        self.seq = 0
        self.link = FIRST


def entry_cipher(key: Key, vault: str, segment: bytes) -> Cipher:
    """Seals the entries of one segment."""
    return Cipher(key, Purpose.LOG_ENTRY, vault, segment)


class Segments:
    """The chains of one process, resting or in a transaction."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Go on with none: as a process that starts anew."""
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._resting: OrderedDict[str, list[Segment]] = OrderedDict()
        self._local = threading.local()

    def held(self, transaction: Transaction, vault: str) -> Segment | None:
        """The vault's chain that this transaction has taken or begun."""
        return self._mine(transaction).get(vault)

    def taken(self, transaction: Transaction, vault: str) -> Segment | None:
        """One that rests, for this transaction; None where one must be begun, which `begin` notes."""
        with self._guard:
            rest = self._resting.get(vault)
            found = rest.pop() if rest else None
        if found is not None:
            self.begin(transaction, vault, found)
        return found

    def begin(self, transaction: Transaction, vault: str, segment: Segment) -> None:
        """Go on with this one, instead of what there was."""
        self._mine(transaction)[vault] = segment

    def _mine(self, transaction: Transaction) -> dict[str, Segment]:
        """What this thread's transaction has taken."""
        if self._process != os.getpid():
            self.forget()
        found: dict[str, Segment] | None = getattr(self._local, "mine", None)
        if found is None:
            found = self._local.mine = {}
            transaction.on_commit(self._put_back)
            transaction.on_rollback(self._drop)
        return found

    def _drop(self) -> None:
        del self._local.mine  # the rows of new chains were undone, too

    def _put_back(self) -> None:
        mine: dict[str, Segment] = self._local.mine
        self._drop()
        with self._guard:
            for vault, segment in mine.items():
                self._resting.setdefault(vault, []).append(segment)  # more than one, if written side by side
                self._resting.move_to_end(vault)
            while len(self._resting) > MOST:
                self._resting.popitem(last=False)
