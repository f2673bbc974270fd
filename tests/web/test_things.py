"""Things, preferences and profile as forms: find, add, edit, delete and bring back; what is refused."""

import re

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import Ask, part, purchase
from vrm.consent.service import Consent
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault


def found(alice: Customer, **wanted: str) -> str:
    return alice.submit(alice.get("/things").form("/things"), **wanted).text


def test_a_search_finds_words_in_any_field_and_stands_in_no_address(
    alice: Customer, opened: Vault, shelf: object
) -> None:
    opened.records("purchases").put(purchase("Lamp", "household", recipient={"name": "Aunt Zoe"}))
    page = alice.submit(alice.get("/things").form("/things"), words="zoe LAMP")
    assert re.fullmatch(r"/things\?search=[\w-]{8}", page.path)
    assert "1 found" in page.text
    assert "Lamp" in page.text
    assert "Piranesi" not in page.text
    assert "Nothing fits" in found(alice, words="nowhere to be found")


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        ({"for_whom": "gift"}, {"A Gift Indeed"}),
        ({"for_whom": "unsorted"}, {"Nobody Knows"}),
        ({"year": "2019"}, {"Long Ago"}),
        ({"seller": "amazon.com", "year": "2026", "for_whom": "self"}, {"Piranesi", "The Hobbit"}),
        ({"category": "kitchen"}, set()),
        ({"category": "books"}, {"Piranesi", "The Hobbit", "A Gift Indeed", "Nobody Knows", "Long Ago"}),
    ],
)
def test_filters_narrow_the_list(
    alice: Customer, shelf: dict[str, str], wanted: dict[str, str], titles: set[str]
) -> None:
    text = found(alice, **wanted)
    assert {title for title in shelf if title in text} == titles


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("cafe naive", "Café Naïve"),
        ("CAFÉ NAÏVE", "cafe naive"),
        ("strasse", "Straße"),
        ("cafe\u0301", "Caf\u00e9"),
        ("finest 2", "\ufb01nest\u00b2"),
        ("Οδοσ", "οδός"),
    ],
)
def test_a_search_does_not_mind_accents_and_capitals(
    alice: Customer, opened: Vault, words: str, title: str
) -> None:
    opened.records("purchases").put(purchase(title, "self"))
    assert "1 found" in found(alice, words=words)


@pytest.mark.parametrize("words", ["false", "true", "self", "household"])
def test_a_search_finds_no_words_that_no_page_shows(alice: Customer, opened: Vault, words: str) -> None:
    context = {"for": "household", "use_for_taste": False}
    opened.records("purchases").put(purchase("Piranesi", context=context, experience={"again": True}))
    opened.records("purchases").put(purchase("The Hobbit", "self"))
    assert "Nothing fits" in found(alice, words=words)


def test_long_lists_come_in_pages_that_keep_the_search(alice: Customer, opened: Vault) -> None:
    records = opened.records("purchases")
    records.apply(
        {records.new_id(): records.check(purchase(f"Book {n:03}", "self", "2026-01-01")) for n in range(120)}
    )
    first = alice.submit(alice.get("/things").form("/things"), words="book")
    assert "Page 1 of 3" in first.text
    second = alice.submit(first.forms[-1], ("page", "2"))
    assert "Page 2 of 3" in second.text
    assert "120 found" in second.text
    assert len(set(re.findall(r"Book \d{3}", first.text)) & set(re.findall(r"Book \d{3}", second.text))) == 0


@pytest.mark.parametrize("page", ["0", "-1", "99999999999", "x", "٣", "1e3"])
def test_a_page_that_is_none_never_fails(alice: Customer, shelf: object, page: str) -> None:
    assert alice.get(f"/things?page={page}").status == 200


def test_a_thing_is_added_by_hand_once_even_if_sent_twice(alice: Customer, opened: Vault) -> None:
    form = alice.get("/things/new").form("/things/new")
    typed = {"item.title": "Umbrella", "price.total": "12,50", "context.occasion": "rain"}
    page = alice.submit(form, tick=[("context.use_for_taste", "no")], **typed)
    assert page.path == "/things"
    assert "Added." in page.text
    alice.submit(form, **typed)
    ((record, document),) = opened.records("purchases").scan()
    assert f"/things/{record}" in page.links()
    assert document["item"] == {"title": "Umbrella"}
    assert document["price"] == {"total": "12.50"}
    assert document["context"] == {"occasion": "rain", "use_for_taste": False}


