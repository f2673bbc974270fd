"""The SDK and the bookshop against the real vault, over real HTTP, with Alice's whole history."""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from urllib3 import request as http
from werkzeug.serving import WSGIRequestHandler, make_server

from bookshop.app import create_app as open_shop
from bookshop.catalogue import load
from bookshop.desk import ENDED, QUESTION, Desk
from bookshop.sold import read_orders
from bookshop.vaults import Vaults
from bookshop.visitors import Visitors
from vrm import samples
from vrm.app import create_app
from vrm.clock import today
from vrm.consent.requests import Choices
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault import intake
from vrm_client import (
    DeclinedError,
    NotFoundError,
    NotGrantedError,
    Part,
    Pending,
    RefusedError,
    RevokedError,
    SigningKey,
    Transport,
    Vendor,
)

CALLBACK = "https://cornerbooks.example/callback"
WHY = "ProvideProductRecommendations"
CATALOGUE = load()
TRUTH = samples.truth()


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        """Nothing."""


@pytest.fixture
def address(engine, vaults, consent, folder, clock):
    """The public address of a vault that is being served."""
    server = make_server("127.0.0.1", 0, None, threaded=True, request_handler=Quiet)
    settings = Settings(data_dir=folder, public_url=f"http://127.0.0.1:{server.port}")
    server.app = create_app(settings, host=Host(settings, engine, vaults, consent, clock))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield settings.issuer
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def export(tmp_path, clock):
    samples.write(tmp_path / "Your Orders", today(clock))
    return tmp_path / "Your Orders"


@pytest.fixture
def alice(vault, export):
    """Her vault with her history, sorted as she would."""
    files = [(file.name, file.open("rb")) for file in sorted(export.iterdir())]
    try:
        reports = intake.bring_in(vault, files)
    finally:
        for _, stream in files:
            stream.close()
    assert not [rejection for report in reports for rejection in report.rejected]
    whom = {(line["order"], line["asin"]): line["for"] for line in TRUTH["lines"]}
    changed = {}
    records = vault.records("purchases")
    for record, document in records.scan():
        context = {"for": whom[document["order"]["order_number"], document["item"]["asin"]]}
        if context["for"] == "gift":
            context["use_for_taste"] = False
        document["context"] = context
        changed[record] = document
    records.apply(changed)
    return vault


@pytest.fixture
def few(vault, clock):
    """Her vault with three books."""
    for number, title in enumerate(("Piranesi", "Plenty", "Zog")):
        item = {"title": title, "category": "books"}
        order = {"seller": "books.example", "order_number": str(number), "ordered": str(today(clock))}
        whom = "gift" if title == "Zog" else "self"
        price = {"total": "9.99", "currency": "EUR"}
        vault.records("purchases").put(
            {"item": item, "order": order, "price": price, "context": {"for": whom}}
        )
    return vault


@pytest.fixture
def vendor(address, consent, clock):
    registered, secret = consent.vendors.add("Corner Books", (CALLBACK,), purpose=WHY)
    return Vendor(
        address,
        client_id=registered.client_id,
        client_secret=secret,
        redirect_uri=CALLBACK,
        transport=Transport(timeout=10),
        clock=clock.now,
    )


@pytest.fixture
def decide(consent):
    """Open the question as a browser would, and answer it with the customer's vault."""

    def go(vault, url, **choices):
        answer = http("GET", url, redirect=False)
        assert answer.status == 303, answer.data
        handle = urlsplit(answer.headers["Location"]).path.removeprefix("/requests/")
        chosen = Choices(**choices)
        preview = consent.requests.preview(vault, handle, chosen)
        decision = consent.requests.approve(vault, handle, chosen, preview.digest)
        issuer = url.partition("/oauth/")[0]
        return f"{CALLBACK}?code={decision.code}&state={decision.state}&iss={issuer}"

    return go


def kept_out(vault):
    """The id of the book she keeps to herself."""
    asin = TRUTH["taken_out"]["asin"]
    return {
        record
        for record, document in vault.records("purchases").scan()
        if document["item"].get("asin") == asin
    }


@pytest.fixture
def connect(vendor, decide):
    def go(vault, parts=QUESTION, **choices):
        asked = vendor.ask(parts)
        chosen = {"period": "P2Y", "exclude": frozenset(kept_out(vault)), **choices}
        return vendor.finish(asked, decide(vault, asked.url, **chosen))

    return go


def test_the_export_is_understood_to_the_last_line(alice):
    documents = [document for _, document in alice.records("purchases").scan()]
    expect = TRUTH["expect"]
    assert len(documents) == expect["retail_lines"] + expect["digital_lines"]
    books = [document for document in documents if CATALOGUE.by_isbn(document["item"].get("asin", ""))]
    assert len(books) == expect["books"]
    assert {document["item"]["category"] for document in books} == {"books"}
    statuses = Counter(document["order"].get("status") for document in documents)
    assert statuses["cancelled"] == 8
    assert statuses["returned"] + statuses["partly-refunded"] >= 3


