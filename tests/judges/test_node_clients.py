"""Clients for Node that vendors use: openid-client, simple-oauth2, passport-oauth2."""

from __future__ import annotations

from collections.abc import Callable

from tests.judges.stage import BOOKS, Judge, Town, confidential, public

Judges = Callable[[str], Judge]


def test_openid_client_goes_all_the_way(town: Town, judge: Judges) -> None:
    found = judge("openid_client").hears("whole", **confidential(town))
    assert found["seen"] == BOOKS
    assert found["type"] == "bearer"
    assert 0 < found["lives"] <= 900


def test_openid_client_as_a_public_client_goes_all_the_way(town: Town, judge: Judges) -> None:
    assert judge("openid_client").hears("whole", **public(town))["seen"] == BOOKS


def test_openid_client_pushes_its_request(town: Town, judge: Judges) -> None:
    assert judge("openid_client").hears("whole", **confidential(town), pushed=True)["seen"] == BOOKS


def test_openid_client_binds_its_tokens_to_a_key(town: Town, judge: Judges) -> None:
    found = judge("openid_client").hears("whole", **confidential(town), bound="ES256")
    assert (found["seen"], found["type"]) == (BOOKS, "dpop")


def test_openid_client_throws_away_what_it_did_not_ask_for(town: Town, judge: Judges) -> None:
    judge("openid_client").hears("mismatches", **confidential(town))


def test_simple_oauth2_reads_every_answer_as_json(town: Town, judge: Judges) -> None:
    found = judge("simple_oauth2").hears("whole", **confidential(town))
    assert found == {"seen": BOOKS, "later": 401, "again": {}}


def test_passport_oauth2_logs_in_with_a_secret(town: Town, judge: Judges) -> None:
    found = judge("passport_oauth2").hears("log_in", **confidential(town))
    assert found["seen"] == BOOKS
    assert found["refresh"] is True


def test_passport_oauth2_logs_in_as_a_public_client(town: Town, judge: Judges) -> None:
    assert judge("passport_oauth2").hears("log_in", **public(town))["seen"] == BOOKS


def test_passport_oauth2_understands_no(town: Town, judge: Judges) -> None:
    found = judge("passport_oauth2").hears("declining", **confidential(town))
    assert "failed" in found
