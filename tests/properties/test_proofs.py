"""A law of proofs of possession: whatever is changed in one, it is none any more."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.proving import Prover, b64, signed
from tests.conftest import SettableClock
from vrm import jose
from vrm.consent.once import Once
from vrm.consent.proofs import Proofs
from vrm.errors import ProofError
from vrm.vault.crypto import Key
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine

URL = "https://vault.example/api/v1/purchases"
TOKEN = "vrm_at_token"
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=300)
JSON = st.none() | st.booleans() | NUMBERS | TEXTS | st.lists(st.integers(), max_size=2)
LAW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def proofs(engine: SqliteEngine, clock: SettableClock) -> Proofs:
    return Proofs(ServerKey(Key(bytes(32))), Once(engine, clock), clock)


@pytest.fixture
def prover(clock: SettableClock, proofs: Proofs) -> Prover:
    return Prover(clock, jose.private_key(b"k" * 32), proofs.nonce)


def check(proofs: Proofs, proof: str) -> None:
    proofs.check(proof, "GET", URL, token=TOKEN, nonce=True)


@LAW
@given(
    at=st.integers(min_value=0),
    char=st.sampled_from("AQgw-_9.=, \n"),
    how=st.sampled_from(["put", "set", "cut"]),
)
def test_no_changed_proof_is_taken(proofs: Proofs, prover: Prover, at: int, char: str, how: str) -> None:
    """One character more, less or another, anywhere."""
    good = prover.proof("GET", URL, TOKEN)
    check(proofs, good)
    at %= len(good)
    changed = good[:at] + ("" if how == "cut" else char) + good[at + (how != "put") :]
    if changed != good:
        with pytest.raises(ProofError):
            check(proofs, changed)


@LAW
@given(name=st.sampled_from(["htm", "htu", "iat", "jti", "ath", "nonce"]), value=JSON)
def test_no_other_claim_is_taken_however_well_it_is_signed(
    proofs: Proofs, prover: Prover, name: str, value: object
) -> None:
    proof = prover.proof("GET", URL, TOKEN, **{name: value})
    if name == "jti" and isinstance(value, str) and 0 < len(value) <= 256:
        check(proofs, proof)  # any id will do
        return
    near = name == "iat" and isinstance(value, int | float) and abs(value - prover.clock.now()) <= 60
    if not near:
        with pytest.raises(ProofError):
            check(proofs, proof)


@LAW
@given(header=st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "b64"]), JSON, min_size=1))
def test_no_other_header_is_taken_however_well_it_is_signed(
    proofs: Proofs, prover: Prover, header: dict[str, object]
) -> None:
    with pytest.raises(ProofError):
        check(proofs, prover.proof("GET", URL, TOKEN, header))


@LAW
@given(header=st.binary(max_size=200), claims=st.binary(max_size=200))
def test_no_bytes_that_anybody_signs_are_a_proof(
    proofs: Proofs, prover: Prover, header: bytes, claims: bytes
) -> None:
    signature = signed({"alg": "ES256"}, {}, prover.key).rpartition(".")[2]
    with pytest.raises(ProofError):
        check(proofs, f"{b64(header)}.{b64(claims)}.{signature}")