def test_she_shares_forty_one_books_and_the_shop_reads_exactly_those(connect, alice):
    connection = connect(alice)
    for limit in (7, 500):
        records = list(connection.records("purchases", limit=limit))
        assert len(records) == TRUTH["expect"]["shared"] == 41
    assert {frozenset(record.facets) for record in records} == {frozenset({"item", "order"})}
    assert TRUTH["taken_out"]["title"] not in {record.text("item", "title") for record in records}
    whom = {(line["order"], line["asin"]): line["for"] for line in TRUTH["lines"]}
    keys = {(record.text("order", "order_number"), record.text("item", "asin")) for record in records}
    assert {whom[key] for key in keys} == {"self"}


def test_one_record_is_read_as_it_stands_in_the_list(connect, few):
    connection = connect(few)
    first = next(connection.records("purchases"))
    assert connection.record("purchases", first.id) == first


def test_a_record_that_is_not_in_view_is_not_found(connect, few):
    with pytest.raises(NotFoundError):
        connect(few).record("purchases", "0" * 32)


def test_the_told_limits_say_nothing_of_the_private_ones(connect, few):
    limits = connect(few).grant()
    assert set(limits["scope"].split()) == {"purchases.item:read", "purchases.order:read"}
    assert "P2Y" in str(limits)
    assert "gift" not in str(limits)


def test_optional_parts_come_when_they_were_ticked(connect, few):
    assert "purchases.price:read" in connect(few, optional=frozenset({"1"})).scope.split()


def test_more_than_granted_is_refused_and_she_sees_the_attempt(connect, consent, few):
    connection = connect(few)
    with pytest.raises(NotGrantedError) as told:
        list(connection.records("preferences"))
    assert told.value.problem.slug == "insufficient-scope"
    assert "refused" in {entry.event for entry in consent.log.read(few, 20)}


def test_filters_give_what_a_plain_one_would_leave(connect, few):
    connection = connect(few)
    everything = list(connection.records("purchases"))
    days = sorted(record.text("order", "ordered") for record in everything)
    for given, fits in (
        ({"category": "books"}, lambda record: record.text("item", "category") == "books"),
        ({"category": "none"}, lambda record: False),
        ({"ordered_from": days[1]}, lambda record: record.text("order", "ordered") >= days[1]),
        ({"ordered_to": days[0], "limit": 1}, lambda record: record.text("order", "ordered") <= days[0]),
    ):
        found = [record.id for record in connection.records("purchases", **given)]
        assert found == [record.id for record in everything if fits(record)]


def test_a_value_that_is_no_day_is_refused_by_name(connect, few):
    with pytest.raises(RefusedError) as told:
        list(connect(few).records("purchases", ordered_from="yesterday"))
    assert list(told.value.problem.extensions["errors"]) == ["ordered_from"]


def test_changes_since_a_moment_are_asked_for(connect, clock, few):
    connection = connect(few)
    later = datetime.fromtimestamp(clock.now() + 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert list(connection.records("purchases", updated_since=later)) == []


def test_tokens_are_renewed_by_many_threads_without_losing_the_grant(connect, clock, few):
    connection = connect(few)
    for _ in range(3):
        clock.forward(880)
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(lambda _: connection.grant(), range(16)))) == 16


def test_stopping_ends_the_connection_at_the_very_next_request(connect, consent, few):
    connection = connect(few)
    assert next(connection.records("purchases"))
    (grant,) = consent.grants.listing(few)
    consent.grants.revoke(few, grant.id)
    with pytest.raises(RevokedError):
        list(connection.records("purchases"))


def test_what_was_given_back_opens_nothing_and_she_sees_it(connect, vendor, consent, few):
    connection = connect(few)
    saved = connection.saved()
    connection.revoke()
    with pytest.raises(RevokedError):
        vendor.resume(saved).grant()
    assert "given-back" in {entry.event for entry in consent.log.read(few, 20)}


def test_a_code_opens_once(vendor, decide, few):
    asked = vendor.ask(scope="purchases.item:read")
    callback = decide(few, asked.url)
    vendor.finish(asked, callback)
    with pytest.raises(RefusedError) as told:
        vendor.finish(asked, callback)
    assert told.value.code == "invalid_grant"


def test_a_refusal_of_the_question_itself_is_told(vendor):
    with pytest.raises(RefusedError) as told:
        vendor.ask(scope="purchases.payment:read")
    assert told.value.code == "invalid_scope"


