"""A vendor that nobody registered asks in the name of its domain, and in no other name."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.actors import Customer, Shop, connect, handle_of, refused
from tests.api.oauth.test_assertion import KEY, Signing, public
from tests.api.oauth.test_par import push
from tests.conftest import SettableClock
from tests.outside import Page, Site, scripted, site, way_out
from vrm.app import create_app
from vrm.consent import documents, fetching
from vrm.consent.service import Consent
from vrm.errors import BusyError, RateLimitedError, VendorNotFoundError
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vaults

DAY = 86_400


@pytest.fixture
def consent(engine: SqliteEngine, vaults: Vaults, clock: SettableClock) -> Consent:
    return Consent(engine, vaults, clock, outbound=way_out())


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as one:
        yield one


def document(there: Site, path: str = "/vrm.json", **changes: Any) -> dict[str, Any]:
    usual = {
        "client_id": there.url + path,
        "client_name": "Corner Books",
        "redirect_uris": [there.url + "/cb"],
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def publish(there: Site, path: str = "/vrm.json", **changes: Any) -> str:
    return there.put(path, document(there, path, **changes))


class Named(Shop):
    """A vendor of which the vault knows its address only."""

    def __init__(self, client: FlaskClient, client_id: str, redirect_uri: str) -> None:
        super().__init__(client, None, None, redirect_uri)  # type: ignore[arg-type]
        self.client_id = client_id

    def question(self, **changes: str | None) -> dict[str, str]:
        self.vendor = type("", (), {"client_id": self.client_id})  # type: ignore[assignment]
        return super().question(**changes)


@pytest.fixture
def named(client: FlaskClient, there: Site) -> Named:
    return Named(client, publish(there), there.url + "/cb")


def answer_of(shop: Named) -> str:
    """What the page says to whoever was sent here."""
    found = shop.ask()
    assert found.status_code == 400, found.status
    assert "Location" not in found.headers
    return found.get_data(as_text=True)


def test_an_unregistered_vendor_reads_what_was_approved(
    named: Named, customer: Customer, there: Site
) -> None:
    tokens = connect(named, customer)
    assert named.read("/purchases", tokens["access_token"]).status_code == 200
    fresh = named.refresh(tokens["refresh_token"]).get_json()
    assert named.read("/purchases", fresh["access_token"]).status_code == 200
    assert named.revoke(fresh["refresh_token"]).status_code == 200
    [seen] = there.seen
    assert (seen.method, seen.path, seen.headers["sec-gpc"]) == ("GET", "/vrm.json", "1")


def test_one_that_publishes_keys_proves_itself_by_them(
    client: FlaskClient, there: Site, customer: Customer, clock: SettableClock, consent: Consent
) -> None:
    url = publish(there, jwks_uri=there.put("/jwks", public(KEY)), dpop_bound_access_tokens=False)
    code = customer.approve(handle_of(Named(client, url, there.url + "/cb").ask()))
    signing = Signing(client, consent.vendors.get(url), None, there.url + "/cb")
    signing.clock = clock
    assert signing.redeem(code, code_verifier="x" * 43).get_json()["error"] == "invalid_grant"
    refused(client.post("/oauth/revoke", data={"token": "x", "client_id": url}), 401, "invalid_client")
    assert [one.path for one in there.seen] == ["/vrm.json", "/jwks"]


def test_who_may_put_a_file_somewhere_at_a_shop_does_not_poll_in_its_name(
    client: FlaskClient, there: Site, clock: SettableClock, consent: Consent
) -> None:
    url = publish(there, "/uploads/mallory.json", jwks=public(KEY))
    mallory = Signing(client, consent.documents.vendor(url), None, there.url + "/cb")
    mallory.clock = clock
    assert push(mallory).status_code == 201
    refused(push(mallory, answer_mode="poll"), 400, "unauthorized_client")


def test_it_pushes_its_requests_as_others_do(named: Named, client: FlaskClient, customer: Customer) -> None:
    pushed = client.post("/oauth/par", data=named.question())
    assert pushed.status_code == 201, pushed.get_data(as_text=True)
    sent = {"client_id": named.client_id, "request_uri": pushed.get_json()["request_uri"]}
    code = customer.approve(handle_of(client.get("/oauth/authorize", query_string=sent)))
    assert named.redeem(code).status_code == 200


def test_customers_read_the_domain_and_the_name_only_as_a_claim(
    named: Named, there: Site, consent: Consent
) -> None:
    publish(there, client_name="Your Bank")
    handle = handle_of(named.ask())
    vendor = consent.requests.open(handle).vendor
    assert vendor.shown_name == vendor.name == urlsplit(there.url).netloc
    assert (vendor.claimed, vendor.origin, vendor.verified) == ("Your Bank", "document", False)


def test_the_metadata_says_so(client: FlaskClient) -> None:
    found = client.get("/.well-known/oauth-authorization-server").get_json()
    assert found["client_id_metadata_document_supported"] is True


# --- what is no client id


@pytest.mark.parametrize(
    "client_id",
    [
        "https://books.example",
        "https://user@books.example/vrm.json",
        "https://user:secret@books.example/vrm.json",
        "https://books.example/vrm.json#part",
        "https://books.example/a/../vrm.json",
        "https://books.example/./vrm.json",
        "https://books.example/%2e%2e/vrm.json",
        "https://BOOKS.example/vrm.json",
        "https://books.example:443/vrm.json",
        "https://books/vrm.json",
        "https://1.1.1.1/vrm.json",
        "https://0x7f.1/vrm.json",
        "https://аmazon.com/vrm.json",
        "http://books.example/vrm.json",
        "http://10.0.0.1/vrm.json",
        "https://" + "a" * 2000,
    ],
)
def test_an_address_that_is_no_client_id_is_never_called(
    client: FlaskClient, consent: Consent, client_id: str
) -> None:
    assert "is not the address of a document" in answer_of(
        Named(client, client_id, "https://books.example/cb")
    )
    assert consent.vendors.listing() == []


def test_inside_the_network_nothing_is_called(
    engine: SqliteEngine, vaults: Vaults, clock: SettableClock, there: Site, folder: Path
) -> None:
    guarded = Consent(engine, vaults, clock)
    settings = Settings(data_dir=folder, public_url="http://127.0.0.1:8600")
    app: Flask = create_app(settings, host=Host(settings, engine, vaults, guarded, clock))
    url = publish(there)
    for inside in (
        url,
        url.replace("http:", "https:"),
        "https://localhost/x",
        "https://169.254.169.254/latest",
    ):
        assert "is not the address" in answer_of(Named(app.test_client(), inside, there.url + "/cb"))
    for name in ("https://localtest.invalid/x",):
        assert "could not be called" in answer_of(
            Named(app.test_client(), name, "https://localtest.invalid/cb")
        )
    assert there.seen == []


# --- what is no document


BROKEN: dict[str, Callable[[Site], object]] = {
    "is missing": lambda there: there.pages.clear(),
    "is another's": lambda there: publish(there, client_id="https://books.example/vrm.json"),
    "is at another spelling": lambda there: publish(there, client_id=there.url + "/vrm.json?"),
    "names no id": lambda there: publish(there, client_id=...),
    "holds a secret": lambda there: publish(there, client_secret="s3cret"),
    "holds the end of one": lambda there: publish(there, client_secret_expires_at=0),
    "wants a shared secret": lambda there: publish(there, token_endpoint_auth_method="client_secret_basic"),
    "wants a posted secret": lambda there: publish(there, token_endpoint_auth_method="client_secret_post"),
    "wants a secret's signature": lambda there: publish(
        there, token_endpoint_auth_method="client_secret_jwt"
    ),
    "sends answers elsewhere": lambda there: publish(there, redirect_uris=["https://evil.example/cb"]),
    "sends some elsewhere": lambda there: publish(
        there, redirect_uris=[there.url + "/cb", "https://evil.example/cb"]
    ),
    "sends events elsewhere": lambda there: publish(there, events_uri="https://evil.example/events"),
    "names nowhere": lambda there: publish(there, redirect_uris=[]),
    "publishes a private key": lambda there: publish(there, jwks={"keys": [KEY]}),
    "is a list": lambda there: there.put("/vrm.json", []),
    "is a page": lambda there: there.put("/vrm.json", document(there), Content_Type="text/html"),
    "is text": lambda there: there.put("/vrm.json", document(there), Content_Type="text/plain"),
    "says a key twice": lambda there: there.pages.update(
        {"/vrm.json": Page(b'{"client_id": 1, "client_id": 1}', headers={"Content-Type": "application/json"})}
    ),
    "is too large": lambda there: publish(there, x="y" * 5120),
    "redirects": lambda there: there.pages.update({"/vrm.json": Page(b"", 302, {"Location": "/other"})}),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_document_that_is_none_makes_no_vendor(
    named: Named, there: Site, consent: Consent, broken: str
) -> None:
    BROKEN[broken](there)
    told = answer_of(named)
    assert "client_id is no document that can be used" in told
    assert "evil" not in told
    assert consent.vendors.listing() == []
    assert "a moment ago" in answer_of(named)
    assert len(there.seen) == 1, "held back"


def test_a_document_of_five_kibibytes_is_not_too_large(named: Named, there: Site) -> None:
    size = len(json.dumps(document(there, x="")))
    publish(there, x="y" * (5120 - size))
    assert named.ask().status_code == 303


def test_a_broken_document_is_asked_for_again_after_a_while(
    named: Named, there: Site, clock: SettableClock
) -> None:
    good = dict(there.pages)
    there.pages.clear()
    answer_of(named)
    clock.forward(15)
    there.pages.update(good)
    assert named.ask().status_code == 303


# --- how long it is kept


@pytest.mark.parametrize(
    ("control", "kept"),
    [("", 3600), ("max-age=60", 300), ("max-age=999999", DAY), ("no-store", 300), ("max-age=600", 600)],
)
def test_it_is_kept_as_http_says_between_five_minutes_and_a_day(
    named: Named, there: Site, clock: SettableClock, control: str, kept: int
) -> None:
    there.put("/vrm.json", document(there), Cache_Control=control)
    assert named.ask().status_code == 303
    clock.forward(kept - 1)
    assert named.ask().status_code == 303
    assert len(there.seen) == 1
    clock.forward(1)
    assert named.ask().status_code == 303
    assert len(there.seen) == 2


def test_what_it_says_anew_counts(named: Named, there: Site, clock: SettableClock, consent: Consent) -> None:
    assert named.ask().status_code == 303
    publish(there, redirect_uris=[there.url + "/new"])
    clock.forward(3600)
    assert "redirect_uri is not one" in answer_of(named)
    assert named.ask(redirect_uri=there.url + "/new").status_code == 303
    assert len(consent.vendors.listing()) == 1


def test_an_outage_is_outlasted_for_a_day(named: Named, there: Site, clock: SettableClock) -> None:
    assert named.ask().status_code == 303
    there.pages["/vrm.json"] = Page(b"", 503)
    clock.forward(3600)
    for _ in range(2):
        assert named.ask().status_code == 303
    assert len(there.seen) == 2
    clock.forward(DAY)
    assert "answered 503" in answer_of(named)


def test_a_clock_that_was_a_year_ahead_keeps_nothing_for_a_year(
    named: Named, there: Site, clock: SettableClock
) -> None:
    clock.forward(365 * DAY)
    assert named.ask().status_code == 303
    clock.forward(-365 * DAY)
    assert named.ask().status_code == 303
    assert len(there.seen) == 2
    there.pages.clear()
    clock.forward(3600)
    answer_of(named)
    clock.forward(-7200)
    publish(there)
    assert named.ask().status_code == 303


def test_a_document_that_was_taken_away_counts_no_more(
    named: Named, there: Site, clock: SettableClock
) -> None:
    assert named.ask().status_code == 303
    there.pages.clear()
    clock.forward(3600)
    assert "answered 404" in answer_of(named)
    assert "a moment ago" in answer_of(named)


def test_sixteen_at_once_are_few_fetches_and_one_vendor(app: Flask, there: Site, consent: Consent) -> None:
    url = publish(there)

    def ask(_: int) -> tuple[int, str]:
        answer = Named(app.test_client(), url, there.url + "/cb").ask()
        return answer.status_code, "" if answer.status_code in (303, 503) else answer.text

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(16)))
    assert (303, "") in answers
    assert answers <= {(303, ""), (503, "")}  # on a busy machine some wait longer for a place than they may
    assert len(consent.vendors.listing()) == 1


@pytest.mark.parametrize("look", ["_stored", "_state"])
def test_one_that_another_made_known_between_two_looks_is_taken(
    app: Flask, there: Site, consent: Consent, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    url, named = publish(there), consent.documents
    seen, others = getattr(named, look), [1]

    def looked(client_id: str) -> Any:
        found = seen(client_id)
        if others:
            others.clear()
            assert Named(app.test_client(), url, there.url + "/cb").ask().status_code == 303
        return found

    monkeypatch.setattr(named, look, looked)
    assert Named(app.test_client(), url, there.url + "/cb").ask().status_code == 303


def test_one_that_another_made_known_while_its_row_was_looked_for_is_taken(
    app: Flask, there: Site, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, vendors, others = publish(there), consent.documents._vendors, [1]
    get = vendors.get

    def looked(client_id: str) -> Any:
        try:
            return get(client_id)
        except VendorNotFoundError:
            if others:
                others.clear()
                assert Named(app.test_client(), url, there.url + "/cb").ask().status_code == 303
            raise

    monkeypatch.setattr(vendors, "get", looked)
    assert Named(app.test_client(), url, there.url + "/cb").ask().status_code == 303
    assert len(vendors.listing()) == 1


def test_a_hanging_document_holds_few_places_and_no_transaction(
    app: Flask, there: Site, engine: SqliteEngine
) -> None:
    url, held, let_go = publish(there), threading.Event(), list[bool]()
    there.at_call = lambda: let_go.append(held.wait(5))
    answers: list[int] = []
    shop = Named(app.test_client(), url, there.url + "/cb")
    asking = threading.Thread(target=lambda: answers.append(shop.ask().status_code))
    asking.start()
    while not there.seen:
        assert asking.is_alive(), answers
    with engine.write() as transaction:
        transaction.execute("DELETE FROM sweeps")
    held.set()
    asking.join()
    assert (let_go, answers) == ([True], [303]), "it hung until we had written, and not longer"


# --- blocking, forgetting, bounds


def test_a_blocked_one_stays_blocked_whatever_it_publishes(
    named: Named, there: Site, clock: SettableClock, consent: Consent, customer: Customer
) -> None:
    tokens = connect(named, customer)
    assert consent.sweeping.block(named.client_id) == 1
    assert named.read("/purchases", tokens["access_token"]).status_code == 401
    clock.forward(3 * DAY)
    publish(there, client_name="New Name")
    consent.sweep()
    assert named.ask().status_code == 400
    refused(named.refresh(tokens["refresh_token"]), 401, "invalid_client")
    assert len(there.seen) == 1
    assert consent.vendors.get(named.client_id).blocked


def test_one_that_is_blocked_while_it_is_fetched_stays_so(
    named: Named, there: Site, clock: SettableClock, consent: Consent
) -> None:
    assert named.ask().status_code == 303
    clock.forward(3600)
    publish(there, client_name="New Name")
    there.at_call = lambda: consent.vendors.set_blocked(named.client_id, True)
    assert named.ask().status_code == 400
    assert consent.vendors.get(named.client_id).blocked


def test_who_writes_to_the_table_does_not_unblock_one(
    named: Named, engine: SqliteEngine, consent: Consent, clock: SettableClock
) -> None:
    assert named.ask().status_code == 303
    consent.vendors.set_blocked(named.client_id, True)
    with engine.write() as transaction:
        transaction.execute("UPDATE vendors SET blocked = 0")
    for _ in range(2):
        assert named.ask().status_code == 400
        clock.forward(3600)
    assert consent.vendors.problems()


def test_one_that_a_customer_said_yes_to_is_kept_and_others_are_forgotten(
    client: FlaskClient, there: Site, clock: SettableClock, consent: Consent, customer: Customer
) -> None:
    known = Named(client, publish(there, "/known"), there.url + "/cb")
    stranger = Named(client, publish(there, "/stranger"), there.url + "/cb")
    tokens = connect(known, customer)
    assert stranger.ask().status_code == 303
    clock.forward(DAY - 60)
    assert stranger.ask().status_code == 303
    clock.forward(3600)
    consent.sweep()
    assert len(consent.vendors.listing()) == 2, "used meanwhile"
    clock.forward(DAY)
    consent.sweep()
    assert [one.client_id for one in consent.vendors.listing()] == [known.client_id]
    assert known.refresh(tokens["refresh_token"]).status_code == 200


def test_the_use_of_one_that_is_kept_for_a_day_is_noted(
    named: Named, there: Site, clock: SettableClock, engine: SqliteEngine
) -> None:
    there.put("/vrm.json", document(there), Cache_Control="max-age=86400")
    for _ in range(3):
        assert named.ask().status_code == 303
        clock.forward(1800)
    [(used, tried)] = engine.all("SELECT used, tried FROM documents")
    assert used - tried == 3600


def test_failures_are_forgotten_at_once(
    named: Named, there: Site, clock: SettableClock, consent: Consent, engine: SqliteEngine
) -> None:
    there.pages.clear()
    answer_of(named)
    clock.forward(16)
    consent.documents.sweep()
    assert engine.all("SELECT client_id FROM documents") == []


def test_one_host_makes_a_few_unknown_vendors_only(
    client: FlaskClient, there: Site, consent: Consent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "OF_HOST", 3)
    for number in range(3):
        assert consent.documents.vendor(publish(there, f"/{number}"))
    with pytest.raises(BusyError):
        consent.documents.vendor(publish(there, "/one-more"))
    answer = Named(client, publish(there, "/another"), there.url + "/cb").ask()
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    consent.documents.keep(there.url + "/0")
    assert consent.documents.vendor(there.url + "/one-more")


def test_one_address_asks_for_so_many_unknown_ones_an_hour(
    there: Site, consent: Consent, clock: SettableClock
) -> None:
    there.pages.clear()
    for number in range(documents.AN_HOUR):
        with pytest.raises(VendorNotFoundError):
            consent.documents.vendor(f"{there.url}/{number}", "9.9.9.9")
        consent.documents.sweep()
        clock.forward(16)
    with pytest.raises(RateLimitedError):
        consent.documents.vendor(f"{there.url}/x", "9.9.9.9")
    with pytest.raises(VendorNotFoundError):
        consent.documents.vendor(f"{there.url}/x", "8.8.8.8")


def test_at_the_token_endpoint_nothing_is_told_of_why(client: FlaskClient, there: Site) -> None:
    fields = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": there.url + "/nothing"}
    answer: TestResponse = client.post("/oauth/token", data=fields)
    refused(answer, 401, "invalid_client")
    assert answer.get_json()["error_description"] == "client authentication failed"


def test_strangers_who_hang_are_in_no_known_vendors_way(
    app: Flask,
    client: FlaskClient,
    there: Site,
    consent: Consent,
    customer: Customer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "_WAIT", 0.2)
    known = Named(client, publish(there, "/known"), there.url + "/cb")
    tokens = connect(known, customer)
    clock.forward(3600)
    held, begun = threading.Event(), threading.Semaphore(0)

    def hang(connected: socket.socket) -> None:
        begun.release()
        held.wait(10)

    with scripted(hang) as slow, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(consent.documents.vendor, f"{slow}/{number}") for number in range(4)]
        for _ in asked:
            assert begun.acquire(timeout=5)
        with pytest.raises(BusyError):
            consent.documents.vendor(there.url + "/unknown")
        assert known.refresh(tokens["refresh_token"]).status_code == 200
        held.set()
        assert {type(one.exception()) for one in asked} == {VendorNotFoundError}
