"""A thief with the disk and the server key, and no credential, guesses which purchases were presents.

He has every row of every table and the bytes of the database's files. To be generous to him, he is also told
the customer's answer for half of the purchases; from them he learns and guesses the other half, once for each
half. Score: how many of either kind he gets right, averaged, so that 1/2 is what a coin or "always the
commoner kind" gets. He may not do better than that by more than four standard deviations of what the same
rule gets where all answers are shuffled. The vault draws its random numbers from a seed here, so that a run
is like the next.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
import shutil
import sqlite3
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, part
from tests.attacks.posted import CODE, columns
from tests.beside import only_sqlite
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm import samples
from vrm.consent.service import SCHEMA as CONSENT_SCHEMA
from vrm.consent.service import Consent
from vrm.vault import envelope, facets, records, serverkey, sorting
from vrm.vault.intake import bring_in
from vrm.vault.keyring import Keyring
from vrm.vault.layout import SCHEMA
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

pytestmark = only_sqlite

Features = dict[str, list[float]]  # what is seen → a number for each purchase
Kinds = list[bool]
Cell = list[int]  # those among the learned that look like one that is guessed
STEPS = 6  # groups into which a feature divides what was learned
NEAREST = 5
BEST = 3  # features that speak together: those that tell most of what was learned
DOUBT = 3  # purchases: what a group says weighs less, the fewer it is learned from
SHUFFLES = 30
DEVIATIONS = 4
TODAY = date(2026, 11, 18)


# --- what Alice does


def sort(customer: Customer, truth: dict[str, Any]) -> None:
    """Her decisions in their order, each one transaction; a narrower one corrects what a wider one said.

    She does not come to the last ("all the rest"): what it is about stays unsorted.
    """
    held = customer.vault.records("purchases")
    documents = dict(held.scan())
    for decision in truth["decisions"][:-1]:
        members = [pair for pair in documents.items() if meant(decision, pair[1])]
        changed = dict(sorting.answer(members, decision["for"], again=decision["by"] == "line"))
        held.apply(changed)
        documents.update(changed)


def meant(decision: dict[str, str], document: dict[str, dict[str, Any]]) -> bool:
    """Whether a decision of hers is about this purchase."""
    recipient, item, order = document["recipient"], document["item"], document["order"]
    here = decision.get("address", "") == recipient.get("address", "")
    match decision["by"]:
        case "destination":
            return here
        case "theme":
            return here and item.get("category") == decision["category"]
        case kind:
            assert kind == "line"
            return (order.get("order_number"), item.get("asin")) == (decision["order"], decision["asin"])


def live(customer: Customer, vendor: Vendor, clock: SettableClock, folder: Path) -> None:
    """Import, sorting, a grant for her own books, readings, second thoughts, the sweep of the minute."""
    files = [(path.name, path.open("rb")) for path in samples.write(folder, TODAY)]
    bring_in(customer.vault, files)
    for _, stream in files:
        stream.close()
    sort(customer, samples.truth())
    books = part("purchases.item", "purchases.order", filter={"category": ["books"]})
    tokens = vendor.connect(customer, books)
    vendor.read(tokens.access_token)
    held = dict(customer.vault.records("purchases").scan())
    shared = [
        record
        for record, document in held.items()
        if sorting.for_whom(document) == "self" and document["item"].get("category") == "books"
    ]
    presents = [record for record, document in held.items() if sorting.for_whom(document) == "gift"]
    assert len(vendor.titles(tokens.access_token)) == len(shared)
    for at, record in enumerate(shared[:12]):
        clock.forward(60)
        facet, said = ("experience", {"rating": 5}) if at % 2 else ("item", {"brand": "N. N."})
        customer.change(record, facet, **said)
    for record in presents[:12]:
        clock.forward(60)
        customer.change(record, "context", occasion="a birthday")
    customer.change(shared[12], "context", **{"for": "gift"})
    vendor.refresh(tokens.refresh_token)


# --- what the thief sees


BESIDE = (  # tables that name no purchase: their rows, as they were written, laid beside the purchases
    ("views", "grant_id, seq", ("length(sealed)", "seq", "updated")),
    ("postings", "grant_id, bucket", ("length(packed)",)),
    ("journal", "seq", ("length(sealed)", "seq")),
    ("log_entries", "rowid", ("length(sealed)", "seq", "at")),
    ("tokens", "rowid", ("length(wrapped)", "expires", "spent")),
)


def look(copy: Path) -> tuple[list[str], Features]:
    """The purchases' ids, and in their order every number that can be laid beside them."""
    with closing(sqlite3.connect(copy / "vrm.db")) as database:
        rows = database.execute(
            "SELECT record, rowid, revision, import, fingerprint, body FROM records"
            " WHERE collection = 'purchases' ORDER BY record"
        ).fetchall()
        aside = {
            f"{column} in {table}": [
                row[0] or 0 for row in database.execute(f"SELECT {column} FROM {table} ORDER BY {order}")
            ]
            for table, order, columns in BESIDE
            for column in columns
        }
        aside |= posted(database)
        sealed = [row[0] for row in database.execute("SELECT sealed FROM views WHERE sealed IS NOT NULL")]
    image = (copy / "vrm.db").read_bytes()
    facets = [envelope.unpack_named(row[5]) for row in rows]
    features: Features = {
        "id": [float(int(row[0][:12], 16)) for row in rows],
        "row number": [float(row[1]) for row in rows],
        "byte of the file": [float(image.find(row[5])) for row in rows],
        "revision": [float(row[2]) for row in rows],
        "import": [float(row[3]) for row in rows],
        "has a fingerprint": [float(row[4] is not None) for row in rows],
        "fingerprint": [float(int.from_bytes((row[4] or b"")[:6], "big")) for row in rows],
        "length": [float(len(row[5])) for row in rows],
        "number of facets": [float(len(named)) for named in facets],
    }
    for name in facets[0]:
        features[f"length of {name}"] = [float(len(named.get(name, b""))) for named in facets]
    joined = Counter(len(blob) for one in sealed for blob in envelope.unpack_named(one).values())
    for name in ("item", "order"):
        features[f"view rows as long as {name}"] = [
            float(sum(count for size, count in joined.items() if size <= len(named[name])))
            for named in facets
        ]
    ranks = sorted(range(len(rows)), key=features["row number"].__getitem__)
    for name, entries in aside.items():
        features[name] = [0.0] * len(rows)
        for rank, at in enumerate(ranks):
            features[name][at] = float(entries[rank * len(entries) // len(rows)])
    return [row[0] for row in rows], features


def posted(database: sqlite3.Connection) -> dict[str, list[int]]:
    """What postings show at each position: masked codes, and whether a row left it."""
    packed = [row[0] for row in database.execute("SELECT packed FROM postings ORDER BY grant_id, bucket")]
    fields: list[list[int]] = [[], [], []]
    for blob in packed:
        for field, codes in zip(fields, columns(blob)[1], strict=True):
            field += [int.from_bytes(codes[at : at + CODE], "big") for at in range(0, len(codes), CODE)]
    assert fields[0], "nothing is posted"
    return {
        **{f"field {number} in postings": codes for number, codes in enumerate(fields)},
        "left in postings": [int(codes == (0, 0, 0)) for codes in zip(*fields, strict=True)],
    }


# --- how the thief guesses


def ranked(values: Sequence[float]) -> list[float]:
    """The values replaced by their ranks; equal ones share a rank."""
    order = sorted(set(values))
    place = {value: at / len(order) for at, value in enumerate(order)}
    return [place[value] for value in values]


def steps(values: Sequence[float], known: Sequence[int], asked: Sequence[int]) -> list[Cell]:
    """Thresholds: what was learned, cut into groups of neighbouring values."""
    taught = sorted(values[at] for at in known)
    edges = sorted({taught[len(taught) * step // STEPS] for step in range(STEPS)})

    def group(at: int) -> int:
        return bisect.bisect_right(edges, values[at])

    cells: dict[int, Cell] = {}
    for at in known:
        cells.setdefault(group(at), []).append(at)
    return [cells.get(group(at), []) for at in asked]


def nearest(columns: Sequence[Sequence[float]], known: Sequence[int], asked: Sequence[int]) -> list[Cell]:
    """Those among the learned that are nearest in some features at once."""
    points, cells = list(zip(*columns, strict=True)), []
    for at in asked:
        far = [math.dist(points[at], points[one]) for one in known]
        limit = sorted(far)[NEAREST - 1]  # all that are as near as the fifth
        cells.append([one for one, distance in zip(known, far, strict=True) if distance <= limit])
    return cells


def weigh(cells: Sequence[Sequence[Cell]], kinds: Kinds, known: Sequence[int]) -> list[float]:
    """For each that is asked about: how much more often its like were of the kind; above 0 says that it is.

    Every element of `cells` is one opinion on all that are asked about; opinions add up.
    """
    rate = sum(map(kinds.__getitem__, known)) / len(known)
    sums = [0.0] * len(cells[0])
    for opinion in cells:
        said: dict[int, float] = {}  # many share a cell
        for at, cell in enumerate(opinion):
            if id(cell) not in said:
                share = (sum(map(kinds.__getitem__, cell)) + DOUBT * rate) / (len(cell) + DOUBT)
                said[id(cell)] = math.log(share / rate) - math.log((1 - share) / (1 - rate))
            sums[at] += said[id(cell)]
    return sums


def hits(weights: Sequence[float], kinds: Kinds, asked: Sequence[int]) -> float:
    """Of either kind, the share that is guessed right, averaged; saying nothing is half a hit."""
    right: dict[bool, list[float]] = {True: [], False: []}
    for weight, at in zip(weights, asked, strict=True):
        right[kinds[at]].append(0.5 if abs(weight) < 1e-9 else float((weight > 0) == kinds[at]))
    return sum(sum(found) / len(found) for found in right.values()) / 2


Rule = Callable[[Sequence[int], Sequence[int]], list[list[Cell]]]


def rules(features: Features) -> Iterator[tuple[str, Rule]]:
    """For each feature thresholds and neighbours, and both for all at once."""
    telling = {name: ranked(values) for name, values in features.items() if len(set(values)) > 1}
    for name, values in telling.items():
        yield name, lambda known, asked, values=values: [steps(values, known, asked)]
        if " in " not in name:
            yield (
                f"{name} (neighbours)",
                lambda known, asked, values=values: [nearest([values], known, asked)],
            )
    columns = list(telling.values())
    yield "all", lambda known, asked: [steps(values, known, asked) for values in columns]
    yield "all (neighbours)", lambda known, asked: [nearest(columns, known, asked)]


def guess(rule: Rule, kinds: Kinds) -> tuple[float, float]:
    """(score, what chance may reach): learned from one half and tested on the other, both ways."""
    draw = random.Random(1)
    halves: list[list[int]] = [[], []]
    for kind in (True, False):  # as many of either kind in both halves
        members = [at for at, one in enumerate(kinds) if one is kind]
        draw.shuffle(members)
        halves[0] += members[::2]
        halves[1] += members[1::2]
    turns = []
    for known, asked in (halves, halves[::-1]):
        cells = rule(known, asked)
        turns.append((known, asked, cells, rule(known, known) if len(cells) > 1 else []))

    def score(said: Kinds) -> float:
        found = []
        for known, asked, cells, own in turns:
            worth = [hits(weigh([opinion], said, known), said, known) for opinion in own]
            best = sorted(range(len(cells)), key=worth.__getitem__)[-BEST:] if worth else [0]
            found.append(hits(weigh([cells[at] for at in best], said, known), said, asked))
        return mean(found)

    by_chance = []
    for _ in range(SHUFFLES):
        shuffled = list(kinds)
        for half in halves:
            mixed = [kinds[at] for at in half]
            draw.shuffle(mixed)
            for at, kind in zip(half, mixed, strict=True):
                shuffled[at] = kind
        by_chance.append(score(shuffled))
    return score(kinds), 0.5 + DEVIATIONS * pstdev(by_chance)


QUESTIONS = {
    "present or own": ({"gift"}, {"self"}),
    "present or anything else": ({"gift"}, {"self", "work", "other", ""}),
    "unsorted or sorted": ({""}, {"self", "gift", "work", "other"}),
}


def find_out(
    features: Features, whom: Sequence[str], question: str, only: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Rule → (score, what chance may reach), of all rules or of some."""
    ours, others = QUESTIONS[question]
    chosen = [at for at, one in enumerate(whom) if one in ours | others]
    kinds = [whom[at] in ours for at in chosen]
    narrowed = {name: [values[at] for at in chosen] for name, values in features.items()}
    return {name: guess(rule, kinds) for name, rule in rules(narrowed) if name in only or not only}


def telling(results: dict[str, tuple[float, float]]) -> dict[str, float]:
    """The rules that do better than chance may."""
    return {name: score for name, (score, bound) in results.items() if score > bound}


Seen = tuple[Features, list[str]]


def watch(folder: Path) -> Seen:
    """Alice lives, the thief copies her host's data; her answers stand beside, to learn from and to check."""
    engine = SqliteEngine(folder / "data" / "vrm.db")
    with closing(engine), pytest.MonkeyPatch.context() as patch:
        for name in ("os.urandom", "random._urandom"):
            patch.setattr(name, random.Random(name).randbytes)
        engine.install([SCHEMA, CONSENT_SCHEMA])
        clock = SettableClock()
        vaults = Vaults(engine, serverkey.load(folder / "data" / "server.key"), clock=clock, limits=CHEAP)
        consent = Consent(engine, vaults, clock)
        customer = Customer(vaults.create("alice", PASSPHRASE)[0], consent)
        live(customer, Vendor.register(consent), clock, folder / "export")
        assert consent.sweep()
        copy = folder / "copy"
        shutil.copytree(folder / "data", copy)
        assert (copy / "vrm.db-wal").stat().st_size == 0  # what it tells before, see the last test
        ids, features = look(copy)
        documents = dict(customer.vault.records("purchases").scan())
    return features, [sorting.for_whom(documents[record]) for record in ids]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return watch(tmp_path_factory.mktemp("seen"))


def learn(seen: Seen, question: str, *only: str) -> dict[str, float]:
    """The rules that tell something."""
    results = find_out(*seen, question, only)
    for name, (score, bound) in results.items():
        print(f"{question}: {name}: {score:.2f}, chance reaches {bound:.2f}")  # shown with pytest -s
    return telling(results)


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_seen_tells_no_more_than_chance(question: str, seen: Seen) -> None:
    assert learn(seen, question) == {}


def test_no_length_differs_and_nothing_is_absent(seen: Seen) -> None:
    features = seen[0]
    lengths = {name for name, values in features.items() if "length of" in name or "as long as" in name}
    assert len(lengths) == 10
    still = lengths | {
        "length",
        "number of facets",
        "has a fingerprint",
        "import",
        "length(sealed) in log_entries",
    }
    assert {name for name in still if len(set(features[name])) > 1} == set()


def test_without_padding_lengths_would_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "pad", lambda text, bucket: text)
    monkeypatch.setattr(facets, "_EMPTY", dict.fromkeys(facets._EMPTY, b"{}"))
    seen = watch(tmp_path)
    assert len(set(seen[0]["length of notes"])) > 1  # how well presents show in it depends on the draws
    found = learn(seen, "unsorted or sorted", "all", "length of context")
    assert found["length of context"] > 0.95
    assert found["all"] > 0.8


def test_with_counted_revisions_presents_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """She sorted all books in one go and then took the presents out: they were touched once more."""
    monkeypatch.setattr(records, "_first_revisions", lambda count: [1] * count)
    seen = watch(tmp_path)
    assert learn(seen, "present or anything else", "revision")["revision"] > 0.8
    assert learn(seen, "unsorted or sorted", "revision")["revision"] > 0.95


def test_in_the_order_of_the_import_presents_would_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Presents are ordered together: who is told of one guesses its neighbours."""
    count = itertools.count()
    monkeypatch.setattr(Keyring, "fingerprint", lambda self, *line: next(count).to_bytes(16))
    by = "row number (neighbours)"
    assert learn(watch(tmp_path), "present or anything else", by)[by] > 0.75


# --- a limit, said openly


def commits(copy: Path) -> list[bytes]:
    """The pages that each transaction wrote, as they stand in the write-ahead log."""
    log, found, pages = (copy / "vrm.db-wal").read_bytes(), [], b""
    size = struct.unpack_from(">I", log, 8)[0]
    for at in range(32, len(log), 24 + size):
        pages += log[at + 24 : at + 24 + size]
        if struct.unpack_from(">I", log, at + 4)[0]:  # the last page of a transaction
            found.append(pages)
            pages = b""
    return found


def test_until_the_sweep_the_write_ahead_log_shows_what_changed_with_a_view(
    customer: Customer, vendor: Vendor, thief: Thief
) -> None:
    """So do two copies of the disk; one copy, taken after the sweep of the minute, does not.

    Three records stand on a page: between the two that are changed are some that are not.
    """
    own, *_, present = [
        customer.buy("Kindred"),
        *(customer.buy(f"Almanac {year}", "gift") for year in range(8)),
    ]
    vendor.connect(customer)
    assert customer.consent.sweep()
    for record in (own, present):
        customer.change(record, "item", brand="N. N.")
    copy = thief.copy()
    with closing(sqlite3.connect(f"file:{copy / 'vrm.db'}?immutable=1", uri=True)) as database:
        (item,) = database.execute("SELECT item FROM views").fetchone()
    with_view, alone = commits(copy)
    assert [own.encode() in with_view, present.encode() in with_view, item in with_view] == [
        True,
        False,
        True,
    ]
    assert [own.encode() in alone, present.encode() in alone, item in alone] == [False, True, False]
    assert customer.consent.sweep()
    assert (thief.copy("later") / "vrm.db-wal").stat().st_size == 0
