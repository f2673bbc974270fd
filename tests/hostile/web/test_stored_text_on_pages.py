"""Every text that anybody can get stored, on every page: never markup, never able to reorder the page."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from tests.hostile.web.crawl import Texts, crawl, texts
from tests.web.actors import Customer, Page
from tests.web.conftest import CALLBACK, RECOMMEND, Ask, part
from vrm.consent.service import Consent
from vrm.errors import ValidationError
from vrm.vault import schemas
from vrm.vault.catalog import CATALOG, Field
from vrm.vault.naming import normal_username
from vrm.vault.vault import Vault

MARK = "\u05d0\u05d1\u05d2"  # Hebrew: runs the other way, and stands on no page of ours
ATTACK = f"{MARK}\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{{{7*7}}}}</title></textarea>"
APART = {"bdi", "textarea", "pre", "title", "option"}  # what keeps a text's direction to itself
DISGUISES = [*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "\0", "\x1b", "\x85", "\ud800"]
INVISIBLE = [*"\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u061c\u00ad"]
BLANK = [*"\u115f\u3164\uffa0\u2800"]  # letters, says Unicode, that show nothing


def hostile(spec: Field) -> Any:
    """A value of the field that is as bad as its kind lets it be."""
    match spec.kind:
        case "text" | "currency" | "isbn" | "gtin":
            return ATTACK if spec.max >= len(ATTACK) else (MARK + "<b>'\"")[: spec.max]
        case "longtext":
            return f"{ATTACK}\n{ATTACK}"[: spec.max]
        case "url":
            return f"https://{MARK}.example/\"'><script>alert(1)</script>"
        case "list":
            return [ATTACK[:100], MARK]
        case "date":
            return "2026-05-01"
        case "money":
            return "-12.99"
        case "integer":
            return 1980 if spec.name == "birth_year" else 1
        case "boolean":
            return True
        case "choice":
            return "self" if spec.name == "for" else spec.choices[-1][0]


def everywhere(vault: Vault) -> None:
    """Three records of every collection with every field filled; one purchase unsorted, one a gift."""
    for collection in CATALOG:
        if collection.name not in {"purchases", "preferences", "profile"}:
            continue
        for turn in range(1 if collection.singleton else 3):
            document = {
                facet.name: {spec.name: hostile(spec) for spec in facet.fields} for facet in collection.facets
            }
            if collection.name == "purchases":
                document["order"]["line"] = turn
                document["context"]["for"] = ("self", "gift", "")[turn]
            vault.records(collection.name).put(document)


@pytest.fixture
def pages(alice: Customer, opened: Vault, consent: Consent, ask: Ask) -> dict[str, Page]:
    """All pages, with hostile text in every field and name that can hold any."""
    everywhere(opened)
    evil, _ = consent.vendors.add(ATTACK[:80].replace("\n", " "), [CALLBACK], purpose=RECOMMEND)
    wanted = part("purchases.item", "purchases.order", "purchases.recipient", "purchases.context")
    shared = ask(wanted, part("preferences.statement"), part("profile.name"), vendor=evil, state=ATTACK)
    shown = alice.get(f"/requests/{shared}")
    shown = alice.submit(shown.form(shared), ("aware", "yes")) if "decision" not in names(shown) else shown
    alice.submit(shown.form(shared), ("decision", "approve"), follow=False)
    waiting = ask(wanted, vendor=evil)
    found = crawl(alice, "/", f"/requests/{waiting}")
    found["consent"] = alice.submit(alice.get(f"/requests/{waiting}").form(waiting), ("aware", "yes"))
    found["search"] = alice.submit(alice.get("/things").form("/things"), words=ATTACK)
    nearer = [one for one in alice.get("/sort").forms if one.id == "nearer"]
    found["lines"] = alice.submit(nearer[0], button=("near", "lines"))
    upload = alice.get("/import").form("/import")
    files = {"csrf_token": upload.value("csrf_token"), "files": (BytesIO(b"a,b\n1,2\n"), ATTACK + ".csv")}
    found["import"] = alice.post("/import", files, content_type="multipart/form-data")
    record = opened.records("purchases").ids()[0]
    found["wrong"] = alice.submit(
        alice.get(f"/things/{record}").form(record), **{"item.title": ATTACK, "price.total": ATTACK}
    )
    return found


def names(page: Page) -> set[str]:
    return {name for form in page.forms for name, _ in form.buttons}


def apart(inside: tuple[str, ...]) -> bool:
    return bool(APART & set(inside))


def test_no_stored_text_becomes_markup_and_each_keeps_its_direction_to_itself(
    pages: dict[str, Page],
) -> None:
    shown, loose = 0, set()
    for path, page in pages.items():
        assert page.status in {200, 400}, (path, page.status)
        read: Texts = texts(page)
        for tag, given in read.tags:
            assert tag != "script", path
            assert not [name for name in given if name.startswith("on")], (path, tag, given)
            assert not (tag == "img" and given.get("src") == "x"), path
            assert not given.get("href", "").lower().startswith(("javascript:", "data:")), path
        assert "{{7*7}}" in page.html or "49</title>" not in page.html, path
        for inside, text in read.found:
            if MARK in text:
                shown += 1
                if not apart(inside):
                    loose.add((path, inside[-2:], text[:60]))
    assert not loose, "\n".join(map(str, loose))
    assert shown > 60
    assert len(pages) > 20


def test_no_field_takes_a_character_that_disguises_text(opened: Vault) -> None:
    texts = [
        (collection.name, facet.name, spec)
        for collection in CATALOG
        for facet in collection.facets
        for spec in facet.fields
        if spec.kind in {"text", "longtext", "url", "list"}
    ]
    assert len(texts) > 20
    for mark in DISGUISES:
        for name, facet, spec in texts:
            value: Any = f"https://a{mark}b.example/" if spec.kind == "url" else f"a{mark}b"
            with pytest.raises(ValidationError):
                schemas.validate(name, {facet: {spec.name: [value] if spec.kind == "list" else value}})


@pytest.mark.parametrize("marks", [DISGUISES, INVISIBLE, BLANK], ids=["disguises", "invisible", "blank"])
def test_no_name_holds_what_cannot_be_seen(consent: Consent, marks: list[str]) -> None:
    for mark in marks:
        for name, sells_as in ((f"Corner{mark}Books", []), ("Corner Books", [f"Corner{mark}Books"])):
            if mark.isspace() and not sells_as:
                continue  # becomes a blank
            with pytest.raises(ValidationError):
                consent.vendors.add(name, [CALLBACK], sells_as=sells_as)
        with pytest.raises(ValidationError):
            normal_username(f"al{mark}ice")
    assert not consent.vendors.listing()


def test_an_address_holds_no_such_character_either(consent: Consent) -> None:
    for mark in [*DISGUISES, *INVISIBLE]:
        with pytest.raises(ValidationError):
            consent.vendors.add("Corner Books", [f"https://books{mark}.example/cb"])
