"""A copy against feeds that are wrong: nothing half-applied, nothing kept that should be gone."""

import pytest

from tests.clients.conftest import Said
from vrm_client import Copy, ProtocolError, RefusedError

FEED = "/api/v1/purchases/changes"
GRANT = {"grant_id": "g", "scope": "purchases.item:read", "expires": "2099-01-01T00:00:00Z"}


def row(number, **more):
    return {
        "id": f"r{number}",
        "updated_at": "2026-11-20T10:00:00Z",
        "item": {"title": f"Book {number}"},
    } | more


def feed(items, following="c1", more=False):
    return {"items": items, "next": following, "more": more}


@pytest.fixture
def connection(scripted, connect):
    scripted.says("/api/v1/grant", Said(GRANT))
    return connect()


@pytest.mark.parametrize(
    "answer",
    [
        feed({}),
        feed([1]),
        feed([{"updated_at": "2026-11-20T10:00:00Z", "item": {}}]),
        feed([row(2, updated_at="soon")]),
        feed([row(2)], following=None),
        feed([row(2)], more=True),
        {"items": []},
    ],
)
def test_a_feed_that_is_none_leaves_the_copy_as_it_was(scripted, connection, answer):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([row(1)])))
    copy.sync(connection)
    scripted.says(FEED, Said(answer))
    with pytest.raises(ProtocolError):
        copy.sync(connection)
    assert [record.id for record in copy] == ["r1"]


def test_a_row_that_was_never_held_can_be_gone(scripted, connection):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([{"id": "r9", "updated_at": "2026-11-20T10:00:00Z", "gone": True}])))
    assert copy.sync(connection).gone == 0
    assert len(copy) == 0


def test_a_first_reading_that_is_refused_is_the_vendors_to_hear(scripted, connection):
    scripted.says(FEED, Said({"type": "/problems/invalid-parameter", "title": "no", "status": 400}, 400))
    with pytest.raises(RefusedError):
        Copy("purchases").sync(connection)


@pytest.mark.parametrize("place", ["/api/v1/grant", FEED])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_by_something_between_leaves_the_copy_as_it_was(scripted, connection, place, status):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([row(1)])))
    copy.sync(connection)
    scripted.says(place, Said(b"<h1>Just a moment", status, {"Content-Type": "text/html"}))
    with pytest.raises(RefusedError):
        copy.sync(connection)
    assert [record.id for record in copy] == ["r1"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_renewal_by_something_between_leaves_the_copy_as_it_was(scripted, connection, unix, status):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([row(1)])))
    copy.sync(connection)
    unix.now += 900
    scripted.says("/oauth/token", Said(b"<h1>Log in", status, {"Content-Type": "text/html"}))
    with pytest.raises(RefusedError):
        copy.sync(connection)
    assert [record.id for record in copy] == ["r1"]


def test_what_the_vault_does_not_grant_any_more_deletes_the_copy(scripted, connection):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([row(1)])))
    copy.sync(connection)
    problem = {"Content-Type": "application/problem+json"}
    scripted.says(FEED, Said({"type": "/problems/insufficient-scope"}, 403, problem))
    assert copy.sync(connection).ended
    assert list(copy) == []


def test_a_copy_shows_no_record_in_its_repr(scripted, connection):
    copy = Copy("purchases")
    scripted.says(FEED, Said(feed([row(1)])))
    copy.sync(connection)
    assert "Book" not in repr(copy)
