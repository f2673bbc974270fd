"""What the shop does with a vault: ask, read, recommend, forget. No web in here.

The copy is read anew whenever recommendations are shown, so that a row she takes out is gone at the
next look. When the vault says that the grant has ended, the copy is deleted before anything else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from bookshop.catalogue import Book, Catalogue
from bookshop.recommender import Owned, Recommendation, Recommender
from bookshop.sold import parse_date
from bookshop.vaults import Vaults
from bookshop.visitors import Visitor, Visitors
from vrm_client import (
    Asked,
    Connection,
    NotFoundError,
    NotGrantedError,
    Part,
    Receiver,
    Record,
    RevokedError,
    UnreachableError,
    VrmClientError,
)
from vrm_client.transport import Json

PURCHASES = "purchases"
MAY_WRITE = "purchases:write"
SOLD = "Sold, in this demo at least. {}"
RECEIPT_LEFT = "The receipt waits in your vault."
NO_RECEIPT = "With your vault connected, and a tick at receipts, you would find the receipt there."
VAULT_SILENT = "Your vault does not take the receipt just now."
PURPOSE = "ProvideProductRecommendations"
BOOKS = {"category": ["books"]}
QUESTION = (
    Part(["purchases.item", "purchases.order"], PURPOSE, filter=BOOKS, retention="P90D"),
    Part(["purchases.price"], PURPOSE, necessity="optional", filter=BOOKS),
    Part(["purchases.experience"], PURPOSE, necessity="optional", filter=BOOKS),
    Part([PURCHASES], "RequestedServiceProvision", necessity="optional", actions=["write"]),
)
ENDED = "Your vault says that sharing has ended. We have deleted our copy."
FORGOTTEN = "Forgotten. We have given the permission back and deleted our copy."
FORGOTTEN_HERE = "We have deleted our copy. Your vault did not answer, so please stop us there as well."


@dataclass(frozen=True, slots=True)
class Compared:
    """Two lists of recommendations: from what she shares, and from every order on the account."""

    shared: Sequence[Recommendation]
    unfiltered: Sequence[Recommendation]


class Desk:
    """The shop's side of the counter."""

    def __init__(
        self,
        vaults: Vaults,
        catalogue: Catalogue,
        visitors: Visitors,
        sold: Sequence[Owned],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.catalogue = catalogue
        self.visitors = visitors
        self.vaults = vaults
        self._sold = sold
        self._clock = clock
        self._recommender = Recommender(catalogue)
        self._lock = Lock()
        self._open: dict[tuple[str, int], Connection] = {}

    def ask(self, key: str, vault: str = "") -> str:
        """Put the question to that vault, or to the shop's own; the address to send the visitor to."""
        vault = vault or self.vaults.home
        asked = self.vaults.at(vault).ask(QUESTION)
        kept = {"vault": vault, **asked.to_json()}
        self.visitors.change(key, self.visitors.get(key).chapter, asked=kept, notice="")
        return asked.url

    def finish(self, key: str, callback_url: str) -> None:
        """Take the visitor's answer, and read. An answer nobody asked for is a VrmClientError."""
        visitor = self.visitors.get(key)
        if visitor.asked is None:
            raise VrmClientError("No question is open in this browser.")
        # One answer for one question, whatever it says.
        self.visitors.change(key, visitor.chapter, asked=None)
        kept = dict(visitor.asked)
        vendor = self.vaults.at(kept.pop("vault", self.vaults.home))
        connection = vendor.finish(Asked.from_json(kept), callback_url)
        self.visitors.begin(key, saved=dict(connection.saved()))
        self.read(key)

    def read(self, key: str) -> Visitor:
        """The visitor with a fresh copy; without one when the grant has ended."""
        visitor = self.visitors.get(key)
        if not visitor.connected:
            return visitor
        try:
            connection = self._connection(key, visitor)
            limits = connection.grant()
            records = tuple(_plain(record) for record in connection.records(PURCHASES))
            receipts = self._followed(connection, visitor)
        except RevokedError:
            self._delete(key, visitor.chapter, ENDED)
        else:
            now = self._clock().isoformat(timespec="seconds")
            read = {"records": records, "receipts": receipts, "limits": limits, "read_at": now}
            self.visitors.change(key, visitor.chapter, **read, notice="")
        return self.visitors.get(key)

    def sell(self, key: str, book: Book) -> None:
        """A pretended sale; the receipt goes to her vault where she allowed that."""
        visitor = self.visitors.get(key)
        if not self.may_write(key):
            self.visitors.change(key, visitor.chapter, notice=SOLD.format(NO_RECEIPT))
            return
        number = f"CB-{secrets.token_hex(4).upper()}"
        try:
            left = (
                self._connection(key, visitor)
                .deposits(PURCHASES)
                .leave(self._receipt(book, number), key=number)
            )
        except RevokedError:
            self._delete(key, visitor.chapter, ENDED)
        except (NotGrantedError, UnreachableError):
            self.visitors.change(key, visitor.chapter, notice=SOLD.format(VAULT_SILENT))
        else:
            receipt = {"id": left.id, "order": number, "title": book.title, "status": left.status}
            receipts = (*visitor.receipts, receipt)
            self.visitors.change(key, visitor.chapter, receipts=receipts, notice=SOLD.format(RECEIPT_LEFT))

    def may_write(self, key: str) -> bool:
        """Whether she lets the shop leave receipts."""
        visitor = self.visitors.get(key)
        return visitor.connected and MAY_WRITE in self._connection(key, visitor).scope.split()

    def _receipt(self, book: Book, number: str) -> dict[str, dict[str, Json]]:
        item: dict[str, Json] = {
            "title": book.title,
            "brand": book.author,
            "isbn": book.isbn13,
            "category": "books",
        }
        ordered = self._clock().date().isoformat()
        order: dict[str, Json] = {"order_number": number, "ordered": ordered, "status": "ordered"}
        return {"item": item, "order": order, "price": {"quantity": 1}}

    def _followed(self, connection: Connection, visitor: Visitor) -> tuple[dict[str, object], ...]:
        """The receipts with what became of each."""
        found = []
        for receipt in visitor.receipts:
            try:
                status = connection.deposits(PURCHASES).state(str(receipt["id"])).status
            except (NotFoundError, NotGrantedError):
                status = "withdrawn"
            found.append({**receipt, "status": status})
        return tuple(found)

    def forget(self, key: str) -> None:
        """Delete the copy first, then give the grant back."""
        visitor = self.visitors.get(key)
        if not visitor.connected:
            return
        connection = self._connection(key, visitor)
        chapter = self._delete(key, visitor.chapter, FORGOTTEN)
        try:
            connection.revoke()
        except UnreachableError:
            self.visitors.change(key, chapter, notice=FORGOTTEN_HERE)

    def receiver(self, seen: Callable[[str], bool], vault: str) -> Receiver:
        """What reads the events of that vault."""
        return self.vaults.at(vault).receiver(seen)

    def delete_copy(self, key: str) -> None:
        """The vault said that sharing has ended, or that she wants it deleted."""
        self._delete(key, self.visitors.get(key).chapter, ENDED)

    def compare(self, visitor: Visitor) -> Compared:
        """What she shares against what the account's orders say."""
        today = self._clock().date()
        bought = [
            entry.book for entry in self._sold
        ]  # a shop does not offer what it sold to the same account
        return Compared(
            shared=self._recommender.recommend(self.owned(visitor), today=today, leave_out=bought),
            unfiltered=self._recommender.recommend(self._sold, today=today),
        )

    def owned(self, visitor: Visitor) -> list[Owned]:
        """The books of the catalogue among the records held."""
        titles = {book.title.casefold(): book for book in self.catalogue}
        shelf = []
        for record in visitor.records:
            item = record.get("item", {})
            book = self.catalogue.by_isbn(str(item.get("isbn") or item.get("asin") or ""))
            book = book or titles.get(str(item.get("title", "")).casefold())
            if book is not None:
                rating = record.get("experience", {}).get("rating")
                bought = parse_date(record.get("order", {}).get("ordered"))
                shelf.append(Owned(book, bought, rating if rating in range(1, 6) else None))
        return shelf

    def _connection(self, key: str, visitor: Visitor) -> Connection:
        """One connection for a visitor, however many pages she opens: tokens rotate."""
        place = (key, visitor.chapter)
        with self._lock:
            if place not in self._open:
                saved = visitor.saved or {}
                self._open[place] = self.vaults.at(str(saved.get("vault", ""))).resume(
                    saved,
                    on_rotated=lambda saved: self._keep_tokens(key, visitor.chapter, dict(saved)),
                )
            return self._open[place]

    def _keep_tokens(self, key: str, chapter: int, saved: dict[str, object]) -> None:
        self.visitors.change(key, chapter, saved=saved)

    def _delete(self, key: str, chapter: int, notice: str) -> int:
        with self._lock:
            self._open.pop((key, chapter), None)
        return self.visitors.begin(key, notice=notice, after=chapter)


def _plain(record: Record) -> dict[str, object]:
    """A record as the shop keeps it: exactly what was read, nothing added."""
    facets = {name: dict(values) for name, values in record.facets.items()}
    return {"id": record.id, "updated_at": record.updated_at.isoformat(), **facets}
