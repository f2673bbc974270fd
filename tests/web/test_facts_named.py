"""The pages of consent and of a company name the facts that can leave, each once, and no other."""

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