def test_sharing_nothing_is_told_as_such(vendor, consent, vault):
    asked = vendor.ask(scope="purchases.item:read")
    place = urlsplit(http("GET", asked.url, redirect=False).headers["Location"]).path
    decision = consent.requests.decline(vault, place.removeprefix("/requests/"))
    with pytest.raises(DeclinedError):
        vendor.finish(
            asked, f"{CALLBACK}?error=access_denied&state={decision.state}&iss={vendor.discover().issuer}"
        )


def test_a_shop_that_sold_it_all_hears_corrections_only(connect, consent, alice):
    connection = connect(
        alice, [Part(["answers.corrections"], WHY)], period="", exclude=frozenset(), sellers=("amazon.com",)
    )
    rows = connection.answers("corrections")
    gifts = {(line["order"], line["asin"]) for line in TRUTH["lines"] if line["for"] == "gift"}
    assert {(row["order"], row["item"]) for row in rows} == gifts
    assert {frozenset(row) for row in rows} == {frozenset({"order", "item", "use_for_taste"})}
    assert {row["use_for_taste"] for row in rows} == {False}
    with pytest.raises(NotGrantedError):
        list(connection.records("purchases"))


def test_the_bookshop_recommends_better_holds_no_more_and_forgets(
    vendor, decide, alice, address, export, clock, consent
):
    def now():
        return datetime.fromtimestamp(clock.now(), UTC)

    desk = Desk(Vaults(address, vendor), CATALOGUE, Visitors(), read_orders(export, CATALOGUE), clock=now)
    shop = open_shop(desk).test_client()
    question = shop.post("/connect").location
    callback = decide(alice, question, period="P2Y", exclude=frozenset(kept_out(alice)))
    assert shop.get("/callback?" + urlsplit(callback).query).status_code == 303

    (held,) = shop.get("/internal/holds.json").get_json()["visitors"]
    gifts = {CATALOGUE.by_isbn(line["asin"]) for line in TRUTH["lines"] if line["for"] == "gift"} - {None}
    gift_skus = {book.sku for book in gifts}
    assert len(held["records"]) == 41
    assert {name for record in held["records"] for name in record} == {"id", "updated_at", "item", "order"}
    assert not {record["item"]["title"] for record in held["records"]} & {book.title for book in gifts}
    assert len(held["recommended"]) == len(held["unfiltered"]) == 10
    assert not [one for one in held["recommended"] if one["because"]["sku"] in gift_skus]
    assert len([one for one in held["unfiltered"] if one["because"]["sku"] in gift_skus]) >= 3
    named = [{one["book"]["sku"] for one in held[name]} for name in ("recommended", "unfiltered")]
    assert len(named[0] - named[1]) >= 3

    (grant,) = consent.grants.listing(alice)
    consent.grants.revoke(alice, grant.id)
    assert ENDED in shop.get("/for-you").text
    (held,) = shop.get("/internal/holds.json").get_json()["visitors"]
    assert held["records"] == []
    assert set(parse_qs(urlsplit(question).query)) == {"client_id", "request_uri"}


def test_a_receipt_is_left_followed_said_anew_and_taken_back(connect, consent, few, clock):
    connection = connect(few, [Part(["purchases"], WHY, actions=["write"])], period="")
    deposits = connection.deposits("purchases")
    receipt = {"item": {"title": "Emma"}, "order": {"order_number": "CB-1", "status": "ordered"}}
    left = deposits.leave(receipt, key="CB-1")
    assert (left.status, deposits.leave(receipt, key="CB-1")) == ("pending", left)
    assert deposits.state(left.id) == left
    consent.at_unlock(few)
    filed = deposits.state(left.id)
    assert (filed.status, [one.id for one in deposits]) == ("filed", [left.id])
    with pytest.raises(RefusedError) as told:
        deposits.replace(left, receipt)
    assert (told.value.status, told.value.code) == (412, "precondition-failed")
    again = deposits.replace(filed, {**receipt, "order": {"order_number": "CB-1", "status": "delivered"}})
    consent.at_unlock(few)
    gone = deposits.withdraw(deposits.state(again.id))
    assert gone.status == "withdrawn"
    consent.at_unlock(few)
    with pytest.raises(NotFoundError):
        deposits.state(left.id)
    (document,) = [one for _, one in few.records("purchases").scan() if one["item"]["title"] == "Emma"]
    assert document["order"]["status"] == "cancelled"
    with pytest.raises(NotGrantedError):
        next(connection.records("preferences"))
    with pytest.raises(RefusedError) as told:
        deposits.leave({"item": {"title": "Emma"}, "context": {"for": "self"}})
    assert list(told.value.problem.extensions["errors"]) == ["context.for"]


