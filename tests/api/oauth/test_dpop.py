"""DPoP (RFC 9449) over HTTP: what a proof opens, and every proof that opens nothing, each with its error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry

from tests.api.actors import Customer, Shop, connect, handle_of, problem, refused
from tests.api.proving import ABSENT, TOKEN, URL, Prover, b64, hash_of, public
from tests.conftest import SettableClock
from vrm import jose
from vrm.app import create_app
from vrm.consent.credentials import read_token
from vrm.consent.proofs import AROUND, NONCE_STRETCH
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

PATH = "/api/v1/purchases"


@pytest.fixture
def prover(clock: SettableClock) -> Prover:
    return Prover(clock)


@pytest.fixture
def bound(prover: Prover, shop: Shop, customer: Customer) -> dict[str, Any]:
    """A token set that is bound to the prover's key."""
    return prover.connect(shop, customer)


def notes(consent: Consent, vault: Vault) -> list[str]:
    """Why something was refused, as the customer is told; the oldest first."""
    return [entry.reason for entry in reversed(consent.log.read(vault)) if entry.event == "refused"]


# ---- what is good ----------------------------------------------------------------------------------


@pytest.mark.meets(
    "fapi2-dpop-jti-first",
    "fapi2-dpop-good-after-all",
    "oauch-DPoP/IsDPoPSupportedTest",
    "oauch-DocumentSupport/RFC9449SupportedTest",
    "rfc9700-20",
)
@pytest.mark.parametrize("curve", ["P-256", "Ed25519"])
def test_a_token_is_bound_to_the_key_that_was_proved(
    shop: Shop, customer: Customer, clock: SettableClock, curve: str
) -> None:
    prover = Prover(clock, jose.private_key(b"k" * 32, curve))
    given = prover.connect(shop, customer)
    assert given["token_type"] == "DPoP"
    for path in ("/purchases", "/purchases?limit=2", "/purchases/changes", "/grant"):
        answer = prover.read(shop, path, given["access_token"])
        assert answer.status_code == 200, answer.get_data(as_text=True)
    one = prover.read(shop, "/purchases", given["access_token"]).get_json()["items"][0]["id"]
    assert prover.read(shop, f"/purchases/{one}", given["access_token"]).status_code == 200


@pytest.mark.meets("fapi2-dpop-extra-claims", "fapi2-check-dpop-proof-nbf-exp")
@pytest.mark.parametrize(
    "claims",
    [
        {"extra": 1, "header": {"kid": "x", "more": [1]}},
        {"nbf": 1_795_000_000, "exp": 1_795_000_300},
        {"iat": 1_795_000_000.5},
    ],
)
def test_what_a_proof_says_beside_does_no_harm(
    prover: Prover, shop: Shop, bound: dict[str, Any], claims: dict[str, Any]
) -> None:
    assert prover.read(shop, "/purchases", bound["access_token"], **claims).status_code == 200


@pytest.mark.meets(
    "fapi2-ensure-dpopproof-with-iat-10seconds-before-succeeds",
    "fapi2-ensure-dpopproof-with-iat-10seconds-after-succeeds",
)
@pytest.mark.parametrize("off", [-AROUND, -10, 10, AROUND])
def test_clocks_may_differ_a_little(
    prover: Prover, shop: Shop, customer: Customer, clock: SettableClock, off: int
) -> None:
    code = customer.approve(handle_of(shop.ask()))
    prover.redeem(shop, "")  # for the nonce
    proof = prover.proof("POST", TOKEN, iat=clock.now() + off)
    given = prover.redeem(shop, code, proof).get_json()
    assert prover.read(shop, "/purchases", given["access_token"], iat=clock.now() + off).status_code == 200


@pytest.mark.meets(
    "fapi2-dpop-htu-with-query",
    "fapi2-dpop-htu-without-query",
    "fapi2-dpop-htu-case",
)
@pytest.mark.parametrize(
    "htu",
    [
        URL + PATH,
        f"{URL}{PATH}?limit=2",
        f"{URL}{PATH}?limit=3#part",
        f"{URL}{PATH}#part",
        f"HTTP://127.0.0.1:8600{PATH}",
        f"{URL}/api/v1/%70urchases",
        f"{URL}/api/./v1/x/../purchases",
    ],
)
def test_one_address_may_be_written_in_several_ways(
    prover: Prover, shop: Shop, bound: dict[str, Any], htu: str
) -> None:
    assert prover.read(shop, "/purchases?limit=2", bound["access_token"], htu=htu).status_code == 200


# ---- what is not: at the resource ------------------------------------------------------------------

Make = Callable[[Prover, str], dict[str, str]]
INVALID = "invalid_dpop_proof"
RSA: dict[str, Any] = dict(RSAKey.generate_key(2048).as_dict(private=True))


def changed(**changes: Any) -> Make:
    return lambda prover, token: prover.headers("GET", PATH, token, **changes)


def sent(make: Callable[[Prover, str], str]) -> Make:
    return lambda prover, token: {"Authorization": f"DPoP {token}", "DPoP": make(prover, token)}


def good(prover: Prover, token: str) -> str:
    return prover.proof("GET", URL + PATH, token)