def test_every_field_of_the_catalog_that_is_not_the_vaults_own_can_be_edited(alice: Customer) -> None:
    pages = {"purchases": "/things/new", "preferences": "/preferences/new", "profile": "/profile"}
    for name, path in pages.items():
        form = alice.get(path).form(path)
        expected = {
            f"{facet.name}.{field.name}"
            for facet in CATALOG_BY_NAME[name].facets
            for field in facet.fields
            if field.by != "vault"
        }
        assert {known for known in form.names() if "." in known} == expected


def test_a_wrong_value_is_named_at_its_field_and_nothing_typed_is_lost(
    alice: Customer, opened: Vault
) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = alice.submit(
        form,
        **{"item.title": "Lamp", "price.total": "much", "order.ordered": "soon", "experience.rating": "9"},
    )
    assert page.status == 400
    for reason in ("an amount, such as 12.99", "a day, such as", "from 1 to 5"):
        assert reason in page.text
    again = page.form("/things/new")
    assert again.value("price.total") == "much"
    assert again.value("item.title") == "Lamp"
    invalid = {given["name"] for _, given in page.tags if given.get("aria-invalid")}
    assert invalid == {"price.total", "order.ordered", "experience.rating"}
    assert opened.records("purchases").count() == 0


def test_a_code_that_is_none_is_named_when_it_is_typed_and_stays_where_it_stood(
    alice: Customer, opened: Vault
) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = alice.submit(
        form, **{"item.title": "Odyssey", "item.isbn": "9780140449137", "price.currency": "€"}
    )
    assert page.status == 400
    assert {given["name"] for _, given in page.tags if given.get("aria-invalid")} == {
        "item.isbn",
        "price.currency",
    }
    assert "check digit" in page.text
    assert "such as EUR" in page.text
    record = opened.records("purchases").put(purchase("Odyssey", price={"total": "9.90", "currency": "€"}))
    path = f"/things/{record}"
    assert alice.submit(alice.get(path).form(record), **{"item.title": "Iliad"}).path == "/things"
    assert opened.records("purchases").get(record)["price"]["currency"] == "€"
    assert alice.submit(alice.get(path).form(record), **{"price.currency": "eur"}).path == "/things"
    assert opened.records("purchases").get(record)["price"]["currency"] == "EUR"


def test_an_empty_form_adds_nothing(alice: Customer, opened: Vault) -> None:
    page = alice.submit(alice.get("/preferences/new").form("/preferences/new"))
    assert page.status == 400
    assert opened.records("preferences").count() == 0


def test_editing_keeps_what_the_form_does_not_show(alice: Customer, opened: Vault) -> None:
    document = purchase("Tea", "self")
    document["order"] |= {"line": 2, "learned_from": "export: Request my data"}
    document["item"] |= {"category_basis": "guessed"}
    record = opened.records("purchases").put(document)
    page = alice.submit(
        alice.get(f"/things/{record}").form(record),
        **{"item.title": "Green tea", "item.category": "groceries"},
    )
    assert page.path == "/things"
    stored = opened.records("purchases").get(record)
    assert stored["item"]["title"] == "Green tea"
    assert stored["order"]["line"] == 2
    assert stored["order"]["learned_from"] == "export: Request my data"
    assert stored["item"]["category_basis"] == "said", "her word on the category is no guess"


def required(page: Page) -> list[str]:
    return [given["name"] for tag, given in page.tags if tag == "input" and "required" in given]


@pytest.mark.parametrize(
    ("path", "name", "said"),
    [
        ("/things/new", "item.title", "Please give a title."),
        ("/preferences/new", "statement.topic", "Please give a topic."),
        ("/profile", "", "Please fill in something."),
    ],
)
def test_a_form_that_says_nothing_is_told_what_it_needs(
    alice: Customer, path: str, name: str, said: str
) -> None:
    page = alice.get(path)
    assert required(page) == ([name] if name else [])
    page = alice.submit(page.form(path))
    assert page.status == 400
    assert said in page.text
    assert required(page) == ([name] if name else [])


def test_a_name_is_asked_for_only_where_a_browser_can_point_at_it(alice: Customer, opened: Vault) -> None:
    thing = opened.records("purchases").put(purchase("Behind a closed name"))
    assert required(alice.get(f"/things/{thing}")) == []
    named = opened.records("preferences").put({"statement": {"topic": "tea", "strength": "like"}})
    assert required(alice.get(f"/preferences/{named}")) == ["statement.topic"]
    nameless = opened.records("preferences").put({"statement": {"strength": "like"}})
    assert required(alice.get(f"/preferences/{nameless}")) == []


