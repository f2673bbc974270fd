"""Sorting as forms: few decisions, her word only, and the last one can be taken back."""

import re
import secrets

import pytest

from tests.web.actors import Customer, Page
from tests.web.conftest import Ask, part, purchase
from vrm.consent.service import Consent
from vrm.vault.vault import Vault

HOME = {"name": "Alice", "address": "1 Main St"}
AUNT = {"name": "Aunt Zoe", "address": "9 Far Lane"}


@pytest.fixture
def bought(opened: Vault) -> dict[str, str]:
    """Things sent home (two themes) and to an aunt; one sorted already."""
    records = opened.records("purchases")
    kitchen = {"title": "Pan", "category": "kitchen"}
    hint = {"suggested_for": "gift", "suggested_because": "it went to another name than most"}
    return {
        "Novel": records.put(purchase("Novel", recipient=HOME)),
        "Poems": records.put(purchase("Poems", recipient=HOME)),
        "Pan": records.put(purchase("Pan", recipient=HOME, item=kitchen)),
        "Desk": records.put(purchase("Desk", "work", recipient=HOME)),
        "Scarf": records.put(purchase("Scarf", recipient=AUNT, notes=hint)),
        "Puzzle": records.put(purchase("Puzzle", recipient=AUNT, notes=hint)),
    }


def whom(opened: Vault, bought: dict[str, str]) -> dict[str, str]:
    records = opened.records("purchases")
    return {title: records.get(record)["context"].get("for", "") for title, record in bought.items()}


def question(page: Page) -> str:
    return page.text.partition("Whom were they for?")[0]


def press(alice: Customer, page: Page, button: tuple[str, str], **rest: object) -> Page:
    form = next(form for form in page.forms if button in form.buttons)
    return alice.submit(form, button, **rest)  # type: ignore[arg-type]


def test_the_usual_address_is_asked_about_first_and_one_answer_sorts_it(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = alice.get("/sort")
    assert "5 unsorted" in page.text
    assert "3 things went to your usual address" in page.text
    page = press(alice, page, ("whom", "self"))
    assert "3 sorted." in page.text
    assert "2 unsorted" in page.text
    assert whom(opened, bought) == {
        "Novel": "self",
        "Poems": "self",
        "Pan": "self",
        "Desk": "work",
        "Scarf": "",
        "Puzzle": "",
    }


def test_a_suggestion_has_its_reason_and_is_not_chosen_for_her(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "self"))
    assert "perhaps a gift it went to another name than most" in page.text
    form = page.form("/sort")
    assert not [name for name, _ in form.fields if name == "whom"]
    assert whom(opened, bought)["Scarf"] == ""
    press(alice, page, ("whom", "household"))
    assert whom(opened, bought)["Scarf"] == "household", "her word, not the suggestion"


def test_use_for_taste_is_an_answer_of_its_own(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "self"))
    records = opened.records("purchases")
    assert "use_for_taste" not in records.get(bought["Novel"])["context"]
    press(alice, page, ("whom", "gift"), tick=[("not_taste", "yes")])
    assert records.get(bought["Scarf"])["context"] == {"for": "gift", "use_for_taste": False}


def test_the_last_answer_can_be_taken_back(alice: Customer, opened: Vault, bought: dict[str, str]) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "gift"), tick=[("not_taste", "yes")])
    page = press(alice, page, ("undo", "gift"))
    assert "Taken back." in page.text
    assert "5 unsorted" in page.text
    assert opened.records("purchases").get(bought["Novel"])["context"] == {}
    assert whom(opened, bought)["Desk"] == "work"


@pytest.mark.parametrize("tick", [[], [("not_taste", "yes")]])
def test_an_answer_for_any_number_of_things_can_be_taken_back(
    alice: Customer, opened: Vault, bought: dict[str, str], tick: list[tuple[str, str]]
) -> None:
    records = opened.records("purchases")
    contexts = [{}, {"use_for_taste": True}, {"use_for_taste": False}, {"occasion": "rain"}]
    many = {
        records.new_id(): records.check(purchase(f"Thing {n}", context=contexts[n % 4])) for n in range(5_100)
    }
    records.apply(many)
    page = alice.get("/sort")
    page = alice.submit(page.forms[-1], ("whom", "self"), tick=tick)
    assert "5105 sorted." in page.text
    assert len(page.html) < 50_000, "it is not a list of all of them that takes it back"
    page = press(alice, page, ("undo", "self"))
    assert "5,105 unsorted" in page.text or "5105 unsorted" in page.text
    assert {record: document["context"] for record, document in records.scan() if record in many} == {
        record: document["context"] for record, document in many.items()
    }
    assert whom(opened, bought)["Desk"] == "work"