def by(prover: Prover, token: str, algorithm: str, key: dict[str, Any]) -> str:
    """Signed with RSA, by any algorithm that joserfc knows."""
    header = {"typ": "dpop+jwt", "alg": algorithm, "jwk": public(key)}
    claims = {"htm": "GET", "htu": URL + PATH, "iat": prover.clock.now(), "jti": "x", "ath": hash_of(token)}
    message = b".".join((jose._written(header), jose._written(claims)))
    return (
        f"{message.decode()}.{b64(JWSRegistry.algorithms[algorithm].sign(message, RSAKey.import_key(key)))}"
    )


def unsigned(prover: Prover, token: str) -> str:
    head, claims, _ = prover.proof("GET", URL + PATH, token, {"alg": "none"}).split(".")
    return f"{head}.{claims}."


def mac_with_the_public_key(prover: Prover, token: str) -> str:
    proof = prover.proof("GET", URL + PATH, token, {"alg": "HS256"})
    message = proof.rpartition(".")[0]
    secret = json.dumps(public(prover.key)).encode()
    mac = JWSRegistry.algorithms["HS256"].sign(message.encode(), OctKey.import_key(secret))
    return f"{message}.{b64(mac)}"


def other_signature(prover: Prover, token: str) -> str:
    one, other = good(prover, token), prover.proof("GET", URL + PATH, token)
    return one.rpartition(".")[0] + "." + other.rpartition(".")[2]


def endless(prover: Prover, token: str) -> str:
    """iat 1e999, which JSON has and no clock."""
    claims = {"htm": "GET", "htu": URL + PATH, "jti": "x", "ath": hash_of(token)}
    text = json.dumps(claims)[:-1] + ', "iat": 1e999}'
    header = jose._written({"typ": "dpop+jwt", "alg": "ES256", "jwk": public(prover.key)})
    message = header + b"." + b64(text.encode()).encode()
    signature = JWSRegistry.algorithms["ES256"].sign(message, ECKey.import_key(prover.key))
    return f"{message.decode()}.{b64(signature)}"


NEGATIVES: dict[str, tuple[Make, str]] = {
    "dpop-no-proof": (lambda prover, token: {"Authorization": f"DPoP {token}"}, INVALID),
    "an empty header": (sent(lambda prover, token: ""), INVALID),
    "dpop-two-proofs": (sent(lambda p, t: f"{good(p, t)}, {good(p, t)}"), INVALID),
    "two proofs without a space": (sent(lambda p, t: f"{good(p, t)},{good(p, t)}"), INVALID),
    "dpop-malformed": (sent(lambda p, t: "proof"), INVALID),
    "not JSON": (sent(lambda p, t: "e30.W10.AAAA"), INVALID),
    "cut": (sent(lambda p, t: good(p, t)[:-3]), INVALID),
    "dpop-no-typ": (changed(header={"typ": ABSENT}), INVALID),
    "dpop-wrong-typ": (changed(header={"typ": "JWT"}), INVALID),
    "dpop-no-alg": (changed(header={"alg": ABSENT}), INVALID),
    "dpop-alg-none": (sent(unsigned), INVALID),
    "alg none with a signature": (changed(header={"alg": "none"}), INVALID),
    "HS256": (sent(mac_with_the_public_key), INVALID),
    "dpop-rs256": (sent(lambda p, t: by(p, t, "RS256", RSA)), INVALID),
    "PS512": (sent(lambda p, t: by(p, t, "PS512", RSA)), INVALID),
    "another algorithm than the key's": (changed(header={"alg": "EdDSA"}), INVALID),
    "dpop-no-jwk": (changed(header={"jwk": ABSENT}), INVALID),
    "a kid instead of a key": (changed(header={"jwk": ABSENT, "kid": "1"}), INVALID),
    "dpop-private-key": (
        lambda prover, token: prover.headers("GET", PATH, token, header={"jwk": prover.key}),
        INVALID,
    ),
    "a symmetric key": (changed(header={"jwk": {"kty": "oct", "k": "AAAA"}}), INVALID),
    "crit": (changed(header={"crit": ["exp"]}), INVALID),
    "b64": (changed(header={"b64": True}), INVALID),
    "dpop-bad-signature": (sent(other_signature), INVALID),
    "dpop-no-jti": (changed(jti=ABSENT), INVALID),
    "an empty jti": (changed(jti=""), INVALID),
    "a huge jti": (changed(jti="x" * 257), INVALID),
    "a jti that is no text": (changed(jti=7), INVALID),
    "dpop-no-htm": (changed(htm=ABSENT), INVALID),
    "dpop-wrong-htm": (changed(htm="POST"), INVALID),
    "htm in small letters": (changed(htm="get"), INVALID),
    "dpop-no-htu": (changed(htu=ABSENT), INVALID),
    "dpop-wrong-htu": (changed(htu=f"{URL}/api/v1/grant"), INVALID),
    "another host": (changed(htu=f"http://evil.example{PATH}"), INVALID),
    "another port": (changed(htu=f"http://127.0.0.1:80{PATH}"), INVALID),
    "another scheme": (changed(htu=f"https://127.0.0.1:8600{PATH}"), INVALID),
    "a name before the host": (changed(htu=f"http://x@127.0.0.1:8600{PATH}"), INVALID),
    "a port that is none": (changed(htu=f"http://127.0.0.1:x{PATH}"), INVALID),
    "no host": (changed(htu=f"http://:8600{PATH}"), INVALID),
    "a path only": (changed(htu=PATH), INVALID),
    "a dot behind": (changed(htu=f"{URL}{PATH}/."), INVALID),
    "spaces around": (changed(htu=f" {URL}{PATH} "), INVALID),
    "htu that is no text": (changed(htu=[URL + PATH]), INVALID),
    "dpop-no-iat": (changed(iat=ABSENT), INVALID),
    "dpop-iat-past": (changed(iat=1_795_000_000 - 3600), INVALID),
    "dpop-iat-future": (changed(iat=1_795_000_000 + 3600), INVALID),
    "iat a second too old": (changed(iat=1_795_000_000 - AROUND - 1), INVALID),
    "iat a second too early": (changed(iat=1_795_000_000 + AROUND + 1), INVALID),
    "iat that is no number": (changed(iat="1795000000"), INVALID),
    "iat that is true": (changed(iat=True), INVALID),
    "iat beyond all numbers": (changed(iat=10**400), INVALID),
    "iat at no end": (sent(endless), INVALID),
    "expired": (changed(exp=1_795_000_000), INVALID),
    "not yet": (changed(nbf=1_795_000_000 + 3600), INVALID),
    "dpop-no-ath": (changed(ath=ABSENT), INVALID),
    "dpop-wrong-ath": (changed(ath=hash_of("another token")), INVALID),
    "ath that is no text": (changed(ath=7), INVALID),
    "a foreign nonce": (changed(nonce="AAAAAAAAAAAAAAAAAAAAAA"), "use_dpop_nonce"),
    "a nonce that is no text": (changed(nonce=7), "use_dpop_nonce"),
    "dpop-other-key": (
        lambda prover, token: Prover(prover.clock).headers("GET", PATH, token),
        "invalid_token",
    ),
    "dpop-as-bearer": (lambda prover, token: {"Authorization": f"Bearer {token}"}, "invalid_token"),
    "as bearer beside a proof": (
        lambda p, t: {"Authorization": f"Bearer {t}", "DPoP": good(p, t)},
        "invalid_token",
    ),
}


