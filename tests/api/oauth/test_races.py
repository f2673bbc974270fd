"""Many at once, over real HTTP, in two server processes that share one data folder."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.actors import CALLBACK, Customer, Shop, connect, handle_of
from tests.api.oauth.test_assertion import KEY, Signing, public
from tests.api.oauth.test_par import pushed
from tests.api.oauth.test_tickets import GRANT_TYPE, approve
from tests.api.proving import TOKEN, Prover
from tests.conftest import SettableClock
from tests.postgres import IN_ORDER
from vrm.clock import SystemClock
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine

ROOT = Path(__file__).resolve().parents[3]
MANY = 16


@pytest.fixture
def clock() -> Any:
    """The servers' clock is the machine's; so is ours."""
    return SystemClock()


@pytest.fixture
def servers(app: Flask, settings: Settings) -> Iterator[list[str]]:
    """Two processes on this test's data folder."""
    command = [sys.executable, "-m", "tests.api.oauth.server", str(settings.data_dir), settings.issuer]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        ports = [process.stdout.readline().strip() for process in running if process.stdout]
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=10)
            if process.stdout:
                process.stdout.close()


def at_once(count: int, act: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Run `act` in `count` threads that start together."""
    barrier = threading.Barrier(count)

    def run(number: int) -> httpx.Response:
        barrier.wait(timeout=30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def post(base: str, shop: Shop, **fields: str) -> httpx.Response:
    return httpx.post(f"{base}/oauth/token", data=shop.form(**fields), headers=shop.basic, timeout=30)


def good(answers: list[httpx.Response]) -> list[dict[str, Any]]:
    """The token sets; every other answer must be invalid_grant."""
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"] == "invalid_grant"
    return [answer.json() for answer in answers if answer.status_code == 200]


def redeem_everywhere(servers: list[str], shop: Shop, code: str) -> list[dict[str, Any]]:
    bases = [base for base, _ in zip(cycle(servers), range(MANY), strict=False)]
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": shop.redirect_uri,
        "code_verifier": shop.verifier,
    }
    return good(at_once(MANY, lambda number: post(bases[number], shop, **fields)))


@pytest.mark.meets("oauch-Concurrency/MultiFastACExchangeTest", "oauch-Concurrency/SingleFastACExchangeTest")
def test_sixteen_redemptions_of_one_code_give_one_token_set(
    servers: list[str], shop: Shop, customer: Customer
) -> None:
    assert shop.redirect_uri == CALLBACK
    for _ in range(3):
        code = customer.approve(handle_of(shop.ask()))
        assert len(redeem_everywhere(servers, shop, code)) == 1


def test_sixteen_redemptions_by_a_public_vendor_give_one_token_set(
    servers: list[str], app_shop: Shop, customer: Customer
) -> None:
    code = customer.approve(handle_of(app_shop.ask()))
    assert len(redeem_everywhere(servers, app_shop, code)) == 1


def test_sixteen_redemptions_leave_at_most_one_live_access_token(
    servers: list[str], shop: Shop, customer: Customer, engine: SqliteEngine
) -> None:
    code = customer.approve(handle_of(shop.ask()))
    (given,) = redeem_everywhere(servers, shop, code)
    rows = engine.all(
        "SELECT kind FROM tokens WHERE grant_id = ? AND wrapped IS NOT NULL ORDER BY kind",
        (given["grant_id"],),
    )
    assert [row[0] for row in rows] in ([], ["access", "refresh"])


@pytest.mark.meets("oauch-Concurrency/MultiFastRefreshTest", "oauch-Concurrency/SingleFastRefreshTest")
def test_sixteen_refreshes_are_one_rotation(servers: list[str], shop: Shop, customer: Customer) -> None:
    first = connect(shop, customer)
    bases = [base for base, _ in zip(cycle(servers), range(MANY), strict=False)]
    fields = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    given = good(at_once(MANY, lambda number: post(bases[number], shop, **fields)))
    assert len(given) == MANY
    assert len({found["access_token"] for found in given}) == 1
    assert len({found["refresh_token"] for found in given}) == 1


def test_of_sixteen_uses_of_one_assertion_in_two_processes_one_counts(
    servers: list[str], client: FlaskClient, consent: Consent
) -> None:
    vendor, _ = consent.vendors.add("Signing Books", (CALLBACK,), jwks=json.dumps(public(KEY)))
    signer = Signing(client, vendor, None)
    signer.clock = SettableClock(SystemClock().now())
    bases = [base for base, _ in zip(cycle(servers), range(MANY), strict=False)]
    fields = {"token": "vrm_at_x", **signer.proof()}
    answers = at_once(
        MANY, lambda number: httpx.post(f"{bases[number]}/oauth/revoke", data=fields, timeout=30)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * (MANY - 1)


def test_sixteen_polls_in_two_processes_give_one_token_set_and_end_nothing(
    servers: list[str], shop: Shop, customer: Customer
) -> None:
    asked = pushed(shop, answer_mode="poll")
    approve(customer, asked)
    bases = [base for base, _ in zip(cycle(servers), range(MANY), strict=False)]
    fields = {"grant_type": GRANT_TYPE, "ticket": asked["ticket"], "code_verifier": shop.verifier}
    (given,) = good(at_once(MANY, lambda number: post(bases[number], shop, **fields)))
    assert shop.read("/purchases", given["access_token"]).status_code == 200


def test_sixteen_readings_with_one_proof_are_one_reading(
    servers: list[str], shop: Shop, customer: Customer, consent: Consent
) -> None:
    """A proof that was overheard is worth nothing at another worker either."""
    prover = Prover(SystemClock())
    token = prover.connect(shop, customer)["access_token"]
    for path in ("/api/v1/purchases", "/api/v1/grant"):
        headers = prover.headers("GET", path, token)
        answers = at_once(
            MANY, lambda number, at=path, sent=headers: httpx.get(f"{servers[number % 2]}{at}", headers=sent)
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [401] * (MANY - 1)
        refused = {answer.json()["type"] for answer in answers if answer.status_code == 401}
        assert refused == {"/problems/dpop-proof-used"}
    assert [entry.event for entry in consent.log.read(customer.vault)].count("read") == 1


def test_sixteen_redemptions_with_one_proof_give_one_token_set(
    servers: list[str], shop: Shop, customer: Customer
) -> None:
    prover = Prover(SystemClock())
    prover.redeem(shop, "")  # for the nonce
    codes = [customer.approve(handle_of(shop.ask())) for _ in range(MANY)]
    headers = {**shop.basic, "DPoP": prover.proof("POST", TOKEN)}
    fields = {
        "grant_type": "authorization_code",
        "redirect_uri": shop.redirect_uri,
        "code_verifier": shop.verifier,
    }
    answers = at_once(
        MANY,
        lambda number: httpx.post(
            f"{servers[number % 2]}/oauth/token",
            data=shop.form(**fields, code=codes[number]),
            headers=headers,
            timeout=30,
        ),
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * (MANY - 1)
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {
        "invalid_dpop_proof"
    }


def test_no_reading_that_starts_after_the_revocation_succeeds(
    servers: list[str], shop: Shop, customer: Customer, consent: Consent
) -> None:
    given = connect(shop, customer)
    revoked = threading.Event()
    late: list[int] = []
    before: list[int] = []

    def read(base: str) -> None:
        headers = {"Authorization": f"Bearer {given['access_token']}"}
        with httpx.Client(timeout=30) as http:
            for _ in range(40):
                was_revoked = revoked.is_set()
                status = http.get(f"{base}/api/v1/purchases", headers=headers).status_code
                (late if was_revoked else before).append(status)

    threads = [threading.Thread(target=read, args=(base,)) for base in servers for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(before) < 20:
        assert any(thread.is_alive() for thread in threads)
    consent.grants.revoke(customer.vault, given["grant_id"])
    revoked.set()
    for thread in threads:
        thread.join()
    assert 200 in before
    assert set(before) <= {200, 401}
    assert late
    assert set(late) == {401}


def test_revoking_against_sixteen_readers_and_sixteen_refreshers_leaves_nothing(
    servers: list[str], shop: Shop, customer: Customer, consent: Consent, engine: SqliteEngine
) -> None:
    """In two processes: no answer is logged after the end, no wrap is left, all stop at once."""
    first = connect(shop, customer)
    gate, tokens = threading.Barrier(33), {first["access_token"]}
    last: list[int] = []

    def act(number: int) -> None:
        base, mine = servers[number % 2], first
        with httpx.Client(timeout=60) as http:
            gate.wait(timeout=60)
            for _ in range(40):
                if number < MANY:
                    headers = {"Authorization": f"Bearer {first['access_token']}"}
                    answer = http.get(f"{base}/api/v1/purchases", headers=headers)
                else:
                    fields = {"grant_type": "refresh_token", "refresh_token": mine["refresh_token"]}
                    form = shop.form(**fields)
                    answer = http.post(f"{base}/oauth/token", data=form, headers=shop.basic)
                if answer.status_code != 200:
                    last.append(answer.status_code)
                    return
                if number >= MANY:
                    tokens.add(answer.json()["access_token"])

    threads = [threading.Thread(target=act, args=(number,)) for number in range(2 * MANY)]
    for thread in threads:
        thread.start()
    gate.wait(timeout=60)
    consent.grants.revoke(customer.vault, first["grant_id"])
    for thread in threads:
        thread.join()
    assert sorted(last) == [400] * MANY + [401] * MANY
    assert consent.log.problems(customer.vault) == []
    assert _events_after_the_end(consent, customer, engine) <= {"refused"}
    assert engine.all("SELECT 1 FROM tokens WHERE wrapped IS NOT NULL OR replay IS NOT NULL") == []
    assert engine.all("SELECT 1 FROM views") == []
    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{servers[0]}/api/v1/purchases", headers=headers).status_code == 401


def _events_after_the_end(consent: Consent, customer: Customer, engine: SqliteEngine) -> set[str]:
    """What was written into the log after the entry of the revocation, in the order of the table."""
    log, vault = consent.log, customer.vault
    rows = engine.all(f"SELECT segment, seq, at, sealed FROM log_entries ORDER BY {IN_ORDER}")
    ciphers = log._ciphers(vault, {})
    events = [
        json.loads(ciphers[segment].unseal(sealed, seq, log._link(vault.id, segment, seq - 1), at))["event"]
        for segment, seq, at, sealed in rows
    ]
    return set(events[events.index("revoked") + 1 :])
