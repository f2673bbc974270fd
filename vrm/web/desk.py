"""What every page has at hand: the vaults, consent, the settings, the clock.

One `Desk` per app, kept in `app.extensions`; the unlocked vault of the request lives in `flask.g`
and nowhere else, so that it is gone when the answer is.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Blueprint, current_app, g

from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault.vault import Vault, Vaults
from vrm.web.limits import Limits
from vrm.web.tally import Tally

if TYPE_CHECKING:
    from vrm.vault.schemas import Document

EXTENSION = "vrm.web"

web = Blueprint(
    "web", "vrm.web", template_folder="templates", static_folder="static", static_url_path="/assets"
)


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts that pages work with."""

    vaults: Vaults
    consent: Consent
    settings: Settings
    clock: Clock
    limits: Limits
    tally: Tally = field(default_factory=Tally)

    @property
    def https(self) -> bool:
        """Whether customers reach this vault over TLS."""
        return not self.settings.on_loopback

    @property
    def host(self) -> str:
        """The name under which customers know this vault."""
        return urlsplit(self.settings.issuer).netloc

    def cookie(self, purpose: str) -> str:
        """The name of a cookie: `__Host-vrm…`, or `vrm…` on loopback http, where browsers drop the former."""
        name = f"vrm-{purpose}" if purpose else "vrm"
        return f"__Host-{name}" if self.https else name


def desk() -> Desk:
    """The desk of the app that answers this request."""
    found: Desk = current_app.extensions[EXTENSION]
    return found


def vault() -> Vault:
    """The unlocked vault of this request; pages behind the log-in always have one."""
    found: Vault = g.vault
    return found


def readable(
    collection: str, facets: Collection[str] = (), among: Container[str] | None = None
) -> Iterator[tuple[str, Document]]:
    """Every (id, document) that opens: one that was altered must not keep a page from being shown.

    With `facets`, documents of these only, and with `among` these records only: opening is what costs.
    """
    return vault().records(collection).readable(facets, among)