@pytest.mark.meets(
    "fapi2-dpop-negative-tests",
    "oauch-DPoP/HasRequiredClaimsTest",
    "oauch-DPoP/IsSignatureRequiredTest",
    "fapi2-dpop-no-proof",
    "fapi2-dpop-two-proofs",
    "fapi2-dpop-malformed",
    "fapi2-dpop-no-typ",
    "fapi2-dpop-wrong-typ",
    "fapi2-dpop-no-alg",
    "fapi2-dpop-alg-none",
    "fapi2-dpop-rs256",
    "fapi2-dpop-no-jwk",
    "fapi2-dpop-private-key",
    "fapi2-dpop-bad-signature",
    "fapi2-dpop-no-jti",
    "fapi2-dpop-no-htm",
    "fapi2-dpop-wrong-htm",
    "fapi2-dpop-no-htu",
    "fapi2-dpop-wrong-htu",
    "fapi2-dpop-no-iat",
    "fapi2-dpop-iat-past",
    "fapi2-dpop-iat-future",
    "fapi2-dpop-no-ath",
    "fapi2-dpop-wrong-ath",
    "fapi2-dpop-other-key",
    "fapi2-dpop-as-bearer",
)
@pytest.mark.parametrize(("make", "error"), NEGATIVES.values(), ids=NEGATIVES)
def test_a_bad_proof_reads_nothing(
    prover: Prover,
    shop: Shop,
    bound: dict[str, Any],
    consent: Consent,
    vault: Vault,
    make: Make,
    error: str,
) -> None:
    token = bound["access_token"]
    answer = shop.client.get(PATH, headers=make(prover, token))
    assert answer.status_code == 401, answer.get_data(as_text=True)
    told = answer.headers.getlist("WWW-Authenticate")
    assert f'error="{error}"' in told[0]
    assert sorted(value.split()[0] for value in told) == ["Bearer", "DPoP"]
    assert all('algs="ES256 PS256 EdDSA Ed25519"' in value for value in told if value.startswith("DPoP"))
    assert ("DPoP-Nonce" in answer.headers) == (error == "use_dpop_nonce")
    assert [entry for entry in consent.log.read(vault) if entry.event == "read"] == []
    assert prover.read(shop, "/purchases", token).status_code == 200, "and a right proof still works"


@pytest.mark.meets("fapi2-dpop-jti-replay")
@pytest.mark.parametrize("path", ["/purchases", "/purchases/changes", "/purchases?limit=1", "/grant"])
def test_a_proof_counts_once(
    prover: Prover, shop: Shop, bound: dict[str, Any], consent: Consent, vault: Vault, path: str
) -> None:
    headers = prover.headers("GET", "/api/v1" + path.partition("?")[0], bound["access_token"])
    assert shop.client.get("/api/v1" + path, headers=headers).status_code == 200
    answer = shop.client.get("/api/v1" + path, headers=headers)
    problem(answer, 401, "dpop-proof-used")
    assert 'error="invalid_dpop_proof"' in answer.headers.getlist("WWW-Authenticate")[0]
    assert ("proof used" in notes(consent, vault)) == (path != "/grant")


