"""The terms under which a vendor may ask, by their MyTerms id (IEEE 7012; DPV's names for them).

Promises: only ids of the roster below are taken, and each is said in plain words before anything is shared;
nothing is negotiated here, and what the vendor does with what it has read rests on its word. Refuses every
other id: terms that nobody can read are none.
"""

from __future__ import annotations

from dataclasses import dataclass

from vrm.errors import ScopeError
from vrm.vault.catalog import N_


@dataclass(frozen=True, slots=True)
class Terms:
    """One set of terms and what it means to a person."""

    id: str
    says: str
    portable: bool = False  # the vendor owes her what it has of her, to take elsewhere


_SERVICE = N_("Only to do what you asked them for. No statistics, no tracking, no profiling, nobody else.")
_ANALYTICS = N_("To do what you asked them for, and for statistics of their own. No tracking, no profiling.")
_TRACKING = N_("Also to follow what you do with them over time. No profiling, nobody else.")
_PROFILING = N_("Also to make a profile of you. Nobody else.")
_ANONYMOUS = N_("Also to make a profile of you, and to pass on to others what names nobody.")
_LADDER = (
    ("SD-BASE", _SERVICE),
    ("SD-BASE-A", _ANALYTICS),
    ("SD-BASE-AT", _TRACKING),
    ("SD-BASE-ATP", _PROFILING),
    ("SD-BASE-ATP-S3P", _ANONYMOUS),
)
TERMS: dict[str, Terms] = {
    terms.id: terms
    for terms in (
        *(Terms(name, says) for name, says in _LADDER),
        *(Terms(f"{name}-DP", says, portable=True) for name, says in _LADDER),
        Terms("PDC-INTENT", N_("Only to answer what you are looking for."), portable=True),
        Terms("PDC-AI", N_("To train or run artificial intelligence with it."), portable=True),
        Terms("PDC-GOOD", N_("For the public good, such as research."), portable=True),
    )
}


def require_terms(name: str) -> str:
    """The id itself; ScopeError for one that is not in the roster."""
    if name not in TERMS:
        raise ScopeError(f"authorization_details: terms {name[:40]!r} are not in the roster")
    return name
