"""Companies and the log: what they can see, narrowing, stopping, and what nobody else may do."""

import re
from collections.abc import Callable

import pytest
from flask import Flask

from tests.conftest import SettableClock
from tests.web.actors import Customer, Page
from tests.web.conftest import CALLBACK, RECOMMEND, Ask, part, purchase
from vrm.consent import disclosures
from vrm.consent.grants import GrantView
from vrm.consent.service import Consent
from vrm.errors import GrantNotFoundError
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault
from vrm.web.pages import companies

Sharing = Callable[[], GrantView]


@pytest.fixture
def sharing(alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent) -> Sharing:
    """Alice shared two books with their prices; call to see how the grant stands."""
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), tick=[("optional", "1")], follow=False)
    (made,) = consent.grants.listing(opened)
    return lambda: consent.grants.get(opened, made.id)


def shared_titles(consent: Consent, opened: Vault, grant: GrantView) -> set[str]:
    return {document["item"]["title"] for _, _, document in consent.grants.leaving(opened, grant.id)}


def test_home_says_who_can_see_something_and_stop_is_two_clicks_away(
    alice: Customer, sharing: Sharing
) -> None:
    home = alice.get("/")
    assert "Corner Books 2 rows" in home.text
    (stop,) = [link for link in home.links() if link.endswith("/stop")]
    page = alice.get(stop)
    assert "every reading is refused" in page.text
    assert "They have not read anything yet" in page.text
    page = alice.submit(page.form("/stop"))
    assert "Stopped." in page.text
    assert sharing().state == "revoked"
    assert "Nobody." in alice.get("/").text


def test_a_company_page_says_what_why_since_until_and_shows_the_rows(
    alice: Customer, sharing: Sharing
) -> None:
    page = alice.get(f"/companies/{sharing().id}")
    for words in (
        "Purchases: what it is, when and where it was ordered, what was paid",
        "To recommend products to you",
        "Since",
        "Until",
        "Last read never",
        "Piranesi",
        "The Hobbit",
        "12.99",
        "You agreed to share",
    ):
        assert words in page.text
    assert "A Gift Indeed" not in page.text


def listed(page: Page) -> list[str]:
    """The titles of the rows on a page, in their order."""
    return re.findall(r'<div class="what"><strong><bdi>([^<]*)</bdi></strong>', page.html)


def test_rows_stand_newest_first_and_then_by_name_as_they_did_when_she_agreed(
    alice: Customer, opened: Vault, ask: Ask, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = opened.records("purchases")
    for title in ("Emma", "beloved", "Dracula", "Carmilla", "Axel"):
        records.put(purchase(title, "self", "2026-03-01"))
    records.put(purchase("Newest", "self", "2026-04-01"))
    records.put({"item": {"title": "No day"}, "context": {"for": "self"}})
    for topic in ("tea", "jazz"):
        opened.records("preferences").put({"statement": {"topic": topic, "strength": "like"}})
    handle = ask(part("purchases.item"), part("preferences.statement"))
    page = alice.get(f"/requests/{handle}")
    order = ["jazz", "tea", "Newest", "Axel", "beloved", "Carmilla", "Dracula", "Emma", "No day"]
    assert listed(page) == order
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    assert listed(alice.get(f"/companies/{grant.id}")) == order
    monkeypatch.setattr(companies, "ROWS", 4)
    assert listed(alice.get(f"/companies/{grant.id}?start=4")) == order[4:8]


@pytest.fixture
def long(alice: Customer, opened: Vault, ask: Ask, consent: Consent, monkeypatch: pytest.MonkeyPatch) -> str:
    """A page of a company on which seven rows stand two by two; its address."""
    records = opened.records("purchases")
    for number in range(1, 8):
        records.put(purchase(f"Book {number}", "self"))
    handle = ask(part("purchases.item"))
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), follow=False)
    monkeypatch.setattr(companies, "ROWS", 2)
    (grant,) = consent.grants.listing(opened)
    return f"/companies/{grant.id}"