def test_a_refusal_that_did_nothing_uses_no_proof_up(
    prover: Prover, shop: Shop, bound: dict[str, Any], customer: Customer
) -> None:
    code = customer.approve(handle_of(shop.ask()))
    proof = prover.proof("POST", TOKEN)
    refused(prover.redeem(shop, "vrm_ac_x", proof), 400, "invalid_grant")
    assert prover.redeem(shop, code, proof).status_code == 200
    headers = prover.headers("GET", "/api/v1/purchases", bound["access_token"])
    problem(shop.client.get("/api/v1/purchases?x=1", headers=headers), 400, "invalid-parameter")
    assert shop.client.get("/api/v1/purchases", headers=headers).status_code == 200
    problem(shop.client.get("/api/v1/purchases", headers=headers), 401, "dpop-proof-used")


def test_what_a_refreshed_token_may_is_asked_by_a_proof_that_counts_once(
    prover: Prover, shop: Shop, bound: dict[str, Any]
) -> None:
    fresh = prover.refresh(shop, bound["refresh_token"]).get_json()
    headers = prover.headers("GET", "/api/v1/grant", fresh["access_token"])
    assert shop.client.get("/api/v1/grant", headers=headers).status_code == 200
    problem(shop.client.get("/api/v1/grant", headers=headers), 401, "dpop-proof-used")


