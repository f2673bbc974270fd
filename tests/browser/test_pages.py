"""The customer's pages in a real browser without JavaScript: on a phone, on a desk, by keyboard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request
from werkzeug.serving import make_server

from tests.conftest import CHEAP
from vrm.app import create_app
from vrm.consent.asking import PushedRequest
from vrm.consent.disclosures import EVENTS
from vrm.consent.service import Consent
from vrm.host import open_host
from vrm.settings import Settings

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
NARROWEST, SMALLEST = {"width": 360, "height": 740}, {"width": 320, "height": 568}
PASSPHRASE = "four unconnected words here"
HEADER = """\
Order ID,Order Date,Currency,Unit Price,Total Owed,ASIN,Quantity,Order Status,Shipping Address,Product Name"""
LINES = [
    f"111-{n},2026-0{1 + n % 6}-03T04:05:06Z,USD,10.00,10.00,{asin},1,Closed,{place},{title}"
    for n, (asin, title, place) in enumerate(
        [
            ("0131103628", "The C Programming Language", "Alice 1 Main St"),
            (
                "0141439513",
                "Pride and Prejudice with a title that is long enough to wrap twice",
                "Alice 1 Main St",
            ),
            ("0345339681", "The Hobbit", "Alice 1 Main St"),
            ("B000000001", "A lamp", "Alice 1 Main St"),
            ("0486284735", "A present of a book", "Aunt Zoe 9 Far Lane"),
        ]
    )
]
PARTS = [
    {
        "type": "vrm_access",
        "datatypes": list(datatypes),
        "actions": ["read"],
        "purpose": "ProvideProductRecommendations",
        "necessity": necessity,
        "filter": {"category": ["books"]},
        "period": "P2Y",
    }
    for datatypes, necessity in (
        (("purchases.item", "purchases.order"), "required"),
        (("purchases.price",), "optional"),
    )
]


@contextmanager
def serving(app: Callable[..., Any]) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Place:
    """A served vault, a shop at another origin, and what the shop was told."""

    vault: str = ""
    shop: str = ""
    consent: Consent | None = None
    told: list[str] = field(default_factory=list)

    def ask(self) -> str:
        """The shop asks; the address to which its customer is sent."""
        assert self.consent is not None
        vendor, _ = self.consent.vendors.add("Corner Books", [f"{self.shop}/cb"], purpose=PARTS[0]["purpose"])
        stored = self.consent.requests.submit(
            vendor, PARTS, redirect_uri=f"{self.shop}/cb", state="s", code_challenge="c" * 43
        )
        return f"{self.vault}/requests/{stored.handle}"

    def push(self) -> PushedRequest:
        """The shop asks for an answer that it polls for, and shows its customer a link and a number."""
        assert self.consent is not None
        vendor, _ = self.consent.vendors.add("Corner Books", [f"{self.shop}/cb"], purpose=PARTS[0]["purpose"])
        return self.consent.requests.push(
            vendor, PARTS, redirect_uri=f"{self.shop}/cb", state="s", code_challenge="c" * 43, poll=True
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place()

    def shop(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        made.told.append(environ["QUERY_STRING"])
        start("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><link rel=icon href=data:,><title>shop</title><h1>Thank you</h1>"]

    apps: list[Callable[..., Any]] = []

    def vault(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        return apps[0](environ, start)  # made once its port is known

    with serving(vault) as port, serving(shop) as shop_port:
        settings = Settings(data_dir=tmp_path / "data", public_url=f"http://127.0.0.1:{port}")
        host = open_host(settings, limits=CHEAP)
        apps.append(create_app(settings, host=host))
        made.vault, made.shop, made.consent = settings.issuer, f"http://127.0.0.1:{shop_port}", host.consent
        yield made
    host.engine.close()


class Walk:
    """One tab: remembers everything the console said and looks at every page it comes to."""

    def __init__(self, browser: Browser, viewport: dict[str, int], **rest: Any) -> None:
        self.context = browser.new_context(viewport=viewport, java_script_enabled=False, **rest)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        self.page.on("requestfailed", self._note)

    def _note(self, request: Request) -> None:
        """What failed; but not what was still on its way when we went elsewhere, such as an icon."""
        if request.failure != "net::ERR_ABORTED":
            self.said.append(f"failed: {request.url}, {request.failure}")

    def look(self) -> None:
        """What must hold on every page."""
        wide = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, f"{self.page.url} scrolls sideways by {wide} px"
        small = self.page.evaluate(SMALL_TARGETS)
        assert small == [], f"{self.page.url}: too small for a thumb: {small}"
        assert self.page.evaluate("document.querySelectorAll('h1').length") == 1
        assert self.page.evaluate(UNNAMED) == []

    def go(self, address: str) -> None:
        self.page.goto(address)
        self.look()

    def press(self, what: str) -> None:
        self.leave(what)
        self.look()

    def leave(self, what: str) -> None:
        with self.page.expect_navigation():
            self.page.click(what)


SMALL_TARGETS = """
() => [...document.querySelectorAll(
    'button, a.button, .tabs a, summary, select, textarea, ' +
    'input:not([type=checkbox]):not([type=radio]):not([type=hidden]), ' +
    'label.tick, .takeout, .segments span, .rows a.what')]
  .filter(it => it.checkVisibility() && !it.closest('.unseen') && it.getAttribute('aria-hidden') !== 'true')
  .map(it => [it.textContent.trim().slice(0, 30), it.getBoundingClientRect()])
  .filter(([, box]) => box.height > 0 && (box.height < 43.5 || box.width < 43.5))
  .map(([text, box]) => text + ' ' + box.width + 'x' + box.height)
