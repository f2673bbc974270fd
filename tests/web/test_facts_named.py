"""The pages of consent and of a company name what can leave, under which limits, and nothing else."""

from tests.web.actors import Customer, Page
from tests.web.conftest import Ask, part
from vrm.consent.service import Consent
from vrm.vault.vault import Vault

TITLE = part("purchases.item", fields=["title"])


def shared(page: Page) -> str:
    """What the page names as shared, by its summary and fact by fact."""
    after = page.html.partition("<details><summary>Purchases")[2].partition("</details>")[0]
    return " ".join(f"Purchases{after}".split())


def company_page(alice: Customer, consent: Consent, opened: Vault) -> Page:
    (grant,) = consent.grants.listing(opened)
    return alice.get(f"/companies/{grant.id}")


def test_only_the_fields_that_leave_are_named_before_she_agrees_and_after(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    handle = ask(TITLE)
    page = alice.get(f"/requests/{handle}")
    assert "what it is: title <" in shared(page)
    assert "brand" not in shared(page)
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    after = company_page(alice, consent, opened)
    assert "what it is: title <" in shared(after)
    assert "brand" not in shared(after)


def test_a_datatype_of_several_parts_is_named_once_with_all_that_leaves_of_it(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    handle = ask(TITLE, part("purchases.item", fields=["brand"], filter={"category": ["books"]}))
    page = alice.get(f"/requests/{handle}")
    alice.submit(page.form(handle), ("decision", "approve"), follow=False)
    for seen in (page, company_page(alice, consent, opened)):
        assert shared(seen).count("what it is") == 2  # in the summary, and by its facts
        assert "what it is: title, brand or author <" in shared(seen)


def test_an_extra_that_names_no_fields_adds_them_all_once_it_is_ticked(
    alice: Customer, ask: Ask, shelf: object
) -> None:
    handle = ask(TITLE, part("purchases.item", necessity="optional"))
    page = alice.get(f"/requests/{handle}")
    assert "ISBN" not in shared(page)
    ticked = alice.submit(page.form(handle), ("decision", "look"), tick=[("optional", "1")])
    assert "ISBN" in shared(ticked)


def test_the_page_for_delicate_things_names_only_what_leaves_of_them(alice: Customer, ask: Ask) -> None:
    page = alice.get(f"/requests/{ask(part('purchases.context', fields=['occasion']))}")
    assert "this is delicate" in page.text
    assert "occasion" in page.text
    assert "for whom" not in page.text


def test_what_has_no_single_facts_stands_without_a_colon(alice: Customer, ask: Ask, shelf: object) -> None:
    page = alice.get(f"/requests/{ask(part('purchases.item'), part('answers.corrections'))}")
    assert "taste (answers.corrections)" in page.text


def agree(alice: Customer, handle: str, **ticked: str) -> None:
    form = alice.get(f"/requests/{handle}").form(handle)
    shown = alice.submit(form, ("decision", "look"), tick=list(ticked.items()))
    alice.submit(shown.form(handle), ("decision", "approve"), follow=False)


def test_a_company_page_says_how_far_back_and_which_categories_and_how_she_narrowed_it(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    agree(alice, ask(part("purchases.item", "purchases.price", period="P2Y", filter={"category": ["books"]})))
    page = company_page(alice, consent, opened)
    assert "How far back 2 years Only Books Why" in page.text
    alice.submit(page.form("/narrow"), ("do", "less"), tick=[("period", "P1Y")])
    assert "How far back 1 year Only Books Why" in company_page(alice, consent, opened).text


def test_limits_that_differ_are_said_of_each_datatype(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    books = part("purchases.price", period="P1Y", filter={"category": ["books", "toys"]})
    agree(alice, ask(part("purchases.item", "purchases.order"), books, part("preferences.statement")))
    text = company_page(alice, consent, opened).text
    assert "How far back Purchases: what it is, when and where it was ordered: all" in text
    assert "Purchases: what was paid (only Books , Toys ): 1 year Why" in text


def test_what_shares_no_purchases_has_no_limits_of_theirs_and_no_rule_for_new_ones(
    alice: Customer, ask: Ask, consent: Consent, opened: Vault
) -> None:
    agree(alice, ask(part("preferences.statement"), part("purchases", actions=["write"])))
    text = company_page(alice, consent, opened).text
    assert "How far back" not in text
    assert "New purchases" not in text
    assert "New corrections" not in text


def test_of_corrections_it_is_said_that_new_ones_leave_at_once_and_not_that_she_is_asked(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    agree(alice, ask(part("answers.corrections")), sellers="amazon.com")
    text = company_page(alice, consent, opened).text
    assert "New corrections Sent at once" in text
    assert "New purchases" not in text
    assert "How far back" not in text


def test_both_rules_stand_there_where_both_are_shared(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    agree(alice, ask(part("purchases.item"), part("answers.corrections")))
    text = company_page(alice, consent, opened).text
    assert "New purchases ask me" in text
    assert "New corrections Sent at once" in text


def test_the_log_leads_to_what_they_see_now_and_only_while_they_see_something(
    alice: Customer, ask: Ask, shelf: object, consent: Consent, opened: Vault
) -> None:
    agree(alice, ask())
    (grant,) = consent.grants.listing(opened)
    page = alice.get("/log")
    assert "what they can see now" in page.text
    assert "which?" not in page.text
    assert f"/companies/{grant.id}" in page.links()
    consent.grants.revoke(opened, grant.id)
    page = alice.get("/log")
    assert "You stopped it" in page.text
    assert f"/companies/{grant.id}" not in page.links()