def test_where_no_proof_can_be_spent_nothing_leaves(
    prover: Prover, shop: Shop, bound: dict[str, Any], engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("DROP TABLE once")
    for path in ("/purchases", "/grant"):
        problem(prover.read(shop, path, bound["access_token"]), 503, "storage-unavailable")


def test_an_id_counts_once_for_its_key_only(
    prover: Prover, shop: Shop, bound: dict[str, Any], customer: Customer, clock: SettableClock
) -> None:
    """Who hears of an id cannot use it up for its owner."""
    other = Prover(clock)
    token = other.connect(shop, customer)["access_token"]
    assert other.read(shop, "/purchases", token, jti="one").status_code == 200
    assert prover.read(shop, "/purchases", bound["access_token"], jti="one").status_code == 200
    again = prover.read(shop, "/purchases", bound["access_token"], jti="one", iat=clock.now() + 1)
    problem(again, 401, "dpop-proof-used")


def test_a_reading_with_a_proof_is_one_commit(
    prover: Prover, shop: Shop, bound: dict[str, Any], engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover.read(shop, "/purchases", bound["access_token"])  # the first use of a pair deletes its copy
    entered: list[int] = []
    write = SqliteEngine.write

    def counted(self: SqliteEngine) -> Any:
        if not getattr(self._local, "connection", None) or not self._connection().depth:
            entered.append(1)
        return write(self)

    monkeypatch.setattr(SqliteEngine, "write", counted)
    assert prover.read(shop, "/purchases", bound["access_token"]).status_code == 200
    assert len(entered) == 1


def test_who_sends_a_bound_token_without_its_key_is_noted(
    prover: Prover, shop: Shop, bound: dict[str, Any], consent: Consent, vault: Vault, clock: SettableClock
) -> None:
    shop.read("/purchases", bound["access_token"])
    Prover(clock).read(shop, "/purchases", bound["access_token"])
    assert notes(consent, vault) == ["no key", "another key"]


def test_a_proof_beside_a_token_that_is_bound_to_none_reads_nothing(
    prover: Prover, shop: Shop, tokens: dict[str, Any], consent: Consent, vault: Vault
) -> None:
    answer = prover.read(shop, "/purchases", tokens["access_token"])
    problem(answer, 401, "token-invalid")
    assert answer.headers.getlist("WWW-Authenticate")[0].startswith('DPoP realm="vrm", error="invalid_token"')
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200
    assert notes(consent, vault) == []


def test_a_token_of_nobody_is_refused_with_a_good_proof(prover: Prover, shop: Shop) -> None:
    problem(prover.read(shop, "/purchases", "vrm_at_none"), 401, "token-invalid")


# ---- nonces ----------------------------------------------------------------------------------------


def test_a_nonce_is_followed_by_the_next_before_it_ends(
    prover: Prover, shop: Shop, bound: dict[str, Any], clock: SettableClock
) -> None:
    token, first = bound["access_token"], prover.nonce
    assert "DPoP-Nonce" not in prover.read(shop, "/purchases", token).headers
    clock.forward(NONCE_STRETCH)
    answer = prover.read(shop, "/purchases", token)
    assert answer.status_code == 200
    assert answer.headers["DPoP-Nonce"] != first
    clock.forward(NONCE_STRETCH)
    late = prover.read(shop, "/purchases", token)
    problem(late, 401, "dpop-nonce-required")
    assert 'DPoP realm="vrm", error="use_dpop_nonce"' in late.headers.getlist("WWW-Authenticate")[0]
    prover.nonce = late.headers["DPoP-Nonce"]
    assert prover.read(shop, "/purchases", token).status_code == 200


def test_the_token_endpoint_wants_a_nonce_and_spends_nothing_before_it_has_one(
    prover: Prover, shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    code = customer.approve(handle_of(shop.ask()))
    answer = prover.redeem(shop, code, prover.proof("POST", TOKEN))
    refused(answer, 400, "use_dpop_nonce")
    old, prover.nonce = prover.nonce, None
    clock.forward(2 * NONCE_STRETCH - 100)
    refused(prover.redeem(shop, code, prover.proof("POST", TOKEN, nonce=old)), 400, "invalid_grant")
    fresh = customer.approve(handle_of(shop.ask()))
    later = prover.redeem(shop, fresh, prover.proof("POST", TOKEN, nonce=old))
    assert later.status_code == 200
    assert later.headers["DPoP-Nonce"] != old
    clock.forward(NONCE_STRETCH)
    again = prover.refresh(shop, later.get_json()["refresh_token"], prover.proof("POST", TOKEN, nonce=old))
    refused(again, 400, "use_dpop_nonce")


# ---- what is not: at the token endpoint ------------------------------------------------------------

AT_TOKEN: dict[str, Callable[[Prover], str]] = {
    "no JWT": lambda prover: "proof",
    "two": lambda prover: ", ".join([prover.proof("POST", TOKEN)] * 2),
    "another method": lambda prover: prover.proof("GET", TOKEN),
    "another address": lambda prover: prover.proof("POST", f"{URL}/oauth/par"),
    "private key": lambda prover: prover.proof("POST", TOKEN, header={"jwk": prover.key}),
    "none": lambda prover: prover.proof("POST", TOKEN, header={"alg": "none"}),
    "old": lambda prover: prover.proof("POST", TOKEN, iat=prover.clock.now() - 3600),
    "no jti": lambda prover: prover.proof("POST", TOKEN, jti=ABSENT),
    "": lambda prover: "",
}


@pytest.mark.parametrize("make", AT_TOKEN.values(), ids=AT_TOKEN)
def test_a_bad_proof_gets_no_token_and_spends_no_code(
    prover: Prover, shop: Shop, customer: Customer, make: Callable[[Prover], str]
) -> None:
    code = customer.approve(handle_of(shop.ask()))
    prover.redeem(shop, "")  # for the nonce
    refused(prover.redeem(shop, code, make(prover)), 400, "invalid_dpop_proof")
    assert prover.redeem(shop, code).status_code == 200


def test_a_proof_gets_tokens_once(prover: Prover, shop: Shop, customer: Customer) -> None:
    codes = [customer.approve(handle_of(shop.ask())) for _ in range(2)]
    prover.redeem(shop, "")
    proof = prover.proof("POST", TOKEN)
    given = prover.redeem(shop, codes[0], proof).get_json()
    refused(prover.redeem(shop, codes[1], proof), 400, "invalid_dpop_proof")
    refused(prover.refresh(shop, given["refresh_token"], proof), 400, "invalid_dpop_proof")
    assert prover.redeem(shop, codes[1]).status_code == 200
    assert prover.refresh(shop, given["refresh_token"]).status_code == 200


# ---- codes that are bound --------------------------------------------------------------------------


@pytest.mark.meets(
    "fapi2-ensure-dpop-auth-code-binding-success",
    "fapi2-ensure-token-endpoint-fails-with-mismatched-dpop-jkt",
)
def test_a_code_asked_for_with_a_key_is_for_that_key(
    prover: Prover, shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    code = customer.approve(handle_of(shop.ask(dpop_jkt=prover.jkt)))
    refused(Prover(clock).redeem(shop, code), 400, "invalid_grant")
    refused(shop.redeem(code), 400, "invalid_grant")
    assert prover.redeem(shop, code).get_json()["token_type"] == "DPoP"


def push(prover: Prover, shop: Shop, **changes: str | None) -> Any:
    return prover.post(shop, None, "/oauth/par", **shop.question(**changes))


def pushed_code(answer: Any, shop: Shop, customer: Customer) -> str:
    assert answer.status_code == 201, answer.get_data(as_text=True)
    query = {"client_id": shop.vendor.client_id, "request_uri": answer.get_json()["request_uri"]}
    return customer.approve(handle_of(shop.client.get("/oauth/authorize", query_string=query)))


@pytest.mark.meets(
    "fapi2-ensure-dpopproof-at-par-endpoint-binding-success",
    "fapi2-ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt",
)
def test_a_proof_at_the_push_binds_the_code(
    prover: Prover, shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    code = pushed_code(push(prover, shop), shop, customer)
    refused(Prover(clock).redeem(shop, code), 400, "invalid_grant")
    refused(shop.redeem(code), 400, "invalid_grant")
    assert prover.redeem(shop, code).status_code == 200


@pytest.mark.meets("fapi2-ensure-mismatched-dpop-jkt-fails")
def test_proof_and_dpop_jkt_of_a_push_must_agree(prover: Prover, shop: Shop, clock: SettableClock) -> None:
    refused(push(prover, shop, dpop_jkt=Prover(clock).jkt), 400, "invalid_dpop_proof")
    assert push(prover, shop, dpop_jkt=prover.jkt).status_code == 201


def test_a_proof_pushes_once(prover: Prover, shop: Shop, count_requests: Callable[[], int]) -> None:
    refused(prover.post(shop, prover.proof("POST", f"{URL}/oauth/par"), "/oauth/par"), 400, "invalid_request")
    assert push(prover, shop).status_code == 201
    proof, before = prover.proof("POST", f"{URL}/oauth/par"), count_requests()
    assert prover.post(shop, proof, "/oauth/par", **shop.question()).status_code == 201
    refused(prover.post(shop, proof, "/oauth/par", **shop.question()), 400, "invalid_dpop_proof")
    assert count_requests() == before + 1


# ---- refreshing ------------------------------------------------------------------------------------


def test_a_public_vendors_refresh_token_is_bound_to_its_key(
    prover: Prover, app_shop: Shop, customer: Customer, consent: Consent, vault: Vault, clock: SettableClock
) -> None:
    given = prover.connect(app_shop, customer)
    refused(Prover(clock).refresh(app_shop, given["refresh_token"]), 400, "invalid_grant")
    refused(app_shop.refresh(given["refresh_token"]), 400, "invalid_grant")
    assert notes(consent, vault) == ["no key", "no key"]
    again = prover.refresh(app_shop, given["refresh_token"]).get_json()
    assert again["token_type"] == "DPoP"
    assert again["refresh_token"] != given["refresh_token"]
    assert prover.read(app_shop, "/purchases", again["access_token"]).status_code == 200


def test_who_proves_itself_otherwise_may_take_a_new_key_but_not_none(
    prover: Prover,
    shop: Shop,
    bound: dict[str, Any],
    consent: Consent,
    vault: Vault,
    clock: SettableClock,
) -> None:
    refused(shop.refresh(bound["refresh_token"]), 400, "invalid_dpop_proof")
    assert notes(consent, vault) == ["no key"]
    newer = Prover(clock)
    given = newer.refresh(shop, bound["refresh_token"]).get_json()
    assert newer.read(shop, "/purchases", given["access_token"]).status_code == 200
    problem(prover.read(shop, "/purchases", given["access_token"]), 401, "token-invalid")


def test_a_bearer_connection_becomes_a_bound_one(prover: Prover, shop: Shop, tokens: dict[str, Any]) -> None:
    given = prover.refresh(shop, tokens["refresh_token"]).get_json()
    assert given["token_type"] == "DPoP"
    assert prover.read(shop, "/purchases", given["access_token"]).status_code == 200


def test_a_lost_answer_is_given_again_to_the_same_key_only(
    prover: Prover, app_shop: Shop, customer: Customer, clock: SettableClock
) -> None:
    given = prover.connect(app_shop, customer)
    first = prover.refresh(app_shop, given["refresh_token"]).get_json()
    assert prover.refresh(app_shop, given["refresh_token"]).get_json() == first
    refused(Prover(clock).refresh(app_shop, given["refresh_token"]), 400, "invalid_grant")
    refused(prover.refresh(app_shop, first["refresh_token"]), 400, "invalid_grant")  # the grant has ended


def test_a_lost_answer_asked_for_without_a_proof_by_who_proves_itself_otherwise_ends_nothing(
    prover: Prover, shop: Shop, bound: dict[str, Any], consent: Consent, vault: Vault
) -> None:
    first = prover.refresh(shop, bound["refresh_token"]).get_json()
    refused(shop.refresh(bound["refresh_token"]), 400, "invalid_dpop_proof")
    assert notes(consent, vault) == ["no key"]
    assert prover.refresh(shop, bound["refresh_token"]).get_json() == first
    assert prover.read(shop, "/purchases", first["access_token"]).status_code == 200


def test_a_lost_answer_is_given_to_who_proves_itself_otherwise_by_any_key_and_stays_bound_as_it_was(
    prover: Prover, shop: Shop, bound: dict[str, Any], clock: SettableClock
) -> None:
    first, newer = prover.refresh(shop, bound["refresh_token"]).get_json(), Prover(clock)
    assert newer.refresh(shop, bound["refresh_token"]).get_json() == first
    problem(newer.read(shop, "/purchases", first["access_token"]), 401, "token-invalid")
    given = newer.refresh(shop, first["refresh_token"]).get_json()
    assert newer.read(shop, "/purchases", given["access_token"]).status_code == 200


def test_a_lost_bearer_answer_asked_for_with_a_key_is_given_as_it_was(
    prover: Prover, shop: Shop, tokens: dict[str, Any]
) -> None:
    first = shop.refresh(tokens["refresh_token"]).get_json()
    assert prover.refresh(shop, tokens["refresh_token"]).get_json() == first
    assert first["token_type"] == "Bearer"


@pytest.mark.parametrize("late", [False, True], ids=["used", "after-the-time"])
def test_a_spent_token_without_a_proof_ends_the_grant_once_its_answer_was_used_or_its_time_is_over(
    prover: Prover, shop: Shop, bound: dict[str, Any], clock: SettableClock, late: bool
) -> None:
    first = prover.refresh(shop, bound["refresh_token"]).get_json()
    if late:
        clock.forward(21)
    else:
        assert prover.read(shop, "/purchases", first["access_token"]).status_code == 200
    refused(shop.refresh(bound["refresh_token"]), 400, "invalid_grant")
    refused(prover.refresh(shop, first["refresh_token"]), 400, "invalid_grant")


def test_a_public_vendors_spent_token_without_its_key_ends_the_grant(
    prover: Prover, app_shop: Shop, customer: Customer
) -> None:
    given = prover.connect(app_shop, customer)
    first = prover.refresh(app_shop, given["refresh_token"]).get_json()
    refused(app_shop.refresh(given["refresh_token"]), 400, "invalid_grant")
    refused(prover.refresh(app_shop, first["refresh_token"]), 400, "invalid_grant")


# ---- vendors and hosts that ask for it -------------------------------------------------------------


def test_a_vendor_that_always_proves_its_key_gets_nothing_without(
    client: Any, consent: Consent, customer: Customer, clock: SettableClock
) -> None:
    vendor, secret = consent.vendors.add(
        "Careful Books",
        ("https://books.example/cb",),
        dpop_bound=True,
        purpose="ProvideProductRecommendations",
    )
    shop, prover = Shop(client, vendor, secret), Prover(clock)
    code = customer.approve(handle_of(shop.ask()))
    refused(shop.redeem(code), 400, "invalid_dpop_proof")
    given = prover.redeem(shop, code).get_json()
    refused(shop.refresh(given["refresh_token"]), 400, "invalid_dpop_proof")
    assert prover.refresh(shop, given["refresh_token"]).status_code == 200


@pytest.fixture
def constrained(engine: SqliteEngine, vaults: Vaults, clock: SettableClock) -> Consent:
    return Consent(engine, vaults, clock, constrained=True)


@pytest.fixture
def strict_app(
    engine: SqliteEngine, vaults: Vaults, constrained: Consent, settings: Settings, clock: SettableClock
) -> Flask:
    """Every token is bound; clients prove themselves as in the other tests."""
    return create_app(settings, host=Host(settings, engine, vaults, constrained, clock))


@pytest.fixture
def strict_shop(strict_app: Flask, constrained: Consent) -> Shop:
    vendor, secret = constrained.vendors.add("Strict Books", ("https://books.example/cb",))
    return Shop(strict_app.test_client(), vendor, secret)


@pytest.mark.meets("oauch-DPoP/IsDPoPTokenRequiredTest")
def test_a_host_may_ask_for_bound_tokens_of_everybody(
    strict_shop: Shop, constrained: Consent, vault: Vault, purchases: list[str], prover: Prover
) -> None:
    customer = Customer(vault, constrained)
    code = customer.approve(handle_of(strict_shop.ask()))
    refused(strict_shop.redeem(code), 400, "invalid_dpop_proof")
    given = prover.redeem(strict_shop, code).get_json()
    prover.nonce, kept = None, prover.nonce
    answer = prover.read(strict_shop, "/purchases", given["access_token"])
    problem(answer, 401, "dpop-nonce-required")
    [challenge] = answer.headers.getlist("WWW-Authenticate")
    assert challenge.startswith('DPoP realm="vrm", error="use_dpop_nonce", algs=')
    assert answer.headers["DPoP-Nonce"] == kept
    prover.nonce = kept
    assert prover.read(strict_shop, "/purchases", given["access_token"]).status_code == 200
    found = strict_shop.client.get("/.well-known/oauth-protected-resource").get_json()
    assert found["dpop_bound_access_tokens_required"] is True
    assert found["dpop_signing_alg_values_supported"] == ["ES256", "PS256", "EdDSA", "Ed25519"]


def test_a_bearer_token_of_before_reads_nothing_where_all_must_be_bound(
    strict_shop: Shop, shop: Shop, tokens: dict[str, Any]
) -> None:
    assert shop.read("/purchases", tokens["access_token"]).status_code == 200
    problem(strict_shop.read("/purchases", tokens["access_token"]), 401, "token-invalid")


@pytest.mark.meets("fapi2-refresh-token")
def test_under_fapi_a_confidential_vendor_keeps_its_refresh_token(
    strict_shop: Shop,
    constrained: Consent,
    vault: Vault,
    purchases: list[str],
    prover: Prover,
    clock: SettableClock,
) -> None:
    given = prover.connect(strict_shop, Customer(vault, constrained))
    for _ in range(3):
        clock.forward(400)
        again = prover.refresh(strict_shop, given["refresh_token"]).get_json()
        assert again["refresh_token"] == given["refresh_token"]
        assert prover.read(strict_shop, "/purchases", again["access_token"]).status_code == 200
    constrained.grants.revoke(vault, given["grant_id"])
    refused(prover.refresh(strict_shop, given["refresh_token"]), 400, "invalid_grant")


def test_a_refresh_token_that_stays_gives_nothing_after_the_sealed_end(
    strict_shop: Shop,
    constrained: Consent,
    vault: Vault,
    purchases: list[str],
    prover: Prover,
    clock: SettableClock,
    engine: SqliteEngine,
) -> None:
    """It outlives the grant in its own row; and the column beside the sealed end could be edited."""
    code = Customer(vault, constrained).approve(handle_of(strict_shop.ask()), days=1)
    given = prover.redeem(strict_shop, code).get_json()
    assert prover.refresh(strict_shop, given["refresh_token"]).status_code == 200
    with engine.write() as transaction:
        transaction.execute("UPDATE grants SET expires = expires + 1000000")
    clock.forward(86_400)
    refused(prover.refresh(strict_shop, given["refresh_token"]), 400, "invalid_grant")


def test_who_looked_before_the_end_gets_no_token_by_a_refresh_token_that_stays(
    strict_shop: Shop, constrained: Consent, vault: Vault, purchases: list[str], prover: Prover
) -> None:
    """Step by step what happens in a race: the row was read while the grant was live."""
    given = prover.connect(strict_shop, Customer(vault, constrained))
    raw = read_token("refresh", given["refresh_token"])
    row, wrapping = constrained.tokens._find("refresh", raw)
    proof = constrained.proofs.check(prover.proof("POST", TOKEN), "POST", TOKEN)
    constrained.grants.revoke(vault, given["grant_id"])
    rotating = constrained.tokens._rotate(row, wrapping, strict_shop.vendor, None, proof=proof)
    assert constrained.tokens._engine.perform(rotating) is None


def test_under_fapi_a_public_vendors_refresh_token_is_replaced(
    strict_app: Flask, constrained: Consent, vault: Vault, purchases: list[str], prover: Prover
) -> None:
    uri = "http://127.0.0.1/cb"
    vendor, secret = constrained.vendors.add("Pocket", (uri,), public=True)
    shop = Shop(strict_app.test_client(), vendor, secret, redirect_uri=uri)
    given = prover.connect(shop, Customer(vault, constrained))
    assert prover.refresh(shop, given["refresh_token"]).get_json()["refresh_token"] != given["refresh_token"]


# ---- what lies in the database ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["access", "refresh", "code"])
def test_an_edited_table_frees_no_token_from_its_key(
    prover: Prover,
    app_shop: Shop,
    customer: Customer,
    engine: SqliteEngine,
    kind: str,
) -> None:
    """Whatever a token is bound to is sealed in its wrap, which opens with no other token."""
    free = connect(app_shop, customer)
    other = customer.approve(handle_of(app_shop.ask()))
    bound = prover.connect(app_shop, customer)
    mine = customer.approve(handle_of(app_shop.ask(dpop_jkt=prover.jkt)))
    rows = engine.all(
        "SELECT lookup, grant_id, expires, wrapped FROM tokens WHERE kind = ? AND wrapped IS NOT NULL",
        (kind,),
    )
    for lookup, *_ in rows:
        for _, grant_id, expires, wrapped in rows:
            with engine.write() as transaction:
                transaction.execute(
                    "UPDATE tokens SET grant_id = ?, expires = ?, wrapped = ? WHERE lookup = ?",
                    (grant_id, expires, wrapped, lookup),
                )
            tried = {
                "access": lambda: app_shop.read("/purchases", bound["access_token"]).status_code == 401,
                "refresh": lambda: app_shop.refresh(bound["refresh_token"]).status_code == 400,
                "code": lambda: app_shop.redeem(mine).status_code == 400,
            }
            assert tried[kind]()
    assert free
    assert other


def test_deposits_and_their_states_take_a_proof_each(prover: Prover, shop: Shop, customer: Customer) -> None:
    token = prover.connect(shop, customer, scope="purchases:write")["access_token"]
    receipt = {"item": {"title": "Emma"}, "order": {"order_number": "1", "ordered": "2026-06-01"}}

    def send(method: str, path: str, **rest: Any) -> Any:
        headers = {**prover.headers(method, path, token), **rest.pop("headers", {})}
        first = shop.client.open(path, method=method, headers=headers, **rest)
        problem(shop.client.open(path, method=method, headers=headers, **rest), 401, "dpop-proof-used")
        return first

    left = send("POST", PATH, json=receipt, headers={"Idempotency-Key": "one"})
    assert left.status_code == 202, left.get_data(as_text=True)
    at = left.headers["Location"]
    assert send("GET", PATH).get_json()["items"][0]["status"] == "pending"
    assert send("GET", at).status_code == 200
    newer = send("PUT", at, json=receipt, headers={"If-Match": left.headers["ETag"]})
    assert newer.status_code == 202


def test_a_withdrawal_counts_once(prover: Prover, shop: Shop, customer: Customer) -> None:
    token = prover.connect(shop, customer, scope="purchases:write")["access_token"]
    receipt = {"item": {"title": "Emma"}, "order": {"order_number": "1", "ordered": "2026-06-01"}}
    headers = {**prover.headers("POST", PATH, token), "Idempotency-Key": "one"}
    at = shop.client.post(PATH, json=receipt, headers=headers).headers["Location"]
    gone = {**prover.headers("DELETE", at, token), "If-Match": "*"}
    assert shop.client.delete(at, headers=gone).status_code == 202


def test_introspection_names_the_key(prover: Prover, shop: Shop, bound: dict[str, Any]) -> None:
    found = shop.post("/oauth/introspect", token=bound["access_token"]).get_json()
    assert found["cnf"] == {"jkt": prover.jkt}
    assert found["token_type"] == "DPoP"


def test_a_grant_is_looked_up_by_a_bound_token(prover: Prover, shop: Shop, customer: Customer) -> None:
    given = prover.connect(shop, customer, scope="purchases.item:read grant_management_query")
    path = f"/oauth/grants/{given['grant_id']}"
    headers = prover.headers("GET", path, given["access_token"])
    assert shop.client.get(path, headers=headers).status_code == 200
    again = shop.client.get(path, headers=headers)
    assert again.status_code == 401
    assert 'error="invalid_dpop_proof"' in again.headers.getlist("WWW-Authenticate")[0]


def test_the_metadata_names_the_algorithms(shop: Shop) -> None:
    found = shop.client.get("/.well-known/oauth-authorization-server").get_json()
    assert found["dpop_signing_alg_values_supported"] == ["ES256", "PS256", "EdDSA", "Ed25519"]
    resource = shop.client.get("/.well-known/oauth-protected-resource").get_json()
    assert resource["dpop_bound_access_tokens_required"] is False
