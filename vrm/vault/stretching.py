"""What a passphrase costs: Argon2id, so many at once on one machine, for a name that is not there as well.

Promises: it runs in threads that step back behind all others, so that who reads hardly notices who logs in;
only so many threads of a server process wait for it. Who comes when these are taken is sent away at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic

from vrm import meters
from vrm.errors import BusyError, TamperedError, UnlockError
from vrm.vault import crypto, keyslots
from vrm.vault.crypto import KdfCost, KdfLimits, Key
from vrm.vault.engine import Engine
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, Slot
from vrm.vault.serverkey import ServerKey

AT_ONCE = 2  # runs at once on one machine
WAIT = 8.0  # seconds in the queue before BusyError
_NICE = 10  # how far the threads step back that stretch
_AT_ONCE = 0.02  # seconds; whoever is let in sooner did not wait


class Stretching:
    """The Argon2id runs of one host."""

    def __init__(
        self, engine: Engine, server_key: ServerKey, limits: KdfLimits, wait: float, places: int | None = None
    ) -> None:
        """`places`: how many threads of this process may run or wait at a time; None: all."""
        self._engine = engine
        self._server_key = server_key
        self._limits = limits
        self._wait = wait
        self._places = threading.BoundedSemaphore(places) if places else None
        self._threads = ThreadPoolExecutor(AT_ONCE, "vrm-argon2", initializer=_step_back)

    def require_place(self) -> None:
        """BusyError where all places are taken at this moment: before anything is done for somebody."""
        try:
            with self._place():
                pass
        except BusyError:
            meters.ARGON2_REFUSED.add()
            raise

    def run(self, raw: bytes, cost: KdfCost) -> bytes:
        """32 bytes of a passphrase; BusyError where too many wait already."""
        try:
            with self._place(), self._turn():
                return self._threads.submit(crypto.stretch, raw, cost).result()
        except BusyError:
            meters.ARGON2_REFUSED.add()
            raise

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._places is not None and not self._places.acquire(blocking=False):
            raise BusyError()
        try:
            yield
        finally:
            if self._places is not None:
                self._places.release()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        began = monotonic()
        with self._engine.slot("argon2", AT_ONCE, self._wait):
            if monotonic() - began > _AT_ONCE:
                meters.ARGON2_WAITS.add()
            yield

    def slot(self, passphrase: str, keyring: Keyring, slot: str = "") -> Slot:
        """A new keyslot that wraps this ring's root, or that with this id anew; ValidationError."""
        cost = PassphraseSlot.fresh_cost(self._limits)
        stretched = self.run(keyslots.passphrase_bytes(passphrase), cost)
        return PassphraseSlot.wrap(keyring.vault, stretched, cost, keyring.root(), keyring.generation, slot)

    def open(self, slots: Iterable[Slot], raw: bytes) -> tuple[Key, Slot]:
        """(root, slot) of the first of these slots that the passphrase opens; UnlockError."""
        for row in slots:
            try:
                root = PassphraseSlot.unwrap(row, self.run(raw, KdfCost.decode(row.params)))
            except UnlockError:
                continue
            return root, row
        raise UnlockError()

    def is_usual(self, slot: Slot) -> bool:
        """Whether a slot costs what new ones do; TamperedError for costs out of bounds."""
        cost, new = KdfCost.decode(slot.params), self._limits
        return (cost.memory, cost.passes, cost.lanes) == (new.memory, new.passes, new.lanes)

    def is_cheap(self, slot: Slot) -> bool:
        """Whether a slot costs less than new ones do; TamperedError for costs out of bounds."""
        cost, new = KdfCost.decode(slot.params), self._limits
        return cost.memory < new.memory or cost.passes < new.passes

    def is_bearable(self, slot: Slot) -> bool:
        """Whether a slot from elsewhere may be tried at its own cost: no more than here, or than is usual."""
        cost = KdfCost.decode(slot.params)
        return _is_within(cost, self._limits) or _is_within(cost, KdfLimits())

    def usual_cost(self, name: str) -> KdfCost:
        """What a try at a name that is not there costs: as much as that of some vault of this host.

        Always the same one for a name, chosen by the server key: so neither the time of one try nor that of
        many tells a name that is there, also where older vaults cost less. Never more than this host asks: a
        vault that came with a higher cost makes nothing dearer but its own log-in, until the first.
        """
        place = self._server_key.limit_key("usual-cost", name).hex()
        for where in ("v.vault >= ?", "v.vault < ?"):
            row = self._engine.one(
                "SELECT k.params FROM vaults v JOIN keyslots k ON k.vault = v.vault AND k.kind = ?"
                f" WHERE {where} ORDER BY v.vault LIMIT 1",
                (PassphraseSlot.kind, place),
            )
            if row is not None:
                with suppress(TamperedError):
                    cost = KdfCost.decode(row[0])
                    if _is_within(cost, self._limits):
                        return cost
        return self._limits.fresh()


def _is_within(cost: KdfCost, most: KdfLimits) -> bool:
    return cost.memory <= most.memory and cost.passes <= most.passes and cost.lanes <= most.lanes


def _step_back() -> None:
    """Let this thread run when no other wants to; where the system knows no such thing, as all others."""
    with suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _NICE))
