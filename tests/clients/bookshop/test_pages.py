"""A visitor connects, looks, and stops; the shop keeps what it was given and no more."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from bookshop.app import create_app
from bookshop.catalogue import isbn10, load
from bookshop.desk import Desk
from bookshop.recommender import Owned
from bookshop.vaults import Vaults
from bookshop.visitors import Visitors

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOKS = {book.title: book for book in load()}
OWN = ("Piranesi", "Plenty", "The Old Ways")
GIFTS = ("The Gruffalo", "Zog", "The Big Sleep")


def purchase(number, title):
    item = {"title": title, "category": "books", "isbn": isbn10(BOOKS[title].isbn13)}
    return {
        "id": f"r{number}",
        "updated_at": "2026-11-20T10:00:00Z",
        "item": item,
        "order": {"ordered": "2026-10-01"},
    }


@pytest.fixture
def shared(scripted, said):
    """The rows that are in view; a test may take some out."""
    rows = [purchase(number, title) for number, title in enumerate(OWN)]
    scripted.says("/api/v1/purchases", lambda _: said({"items": rows, "next": None}))
    return rows


@pytest.fixture
def desk(vendor, scripted):
    sold = [Owned(BOOKS[title], date(2026, 11, 1)) for title in (*OWN, *GIFTS)]
    return Desk(Vaults(scripted.url, vendor), load(), Visitors(), sold, clock=lambda: NOW)


@pytest.fixture
def shop(desk, scripted):
    return create_app(desk).test_client()


def answer_to(question, scripted, **changes):
    asked = {name: values[0] for name, values in parse_qs(urlsplit(question.location).query).items()}
    answer = {"code": "c0de", "state": asked["state"], "iss": scripted.url, **changes}
    return {name: value for name, value in answer.items() if value is not None}


@pytest.fixture
def connected(shop, scripted, shared):
    question = shop.post("/connect")
    assert shop.get("/callback", query_string=answer_to(question, scripted)).status_code == 303
    return shop


def holds(shop):
    return shop.get("/internal/holds.json").get_json()["visitors"]


@pytest.mark.parametrize("path", ["/", "/shelf/fantasy", "/book/CB-0001", "/for-you", "/held"])
def test_every_page_opens_for_a_stranger_without_a_cookie_or_a_script(shop, path):
    page = shop.get(path)
    assert page.status_code == 200
    assert "Set-Cookie" not in page.headers
    assert "<script" not in page.text
    assert " style=" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/shelf/none", "/book/CB-9999", "/nowhere"])
def test_what_the_shop_does_not_have_is_not_found(shop, path):
    assert shop.get(path).status_code == 404


def test_connecting_asks_for_books_and_leaves_the_rest_optional(shop, scripted):
    question = shop.post("/connect")
    assert question.status_code == 303
    assert question.location.startswith(scripted.url + "/oauth/authorize?")
    details = json.loads(parse_qs(urlsplit(question.location).query)["authorization_details"][0])
    assert [(part["datatypes"], part["necessity"]) for part in details] == [
        (["purchases.item", "purchases.order"], "required"),
        (["purchases.price"], "optional"),
        (["purchases.experience"], "optional"),
        (["purchases"], "optional"),
    ]
    assert [part["actions"] for part in details] == [["read"], ["read"], ["read"], ["write"]]
    assert {part["purpose"] for part in details[:3]} == {"ProvideProductRecommendations"}
    assert details[3]["purpose"] == "RequestedServiceProvision"
    assert all(part["filter"] == {"category": ["books"]} for part in details[:3])


def test_her_own_books_lead_elsewhere_than_all_orders_do(connected):
    (visitor,) = holds(connected)
    assert visitor["connected"]
    assert {one["because"]["title"] for one in visitor["recommended"]} <= set(OWN)
    assert {one["because"]["title"] for one in visitor["unfiltered"]} & set(GIFTS)
    page = connected.get("/for-you").text
    assert page.index("From what you share") < page.index("From every order on this account")


def test_the_shop_shows_the_very_rows_and_the_told_limits(connected):
    page = connected.get("/held").text
    for title in OWN:
        assert title in page
    assert "purchases.item:read" in page
    assert "Forget it" in page


def test_the_shop_holds_the_rows_as_read_and_no_token(connected, shared):
    text = connected.get("/internal/holds.json").text
    (visitor,) = json.loads(text)["visitors"]
    assert [record["item"] for record in visitor["records"]] == [row["item"] for row in shared]
    assert set(visitor["records"][0]) == {"id", "updated_at", "item", "order"}
    assert not re.search("vrm_[ar]t_", text)


def test_a_row_taken_out_is_gone_at_the_next_look(connected, shared):
    shared.pop()
    connected.get("/for-you")
    (visitor,) = holds(connected)
    assert len(visitor["records"]) == len(OWN) - 1


def test_one_refresh_serves_all_looks(connected, scripted, unix):
    unix.now += 900
    connected.get("/for-you")
    connected.get("/for-you")
    assert len(scripted.to("/oauth/token")) == 2


def test_a_renewed_token_is_kept(connected, scripted, unix, desk):
    unix.now += 900
    connected.get("/for-you")
    (visitor,) = desk.visitors.everyone()
    assert visitor.saved["tokens"]["refresh_token"] == "vrm_rt_secret2"


@pytest.mark.parametrize("where", ["/api/v1/grant", "/api/v1/purchases"])
def test_a_revoked_grant_empties_the_shop_at_the_next_look(connected, scripted, said, where):
    problem = {"Content-Type": "application/problem+json"}
    scripted.says(where, said({"type": "/problems/token-invalid", "title": "No"}, 401, problem))
    scripted.says("/oauth/token", said({"error": "invalid_grant"}, 400))
    page = connected.get("/for-you").text
    assert "We have deleted our copy" in page
    (visitor,) = holds(connected)
    assert visitor["records"] == []
    assert visitor["limits"] == {}
    assert not visitor["connected"]
    assert visitor["recommended"] == []
    assert "Piranesi" not in connected.get("/held").text


def test_forgetting_deletes_and_gives_back(connected, scripted):
    connected.post("/forget")
    assert scripted.to("/oauth/revoke")[0].form["token"] == "vrm_rt_secret1"
    assert "Forgotten" in connected.get("/held").text
    (visitor,) = holds(connected)
    assert visitor["records"] == []


def test_forgetting_deletes_even_when_the_vault_does_not_answer(connected, scripted, said):
    scripted.says("/oauth/revoke", said({}, 503))
    connected.post("/forget")
    assert "did not answer" in connected.get("/held").text
    (visitor,) = holds(connected)
    assert visitor["records"] == []


def test_rows_that_arrive_after_forgetting_are_not_kept(connected, scripted, said, desk, shared):
    def forget_meanwhile(_):
        connected.post("/forget")
        return said({"items": shared, "next": None})

    scripted.says("/api/v1/purchases", forget_meanwhile)
    (key,) = [key for key in desk.visitors._all if desk.visitors.get(key).connected]
    desk.read(key)
    assert desk.visitors.get(key).records == ()
    assert "Forgotten" in desk.visitors.get(key).notice


def test_a_grant_that_ended_while_she_forgot_is_forgotten_once(connected, scripted, said, desk):
    def end_meanwhile(_):
        connected.post("/forget")
        return said({}, 401)

    (key,) = [key for key in desk.visitors._all if desk.visitors.get(key).connected]
    scripted.says("/oauth/token", said({"error": "invalid_grant"}, 400))
    scripted.says("/api/v1/purchases", end_meanwhile)
    desk.read(key)
    assert "Forgotten" in desk.visitors.get(key).notice


def test_forgetting_nothing_is_no_fault(shop):
    assert shop.post("/forget").status_code == 303


def test_a_vault_that_does_not_answer_changes_nothing(connected, scripted, said):
    scripted.says("/api/v1/grant", said({}, 503))
    assert connected.get("/for-you").status_code == 503
    (visitor,) = holds(connected)
    assert len(visitor["records"]) == len(OWN)


def test_sharing_nothing_is_fine(shop, scripted):
    question = shop.post("/connect")
    page = shop.get("/callback", query_string=answer_to(question, scripted, code=None, error="access_denied"))
    assert page.status_code == 200
    assert "You shared nothing, and that is fine" in page.text


def test_a_callback_nobody_asked_for_is_refused(shop, scripted):
    assert (
        shop.get("/callback", query_string={"code": "c", "state": "s", "iss": scripted.url}).status_code
        == 502
    )
    assert scripted.to("/oauth/token") == []


@pytest.mark.parametrize("change", [{"state": "other"}, {"iss": "https://thief.example"}, {"code": None}])
def test_a_wrong_callback_is_refused_and_ends_the_question(shop, scripted, change):
    question = shop.post("/connect")
    right = answer_to(question, scripted)
    assert shop.get("/callback", query_string={**right, **change}).status_code == 502
    assert shop.get("/callback", query_string=right).status_code == 502
    assert scripted.to("/oauth/token") == []


def test_a_callback_in_another_browser_is_refused(shop, scripted):
    question = shop.post("/connect")
    other = shop.application.test_client()
    assert other.get("/callback", query_string=answer_to(question, scripted)).status_code == 502


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://thief.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
@pytest.mark.parametrize("path", ["/connect", "/forget"])
def test_another_site_can_send_no_form(connected, path, headers):
    assert connected.post(path, headers=headers).status_code == 403
    (visitor,) = holds(connected)
    assert visitor["connected"]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(shop):
    cookie = shop.post("/connect").headers["Set-Cookie"]
    assert cookie.startswith("corner_books=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" in shop.post("/connect", base_url="https://shop.example").headers["Set-Cookie"]


@pytest.mark.parametrize(
    "more", [{"environ_base": {"REMOTE_ADDR": "192.0.2.7"}}, {"base_url": "http://thief.example"}]
)
def test_what_the_shop_holds_is_for_its_own_machine(connected, more):
    assert connected.get("/internal/holds.json", **more).status_code == 404


def test_ratings_count_when_she_shares_them(shop, scripted, shared, desk):
    shared[0]["experience"] = {"rating": 1}
    shop.get("/callback", query_string=answer_to(shop.post("/connect"), scripted))
    (visitor,) = desk.visitors.everyone()
    assert [entry.rating for entry in desk.owned(visitor)] == [1, None, None]
    assert "Piranesi" not in {found.because.title for found in desk.compare(visitor).shared}


def test_a_book_without_a_number_is_known_by_its_title(shop, scripted, shared, desk):
    del shared[0]["item"]["isbn"]
    shared[1]["item"] = {"title": "Something the shop does not sell"}
    shop.get("/callback", query_string=answer_to(shop.post("/connect"), scripted))
    (visitor,) = desk.visitors.everyone()
    assert [entry.book.title for entry in desk.owned(visitor)] == ["Piranesi", "The Old Ways"]
    assert [entry.bought for entry in desk.owned(visitor)] == [NOW.date() - timedelta(days=51)] * 2
