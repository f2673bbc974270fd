"""The mailbox's part in a rotation of the root (`vrm.vault.rotation.Part`).

From the first step on, whatever is left for the vault is sealed to its new pair; what lies there is sealed to
it anew in batches. Each item keeps the MAC of who left it, which is of the text.
"""

from __future__ import annotations

from contextlib import suppress

from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Transaction
from vrm.vault.generations import Resealed
from vrm.vault.keyring import Keyring
from vrm.vault.mailbox import Mailbox, Vouch


class MailboxPart:
    """Marks at once; items, then notes, in batches. What does not open stays, for the filing to stop it."""

    name = "mailbox"

    def __init__(self, engine: Engine, vouch: Vouch) -> None:
        self._engine = engine
        self._vouch = vouch
        self._mailbox = Mailbox(engine)

    def begin(self, transaction: Transaction, keyring: Keyring) -> None:
        """The new public key, and the marks under the new root."""
        public = crypto.public_of(keyring.mailbox_private())
        transaction.execute(
            "UPDATE vaults SET mailbox_public = ?, mailbox_mac = ? WHERE vault = ?",
            (public, self._vouch(keyring.vault, "mailbox", public), keyring.vault),
        )
        with suppress(TamperedError):  # `problems` goes on naming them
            marks = self._mailbox.marks(keyring.of(keyring.generation - 1))
            self._mailbox.set_marks(transaction, keyring, marks)

    def count(self, vault: str) -> int:
        """Items and notes."""
        row = self._engine.one(
            "SELECT (SELECT count(*) FROM mailbox WHERE vault = ?)"
            " + (SELECT count(*) FROM mailbox_notes WHERE vault = ?)",
            (vault, vault),
        )
        return int(row[0]) if row else 0

    def reseal(self, transaction: Transaction, keyring: Keyring, after: str, limit: int) -> Resealed:
        """A batch; the place is `items:ORIGIN/NUMBER`, then `notes:ORIGIN/ITEM`."""
        table, _, place = (after or "items:").partition(":")
        origin, _, last = place.partition("/")
        if table == "items":
            items = self._mailbox.after(keyring.vault, origin, int(last or 0), limit)
            for item in items:
                with suppress(TamperedError):
                    self._mailbox.reseal(transaction, keyring, item)
            more = len(items) == limit
            return Resealed(f"items:{items[-1].origin}/{items[-1].number}" if more else "notes:", len(items))
        notes = self._mailbox.notes_after(keyring.vault, origin, bytes.fromhex(last), limit)
        for known, item_id in notes:
            with suppress(TamperedError):
                note = self._mailbox.note(keyring, known, item_id)
                self._mailbox.set_note(transaction, keyring, known, item_id, note or {})
        more = len(notes) == limit
        return Resealed(f"notes:{notes[-1][0]}/{notes[-1][1].hex()}" if more else None, len(notes))
