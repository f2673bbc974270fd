"""Pages that are kept: the bytes that were sent, for who may read them, until anything of them changes."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor, part
from tests.conftest import SettableClock
from vrm.consent import access as opening
from vrm.consent import pages
from vrm.consent.filters import Wanted
from vrm.consent.grants import DAY
from vrm.consent.pages import NOTHING, Kept, Pages, State
from vrm.consent.selection import PageQuery
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.errors import GrantInactiveError, ParameterError, TamperedError, TokenError
from vrm.vault.engine import Engine
from vrm.vault.vault import Vaults

ROOM = 1 << 20
BOTH = (part("purchases.item"), part("purchases.price"))
ASKED = [
    PageQuery(),
    PageQuery(limit=2),
    PageQuery(updated_since=1),
    PageQuery(updated_since=-1),
    PageQuery(wanted=Wanted(category="books")),
    PageQuery(limit=1, wanted=Wanted(category="books")),
]


def ask(consent: Consent, token: str, asked: PageQuery = ASKED[0], collection: str = "purchases") -> Any:
    """What a vendor is answered."""
    reader = consent.reader
    return json.loads(reader.perform(reader.reading_list(reader.authenticate(token), collection, asked)))


def anew(consent: Consent, token: str, asked: PageQuery = ASKED[0]) -> list[Any]:
    """The rows of such a page, read from the view."""
    rows, _ = consent.reader.page(consent.reader.authenticate(token), "purchases", **asked._asdict())
    return [json.loads(text) for text in rows]


def kept(consent: Consent) -> dict[bytes, Kept]:
    return {name: page for name, page in consent.reader._pages._kept.items() if page is not NOTHING}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows were opened, each time that any were."""
    seen: list[int] = []
    each = opening.Opener.each

    def counted(self: opening.Opener, rows: Any, fits: Any = None) -> list[bytes | None]:
        seen.append(len(rows))
        return each(self, rows, fits)

    monkeypatch.setattr(opening.Opener, "each", counted)
    return seen


@pytest.fixture
def tokens(customer: Customer, vendor: Vendor, books: list[str]) -> TokenSet:
    assert books
    return vendor.connect(customer, *BOTH)


@pytest.mark.parametrize("asked", ASKED)
def test_who_asks_again_gets_the_same_without_that_a_row_is_opened(
    customer: Customer, consent: Consent, tokens: TokenSet, opened: list[int], asked: PageQuery
) -> None:
    first = ask(consent, tokens.access_token, asked)
    assert kept(consent) == {}, "asked for once"
    again = [ask(consent, tokens.access_token, asked) for _ in range(3)]
    assert [page["items"] for page in again] == 3 * [first["items"]]
    assert first["items"]
    assert len(kept(consent)) == 1
    assert len([rows for rows in opened if rows]) == 2, "the first two times"
    assert customer.events().count("read") == 4, "each is in her log"
    counts = {entry.count for entry in consent.log.read(customer.vault, 4)}
    assert counts == {len(first["items"])}


