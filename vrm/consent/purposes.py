"""Why a vendor may ask: a fixed list of purposes from the Data Privacy Vocabulary (W3C DPV 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from vrm.errors import ScopeError
from vrm.vault.catalog import N_

DPV = "https://w3id.org/dpv#"


@dataclass(frozen=True, slots=True)
class Purpose:
    """A DPV purpose and what it means to a person."""

    id: str
    label: str
    explain: str


_TABLE = (
    Purpose(
        "RequestedServiceProvision", N_("To do what you asked them for"), N_("Only what the service needs.")
    ),
    Purpose("DeliveryOfGoods", N_("To deliver what you bought"), N_("Nothing beyond the delivery.")),
    Purpose(
        "CustomerOrderManagement", N_("To look after your orders"), N_("Orders, returns and changes to them.")
    ),
    Purpose(
        "CustomerCare",
        N_("To help you with a question"),
        N_("So that you need not explain everything twice."),
    ),
    Purpose("CustomerClaimsManagement", N_("To settle a claim"), N_("Warranties, complaints and refunds.")),
    Purpose(
        "ProvideProductRecommendations",
        N_("To recommend products to you"),
        N_("They choose what to show you by it."),
    ),
    Purpose(
        "Personalisation",
        N_("To fit their service to you"),
        N_("What you see may differ from what others see."),
    ),
    Purpose("PersonalisedBenefits", N_("To offer you benefits"), N_("Discounts or gifts chosen for you.")),
    Purpose(
        "OptimisationForConsumer",
        N_("To make their service better for you"),
        N_("Changes meant to help you."),
    ),
    Purpose("DirectMarketing", N_("To send you advertising"), N_("They may write to you because of it.")),
    Purpose("ResearchAndDevelopment", N_("For research"), N_("They learn from it for new products.")),
)
PURPOSES: dict[str, Purpose] = {purpose.id: purpose for purpose in _TABLE}


def purpose(name: str) -> Purpose:
    """The purpose of that id, with or without DPV's prefix; ScopeError for one that is not on the list."""
    short = name.removeprefix(DPV).removeprefix("dpv:")
    if short not in PURPOSES:
        raise ScopeError(f"purpose {short[:60]!r} is not one this vault knows")
    return PURPOSES[short]
