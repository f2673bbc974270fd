"""Questions that are answered later, where the vault says something else than it should."""

from dataclasses import replace

import pytest

from tests.clients.conftest import Said
from vrm_client import Part, ProtocolError, RefusedError

PART = Part(["purchases.item"], "ProvideProductRecommendations")
GOOD = {
    "ticket": "vrm_tk_1",
    "interval": 5,
    "link": "https://v.example/requests/x",
    "link_expires_in": 600,
    "number": 4711,
}


@pytest.fixture
def pushing(scripted, vendor):
    scripted.metadata["pushed_authorization_request_endpoint"] = scripted.url + "/oauth/par"
    scripted.says("/oauth/par", Said(GOOD, 201))
    return vendor


def test_the_question_says_that_it_will_be_polled_for(scripted, pushing):
    waiting = pushing.ask_later([PART])
    [call] = scripted.to("/oauth/par")
    assert call.form["answer_mode"] == "poll"
    assert (waiting.number, waiting.interval, waiting.link) == ("4711", 5, GOOD["link"])
    assert waiting.ticket not in repr(waiting)


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [None, []])
def test_an_answer_that_lacks_something_is_refused(scripted, pushing, name, value):
    scripted.says("/oauth/par", Said({**GOOD, name: value}, 201))
    with pytest.raises(ProtocolError):
        pushing.ask_later([PART])


def test_a_vault_that_takes_no_pushed_questions_takes_none_for_later(scripted, vendor):
    with pytest.raises(ProtocolError, match="answered later"):
        vendor.ask_later([PART])


@pytest.mark.parametrize("code", ["expired_token", "invalid_grant"])
def test_what_waited_too_long_is_over(scripted, pushing, code):
    waiting = pushing.ask_later([PART])
    scripted.says("/oauth/token", Said({"error": code}, 400))
    with pytest.raises(RefusedError) as told:
        pushing.poll(waiting)
    assert told.value.code == code


def test_a_ticket_is_shown_to_its_own_vault_only(scripted, pushing):
    waiting = replace(pushing.ask_later([PART]), issuer="https://other.example")
    with pytest.raises(ProtocolError, match="another vault"):
        pushing.poll(waiting)
    assert scripted.to("/oauth/token") == []
