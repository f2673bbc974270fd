"""The question says what is wanted and why; an answer that is not to it is refused."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from vrm_client import Asked, DeclinedError, Part, ProtocolError, RefusedError, accept

WHY = "ProvideProductRecommendations"


def query_of(asked):
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.url).query).items()}


def back(asked, **changes):
    answer = {"code": "c0de", "state": asked.state, "iss": asked.issuer, **changes}
    pairs = {name: value for name, value in answer.items() if value is not None}
    return f"{asked.redirect_uri}?{urlencode(pairs)}"


def test_the_question_carries_pkce_state_and_redirect_address(asked):
    query = query_of(asked)
    digest = sha256(asked.verifier.encode()).digest()
    assert query["code_challenge"] == urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert query["code_challenge_method"] == "S256"
    assert query["state"] == asked.state
    assert query["redirect_uri"] == "https://cornerbooks.example/callback"
    assert query["response_type"] == "code"
    assert asked.verifier not in asked.url
    assert 43 <= len(asked.verifier) <= 128


def test_every_question_has_its_own_state_and_verifier(vendor):
    one, other = vendor.ask(scope="purchases.item:read"), vendor.ask(scope="purchases.item:read")
    assert one.state != other.state
    assert one.verifier != other.verifier


def test_parts_say_purpose_filter_period_and_necessity(vendor):
    asked = vendor.ask(
        [
            Part(["purchases.item"], WHY, filter={"category": ["books"]}, period="P2Y", retention="P90D"),
            Part(["purchases.price"], WHY, necessity="optional", fields=["total"]),
        ]
    )
    query = query_of(asked)
    assert "scope" not in query
    assert json.loads(query["authorization_details"]) == [
        {
            "type": "vrm_access",
            "datatypes": ["purchases.item"],
            "actions": ["read"],
            "purpose": WHY,
            "necessity": "required",
            "filter": {"category": ["books"]},
            "period": "P2Y",
            "retention": "P90D",
        },
        {
            "type": "vrm_access",
            "datatypes": ["purchases.price"],
            "actions": ["read"],
            "purpose": WHY,
            "necessity": "optional",
            "fields": ["total"],
        },
    ]


def test_a_plain_scope_is_sent_as_such(asked):
    assert query_of(asked)["scope"] == "purchases.item:read"


@pytest.mark.parametrize("more", [{}, {"parts": [Part(["purchases.item"], WHY)], "scope": "x:read"}])
def test_asking_for_nothing_or_twice_is_a_mistake(vendor, more):
    with pytest.raises(ValueError, match="parts or for a scope"):
        vendor.ask(**more)


def test_a_question_survives_the_session(asked):
    assert Asked.from_json(json.loads(json.dumps(asked.to_json()))) == asked


def test_a_question_hides_its_secrets(asked):
    assert asked.verifier not in repr(asked)
    assert asked.state not in repr(asked)


def test_the_answer_to_the_question_yields_its_code(asked):
    assert accept(asked, back(asked)) == "c0de"


@pytest.mark.parametrize("state", [None, "", "another", "état"])
def test_an_answer_with_another_state_is_refused(asked, state):
    with pytest.raises(ProtocolError, match="does not belong"):
        accept(asked, back(asked, state=state))


@pytest.mark.parametrize("iss", [None, "", "https://thief.example"])
def test_an_answer_of_another_issuer_is_refused(asked, iss):
    with pytest.raises(ProtocolError, match="another issuer"):
        accept(asked, back(asked, iss=iss))


def test_a_refusal_of_another_issuer_is_refused_too(asked):
    with pytest.raises(ProtocolError, match="another issuer"):
        accept(asked, back(asked, code=None, error="access_denied", iss="https://thief.example"))


@pytest.mark.parametrize("name", ["code", "state", "iss"])
def test_a_doubled_parameter_is_refused(asked, name):
    with pytest.raises(ProtocolError, match="repeats"):
        accept(asked, back(asked) + f"&{name}=again")


@pytest.mark.parametrize("code", [None, ""])
def test_an_answer_without_a_code_is_refused(asked, code):
    with pytest.raises(ProtocolError, match="neither"):
        accept(asked, back(asked, code=code))


def test_sharing_nothing_is_its_own_answer(asked):
    with pytest.raises(DeclinedError) as told:
        accept(asked, back(asked, code=None, error="access_denied", error_description="not today"))
    assert told.value.code == "access_denied"
    assert str(told.value) == "not today"


def test_another_error_is_told_with_its_code(asked):
    with pytest.raises(RefusedError) as told:
        accept(asked, back(asked, code=None, error="invalid_scope"))
    assert told.value.code == "invalid_scope"
    assert not isinstance(told.value, DeclinedError)


def test_an_error_with_a_code_beside_it_yields_no_code(asked):
    with pytest.raises(RefusedError):
        accept(asked, back(asked, error="server_error"))
