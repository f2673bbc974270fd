"""Who sits at the browser, what they answer, and what happens next: the acts of the sandbox."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from vrm.clock import SystemClock, rfc3339, today
from vrm.consent.requests import Choices
from vrm.errors import ValidationError
from vrm.host import Host
from vrm.sandbox.people import NAMES, PASSPHRASE
from vrm.vault.vault import Vault

ASK = "ask"
ANSWERS = {
    ASK: "shows the pages: log in and decide by hand",
    "approve": "shares all that was asked for, optional parts too",
    "required": "shares what is required and no optional part",
    "decline": "shares nothing",
}
FARTHEST = 400  # days that one act can move the clock
_STEP = 43_200  # seconds


class TravelClock(SystemClock):
    """The machine's clock, moved forward. Never back: what was signed would come from the future."""

    def __init__(self) -> None:
        self._ahead = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        return super().now() + self._ahead

    def forward(self, seconds: int) -> None:
        """Move on by so many seconds."""
        with self._lock:
            self._ahead += seconds


@dataclass
class Stage:
    """The sandbox as it stands; in the memory of its one process."""

    host: Host
    clock: TravelClock
    person: str = NAMES[0]
    answer: str = ASK

    def seat(self, person: str, answer: str) -> None:
        """Who meets the next request, and how it is answered."""
        if answer not in ANSWERS:
            raise ValidationError(fields={"answer": [f"is one of {', '.join(ANSWERS)}"]})
        self.person, self.answer = _known(person), answer

    def decide(self, handle: str) -> tuple[str, dict[str, str]] | None:
        """The answer to a request: (redirect address, parameters), or None where its vendor polls."""
        requests, vault = self.host.consent.requests, self.vault(self.person)
        stored = requests.asked(vault, handle)
        if self.answer == "decline":
            decision = requests.decline(vault, handle)
        else:
            every = frozenset(str(index) for index, _ in enumerate(stored.parts))
            choices = Choices(optional=every if self.answer == "approve" else frozenset())
            digest = requests.preview(vault, handle, choices).digest
            decision = requests.approve(vault, handle, choices, digest, str(stored.number))
        if decision.by_poll:
            return None
        said = {"code": decision.code} if decision.code else {"error": "access_denied"}
        said |= {"state": decision.state, "iss": self.host.settings.issuer}
        return decision.redirect_uri, said

    def stop(self, person: str, *, erase: bool = False) -> int:
        """She stops every connection, now; returns how many."""
        vault, grants = self.vault(person), self.host.consent.grants
        live = [grant for grant in grants.listing(vault) if grant.state == "live"]
        for grant in live:
            grants.revoke(vault, grant.id, erase=erase)
        return len(live)

    def narrow(self, person: str) -> int:
        """She takes the last thing out of what each connection may read; the last one of all stops it."""
        vault, grants = self.vault(person), self.host.consent.grants
        live = [grant for grant in grants.listing(vault) if grant.state == "live"]
        for grant in live:
            grants.narrow(vault, grant.id, drop=frozenset(grant.agreement.scopes[-1:]))
        return len(live)

    def buy(self, person: str, title: str) -> str:
        """She buys something and lets every connection see it; returns its title."""
        vault = self.vault(person)
        title = " ".join(title.split())[:200] or "A new book"
        record = vault.records("purchases").put(
            {
                "item": {"title": title, "category": "books"},
                "order": {"seller": "books.example", "ordered": today(self.clock).isoformat()},
                "context": {"for": "self"},
            }
        )
        arrivals = self.host.consent.arrivals
        for grant_id in arrivals.waiting(vault):
            arrivals.admit(vault, grant_id, frozenset({record}))
        return title

    def visit(self, person: str) -> None:
        """She opens her vault: what vendors left is filed, what is over is taken out."""
        self.host.consent.at_unlock(self.vault(person))

    def travel(self, days: int) -> str:
        """So many days pass; returns the new time. What has expired ends, as the sweep would do."""
        if not 0 < days <= FARTHEST:
            raise ValidationError(fields={"days": [f"is a whole number from 1 to {FARTHEST}"]})
        for _ in range(2 * days):  # in steps that the sweep does not take for a broken clock
            self.clock.forward(_STEP)
            self.host.consent.sweep()
        return rfc3339(self.clock.now())

    def vault(self, person: str) -> Vault:
        """Her open vault."""
        return self.host.vaults.unlock(_known(person), PASSPHRASE)


def _known(person: str) -> str:
    if person not in NAMES:
        raise ValidationError(fields={"person": [f"is one of {', '.join(NAMES)}"]})
    return person