def test_the_cursor_of_a_kept_page_leads_on(consent: Consent, tokens: TokenSet) -> None:
    for _ in range(4):
        page = ask(consent, tokens.access_token, PageQuery(limit=2))
        rest = ask(consent, tokens.access_token, PageQuery(limit=2, cursor=page["next"]))
        assert (len(page["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    with pytest.raises(ParameterError):
        ask(consent, tokens.access_token, PageQuery(cursor=page["next"][:-4]))


def test_what_was_asked_for_otherwise_is_another_page(consent: Consent, tokens: TokenSet) -> None:
    asked = [*ASKED, PageQuery(limit=1), PageQuery(limit=1, wanted=Wanted(category="toys"))]
    for _ in range(3):
        for one in asked:
            assert ask(consent, tokens.access_token, one)["items"] == anew(consent, tokens.access_token, one)
    assert len(kept(consent)) == len(asked) - 1, "nothing is older than 1970"


def _edit(customer: Customer, held: list[str], draw: random.Random) -> None:
    """Something that her vendors may see, or may not."""
    deeds: list[Callable[[], object]] = [
        lambda: held.append(customer.buy(f"Book {draw.random()}", draw.choice([None, "gift"]))),
        lambda: customer.change(draw.choice(held), "item", title=f"Title {draw.random()}"),
        lambda: customer.change(draw.choice(held), "context", **{"for": draw.choice(["self", "gift"])}),
        lambda: customer.vault.records("purchases").remove(held.pop(draw.randrange(len(held)))),
    ]
    draw.choice(deeds if len(held) > 2 else deeds[:1])()


@pytest.mark.parametrize("seed", range(4))
def test_after_any_change_a_page_is_what_stands_in_the_view(
    customer: Customer, vendor: Vendor, consent: Consent, books: list[str], seed: int
) -> None:
    draw, held = random.Random(seed), list(books)
    tokens = [vendor.connect(customer, *BOTH) for _ in range(2)]
    for _ in range(25):
        if draw.random() < 0.6:
            _edit(customer, held, draw)
        elif draw.random() < 0.2:
            consent.at_unlock(customer.vault)
        for one in tokens:
            asked = draw.choice(ASKED)
            assert ask(consent, one.access_token, asked)["items"] == anew(consent, one.access_token, asked)
    assert kept(consent)


def test_a_change_while_a_page_is_looked_at_is_in_it(
    customer: Customer, consent: Consent, tokens: TokenSet, books: list[str]
) -> None:
    """After it was found unchanged, and before it is noted that it was read."""
    for _ in range(3):
        ask(consent, tokens.access_token)
    reader = consent.reader
    reading = reader.reading_list(reader.authenticate(tokens.access_token), "purchases", PageQuery())
    step = next(reading)
    customer.change(books[0], "item", title="Changed")
    with consent.engine.write(of=customer.vault.id) as transaction:
        found = step.done(transaction)
    with pytest.raises(StopIteration) as end:
        reading.send(found)
    titles = {row["item"]["title"] for row in json.loads(end.value.value)["items"]}
    assert titles == {"Changed", "Beloved", "Emma"}
    assert ask(consent, tokens.access_token)["items"] == anew(consent, tokens.access_token)


def test_what_left_its_period_leaves_the_kept_page(
    customer: Customer, vendor: Vendor, consent: Consent, clock: SettableClock
) -> None:
    customer.buy("Kindred", order={"ordered": "2026-08-25"})
    tokens = vendor.connect(customer, part("purchases.item", period="P3M"))
    for _ in range(3):
        assert len(ask(consent, tokens.access_token)["items"]) == 1
    clock.forward(10 * DAY)
    token = vendor.refresh(tokens.refresh_token).access_token
    for _ in range(3):
        assert ask(consent, token)["items"] == []


def test_a_narrower_token_and_another_grant_have_pages_of_their_own(
    customer: Customer, vendor: Vendor, consent: Consent, tokens: TokenSet
) -> None:
    for _ in range(3):
        full = ask(consent, tokens.access_token)["items"]
    assert set(full[0]) == {"id", "updated_at", "item", "price"}
    narrow = vendor.refresh(tokens.refresh_token, "purchases.item:read").access_token
    other = vendor.connect(customer, part("purchases.price")).access_token
    for _ in range(3):
        assert set(ask(consent, narrow)["items"][0]) == {"id", "updated_at", "item"}
        assert set(ask(consent, other)["items"][0]) == {"id", "updated_at", "price"}
    assert len(kept(consent)) == 3


def test_who_was_stopped_gets_no_kept_page(customer: Customer, consent: Consent, tokens: TokenSet) -> None:
    access = consent.reader.authenticate(tokens.access_token)
    for _ in range(3):
        ask(consent, tokens.access_token)
    consent.grants.revoke(customer.vault, tokens.grant_id)
    with pytest.raises(TokenError):
        ask(consent, tokens.access_token)
    with pytest.raises(GrantInactiveError):
        consent.reader.perform(consent.reader.reading_list(access, "purchases", PageQuery()))
    assert customer.events()[0] == "refused"


def test_a_page_that_was_not_committed_is_not_kept(
    consent: Consent, tokens: TokenSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(consent, tokens.access_token)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(consent.reader, "_note_read", fails)
    with pytest.raises(RuntimeError):
        ask(consent, tokens.access_token)
    assert kept(consent) == {}


def test_what_is_kept_is_sealed_under_all_its_scopes(
    customer: Customer, consent: Consent, tokens: TokenSet
) -> None:
    for _ in range(2):
        ask(consent, tokens.access_token)
    [(name, page)] = kept(consent).items()
    stored = page.sealed + name + page.state.agreement
    assert not any(title.encode() in stored for title in customer.titles())
    assert tokens.grant_id.encode() not in stored
    assert b"purchases" not in stored
    access = consent.reader.authenticate(tokens.access_token)
    assert b"Kindred" in consent.reader._opener(access, "purchases").pages.unseal(page.sealed, name)
    for lost in access.keys:
        few = consent.reader.authenticate(tokens.access_token)
        few.keys = {scope: key if scope != lost else few.common for scope, key in few.keys.items()}
        with pytest.raises(TamperedError):
            consent.reader._opener(few, "purchases").pages.unseal(page.sealed, name)


def test_a_page_opens_under_its_own_name_only(consent: Consent, tokens: TokenSet) -> None:
    access = consent.reader.authenticate(tokens.access_token)
    cipher = consent.reader._opener(access, "purchases").pages
    sealed = cipher.seal(b"[]", b"n" * 16)
    assert cipher.unseal(sealed, b"n" * 16) == b"[]"
    with pytest.raises(TamperedError):
        cipher.unseal(sealed, b"m" * 16)


def page_of(size: int) -> Kept:
    return Kept(State(1, 1, b""), 1, bytes(size))


def test_no_more_is_kept_than_there_is_room_for() -> None:
    held = Pages(ROOM)
    for number in range(100):
        name = number.to_bytes(16, "big")
        held.look(name)
        held.keep(name, page_of(ROOM // 20))
    sizes = [len(page.sealed) for page in held._kept.values()]
    assert ROOM * 0.9 < sum(sizes) <= ROOM
    assert held.look((99).to_bytes(16, "big")) is not None
    assert held.look((0).to_bytes(16, "big")) is None, "the oldest"


def test_what_is_asked_for_stays_and_what_grew_takes_its_room() -> None:
    held = Pages(room=10_000)
    held.keep(b"a", page_of(800))
    for number in range(50):
        assert held.look(b"a") == page_of(800)
        held.keep(b"%d" % number, page_of(500))
    held.keep(b"a", page_of(100))
    assert sum(map(pages._size, held._kept.values())) + held._left == 10_000
    assert held._left >= 0


def test_one_that_is_too_large_is_not_kept_in_anybodys_place() -> None:
    held = Pages(ROOM)
    held.keep(b"small", page_of(10))
    held.look(b"large")
    held.keep(b"large", page_of(ROOM // 8))
    assert held.look(b"large") is NOTHING
    assert held.look(b"small") == page_of(10)


def test_where_there_is_no_room_every_page_is_asked_for_the_first_time(
    engine: Engine, vaults: Vaults, clock: SettableClock, consent: Consent, tokens: TokenSet
) -> None:
    without = Consent(engine, vaults, clock, kept_pages=0)
    for _ in range(3):
        assert ask(without, tokens.access_token)["items"] == anew(consent, tokens.access_token)
    assert not without.reader._pages._kept


def test_names_that_nobody_asks_for_again_leave() -> None:
    held = Pages(room=100_000)
    for number in range(10_000):
        assert held.look(number.to_bytes(16, "big")) is None
    assert len(held._kept) < 1000


def test_many_threads_keep_within_the_room() -> None:
    held, errors = Pages(room=50_000), []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        try:
            for _ in range(2000):
                name = b"%d" % draw.randrange(60)
                if held.look(name) is not None:
                    held.keep(name, page_of(draw.randrange(4000)))
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(map(pages._size, held._kept.values())) + held._left == 50_000
    assert held._left >= 0