def test_an_answer_that_cannot_be_found_any_more_is_not_said_to_be_taken_back(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "self"))
    press(alice, page, ("undo", "self"))
    page = press(alice, page, ("undo", "self"))
    assert "Taken back." not in page.text
    assert "Nothing was changed." in page.text


@pytest.mark.parametrize(
    "changed", ["", "1", "1.2", "x.2.", "1.2.?", "1.2.AAAA", "9" * 40 + ".1.", "5.1.", "0.99999."]
)
def test_what_is_no_answer_takes_nothing_back(
    alice: Customer, opened: Vault, bought: dict[str, str], changed: str
) -> None:
    before = whom(opened, bought)
    token = alice.get("/sort").form("/sort").value("csrf_token")
    page = alice.post("/sort", {"csrf_token": token, "undo": "gift", "changed": changed})
    assert page.status in {303, 400}
    assert whom(opened, bought) == before


@pytest.mark.parametrize("tick", [[], [("not_taste", "yes")]])
@pytest.mark.parametrize("said", [True, False])
def test_taking_back_leaves_what_was_said_of_taste_before(
    alice: Customer, opened: Vault, bought: dict[str, str], said: bool, tick: list[tuple[str, str]]
) -> None:
    records = opened.records("purchases")
    records.put(records.get(bought["Pan"]) | {"context": {"use_for_taste": said}}, bought["Pan"])
    page = press(alice, alice.get("/sort"), ("whom", "self"), tick=tick)
    assert records.get(bought["Pan"])["context"] == {"for": "self", "use_for_taste": said and not tick}
    press(alice, page, ("undo", "self"))
    assert records.get(bought["Pan"])["context"] == {"use_for_taste": said}
    assert records.get(bought["Novel"])["context"] == {}


def test_taking_back_leaves_what_was_said_otherwise_since(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "gift"))
    records = opened.records("purchases")
    records.put(records.get(bought["Pan"]) | {"context": {"for": "work"}}, bought["Pan"])
    press(alice, page, ("undo", "gift"))
    assert whom(opened, bought)["Pan"] == "work"
    assert whom(opened, bought)["Novel"] == ""


def test_a_mixed_destination_is_sorted_by_theme(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("near", "themes"))
    assert "Books: 2 things" in question(page)
    page = press(alice, page, ("whom", "self"))
    assert "Kitchen: 1 thing" in question(page)
    page = press(alice, page, ("whom", "household"))
    assert "2 things went here" in page.text, "on to the next destination"
    assert whom(opened, bought)["Pan"] == "household"
    assert whom(opened, bought)["Novel"] == "self"


def test_single_lines_are_sorted_one_by_one(alice: Customer, opened: Vault, bought: dict[str, str]) -> None:
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    form = page.form("/sort")
    assert {f"for.{bought[title]}" for title in ("Novel", "Poems", "Pan")} <= form.names()
    assert f"for.{bought['Desk']}" not in form.names()
    page = alice.submit(form, tick=[(f"for.{bought['Pan']}", "household"), (f"taste.{bought['Pan']}", "no")])
    assert "1 sorted." in page.text
    assert opened.records("purchases").get(bought["Pan"])["context"] == {
        "for": "household",
        "use_for_taste": False,
    }
    assert whom(opened, bought)["Novel"] == ""


