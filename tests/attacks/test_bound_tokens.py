"""A thief has what is bound to a vendor's key, but not the key: it opens nothing, and she is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.api.proving import TOKEN, URL, Prover
from tests.attacks.actors import CALLBACK, Customer, Vendor
from tests.conftest import SettableClock
from vrm.consent.proofs import Proof
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.errors import CodeError, ProofError, ReplayError, TokenError

AT = f"{URL}/api/v1/purchases"


@pytest.fixture
def prover(clock: SettableClock) -> Prover:
    return Prover(clock)


@pytest.fixture
def app(consent: Consent) -> Vendor:
    """A public vendor: nothing but its key tells it from others."""
    return Vendor.register(consent, "Pocket Reader", public=True)


def proved(consent: Consent, prover: Prover, method: str, url: str, token: str = "") -> Proof:
    return consent.proofs.check(prover.proof(method, url, token), method, url, token=token)


@pytest.fixture
def bound(app: Vendor, customer: Customer, prover: Prover) -> TokenSet:
    customer.buy("Kindred")
    code = customer.approve(app.ask())
    proof = proved(app.consent, prover, "POST", TOKEN)
    return app.consent.tokens.redeem(code, app.registered, CALLBACK, app.verifier, proof=proof)


def reasons(customer: Customer) -> list[str]:
    return [entry.reason for entry in customer.consent.log.read(customer.vault) if entry.event == "refused"]


def titles(consent: Consent, token: str, proof: Proof | None) -> int:
    rows, _ = consent.reader.page(consent.reader.authenticate(token, proof), "purchases")
    return len(rows)


def test_a_bound_token_alone_reads_nothing_and_the_customer_is_told(
    bound: TokenSet, customer: Customer, consent: Consent, prover: Prover, clock: SettableClock
) -> None:
    thief, token = Prover(clock), bound.access_token
    for proof in (None, proved(consent, thief, "GET", AT, token)):
        with pytest.raises(TokenError):
            titles(consent, token, proof)
    assert reasons(customer) == ["another key", "no key"]
    assert titles(consent, token, proved(consent, prover, "GET", AT, token)) == 1


def test_a_bound_token_and_a_proof_that_was_overheard_read_nothing(
    bound: TokenSet, customer: Customer, consent: Consent, prover: Prover, clock: SettableClock
) -> None:
    token = bound.access_token
    heard = prover.proof("GET", AT, token)

    def again(url: str = AT, of: str = token) -> int:
        return titles(consent, token, consent.proofs.check(heard, "GET", url, token=of))

    assert again() == 1
    tries: list[Callable[[], int]] = [
        again,
        lambda: again(f"{URL}/api/v1/profile"),
        lambda: again(of="another"),
    ]
    for one in tries:
        with pytest.raises(ProofError):
            one()
    clock.forward(61)
    with pytest.raises(ProofError):
        again()
    assert reasons(customer) == ["proof used"]


def test_a_bound_refresh_token_and_a_bound_code_alone_get_no_token(
    bound: TokenSet, app: Vendor, customer: Customer, consent: Consent, prover: Prover, clock: SettableClock
) -> None:
    code, thief = customer.approve(app.ask(jkt=prover.jkt)), Prover(clock)
    for proof in (None, proved(consent, thief, "POST", TOKEN)):
        with pytest.raises(CodeError):
            consent.tokens.refresh(bound.refresh_token, app.registered, proof=proof)
        with pytest.raises(CodeError):
            consent.tokens.redeem(code, app.registered, CALLBACK, app.verifier, proof=proof)
    assert reasons(customer) == ["no key", "no key"]
    heard = proved(consent, prover, "POST", TOKEN)
    given = consent.tokens.refresh(bound.refresh_token, app.registered, proof=heard)
    heard.spent = False  # the same one, sent again
    with pytest.raises(ReplayError):
        consent.tokens.redeem(code, app.registered, CALLBACK, app.verifier, proof=heard)
    assert given.jkt == prover.jkt
