"""Sorting a history in a minute: by destination, then by theme, then by line.

Pure functions over (id, document) pairs of purchases. Groups only propose: nothing is sorted until the
customer answers, and an answer for a group never overwrites one she gave before. Lines that bear a sign
of a gift (message, mark, wrap) stand apart from the rest of their destination, so that one answer for
"everything sent home" does not sweep up the presents that were sent home too.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vrm.vault.catalog import FOR_WHOM, N_
from vrm.vault.importers import hints
from vrm.vault.importers.categories import LABELS
from vrm.vault.importers.hints import place_key

Document = Mapping[str, Mapping[str, Any]]
Pair = tuple[str, Document]

NOWHERE = N_("without an address")
ELSEWHERE = N_("all other addresses")
LARGEST = 20  # destinations that stand alone; smaller ones are asked about together
SAMPLES = 3  # titles shown of each group
_SIGNS = frozenset({hints.MESSAGE, hints.MARKED, hints.WRAPPED})
_CHOICES = frozenset(value for value, _ in FOR_WHOM)


@dataclass(frozen=True, slots=True)
class Group:
    """Purchases that one answer may sort.

    `key` is stable as long as the group is; `label` is an address as the seller wrote it or a text to
    translate; `usual` marks the destination of most; `parts` are the themes of a destination.
    """

    key: str
    label: str
    count: int
    unsorted: int
    suggestion: str
    because: str
    samples: tuple[str, ...]
    ids: tuple[str, ...]
    usual: bool = False
    parts: tuple[Group, ...] = ()


def for_whom(document: Document) -> str:
    """The customer's word, or "" while the purchase is unsorted."""
    return str(document.get("context", {}).get("for", ""))


def progress(docs: Iterable[Pair]) -> tuple[int, int]:
    """How many are (sorted, unsorted)."""
    counts = Counter(bool(for_whom(document)) for _, document in docs)
    return counts[True], counts[False]


def destinations(docs: Iterable[Pair]) -> list[Group]:
    """Groups by where things went, those with most to sort first, each with its themes."""
    places: defaultdict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in docs:
        places[_destination(pair[1])].append(pair)
    ranked = sorted(places.items(), key=lambda one: (-len(one[1]), one[0]))
    usual = _usual(places)
    groups = [
        _group(_digest(place), _label(pairs), pairs, usual=place == usual, themed=True)
        for place, pairs in ranked[:LARGEST]
    ]
    rest = [pair for _, pairs in ranked[LARGEST:] for pair in pairs]
    if rest:
        groups.append(_group("elsewhere", ELSEWHERE, rest, themed=True))
    return sorted(groups, key=lambda group: (group.unsorted == 0, not group.usual, -group.unsorted))


def _usual(places: Mapping[tuple[str, str, str], Sequence[Pair]]) -> tuple[str, str, str] | None:
    """The address that more went to than to any other; None while two are level."""
    sizes = [(len(pairs), place) for place, pairs in places.items() if place[1] and not place[2]]
    first, second = [*sorted(sizes, reverse=True)[:2], (0, None), (0, None)][:2]
    return first[1] if first[0] > second[0] else None


def themes(docs: Iterable[Pair]) -> list[Group]:
    """Groups by category, the largest first; those of one destination, or of a whole history."""
    found: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in docs:
        category = pair[1].get("item", {}).get("category", "")
        found[category if category in LABELS else "other"].append(pair)
    ranked = sorted(found.items(), key=lambda one: (-len(one[1]), one[0]))
    return [_group(category, LABELS[category], pairs) for category, pairs in ranked]


def answer(
    docs: Iterable[Pair], whom: str, use_for_taste: bool | None = None, *, again: bool = False
) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """The documents that one answer changes, changed; what is sorted already stays, unless `again`.

    ValueError for an answer that the catalog does not know. `use_for_taste` is a question of its own:
    None leaves it as it was.
    """
    if whom not in _CHOICES:
        raise ValueError(f"not an answer: {whom}")
    changed = []
    for record, document in docs:
        if for_whom(document) and not again:
            continue
        context = {**document.get("context", {}), "for": whom}
        if use_for_taste is not None:
            context["use_for_taste"] = use_for_taste
        if context != document.get("context", {}):
            new = {name: dict(values) for name, values in document.items()}
            changed.append((record, {**new, "context": context}))
    return changed


def _destination(document: Document) -> tuple[str, str, str]:
    """(name, place, sign of a gift) in one spelling."""
    recipient = document.get("recipient", {})
    because = str(document.get("notes", {}).get("suggested_because", ""))
    return (
        str(recipient.get("name", "")).casefold(),
        place_key(str(recipient.get("address", ""))),
        because if because in _SIGNS else "",
    )


def _digest(place: tuple[str, str, str]) -> str:
    """A key that can stand in a form without being an address."""
    return hashlib.sha256("\0".join(place).encode()).hexdigest()[:16]


def _label(pairs: Sequence[Pair]) -> str:
    """The most frequent spelling of name and address."""
    spelled: Counter[str] = Counter()
    for _, document in pairs:
        recipient = document.get("recipient", {})
        name, address = recipient.get("name", ""), recipient.get("address", "")
        parts = [address] if name and name in address else [name, address]
        spelled[", ".join(part for part in parts if part)] += 1
    return min(spelled.items(), key=lambda one: (-one[1], one[0]))[0] or NOWHERE


def _group(
    key: str, label: str, pairs: Sequence[Pair], *, usual: bool = False, themed: bool = False
) -> Group:
    open_pairs = [pair for pair in pairs if not for_whom(pair[1])]
    suggestion, because = _proposal([document for _, document in open_pairs])
    newest = sorted(open_pairs or pairs, key=lambda pair: _ordered(pair[1]), reverse=True)
    titles = dict.fromkeys(str(document.get("item", {}).get("title", "")) for _, document in newest)
    return Group(
        key=key,
        label=label,
        count=len(pairs),
        unsorted=len(open_pairs),
        suggestion=suggestion,
        because=because,
        samples=tuple(title for title in titles if title)[:SAMPLES],
        ids=tuple(record for record, _ in pairs),
        usual=usual,
        parts=tuple(themes(pairs)) if themed else (),
    )


def _ordered(document: Document) -> str:
    return str(document.get("order", {}).get("ordered", ""))


def _proposal(docs: Sequence[Document]) -> tuple[str, str]:
    """What more than half of the unsorted ones suggest, and the commonest reason."""
    said: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for document in docs:
        notes = document.get("notes", {})
        if suggested := notes.get("suggested_for"):
            said[suggested] += 1
            reasons[str(notes.get("suggested_because", ""))] += 1
    if not said or 2 * max(said.values()) <= len(docs):
        return "", ""
    return said.most_common(1)[0][0], reasons.most_common(1)[0][0]