def test_a_word_about_taste_alone_is_kept_and_can_be_taken_back(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    records, pan = opened.records("purchases"), bought["Pan"]
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    page = alice.submit(page.form("/sort"), tick=[(f"taste.{pan}", "no"), (f"for.{bought['Novel']}", "self")])
    assert "1 sorted. 1 noted, and not sorted yet." in page.text
    assert records.get(pan)["context"] == {"use_for_taste": False}
    form = next(form for form in page.forms if f"taste.{pan}" in form.names())
    assert form.values(f"taste.{pan}") == ["no"]
    assert form.values(f"taste.{bought['Poems']}") == []
    page = alice.submit(form, untick=[(f"taste.{pan}", "no")], tick=[(f"for.{bought['Poems']}", "gift")])
    assert records.get(pan)["context"] == {}
    assert records.get(bought["Poems"])["context"] == {"for": "gift"}


def test_asking_later_goes_on_with_the_next(alice: Customer, opened: Vault, bought: dict[str, str]) -> None:
    page = alice.get("/sort")
    later = next(pair for form in page.forms for pair in form.buttons if pair[0] == "postpone")
    page = press(alice, page, later)
    assert "2 things went here" in page.text
    page = press(alice, page, ("whom", "gift"))
    assert "asked later" in page.text
    assert "3 unsorted" in page.text
    assert "usual address" in alice.get("/sort").text


def test_one_answer_for_the_rest_leaves_what_was_sorted(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = alice.get("/sort")
    page = alice.submit(page.forms[-1], ("whom", "self"))
    assert "All sorted" in page.text
    assert whom(opened, bought) == dict.fromkeys(bought, "self") | {"Desk": "work"}


@pytest.mark.parametrize(
    "fields",
    [{"whom": "nobody"}, {"whom": ""}, {}, {"whom": "self", "group": "nosuch"}, {"level": "x", "near": "y"}],
)
def test_answers_that_are_none_sort_nothing(
    alice: Customer, opened: Vault, bought: dict[str, str], fields: dict[str, str]
) -> None:
    before = whom(opened, bought)
    token = alice.get("/sort").form("/sort").value("csrf_token")
    assert alice.post("/sort", {"csrf_token": token, **fields}).status in {303, 400}
    assert whom(opened, bought) == before


def test_an_answer_sent_twice_changes_nothing_the_second_time(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = alice.get("/sort")
    press(alice, page, ("whom", "self"))
    after = whom(opened, bought)
    again = press(alice, page, ("whom", "gift"))
    assert again.status == 200
    assert whom(opened, bought) == after


def test_with_nothing_to_sort_the_page_says_what_to_do(alice: Customer) -> None:
    assert "Bring in a history" in alice.get("/sort").text


def test_a_thing_of_which_only_the_title_is_known_is_sorted_one_by_one(
    alice: Customer, opened: Vault
) -> None:
    record = opened.records("purchases").put({"item": {"title": "Bare"}})
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    assert page.status == 200
    assert "Bare" in page.text
    press(alice, page, ("", ""), tick=[(f"for.{record}", "gift")])
    assert opened.records("purchases").get(record)["context"] == {"for": "gift"}


# ---- taking back later, and other windows ----------------------------------------------------------


def undo_of(page: Page) -> tuple[str, str]:
    return next(pair for form in page.forms for pair in form.buttons if pair[0] == "undo")


def offers_undo(page: Page) -> bool:
    return any(name == "undo" for form in page.forms for name, _ in form.buttons)


def test_the_last_answer_can_be_taken_back_after_the_page_was_left(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "gift"))
    again = alice.get(page.path)
    assert "3 sorted." in again.text, "a reload asks nothing and says the same"
    alice.get("/things")
    page = alice.get("/sort")
    assert "Your last answer was about 3 things." in page.text
    page = press(alice, page, undo_of(page))
    assert "Taken back." in page.text
    assert whom(opened, bought)["Novel"] == ""
    assert not offers_undo(alice.get("/sort"))


def test_going_nearer_or_asking_later_keeps_the_way_back(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("whom", "gift"))
    page = press(alice, page, ("near", "lines"))
    assert offers_undo(page)
    page = press(alice, page, undo_of(page))
    assert whom(opened, bought)["Novel"] == ""


def test_what_was_stored_since_takes_the_way_back_away(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    press(alice, alice.get("/sort"), ("whom", "gift"))
    assert offers_undo(alice.get("/sort"))
    opened.records("purchases").put(purchase("Later"))
    assert not offers_undo(alice.get("/sort"))


def test_answers_given_one_by_one_can_be_taken_back(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    records, pan = opened.records("purchases"), bought["Pan"]
    records.put(records.get(pan) | {"context": {"use_for_taste": False}}, pan)
    records.put(
        records.get(bought["Poems"]) | {"context": {"use_for_taste": True, "occasion": "rain"}},
        bought["Poems"],
    )
    before = {record: records.get(record)["context"] for record in bought.values()}
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    page = alice.submit(
        page.form("/sort"),
        untick=[(f"taste.{pan}", "no")],
        tick=[
            (f"for.{bought['Novel']}", "gift"),
            (f"for.{bought['Poems']}", "other"),
            (f"taste.{bought['Poems']}", "no"),
        ],
    )
    assert "2 sorted. 1 noted" in page.text
    assert records.get(pan)["context"] == {}
    assert records.get(bought["Poems"])["context"] == {
        "for": "other",
        "occasion": "rain",
        "use_for_taste": False,
    }
    page = press(alice, page, undo_of(page))
    assert "Taken back." in page.text
    assert {record: records.get(record)["context"] for record in bought.values()} == before


def test_back_to_the_groups_keeps_what_was_answered(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    page = alice.submit(page.form("/sort"), ("near", "places"), tick=[(f"for.{bought['Pan']}", "household")])
    assert "1 sorted." in page.text
    assert "2 things went to your usual address" in page.text
    assert whom(opened, bought)["Pan"] == "household"


def test_back_to_the_groups_without_an_answer_changes_nothing_and_says_nothing(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    page = alice.submit(page.form("/sort"), ("near", "places"))
    assert "3 things went to your usual address" in page.text
    assert "Nothing was changed" not in page.text


def test_a_tap_that_did_nothing_says_so(alice: Customer, opened: Vault, bought: dict[str, str]) -> None:
    first = alice.get("/sort")
    press(alice, first, ("whom", "self"))
    page = press(alice, first, ("whom", "gift"))
    assert "these were sorted already, perhaps in another window" in page.text
    assert whom(opened, bought)["Novel"] == "self"


def test_a_page_of_lines_without_an_answer_says_that_none_was_chosen(
    alice: Customer, bought: dict[str, str]
) -> None:
    page = press(alice, alice.get("/sort"), ("near", "lines"))
    assert "no answer was chosen" in press(alice, page, ("", "")).text


def test_an_answer_leads_to_an_address_that_tells_nothing(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    form = next(form for form in alice.get("/sort").forms if ("whom", "self") in form.buttons)
    page = alice.submit(form, ("whom", "self"), follow=False)
    assert page.status == 303
    assert re.fullmatch(r"/sort\?at=[\w-]{8}", page.location)


def test_a_place_that_no_cookie_has_room_for_is_answered_at_once(
    alice: Customer, opened: Vault, bought: dict[str, str]
) -> None:
    token = alice.get("/sort").form("/sort").value("csrf_token")
    later = [("later", secrets.token_hex(60)) for _ in range(40)]
    page = alice.post("/sort", [("csrf_token", token), ("near", "lines"), *later])
    assert page.status == 200
    group = alice.get("/sort").form("/sort").value("group")
    page = alice.post("/sort", [("csrf_token", token), ("group", group), ("whom", "self"), *later])
    assert (page.status, "3 sorted." in page.text, offers_undo(page)) == (200, True, True)


# ---- who sees what is sorted -------------------------------------------------------------------------


def approve(alice: Customer, handle: str, *tick: tuple[str, str]) -> None:
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), tick=tick, follow=False)


def test_the_page_names_who_can_see_what_she_sorts_as_hers_and_how_much_more(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent, bought: dict[str, str]
) -> None:
    assert "can be seen by" not in alice.get("/sort").text
    approve(alice, ask())
    page = alice.get("/sort")
    assert "What you sort as yours can be seen by: Corner Books" in page.text
    page = press(alice, page, ("whom", "self"))
    (grant,) = consent.grants.listing(opened)
    assert "Corner Books sees 3 more now." in page.text
    assert f"/companies/{grant.id}" in page.links()
    page = press(alice, page, undo_of(page))
    assert "more now" not in page.text
    page = press(alice, page, ("whom", "gift"))
    assert "more now" not in page.text
    assert "sees" not in alice.get("/sort").text, "said once, beside the answer"


def test_where_nobody_reads_purchases_nobody_is_named(
    alice: Customer, opened: Vault, bought: dict[str, str], ask: Ask
) -> None:
    opened.records("preferences").put({"statement": {"topic": "Tea"}})
    approve(alice, ask(part("preferences.statement")))
    assert "can be seen by" not in alice.get("/sort").text


def test_saving_a_thing_says_who_sees_more(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask
) -> None:
    approve(alice, ask())
    address = f"/things/{shelf['Nobody Knows']}"
    form = alice.get(address).form(address)
    page = alice.submit(form, **{"context.for": "self"})
    assert "Saved. Corner Books sees 1 more now." in page.text
    assert "more now" not in alice.get("/things").text
    assert "more now" not in alice.submit(alice.get(address).form(address), **{"item.title": "Known"}).text