def test_the_bookshop_leaves_a_receipt_only_where_she_allowed_it(
    vendor, decide, few, address, clock, consent
):
    desk = Desk(
        Vaults(address, vendor),
        CATALOGUE,
        Visitors(),
        [],
        clock=lambda: datetime.fromtimestamp(clock.now(), UTC),
    )
    shop = open_shop(desk).test_client()
    book = next(iter(CATALOGUE))
    assert shop.post(f"/buy/{book.sku}").status_code == 303
    assert "would find the receipt there" in shop.get(f"/book/{book.sku}").text
    callback = decide(few, shop.post("/connect").location)
    shop.get("/callback?" + urlsplit(callback).query)
    shop.post(f"/buy/{book.sku}")
    assert consent.filing.run(few) == 0
    callback = decide(few, shop.post("/connect").location, optional=frozenset({"3"}))
    shop.get("/callback?" + urlsplit(callback).query)
    shop.post(f"/buy/{book.sku}")
    assert "The receipt waits in your vault." in shop.get(f"/book/{book.sku}").text
    assert "pending" in shop.get("/held").text
    assert consent.filing.run(few) == 1
    (document,) = [one for _, one in few.records("purchases").scan() if one["item"]["title"] == book.title]
    assert document["order"]["seller"] == document["notes"]["left_by"] == "Corner Books"
    assert document["context"] == {}
    shop.get("/for-you")
    assert "filed" in shop.get("/held").text


def test_the_readmes_example_runs_against_a_vault(address, few, decide, consent, capsys):
    registered, secret = consent.vendors.add("Readme Books", (CALLBACK,), purpose=WHY)
    request, session, kept = SimpleNamespace(url=""), {}, []

    def redirect(url):
        request.url = decide(few, url)

    names = {
        "VAULT": address,
        "CLIENT_ID": registered.client_id,
        "CLIENT_SECRET": secret,
        "REDIRECT_URI": CALLBACK,
        "session": session,
        "redirect": redirect,
        "request": request,
        "keep": kept.append,
        "forget": None,
    }
    text = (Path(__file__).parents[2] / "clients" / "python" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), names)
    assert sorted(line.split(" ", 1)[1] for line in capsys.readouterr().out.splitlines()) == [
        "Piranesi",
        "Plenty",
    ]
    assert kept[0]["vault"] == address


def test_who_polls_too_often_is_slowed_down_until_she_has_answered(vendor, few):
    first = vendor.ask_later([Part(["purchases.item"], WHY)])
    second = vendor.poll(Pending.from_json(first.to_json()))
    assert second == first
    assert vendor.poll(second).interval == first.interval + 5


def test_who_shares_nothing_later_is_told_as_such(vendor, consent, few, clock):
    waiting = vendor.ask_later([Part(["purchases.item"], WHY)])
    handle = urlsplit(waiting.link).path.removeprefix("/requests/")
    consent.requests.decline(few, handle)
    with pytest.raises(DeclinedError):
        vendor.poll(waiting)


def test_she_answers_on_another_device_and_it_is_fetched_once(vendor, consent, few, clock):
    waiting = vendor.ask_later([Part(["purchases.item"], WHY)])
    handle = urlsplit(waiting.link).path.removeprefix("/requests/")
    assert str(consent.requests.open(handle).number) == waiting.number
    digest = consent.requests.preview(few, handle, Choices()).digest
    consent.requests.approve(few, handle, Choices(), digest, waiting.number)
    connection = vendor.poll(waiting)
    assert {record.text("item", "title") for record in connection.records("purchases")} == {
        "Piranesi",
        "Plenty",
    }
    clock.forward(waiting.interval)
    with pytest.raises(RefusedError) as told:
        vendor.poll(waiting)
    assert told.value.code == "invalid_grant"


def test_bound_tokens_open_the_vault_for_who_has_the_key_only(address, consent, decide, few, clock):
    # a public vendor: whoever finds its tokens has all there is to find, but for the key
    registered, _ = consent.vendors.add("Corner Books", (CALLBACK,), purpose=WHY, public=True)

    def bound(proof_key):
        return Vendor(
            address,
            client_id=registered.client_id,
            redirect_uri=CALLBACK,
            proof_key=proof_key,
            clock=clock.now,
        )

    shop, thief = bound(SigningKey.generate()), bound(SigningKey.generate())
    asked = shop.ask([Part(["purchases.item"], WHY)])
    connection = shop.finish(asked, decide(few, asked.url))
    assert len(list(connection.records("purchases"))) == 2
    clock.forward(1000)
    assert len(list(connection.records("purchases"))) == 2  # with renewed tokens, bound as well
    with pytest.raises(RefusedError):
        list(thief.resume(connection.saved()).records("purchases"))