"""
UNNAMED = """
() => [...document.querySelectorAll('input:not([type=hidden]), select, textarea')]
  .filter(it => it.checkVisibility() && !it.labels.length && !it.getAttribute('aria-label'))
  .map(it => it.outerHTML)
"""
FOCUSABLE = """
() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
  .filter(it => it.checkVisibility() && it.tabIndex >= 0 && !it.disabled)
  .filter(it => it.type !== 'radio' || it.checked)
  .map((it, n) => { it.dataset.n = n; return n; })
"""
FOCUSED = """
() => {
  const it = document.activeElement;
  const mark = it.matches('.segments input') ? it.nextElementSibling : it;
  return [it.dataset.n ?? null, getComputedStyle(mark).outlineStyle !== 'none'];
}
"""


@pytest.fixture
def walk(browser: Browser) -> Iterator[Callable[..., Walk]]:
    begun: list[Walk] = []

    def begin(viewport: dict[str, int], **rest: Any) -> Walk:
        begun.append(Walk(browser, viewport, **rest))
        return begun[-1]

    yield begin
    for one in begun:
        one.context.close()


def create(walk: Walk, place: Place) -> None:
    walk.go(f"{place.vault}/")
    walk.press("text=Create a vault")
    walk.page.fill("#username", "alice")
    walk.page.fill("#passphrase", PASSPHRASE)
    walk.page.fill("#again", PASSPHRASE)
    walk.press("text=Create the vault")
    code = "".join(walk.page.inner_text("#recovery-code").split())
    walk.page.fill("#code", code)
    walk.press("text=Open my vault")
    assert walk.page.inner_text("h1") == "Hello, alice."


def bring_in(walk: Walk, place: Place, tmp_path: Path) -> None:
    history = tmp_path / "Retail.OrderHistory.1.csv"
    history.write_text("\n".join([HEADER, *LINES, ""]), encoding="utf-8")
    walk.go(f"{place.vault}/import")
    walk.page.set_input_files("#files", history)
    walk.press("text=Bring it in")
    assert "5 new things came in" in walk.page.inner_text("main")


def with_things(walk: Walk, place: Place, tmp_path: Path) -> Walk:
    """In a new vault that holds the history."""
    create(walk, place)
    bring_in(walk, place, tmp_path)
    return walk


def sort(walk: Walk) -> None:
    walk.press("text=Sort them")
    assert "4 things went to your usual address" in walk.page.inner_text("main")
    walk.press("button[value=self] >> nth=0")
    walk.press("button[value=gift] >> nth=0")
    assert walk.page.inner_text("h1") == "All sorted"


@pytest.mark.parametrize(
    ("viewport", "scheme"),
    [(PHONE, "light"), (DESK, "dark"), (NARROWEST, "light")],
    ids=["phone", "desk in the dark", "narrowest"],
)
def test_the_whole_way_from_an_empty_vault_to_stop(
    walk: Callable[..., Walk], place: Place, tmp_path: Path, viewport: dict[str, int], scheme: str
) -> None:
    alice = with_things(walk(viewport, color_scheme=scheme), place, tmp_path)
    sort(alice)
    alice.go(place.ask())
    text = alice.page.inner_text("main")
    assert "Share 3 books" in text
    assert "A present of a book" not in text
    assert "1 gift" in text
    alice.page.check("input[name=exclude] >> nth=0")
    alice.press("text=Take the ticked ones out")
    alice.leave("text=Share 2 books")
    assert alice.page.inner_text("h1") == "Thank you", "the form may end at the vendor's own origin"
    (told,) = place.told
    assert "code=" in told
    assert "state=s" in told
    alice.go(f"{place.vault}/")
    alice.press("text=Stop")
    alice.press("button:has-text('Stop')")
    assert "Stopped." in alice.page.inner_text("main")
    for path in (
        "/things",
        "/things/new",
        "/companies",
        "/log",
        "/me",
        "/profile",
        "/preferences/new",
        "/requests",
    ):
        alice.go(place.vault + path)
    alice.leave("text=Things")
    alice.press(".rows a.what >> nth=0")
    assert alice.said == []


def test_the_log_fits_the_smallest_screen_whatever_stands_in_it(
    walk: Callable[..., Walk], place: Place
) -> None:
    alice = walk(SMALLEST)
    create(alice, place)
    assert place.consent is not None
    engine = place.consent.engine
    (vault,) = engine.one("SELECT vault FROM vaults", ()) or ("",)
    with engine.write(of=vault) as transaction:
        for event in sorted(EVENTS):
            named = {"grant_id": "g" * 22, "client_id": "c" * 22, "vendor_name": "Corner Books"}
            place.consent.log.note(transaction, vault, event, **named)
    alice.go(f"{place.vault}/log")
    assert "A used-up code came back" in alice.page.inner_text("main")


def test_declining_ends_at_the_shop_too(walk: Callable[..., Walk], place: Place) -> None:
    alice = walk(PHONE)
    create(alice, place)
    alice.go(place.ask())
    alice.leave("text=Share nothing")
    assert alice.page.inner_text("h1") == "Thank you"
    assert "error=access_denied" in place.told[0]
    assert alice.said == []


def test_a_request_without_a_session_waits_and_asks_for_nothing(
    walk: Callable[..., Walk], place: Place
) -> None:
    stranger = walk(PHONE)
    stranger.go(place.ask())
    assert "waits for you" in stranger.page.inner_text("h1")
    assert stranger.page.query_selector_all("input, button, form") == []
    assert "Corner Books" not in stranger.page.content()


def reachable(page: Page) -> tuple[set[int], set[int], list[int]]:
    """(what can be used, what Tab reaches, what shows no focus)."""
    wanted = set(page.evaluate(FOCUSABLE))
    reached: set[int] = set()
    hidden = []
    for _ in range(3 * len(wanted) + 5):
        page.keyboard.press("Tab")
        number, outlined = page.evaluate(FOCUSED)
        if number is None:
            continue
        reached.add(int(number))
        if not outlined:
            hidden.append(int(number))
        if reached >= wanted:
            break
    return wanted, reached, hidden


@pytest.mark.parametrize("viewport", [NARROWEST, DESK], ids=["narrowest", "desk"])
def test_a_link_opened_on_another_device_is_answered_there(
    walk: Callable[..., Walk], place: Place, viewport: dict[str, int]
) -> None:
    """The number is looked for where the mistake is said, and the browser is sent nowhere."""
    alice, pushed = walk(viewport), place.push()
    link = f"{place.vault}/requests/{pushed.link}"
    alice.go(link)
    assert "A request waits for you" in alice.page.inner_text("h1")
    create(alice, place)
    alice.go(f"{place.vault}/")
    alice.press("a.what:has-text('Corner Books')")
    alice.page.fill("#number", "1")
    alice.press("button[value=approve]")
    assert "the number is not right" in alice.page.inner_text("[role=alert]")
    alice.page.click("text=Go to it")
    alice.page.fill("#number", str(pushed.number))
    alice.press("button[value=approve]")
    assert alice.page.inner_text("h1") == "Shared"
    assert place.told == []


def test_everything_is_reached_by_keyboard_and_shows_where_one_is(
    walk: Callable[..., Walk], place: Place, tmp_path: Path
) -> None:
    alice = with_things(walk(DESK), place, tmp_path)
    address = place.ask()
    for path in ("/", "/sort", "/things", "/me", "/import", address.removeprefix(place.vault)):
        alice.go(place.vault + path)
        wanted, reached, hidden = reachable(alice.page)
        assert wanted - reached == set(), path
        assert hidden == [], path


def test_the_skip_link_comes_first_and_leads_to_the_content(walk: Callable[..., Walk], place: Place) -> None:
    alice = walk(PHONE)
    create(alice, place)
    alice.go(f"{place.vault}/me")
    alice.page.keyboard.press("Tab")
    assert alice.page.evaluate("document.activeElement.className") == "skip"
    assert alice.page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    alice.page.keyboard.press("Enter")
    assert alice.page.evaluate("document.activeElement.id") == "main"


def test_the_enter_key_on_the_consent_page_shares_nothing(
    walk: Callable[..., Walk], place: Place, tmp_path: Path
) -> None:
    alice = with_things(walk(PHONE), place, tmp_path)
    sort(alice)
    alice.go(place.ask())
    alice.page.focus("input[name=optional]")
    with alice.page.expect_navigation():
        alice.page.keyboard.press("Enter")
    assert "Share 3 books" in alice.page.inner_text("main")
    assert place.told == []


def test_no_other_site_can_frame_a_page(walk: Callable[..., Walk], place: Place) -> None:
    alice = walk(PHONE)
    create(alice, place)
    alice.page.goto(f"{place.shop}/x")
    alice.page.set_content(f'<iframe src="{place.vault}/me" width="300" height="300"></iframe>')
    frame = alice.page.frames[-1]
    frame.wait_for_load_state()
    assert "Log out" not in frame.content()
