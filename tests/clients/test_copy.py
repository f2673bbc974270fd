"""The SDK's copy against the real vault: in step, or deleted."""
# ruff: noqa: F811 - fixtures are named by their parameters

from __future__ import annotations

import json

import pytest

from tests.clients.test_with_the_vault import address, connect, decide, few, vendor  # noqa: F401 - fixtures
from vrm_client import Copy, Part, UnreachableError

BOOKS = [
    Part(
        ["purchases.item", "purchases.order"], "ProvideProductRecommendations", filter={"category": ["books"]}
    )
]
DAY = 86_400


def titles(copy):
    return sorted(record.text("item", "title") for record in copy)


@pytest.fixture
def copy(tmp_path, clock):
    return Copy("purchases", tmp_path / "copy.json", clock=clock.now)


def test_a_copy_follows_edits_and_gifts(few, connect, copy, clock):
    connection = connect(few, BOOKS)
    assert copy.age is None
    assert copy.sync(connection).changed == 2
    assert titles(copy) == ["Piranesi", "Plenty"]
    table = few.table("purchases")
    plenty = next(found for found in table.all() if found["item"]["title"] == "Plenty")
    table.update({"context": {"for": "gift"}}, doc_ids=[plenty.doc_id])
    clock.forward(60)
    assert copy.age == 60
    synced = copy.sync(connection)
    assert (synced.changed, synced.gone) == (0, 1)
    assert titles(copy) == ["Piranesi"]
    assert copy.age == 0


def test_a_copy_goes_on_after_a_restart(few, connect, copy, tmp_path, clock):
    connection = connect(few, BOOKS)
    copy.sync(connection)
    again = Copy("purchases", tmp_path / "copy.json", clock=clock.now)
    assert titles(again) == ["Piranesi", "Plenty"]
    assert again.sync(connection).changed == 0
    assert (tmp_path / "copy.json").stat().st_mode & 0o777 == 0o600


def test_a_copy_is_deleted_when_she_stops(few, connect, copy, tmp_path, consent):
    connection = connect(few, BOOKS)
    copy.sync(connection)
    consent.grants.revoke(few, consent.grants.listing(few)[0].id)
    assert copy.sync(connection).ended
    assert list(copy) == []
    assert copy.age is None
    assert not (tmp_path / "copy.json").exists()


def test_a_copy_loses_what_was_narrowed(few, connect, copy, consent):
    connection = connect(few, BOOKS)
    copy.sync(connection)
    grant = consent.grants.listing(few)[0].id
    consent.grants.narrow(few, grant, drop=frozenset({"purchases.order:read"}))
    assert copy.sync(connection).changed == 2
    assert all(not record.facet("order") for record in copy)


def test_a_copy_deletes_itself_at_the_end_of_the_grant(few, connect, copy, clock):
    copy.sync(connect(few, BOOKS, days=30))
    clock.forward(30 * DAY)
    assert list(copy) == []
    assert len(copy) == 0


def test_a_copy_begins_anew_with_a_new_grant(few, connect, copy):
    copy.sync(connect(few, BOOKS))
    few.table("purchases").truncate()
    synced = copy.sync(connect(few, BOOKS))
    assert not synced.ended
    assert list(copy) == []


def test_a_torn_file_is_no_copy(few, connect, tmp_path, clock):
    (tmp_path / "copy.json").write_text('{"version": 1, "rows"')
    copy = Copy("purchases", tmp_path / "copy.json", clock=clock.now)
    assert list(copy) == []
    assert copy.sync(connect(few, BOOKS)).changed == 2


def test_a_vault_that_does_not_answer_leaves_the_copy_as_it_was(few, connect, copy, monkeypatch, clock):
    connection = connect(few, BOOKS)
    copy.sync(connection)
    clock.forward(30)

    def silent(*_args, **_rest):
        raise UnreachableError("no answer")

    monkeypatch.setattr(connection, "_get", silent)
    with pytest.raises(UnreachableError):
        copy.sync(connection)
    assert titles(copy) == ["Piranesi", "Plenty"]
    assert copy.age == 30


def test_a_file_holds_no_token(few, connect, copy, tmp_path):
    copy.sync(connect(few, BOOKS))
    assert "vrm_at_" not in json.dumps(json.loads((tmp_path / "copy.json").read_text()))
