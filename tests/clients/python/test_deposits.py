"""Deposits in the SDK: sent again with the same key where an answer was lost, and only then."""

import pytest

from vrm_client import BusyError, ProtocolError, RefusedError, UnreachableError

RECEIPT = {"item": {"title": "Kindred"}}
STATE = {"id": "0" * 32, "status": "pending", "updated_at": "2026-11-18T11:06:40Z"}


def test_a_lost_answer_is_asked_for_again_with_the_same_key(connect, scripted, said):
    def hang_up(handler):
        del scripted.raw["/api/v1/purchases"]
        handler.connection.close()

    scripted.raw["/api/v1/purchases"] = hang_up
    scripted.says("/api/v1/purchases", said(STATE, 202, {"ETag": '"a"'}))
    left = connect().deposits("purchases").leave(RECEIPT)
    assert (left.status, left.tag) == ("pending", '"a"')
    first, second = scripted.to("/api/v1/purchases")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert len(first.headers["Idempotency-Key"]) >= 32


def test_every_deposit_has_a_key_of_its_own_unless_one_is_given(connect, scripted, said):
    scripted.says("/api/v1/purchases", said(STATE, 202, {"ETag": '"a"'}))
    deposits = connect().deposits("purchases")
    deposits.leave(RECEIPT)
    deposits.leave(RECEIPT)
    deposits.leave(RECEIPT, key="order-7")
    keys = [call.headers["Idempotency-Key"] for call in scripted.to("/api/v1/purchases")]
    assert len(set(keys)) == 3
    assert keys[2] == "order-7"


def test_a_full_mailbox_is_not_knocked_at_twice(connect, scripted, said):
    full = {"type": "/problems/quota", "title": "full", "status": 429}
    scripted.says("/api/v1/purchases", said(full, 429, {"Retry-After": "3600"}))
    with pytest.raises(BusyError) as told:
        connect().deposits("purchases").leave(RECEIPT)
    assert told.value.retry_after == 3600
    assert len(scripted.to("/api/v1/purchases")) == 1


def test_a_vault_that_stays_silent_is_unreachable(connect, scripted):
    scripted.raw["/api/v1/purchases"] = lambda handler: handler.connection.close()
    with pytest.raises(UnreachableError):
        connect().deposits("purchases").leave(RECEIPT)
    assert len(scripted.to("/api/v1/purchases")) == 2


def test_what_the_vault_does_not_take_is_named(connect, scripted, said):
    wrong = {
        "type": "/problems/invalid",
        "title": "no",
        "status": 422,
        "errors": {"item.title": ["is needed"]},
    }
    scripted.says("/api/v1/purchases", said(wrong, 422))
    with pytest.raises(RefusedError) as told:
        connect().deposits("purchases").leave({})
    assert told.value.problem.extensions["errors"] == {"item.title": ["is needed"]}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {**STATE, "id": 7},
        {**STATE, "id": ""},
        {**STATE, "status": "lost"},
        {**STATE, "reason": 1},
        {**STATE, "updated_at": "yesterday"},
    ],
)
def test_a_state_that_is_none_is_refused(connect, scripted, said, answer):
    scripted.says("/api/v1/purchases", said(answer, 202))
    with pytest.raises(ProtocolError):
        connect().deposits("purchases").leave(RECEIPT)


def test_lists_that_do_not_end_are_refused(connect, scripted, said):
    scripted.says("/api/v1/inbox", said({"items": [STATE], "next": "again"}))
    with pytest.raises(ProtocolError):
        list(connect().deposits("inbox"))
    scripted.says("/api/v1/inbox", said({"items": None, "next": None}))
    with pytest.raises(ProtocolError):
        list(connect().deposits("inbox"))


def test_the_token_is_renewed_once_for_a_deposit_too(connect, scripted, said):
    answers = iter([said({}, 401), said(STATE, 202, {"ETag": '"a"'})])
    scripted.says("/api/v1/purchases", lambda _: next(answers))
    assert connect().deposits("purchases").leave(RECEIPT).status == "pending"
    tokens = [call.headers["Authorization"] for call in scripted.to("/api/v1/purchases")]
    assert len(set(tokens)) == 2