def test_ticks_go_along_to_the_next_page_of_rows_and_back(
    alice: Customer, long: str, consent: Consent, opened: Vault
) -> None:
    first = alice.get(long).form("/narrow")
    one, _ = first.offers("exclude")
    page = alice.submit(first, ("start", "2"), tick=[("exclude", one)])
    assert listed(page) == ["Book 3", "Book 4"]
    assert "1 ticked on other pages" in page.text
    form = page.form("/narrow")
    other, _ = form.offers("exclude")
    page = alice.submit(form, ("start", "0"), tick=[("exclude", other)])
    form = page.form("/narrow")
    assert sorted(form.values("exclude")) == sorted([one, other]), "the own one ticked, the other one along"
    assert form.offers("exclude").count(one) == 1
    page = alice.submit(form, ("start", "2"), untick=[("exclude", one)])
    assert "ticked on other pages" not in page.text
    page = alice.submit(page.form("/narrow"))
    assert "They see less from now on" in page.text
    (grant,) = consent.grants.listing(opened)
    left = shared_titles(consent, opened, grant)
    assert left == {"Book 1", "Book 2", "Book 4", "Book 5", "Book 6", "Book 7"}


def test_a_purchase_that_leaves_twice_can_be_unticked_where_it_was_ticked(
    alice: Customer, opened: Vault, ask: Ask, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, _ = consent.vendors.add("Big Shop", [CALLBACK], purpose=RECOMMEND, sells_as=["amazon.com"])
    bought = purchase("Emma", "self", context={"for": "self", "use_for_taste": False})
    record = opened.records("purchases").put(bought)
    handle = ask(part("purchases.item"), part("answers.corrections"), vendor=shop)
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    monkeypatch.setattr(companies, "ROWS", 1)
    form = alice.get(f"/companies/{grant.id}").form("/narrow")
    form = alice.submit(form, ("start", "1"), tick=[("exclude", record)]).form("/narrow")
    assert form.values("exclude") == [record], "the other row of it is ticked, and nothing goes along"
    form = alice.submit(form, ("start", "0"), untick=[("exclude", record)]).form("/narrow")
    assert form.values("exclude") == []


def test_looking_at_another_page_of_rows_changes_nothing(
    alice: Customer, long: str, consent: Consent, opened: Vault
) -> None:
    form = alice.get(long).form("/narrow")
    page = alice.submit(form, ("start", "2"), tick=[("exclude", form.offers("exclude")[0])], days="1")
    assert page.status == 200
    (grant,) = consent.grants.listing(opened)
    assert (grant.rows, grant.state) == (7, "live")
    for start in ("-1", "x", "999999999", "7"):
        page = alice.submit(form, ("start", start), tick=[("exclude", "no such record")])
        assert page.status == 200
        assert "ticked on other pages" not in page.text, "what is no row of theirs is not carried"


def test_what_else_she_chose_stays_while_she_looks_at_other_rows(alice: Customer, long: str) -> None:
    form = alice.get(long).form("/narrow")
    days = form.offers("days")[-1]
    page = alice.submit(form, ("start", "2"), tick=[("period", "P1Y"), ("days", days)])
    assert "locked itself" not in page.text, "no session ended"
    form = page.form("/narrow")
    assert (form.values("period"), form.values("days")) == (["P1Y"], [days])
    form = alice.submit(form, ("start", "0"), tick=[("period", ""), ("days", "")]).form("/narrow")
    assert (form.values("period"), form.values("days")) == ([""], [""])


def test_each_button_does_its_own_part(alice: Customer, long: str, consent: Consent, opened: Vault) -> None:
    form = alice.get(long).form("/narrow")
    one, other = form.offers("exclude")
    (before,) = consent.grants.listing(opened)
    alice.submit(form, ("do", "out"), tick=[("exclude", one), ("period", "P1Y"), ("days", "1")])
    (grant,) = consent.grants.listing(opened)
    assert (grant.rows, grant.expires) == (6, before.expires)
    assert not any("period" in part for part in grant.agreement.parts)
    alice.submit(form, ("do", "less"), tick=[("exclude", other), ("period", "P1Y")])
    (grant,) = consent.grants.listing(opened)
    assert {part["period"] for part in grant.agreement.parts} == {"P1Y"}
    assert len(grant.reserve.exclude) == 1, "what is only ticked is not taken out"
    page = alice.submit(form, ("do", "else"), tick=[("exclude", other), ("days", "1")])
    assert "Nothing was changed" in page.text


def test_what_would_widen_is_refused_and_her_choices_stand_there_still(alice: Customer, long: str) -> None:
    form = alice.get(long).form("/narrow")
    one, _ = form.offers("exclude")
    page = alice.submit(form, ("do", "less"), tick=[("exclude", one), ("period", "P1Y")], days="3650")
    assert page.status == 400
    form = page.form("/narrow")
    assert (form.values("exclude"), form.values("period")) == ([one], ["P1Y"])


def test_all_that_they_promised_can_be_read_again_and_what_she_did_not_take_is_not_there(
    alice: Customer, shelf: dict[str, str], ask: Ask, consent: Consent, opened: Vault
) -> None:
    handle = ask(
        part("purchases.item", retention="P90D", terms="SD-BASE", response_channel="none"),
        part("purchases.order", purpose="ResearchAndDevelopment", retention="P30D"),
        part("purchases.price", purpose="DirectMarketing", necessity="optional"),
    )
    said = ["To recommend products to you.", "For research. They learn from it for new products."]
    said += ["They keep it 90 days, 30 days", "Their terms", "SD-BASE", "How they answer Not at all."]
    page = alice.get(f"/requests/{handle}")
    assert "To send you advertising" in page.text
    assert [words for words in said if words not in page.text] == []
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    (grant,) = consent.grants.listing(opened)
    page = alice.get(f"/companies/{grant.id}")
    assert [words for words in said if words not in page.text] == []
    assert "To send you advertising" not in page.text
    alice.submit(alice.get(f"/companies/{grant.id}/stop").form("/stop"))
    page = alice.get(f"/companies/{grant.id}")
    assert [words for words in said if words not in page.text] == []


def test_a_row_is_taken_out_at_once(
    alice: Customer, sharing: Sharing, shelf: dict[str, str], consent: Consent, opened: Vault
) -> None:
    grant = sharing()
    page = alice.get(f"/companies/{grant.id}")
    page = alice.submit(page.form("/narrow"), tick=[("exclude", shelf["Piranesi"])])
    assert "They see less from now on" in page.text
    assert shared_titles(consent, opened, grant) == {"The Hobbit"}


def test_a_part_is_dropped_and_the_time_shortened(
    alice: Customer, sharing: Sharing, clock: SettableClock
) -> None:
    form = alice.get(f"/companies/{sharing().id}").forms[-1]
    assert form.offers("drop") == ["purchases.item", "purchases.order", "purchases.price"]
    alice.submit(form, tick=[("drop", "purchases.price"), ("days", "1"), ("period", "P1Y")])
    assert sharing().facets == ["purchases.item", "purchases.order"]
    assert sharing().expires == clock.now() + 86_400
    assert {part.get("period") for part in sharing().agreement.parts} == {"P1Y"}


@pytest.mark.parametrize(
    "fields", [{"days": "365"}, {"period": "P5Y"}, {"period": "nonsense"}, {"days": "0"}]
)
def test_nothing_here_can_widen(alice: Customer, sharing: Sharing, fields: dict[str, str]) -> None:
    before = sharing()
    token = alice.get(f"/companies/{before.id}").form("/narrow").value("csrf_token")
    page = alice.post(f"/companies/{before.id}/narrow", {"csrf_token": token, **fields})
    assert page.status == 400
    assert "nothing was changed" in page.text
    assert sharing() == before


def test_dropping_every_part_leads_to_stopping_and_changes_nothing_before(
    alice: Customer, sharing: Sharing
) -> None:
    before = sharing()
    form = alice.get(f"/companies/{before.id}").forms[-1]
    page = alice.submit(form, tick=[("drop", datatype) for datatype in form.offers("drop")])
    assert page.path == f"/companies/{before.id}/stop"
    assert "Nothing was changed yet." in page.text
    assert sharing() == before
    alice.submit(page.form("/stop"))
    assert sharing().state == "revoked"
    gone = alice.submit(form, tick=[("drop", datatype) for datatype in form.offers("drop")])
    assert gone.status == 404


def test_stopping_twice_is_no_error_and_narrowing_after_it_is_gone(
    alice: Customer, sharing: Sharing, shelf: dict[str, str]
) -> None:
    grant = sharing()
    stop = alice.get(f"/companies/{grant.id}/stop").form("/stop")
    narrow = alice.get(f"/companies/{grant.id}").form("/narrow")
    assert alice.submit(stop).status == 200
    assert alice.submit(stop).status == 200
    assert alice.submit(narrow, tick=[("exclude", shelf["Piranesi"])]).status == 404
    page = alice.get(f"/companies/{grant.id}")
    assert "stopped" in page.text
    assert "Piranesi" not in page.text
    assert not [form for form in page.forms if "narrow" in form.action]
    assert "Ended" in alice.get("/companies").text


def test_what_has_ended_is_not_asked_about_again(
    alice: Customer, sharing: Sharing, clock: SettableClock
) -> None:
    clock.forward(91 * 86_400)
    alice.log_in()
    page = alice.get(f"/companies/{sharing().id}/stop")
    assert page.path == f"/companies/{sharing().id}"
    assert "That permission had ended already (" in page.text


def test_stopping_what_has_ended_says_that_it_had_and_when(
    alice: Customer, sharing: Sharing, clock: SettableClock
) -> None:
    form = alice.get(f"/companies/{sharing().id}/stop").form("/stop")
    assert "Stopped." in alice.submit(form).text
    clock.forward(600)
    page = alice.submit(form)
    assert "That permission had ended already (today, " in page.text
    assert "Stopped." not in page.text


def test_stopping_what_ran_out_a_moment_ago_is_no_stop_either(
    alice: Customer, sharing: Sharing, clock: SettableClock
) -> None:
    clock.forward(91 * 86_400)
    alice.log_in()
    token = alice.get("/me").form("/logout").value("csrf_token")
    alice.post(f"/companies/{sharing().id}/stop", {"csrf_token": token})
    page = alice.get(f"/companies/{sharing().id}")
    assert "That permission had ended already" in page.text
    assert "The time ran out" in page.text
    assert "You stopped it" not in page.text
    assert sharing().state == "expired"


def test_stopping_what_was_changed_since_says_that_another_is_in_force(
    alice: Customer, sharing: Sharing, ask: Ask
) -> None:
    before = sharing()
    form = alice.get(f"/companies/{before.id}/stop").form("/stop")
    handle = ask(action="replace", grant_id=before.id)
    alice.submit(alice.get(f"/requests/{handle}").form(handle), ("decision", "approve"), follow=False)
    page = alice.submit(form)
    assert "Nothing was stopped: that permission was changed" in page.text
    assert "Stopped." not in page.text
    assert "Nothing was stopped" in alice.get(f"/companies/{before.id}/stop").text


@pytest.mark.parametrize("made_up", ["ended.", "ended.x", "ended.99999999999999999", "ended.-1", "saved.5"])
def test_a_notice_that_was_made_up_is_said_without_its_time(alice: Customer, made_up: str) -> None:
    alice.client.set_cookie("vrm-notice", made_up)
    assert alice.get("/").status == 200


def test_an_expired_grant_is_shown_as_ended(alice: Customer, sharing: Sharing, clock: SettableClock) -> None:
    clock.forward(91 * 86_400)
    alice.log_in()
    assert "Nobody." in alice.get("/").text
    assert "ended" in alice.get("/companies").text


def test_nobody_sees_or_stops_what_another_shares(app: Flask, alice: Customer, sharing: Sharing) -> None:
    bob = Customer(app.test_client())
    bob.create("bob")
    grant = sharing()
    assert "Corner Books" not in bob.get("/companies").text
    assert bob.get(f"/companies/{grant.id}").status == 404
    assert bob.get(f"/companies/{grant.id}/stop").status == 404
    token = bob.get("/me").form("/logout").value("csrf_token")
    assert bob.post(f"/companies/{grant.id}/stop", {"csrf_token": token}).status == 404
    assert bob.post(f"/companies/{grant.id}/narrow", {"csrf_token": token, "days": "1"}).status == 404
    assert sharing().state == "live"


def test_the_grant_of_another_is_not_found_below_the_pages_too(
    app: Flask, sharing: Sharing, consent: Consent, vaults: object, opened: Vault
) -> None:
    with pytest.raises(GrantNotFoundError):
        consent.grants.get(opened, "nosuch")


def test_the_log_tells_in_plain_words_what_happened(alice: Customer, sharing: Sharing) -> None:
    page = alice.get("/log")
    assert "Corner Books You agreed to share" in page.text
    assert "the log is whole" in page.text


def test_a_refused_attempt_is_marked_on_home_and_in_the_log(
    alice: Customer, sharing: Sharing, consent: Consent, opened: Vault, engine: SqliteEngine
) -> None:
    grant = sharing()
    consent.reader._note_refusal(opened.id, grant.id, grant.client_id, "not granted", "profile")
    for path in ("/", "/log"):
        page = alice.get(path)
        assert "Corner Books Refused" in page.text
        assert "asked for something that you did not grant" in page.text


def test_a_log_that_was_cut_or_altered_is_said_loudly(
    alice: Customer, sharing: Sharing, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE log_entries SET sealed = zeroblob(length(sealed))")
    assert "changed from outside" in alice.get("/").text
    page = alice.get("/log")
    assert page.status == 200
    assert "not what was written" in page.text
    assert "the log is whole" not in page.text


def test_a_planted_grant_is_said_loudly(alice: Customer, sharing: Sharing, engine: SqliteEngine) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET agreement = zeroblob(length(agreement))")
    assert "changed from outside" in alice.get("/").text
    assert "planted or altered" in alice.get("/log").text


def test_an_altered_record_opens_nothing_and_says_whom_to_ask(
    alice: Customer, shelf: dict[str, str], engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE records SET body = cast(substr(body, 1, length(body) - 20) || zeroblob(20) AS BLOB)"
            " WHERE record = ?",
            (shelf["Piranesi"],),
        )
    page = alice.get(f"/things/{shelf['Piranesi']}")
    assert page.status == 500
    assert "changed from outside" in page.text
    assert "vrm check" in page.text


def test_an_altered_record_keeps_no_list_from_being_shown(
    alice: Customer, shelf: dict[str, str], sharing: Sharing, opened: Vault, engine: SqliteEngine
) -> None:
    grant = sharing()
    disliked, _ = (
        opened.records("preferences").put({"statement": {"topic": topic}}) for topic in ("perfume", "tea")
    )
    with engine.write() as transaction:
        transaction.execute(
            "UPDATE records SET body = zeroblob(length(body)) WHERE record IN (?, ?)",
            (shelf["Piranesi"], disliked),
        )
    for path in ("/things", f"/companies/{grant.id}", f"/companies/{grant.id}/new", "/preferences"):
        assert alice.get(path).status == 200
    assert "tea" in alice.get("/preferences").text


def test_the_log_comes_in_pages(
    alice: Customer, sharing: Sharing, consent: Consent, opened: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = sharing()
    monkeypatch.setattr(disclosures, "REFUSALS_MOST", 60)
    for number in range(60):
        consent.reader._note_refusal(opened.id, grant.id, grant.client_id, "not granted", f"try-{number:02}")
    first = alice.get("/log")
    (older,) = [link for link in first.links() if "page=2" in link]
    second = alice.get(older)
    assert "try-59" in first.text
    assert "try-59" not in second.text
    assert "try-00" in second.text
    assert alice.get("/log?page=x&from=-1").status == 200


def buy(opened: Vault, title: str) -> str:
    order = {"ordered": "2026-11-01", "seller": "books.example"}
    document = {"item": {"title": title, "category": "books"}, "order": order, "context": {"for": "self"}}
    return opened.records("purchases").put(document)


def test_a_new_purchase_waits_on_home_until_she_shares_it_or_keeps_it_back(
    alice: Customer, sharing: Sharing, consent: Consent, opened: Vault
) -> None:
    grant = sharing()
    shared, kept = buy(opened, "Middlemarch"), buy(opened, "Villette")
    home = alice.get("/")
    assert "2 new purchases may go to Corner Books: you decide" in home.text
    assert "2 new purchases wait for your word" in alice.get(f"/companies/{grant.id}").text
    page = alice.get(next(link for link in home.links() if link.endswith("/new")))
    assert "Corner Books sees none of these unless you say so" in page.text
    form = page.form("/new")
    assert form.offers("record") == [shared, kept] or form.offers("record") == [kept, shared]
    assert "Nothing was changed" in alice.submit(form, ("answer", "share")).text
    page = alice.submit(form, ("answer", "share"), tick=[("record", shared)])
    assert "They can see it from now on" in page.text
    assert shared_titles(consent, opened, grant) == {"Piranesi", "The Hobbit", "Middlemarch"}
    page = alice.submit(page.form("/new"), ("answer", "keep"), tick=[("record", kept)])
    assert "It stays with you" in page.text
    assert "Nothing new waits" in page.text
    assert shared_titles(consent, opened, grant) == {"Piranesi", "The Hobbit", "Middlemarch"}
    assert "You let something new in" in alice.get("/log").text


def test_she_may_let_new_purchases_go_after_two_weeks_and_take_that_back(
    alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask, consent: Consent, clock: SettableClock
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    assert form.values("fresh") == ["ask"], "the stricter rule unless she chooses"
    alice.submit(form, ("decision", "approve"), tick=[("fresh", "later")], follow=False)
    (grant,) = consent.grants.listing(opened)
    buy(opened, "Middlemarch")
    page = alice.get(f"/companies/{grant.id}")
    assert "after 14 days, unless I say no" in page.text
    assert "leaves on" in alice.get(f"/companies/{grant.id}/new").text
    (narrowing,) = [form for form in page.forms if "fresh" in form.names()]
    assert narrowing.offers("fresh") == ["", "ask"]
    alice.submit(narrowing, tick=[("fresh", "ask")])
    assert consent.grants.get(opened, grant.id).reserve.fresh == "ask"
    wider = alice.submit(narrowing, tick=[("fresh", "later")])
    assert wider.status == 400
    assert "would have shown them more" in wider.text


def test_home_lists_what_happened_lately_in_the_order_of_time(
    alice: Customer,
    sharing: Sharing,
    opened: Vault,
    consent: Consent,
    engine: SqliteEngine,
    clock: SettableClock,
) -> None:
    grant = sharing().id
    for event, times in (("token-reused", 1), ("read", 2), ("refused", 6), ("declined", 1), ("read", 6)):
        for _ in range(times):
            clock.forward(60)
            with engine.write() as transaction:
                consent.log.note(transaction, opened.id, event, grant_id=grant)
    lately = alice.get("/").html.partition("Lately")[2]
    tags = re.findall(r'<span class="tag( bad)?">', lately)
    assert tags == [""] * 5 + [" bad"] * 5
    clock.forward(60)
    with engine.write() as transaction:
        consent.log.note(transaction, opened.id, "blocked", grant_id=grant)
    lately = alice.get("/").html.partition("Lately")[2]
    assert re.findall(r'<span class="tag( bad)?">', lately) == [" bad", *[""] * 5, *[" bad"] * 4]
