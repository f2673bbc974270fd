"""The mailbox's part in a rotation of the root (`vrm.vault.rotation.Part`).

From the first step on, whatever is left for the vault is sealed to its new pair; what lies there is sealed to
it anew in batches. Each item keeps the MAC of who left it, which is of the text.
"""

from __future__ import annotations

from contextlib import suppress

from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.engine import Engine, Transaction
from vrm.vault.generations import Resealed, key_of, mark
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
        """A batch: items in the order in which they came, then notes."""
        noted = key_of(after, str, bytes)
        if noted is None:
            [place] = key_of(after, int) or (0,)
            items = self._mailbox.after(keyring.vault, place, limit)
            for item in items:
                with suppress(TamperedError):
                    self._mailbox.reseal(transaction, keyring, item)
            return Resealed(mark(items[-1].place) if len(items) == limit else mark("", b""), len(items))
        origin, item_id = noted
        notes = self._mailbox.notes_after(keyring.vault, origin, item_id, limit)
        for origin, item_id in notes:
            with suppress(TamperedError):
                note = self._mailbox.note(keyring, origin, item_id)
                self._mailbox.set_note(transaction, keyring, origin, item_id, note or {})
        return Resealed(mark(*notes[-1]) if len(notes) == limit else None, len(notes))
