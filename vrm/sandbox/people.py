"""The five people of the sandbox. Each is there because a vendor's program may trip over her."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from vrm import samples
from vrm.clock import Clock, today
from vrm.vault import intake
from vrm.vault.vault import Vault, Vaults

PASSPHRASE = "sandbox sandbox sandbox"  # everybody may know it
MANY = 1200  # purchases of somebody whose list has pages


@dataclass(frozen=True, slots=True)
class Person:
    """A name, why she is here, and what fills her vault."""

    name: str
    about: str
    fill: Callable[[Vault, Clock], None]


def _history(vault: Vault, clock: Clock) -> None:
    """An order history as a big shop hands it out, sorted by what only she knows."""
    with tempfile.TemporaryDirectory(prefix="vrm-sandbox-") as folder:
        files = samples.write(Path(folder), today(clock))
        streams = [(file.name, file.open("rb")) for file in files]
        try:
            intake.bring_in(vault, streams)
        finally:
            for _, stream in streams:
                stream.close()
    whom = {(line["order"], line["asin"]): line["for"] for line in samples.truth()["lines"]}
    records, changed = vault.records("purchases"), {}
    for record, document in records.scan():
        bought_for = whom[document["order"]["order_number"], document["item"]["asin"]]
        document["context"] = {"for": bought_for} | ({"use_for_taste": False} if bought_for == "gift" else {})
        changed[record] = document
    records.apply(changed)


def _nothing(vault: Vault, clock: Clock) -> None:
    """An empty vault: every list is empty, and that is no error."""


def _many(vault: Vault, clock: Clock) -> None:
    """More than two pages of the largest size."""
    vault.records("purchases").apply(dict(_with_ids(vault, _lines(clock))))


def _with_ids(vault: Vault, documents: Iterator[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each document with a new record id."""
    records = vault.records("purchases")
    for document in documents:
        yield records.new_id(), document


def _lines(clock: Clock) -> Iterator[dict[str, Any]]:
    for number in range(MANY):
        ordered = today(clock) - timedelta(days=number)
        yield {
            "item": {"title": f"Notebook {number + 1}", "category": "stationery" if number % 3 else "books"},
            "order": {
                "seller": "paper.example",
                "order_number": f"P-{number + 1:05}",
                "ordered": ordered.isoformat(),
                "status": "delivered",
            },
            "price": {"total": f"{number % 50 + 1}.90", "currency": "EUR"},
            "context": {"for": "self"},
        }


def _strange(vault: Vault, clock: Clock) -> None:
    """Titles in many scripts, one very long, values missing wherever they may."""
    day = today(clock).isoformat()
    titles = (
        "كتاب الأغاني",
        "源氏物語 第一帖",
        "Ünïcödé & <b>markup</b>",
        "🧵 Thread, 5 m",
        "x" * 300,
        'O’Brien, "Complete"',
    )
    for number, title in enumerate(titles):
        order = {"order_number": f"S-{number}", "ordered": day} if number % 2 else {}
        price = {"total": "0.00", "currency": "JPY"} if number == 1 else {}
        vault.records("purchases").put(
            {"item": {"title": title}, "order": order, "price": price, "context": {"for": "self"}}
        )


def _private(vault: Vault, clock: Clock) -> None:
    """All she bought was for others: whoever is allowed everything still reads no row."""
    day = today(clock).isoformat()
    for number in range(12):
        vault.records("purchases").put(
            {
                "item": {"title": f"Present {number + 1}", "category": "toys"},
                "order": {"seller": "toys.example", "order_number": f"G-{number}", "ordered": day},
                "context": {"for": "gift", "use_for_taste": False},
            }
        )


PEOPLE = (
    Person("alice", "a reader's whole history, gifts and all; her own books are shared", _history),
    Person("bob", "an empty vault", _nothing),
    Person("carla", f"{MANY:,} purchases: lists have pages", _many),
    Person("dmitri", "titles in many scripts, values missing", _strange),
    Person("esra", "bought everything for others: no row is ever shared", _private),
)
NAMES = tuple(person.name for person in PEOPLE)


def create(vaults: Vaults, clock: Clock) -> None:
    """All five, once: those that are there already are left alone."""
    known = {entry.username for entry in vaults.listing()}
    for person in PEOPLE:
        if person.name in known:
            continue
        vault, code = vaults.create(person.name, PASSPHRASE)
        vault.confirm_recovery_code(code)
        person.fill(vault, clock)
