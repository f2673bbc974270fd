"""Every word of ours goes through the catalogue; languages that do not exist are answered in English."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from flask import Flask

import vrm
from tests.web.actors import Customer
from tests.web.conftest import Ask, purchase
from vrm import __version__
from vrm.vault.vault import Vault
from vrm.web import language

SOURCES = Path(vrm.__file__).parent
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "N_": None, "PN_": (1, 2)}
# Words that are data: what alice wrote, names, addresses, formats, marks.
DATA = re.compile(
    r"alice|Corner Books|cornerbooks\.example|localhost:8600|http://localhost:8600|vrm|English|Amazon|rtl"
    r"|Piranesi|The Hobbit|A Gift Indeed|Nobody Knows|Long Ago|amazon\.com|perfume|11-[\w -]+|EUR|UTC|JSON"
    r"|purchases\.\w+|profile\.\w+|[A-Z][a-z]{2} \d+, \d{4}|[A-Z][a-z]{2} \d{4}|[\d.,:]+|P\d[YMWD]"
    r"|CB|العربية|مايو|يناير"
)


def catalogue() -> Catalog:
    """A language in which every sentence stands in brackets: what has none was never translated."""
    made = Catalog(locale="ar")  # right to left, with its own plural forms
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    options = {"**/templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true"}}
    for _, _, message, _, _ in extract_from_dir(SOURCES, methods, options, KEYWORDS):
        if isinstance(message, tuple):
            made.add(message, tuple(f"⟦{message[1]}⟧" for _ in range(made.num_plurals)))
        else:
            made.add(message, f"⟦{message}⟧")
    return made


@pytest.fixture(scope="module")
def translated_to(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translations")
    target = folder / "ar" / "LC_MESSAGES"
    target.mkdir(parents=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue())
    (target / "messages.mo").write_bytes(compiled.getvalue())
    return folder


@pytest.fixture
def arabic(app: Flask, translated_to: Path) -> Flask:
    """The real app with another folder of translations, in which there is one language more."""
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(translated_to)
    app.extensions["babel"].translation_directories = [str(translated_to)]
    return app


class Untranslated(HTMLParser):
    """Collects visible words, names for screen readers included, that stand outside the brackets."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._silent = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent = tag in {"style", "pre", "textarea"}
        self.text += [
            value or "" for name, value in attrs if name in {"aria-label", "placeholder", "title", "alt"}
        ]

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text.append(data)


def left_out(html: str) -> str:
    parser = Untranslated()
    parser.feed(html)
    text = "\n".join(parser.text)
    while re.search(r"⟦[^⟦⟧]*⟧", text):
        text = re.sub(r"⟦[^⟦⟧]*⟧", " ", text)
    text = DATA.sub(" ", text.replace(__version__, " "))
    return " ".join(re.findall(r"[^\W\d_]{2,}", text))


def test_no_page_says_a_word_that_cannot_be_translated(
    arabic: Flask, alice: Customer, opened: Vault, shelf: dict[str, str], ask: Ask
) -> None:
    wish = {"Accept-Language": "ar"}
    opened.records("preferences").put({"statement": {"topic": "perfume", "strength": "like"}})
    stranger = Customer(arabic.test_client())
    paths = [
        "/",
        "/things",
        "/things/new",
        f"/things/{shelf['Piranesi']}",
        "/import",
        "/sort",
        "/preferences",
    ]
    paths += ["/profile", "/requests", "/companies", "/log", "/me", f"/requests/{ask()}", "/nothing"]
    pages = [alice.get(path, headers=wish) for path in paths]
    pages += [stranger.get(path, headers=wish) for path in ("/", "/create", "/login", "/recover")]
    found = {page.path: left_out(page.html) for page in pages}
    assert {path: words for path, words in found.items() if words} == {}


def test_the_direction_follows_the_language(arabic: Flask, alice: Customer) -> None:
    assert '<html lang="ar" dir="rtl">' in alice.get("/", headers={"Accept-Language": "ar"}).html
    assert '<html lang="en" dir="ltr">' in alice.get("/", headers={"Accept-Language": "en"}).html


def test_the_customers_choice_comes_before_the_browsers(arabic: Flask, alice: Customer) -> None:
    form = alice.get("/me").form("/language")
    alice.submit(form, tick=[("language", "ar")])
    assert 'dir="rtl"' in alice.get("/", headers={"Accept-Language": "en"}).html


def test_plurals_follow_the_language(arabic: Flask, alice: Customer, opened: Vault) -> None:
    for n in range(3):
        opened.records("purchases").put(purchase(f"Thing {n}"))
    assert "⟦3 things to sort⟧" in alice.get("/", headers={"Accept-Language": "ar"}).text


@pytest.mark.parametrize(
    "wish", ["xx", "tlh", "de-AT,de;q=0.9", "*", "", "a" * 3000, "../../etc", "en-GB;q=x"]
)
def test_a_language_that_does_not_exist_is_answered_in_english(customer: Customer, wish: str) -> None:
    page = customer.get("/", headers={"Accept-Language": wish})
    assert page.status == 200
    assert '<html lang="en"' in page.html


@pytest.mark.parametrize("wish", ["xx", "../../etc/passwd", "ar", "\x00", ""])
def test_a_language_cookie_that_was_made_up_is_ignored(customer: Customer, wish: str) -> None:
    customer.client.set_cookie("vrm-language", wish)
    assert '<html lang="en"' in customer.get("/").html


def test_only_languages_that_exist_are_offered(app: Flask, alice: Customer) -> None:
    with app.app_context():
        assert list(language.languages()) == ["en"]
    assert not [form for form in alice.get("/me").forms if "language" in form.action]
    token = alice.get("/me").form("/logout").value("csrf_token")
    alice.post("/language", {"csrf_token": token, "language": "xx"})
    assert alice.client.get_cookie("vrm-language") is None