def test_emptying_a_field_removes_its_value(alice: Customer, opened: Vault, shelf: dict[str, str]) -> None:
    record = shelf["Piranesi"]
    alice.submit(alice.get(f"/things/{record}").form(record), **{"price.total": "", "context.for": ""})
    assert "total" not in opened.records("purchases").get(record)["price"]
    assert opened.records("purchases").get(record)["context"] == {}


def test_a_change_from_elsewhere_is_shown_and_not_overwritten_unseen(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    record = shelf["Piranesi"]
    form = alice.get(f"/things/{record}").form(record)
    newer = opened.records("purchases").get(record)
    opened.records("purchases").put(newer | {"price": {"total": "1.00"}}, record)
    page = alice.submit(form, **{"context.occasion": "birthday"})
    assert page.status == 409
    assert "Nothing was overwritten" in page.text
    assert "“12.99”" in page.text
    assert "“1.00”" in page.text
    assert opened.records("purchases").get(record)["price"] == {"total": "1.00"}
    assert page.form(record).value("context.occasion") == "birthday"
    assert alice.submit(page.form(record)).path == "/things"
    assert opened.records("purchases").get(record)["context"]["occasion"] == "birthday"


def test_a_thing_deleted_elsewhere_is_said_to_be_gone(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    form = alice.get(f"/things/{shelf['Piranesi']}").form(shelf["Piranesi"])
    opened.records("purchases").remove(shelf["Piranesi"])
    assert alice.submit(form).status == 404
    assert opened.records("purchases").count() == 4


def test_deleting_asks_first_and_undo_brings_back_the_same_record(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    record = shelf["Piranesi"]
    before = opened.records("purchases").get(record)
    asked = alice.get(f"/things/{record}/delete")
    assert "leaves the view of every company" in asked.text
    assert opened.records("purchases").contains(record)
    page = alice.submit(asked.form("/delete"))
    assert not opened.records("purchases").contains(record)
    assert "Piranesi" in page.text
    undo = page.form("/undo")
    assert "Piranesi" not in undo.action
    assert alice.submit(undo).path == f"/things/{record}"
    assert opened.records("purchases").get(record) == before
    assert alice.submit(undo).status == 200, "pressed twice"


@pytest.mark.parametrize(
    "document",
    [{"item": {"title": "Bare"}}, {"item": {}}, {"item": {"title": "Bare"}, "order": {"seller": "A shop"}}],
)
def test_a_thing_without_a_date_is_deleted_as_any_other(
    alice: Customer, opened: Vault, document: dict[str, dict[str, str]]
) -> None:
    record = opened.records("purchases").put(document)
    assert alice.get(f"/things/{record}").status == 200
    page = alice.submit(alice.get(f"/things/{record}/delete").form("/delete"))
    assert page.status == 200
    assert not opened.records("purchases").contains(record)


def test_what_was_taken_out_for_a_vendor_stays_out_after_delete_and_undo(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent
) -> None:
    record, handle = shelf["Piranesi"], ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), tick=[("exclude", record)], follow=False)
    page = alice.submit(alice.get(f"/things/{record}/delete").form("/delete"))
    alice.submit(page.form("/undo"))
    (grant,) = consent.grants.listing(opened)
    assert [shared for _, shared, _ in consent.grants.leaving(opened, grant.id)] == [shelf["The Hobbit"]]


@pytest.mark.parametrize("name", ["held", "until", "seal"])
def test_an_undo_that_was_tampered_with_restores_nothing(
    alice: Customer, opened: Vault, shelf: dict[str, str], name: str
) -> None:
    page = alice.submit(alice.get(f"/things/{shelf['Piranesi']}/delete").form("/delete"))
    form = page.form("/undo")
    forged = form.value(name).replace("Piranesi", "Planted") if name == "held" else "9" * 12
    assert alice.submit(form, **{name: forged}).status == 400
    assert opened.records("purchases").count() == 4


def test_undo_ends_after_ten_minutes(
    alice: Customer, opened: Vault, shelf: dict[str, str], clock: SettableClock
) -> None:
    page = alice.submit(alice.get(f"/things/{shelf['Piranesi']}/delete").form("/delete"))
    clock.forward(601)
    assert "not there any more" in alice.submit(page.form("/undo")).text
    assert opened.records("purchases").count() == 4


def test_the_page_after_a_delete_loaded_again_still_brings_it_back_and_no_longer(
    alice: Customer, opened: Vault, shelf: dict[str, str], clock: SettableClock
) -> None:
    record = shelf["Piranesi"]
    form = alice.get(f"/things/{record}/delete").form("/delete")
    clock.forward(300)
    assert "For 10 minutes" in alice.submit(form).text
    again = alice.submit(form)
    assert "For 5 minutes" in again.text
    assert not opened.records("purchases").contains(record)
    clock.forward(301)
    assert alice.submit(form).status == 404
    assert "not there any more" in alice.submit(again.form("/undo")).text
    assert not opened.records("purchases").contains(record)


@pytest.mark.parametrize("name", ["held", "until", "seal"])
def test_a_delete_loaded_again_holds_out_nothing_that_the_vault_did_not_seal(
    alice: Customer, opened: Vault, shelf: dict[str, str], name: str
) -> None:
    form = alice.get(f"/things/{shelf['Piranesi']}/delete").form("/delete")
    alice.submit(form)
    forged = form.value(name).replace("Piranesi", "Planted") if name == "held" else "9" * 12
    assert alice.submit(form, **{name: forged}).status == 404
    path = form.action.replace("/delete", "/undo")
    assert alice.post(path, form.fields).status == 400, "what a page asks with brings nothing back"


def test_a_delete_of_another_revision_is_refused(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    record = shelf["Piranesi"]
    form = alice.get(f"/things/{record}/delete").form("/delete")
    opened.records("purchases").put(opened.records("purchases").get(record), record)
    assert alice.submit(form).status == 409
    assert opened.records("purchases").contains(record)


def test_nobody_reaches_anothers_records(app: Flask, alice: Customer, shelf: dict[str, str]) -> None:
    bob = Customer(app.test_client())
    bob.create("bob")
    for record in shelf.values():
        assert bob.get(f"/things/{record}").status == 404
        assert bob.get(f"/things/{record}/delete").status == 404
    assert "Piranesi" not in bob.get("/things").text


@pytest.mark.parametrize("record", ["x", "new2", "%00", "0" * 5000, "' OR 1=1 --", "../../etc/passwd"])
def test_a_record_that_is_none_is_not_found(alice: Customer, record: str) -> None:
    assert alice.get(f"/things/{record}").status in {404, 308}


@pytest.mark.parametrize("fields", [{"record": "short"}, {"record": "g" * 32}, {"record": "A" * 32}, {}])
def test_an_id_that_is_none_adds_nothing(alice: Customer, opened: Vault, fields: dict[str, str]) -> None:
    token = alice.get("/things/new").form("/things/new").value("csrf_token")
    page = alice.post("/things/new", {"csrf_token": token, "item.title": "x", **fields})
    assert page.status == 400
    assert opened.records("purchases").count() == 0


def test_adding_over_a_record_that_exists_does_not_replace_it(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = alice.submit(form, **{"record": shelf["Piranesi"], "item.title": "Planted"})
    assert page.status == 409
    assert opened.records("purchases").get(shelf["Piranesi"])["item"]["title"] == "Piranesi"


def test_preferences_are_added_edited_and_deleted(alice: Customer, opened: Vault) -> None:
    form = alice.get("/preferences/new").form("/preferences/new")
    page = alice.submit(form, **{"statement.topic": "fantasy novels", "statement.strength": "strong-like"})
    assert page.path == "/preferences"
    assert "fantasy novels" in page.text
    assert "love" in page.text
    (record,) = opened.records("preferences").ids()
    page = alice.submit(
        alice.get(f"/preferences/{record}").form(record), **{"statement.text": "the slow kind\nof books"}
    )
    assert opened.records("preferences").get(record)["statement"]["text"] == "the slow kind\nof books"
    alice.submit(alice.get(f"/preferences/{record}/delete").form("/delete"))
    assert opened.records("preferences").count() == 0


def test_the_profile_is_one_record_with_lists(alice: Customer, opened: Vault) -> None:
    for allergies in ("peanuts\r\nlatex\r\n\r\n", "peanuts"):
        page = alice.submit(
            alice.get("/profile").form("/profile"), **{"diet.allergies": allergies, "name.display": "Al"}
        )
        assert page.path == "/profile"
        assert "Saved." in page.text
    ((_, document),) = opened.records("profile").scan()
    assert document["diet"] == {"allergies": ["peanuts"]}
    assert document["name"] == {"display": "Al"}
    assert alice.get("/profile").form("/profile").value("diet.allergies") == "peanuts"


def test_a_profile_changed_elsewhere_is_not_overwritten_unseen(alice: Customer, opened: Vault) -> None:
    form = alice.get("/profile").form("/profile")
    alice.submit(alice.get("/profile").form("/profile"), **{"sizes.shoes": "38"})
    page = alice.submit(form, **{"sizes.shoes": "41"})
    assert page.status == 409
    ((_, document),) = opened.records("profile").scan()
    assert document["sizes"] == {"shoes": "38"}


def test_a_text_of_a_megabyte_is_refused_and_stores_nothing(alice: Customer, opened: Vault) -> None:
    form = alice.get("/things/new").form("/things/new")
    assert alice.submit(form, **{"notes.text": "x" * 2**20}).status == 413
    page = alice.submit(form, **{"item.title": "x", "notes.text": "x" * 5000})
    assert page.status == 400
    assert "at most 4000 characters" in page.text
    assert opened.records("purchases").count() == 0


def test_an_older_record_put_back_is_named_when_she_opens_it(
    alice: Customer, opened: Vault, shelf: dict[str, str], engine: SqliteEngine
) -> None:
    record = shelf["Piranesi"]
    warning = "This is not what your vault stored last"
    older = engine.one("SELECT revision, body FROM records WHERE record = ?", (record,))
    assert older
    page = alice.get(f"/things/{record}")
    alice.submit(page.form(f"/things/{record}"), **{"context.motive": "mine"})
    assert warning not in alice.get(f"/things/{record}").text
    with engine.write() as transaction:
        transaction.execute("UPDATE records SET revision = ?, body = ? WHERE record = ?", (*older, record))
    page = alice.get(f"/things/{record}")
    assert warning in page.text
    alice.submit(page.form(f"/things/{record}"), **{"context.motive": "mine"})
    assert warning not in alice.get(f"/things/{record}").text


def test_a_removed_record_put_back_is_named_and_so_is_a_broken_journal(
    alice: Customer, opened: Vault, shelf: dict[str, str], engine: SqliteEngine
) -> None:
    record, records = shelf["Piranesi"], opened.records("purchases")
    row = engine.one("SELECT revision, import, body FROM records WHERE record = ?", (record,))
    assert row
    records.remove(record)
    assert records.is_newest(record), "nothing is stored, and nothing should be"
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO records (vault, collection, record, revision, import, body)"
            " VALUES (?, 'purchases', ?, ?, ?, ?)",
            (opened.id, record, *row),
        )
    assert "not what your vault stored last" in alice.get(f"/things/{record}").text
    assert records.is_newest(shelf["The Hobbit"])
    with engine.write() as transaction:
        transaction.execute("DELETE FROM journal WHERE seq = 2")
    assert not records.is_newest(shelf["The Hobbit"])


def test_what_was_added_without_a_date_is_one_tap_away(
    alice: Customer, opened: Vault, shelf: dict[str, str]
) -> None:
    form = alice.get("/things/new").form("/things/new")
    page = alice.submit(form, **{"item.title": "Umbrella"})
    start, end = page.html.index("Added."), page.html.index("Search")
    assert f'href="/things/{form.value("record")}"' in page.html[start:end]
    alice.client.set_cookie("vrm-notice", f"added.things.{'0' * 32}")
    assert f"/things/{'0' * 32}" not in alice.get("/things").links()


def test_adding_a_preference_says_who_sees_it_and_a_new_thing_waits(
    alice: Customer, opened: Vault, shelf: object, ask: Ask
) -> None:
    opened.records("preferences").put({"statement": {"topic": "Tea"}})
    handle = ask(part("preferences.statement"), part("purchases.item"))
    alice.submit(alice.get(f"/requests/{handle}").form(handle), ("decision", "approve"), follow=False)
    page = alice.submit(alice.get("/preferences/new").form("/new"), **{"statement.topic": "Figs"})
    assert "Added. Look at it. Corner Books sees 1 more now." in page.text
    typed = {"item.title": "Umbrella", "context.for": "self"}
    assert "more now" not in alice.submit(alice.get("/things/new").form("/new"), **typed).text
