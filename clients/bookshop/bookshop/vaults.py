"""The vaults that the shop speaks with: the one where it is registered, and, if it wants to, any other.

At another vault the shop is who its metadata document says it is (`/client.json` at its own https address),
and it proves that by its key. What a visitor types is looked up on the public internet only.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from vrm_client import PublicTransport, SigningKey, Vendor, VrmClientError, client_metadata, find
from vrm_client.transport import Json

DOCUMENT = "/client.json"
EVENTS = "/vrm/events"
CALLBACK = "/callback"
MOST = 200  # vaults remembered at a time: anybody can name one


class Anywhere:
    """What the shop needs to be a vendor at vaults that never heard of it."""

    def __init__(self, address: str, key: SigningKey, transport: PublicTransport) -> None:
        """`address` is the shop's public one."""
        self.address = address
        self.key = key
        self.transport = transport

    def document(self) -> dict[str, Json]:
        """What `/client.json` answers."""
        return client_metadata(
            self.address + DOCUMENT,
            name="Corner Books",
            redirect_uris=[self.address + CALLBACK],
            key=self.key,
            client_uri=self.address,
            events_uri=self.address + EVENTS,
        )

    def vendor(self, vault: str) -> Vendor:
        """The shop at that vault."""
        return Vendor(
            vault,
            client_id=self.address + DOCUMENT,
            redirect_uri=self.address + CALLBACK,
            key=self.key,
            transport=self.transport,
        )


class Vaults:
    """One `Vendor` for each vault."""

    def __init__(self, home: str, vendor: Vendor, anywhere: Anywhere | None = None) -> None:
        self.home = home.rstrip("/")
        self.anywhere = anywhere
        self._vendor = vendor
        self._others: OrderedDict[str, Vendor] = OrderedDict()
        self._lock = Lock()

    def find(self, typed: str) -> str:
        """The address of the vault that a visitor named; home where she named none."""
        if self.anywhere is None or not typed.strip():
            return self.home
        return find(typed, self.anywhere.transport)

    def at(self, address: str) -> Vendor:
        """The shop at that vault; VrmClientError where it speaks with one vault only."""
        if address == self.home:
            return self._vendor
        if self.anywhere is None:
            raise VrmClientError("This shop speaks with one vault only, and it is not that one.")
        with self._lock:
            if address not in self._others:
                self._others[address] = self.anywhere.vendor(address)
            self._others.move_to_end(address)
            while len(self._others) > MOST:
                self._others.popitem(last=False)
            return self._others[address]


def kept_key(file: Path) -> SigningKey:
    """The key in a file that only the shop may read; made there the first time."""
    if not file.exists():
        made = SigningKey.generate()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as draft:
            json.dump(made.to_json(), draft)
            draft.flush()
            os.fsync(draft.fileno())
    return SigningKey.from_json(json.loads(file.read_text(encoding="utf-8")))
