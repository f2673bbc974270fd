"""What the suite measures on: vaults, a vendor, grants, tokens, a session; all made by `vrm` itself."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from bench import goods
from bench.proving import Prover
from vrm.app import create_app
from vrm.consent import policy
from vrm.consent.proofs import Proof
from vrm.consent.requests import Choices, Decision
from vrm.consent.scopes import parts_from_scope
from vrm.consent.service import Consent
from vrm.consent.tokens import TokenSet
from vrm.consent.vendors import Vendor
from vrm.host import Host, open_host
from vrm.settings import Settings
from vrm.vault.crypto import KdfLimits
from vrm.vault.vault import Vault

SCOPE = "purchases.item:read"
CALLBACK = "https://books.example/callback"
PURPOSE = "ProvideProductRecommendations"
PASSPHRASE = "seven wet umbrellas in the hall"
# A session is opened without the passphrase while we measure; what Argon2id costs is not asked here.
CHEAP = KdfLimits(memory=19 * 1024, passes=1)


MANY = 10_000_000  # a minute: limits count every request as always, and are never reached
BATCH = 1000  # records stored in one transaction


@dataclass(frozen=True, slots=True)
class Session:
    """A customer's browser: its cookie, and the form for a new purchase, filled in."""

    cookie: str
    form: str  # with {fresh} where the new record's id stands
    token: str  # of the form


class Asked:
    """A vendor's request: to be looked at, then approved."""

    def __init__(self, consent: Consent, vendor: Vendor, scope: str) -> None:
        self.vendor = vendor
        self.verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self._requests = consent.requests
        self._handle = consent.requests.submit(
            vendor,
            parts_from_scope(scope, PURPOSE),
            redirect_uri=CALLBACK,
            state="s",
            code_challenge=base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        ).handle
        self._choices = Choices(fresh=policy.AT_ONCE)

    def preview(self, vault: Vault) -> str:
        """The digest of what would leave."""
        return self._requests.preview(vault, self._handle, self._choices).digest

    def approve(self, vault: Vault, digest: str) -> Decision:
        """What she answers."""
        return self._requests.approve(vault, self._handle, self._choices, digest)


class World:
    """One host's data, which `vrm serve` serves while we mint tokens and count records beside it."""

    def __init__(self, folder: Path, port: int, database_url: str = "") -> None:
        self.settings = Settings(
            data_dir=folder,
            port=port,
            database_url=database_url,
            readings_per_minute=MANY,
            tokens_per_minute=MANY,
            introspections_per_minute=MANY,
            logins_per_minute=MANY,
            failures_per_minute=MANY,
        )
        self.host: Host = open_host(self.settings, limits=CHEAP)
        consent = self.host.consent
        self.vendor, secret = consent.vendors.add("Corner Books", (CALLBACK,), purpose=PURPOSE)
        pair = base64.b64encode(f"{self.vendor.client_id}:{secret}".encode()).decode()
        self.basic = f"Basic {pair}"

    def close(self) -> None:
        """Let go of the database."""
        self.host.engine.close()

    def vault(self, name: str, records: int, *, gifts: bool = True) -> Vault:
        """A vault with so many purchases, half of them gifts, or none of them."""
        vault, code = self.host.vaults.create(name, PASSPHRASE)
        vault.confirm_recovery_code(code)
        table = vault.records("purchases")
        made = goods.valid(records, table.check, gifts=gifts)
        while batch := {table.new_id(): document for document in islice(made, BATCH)}:
            table.apply(batch)
        return vault

    def another_vendor(self, *, jwks: str = "") -> Vendor:
        """One more that may ask; with keys, it proves itself by them."""
        vendors = self.host.consent.vendors
        return vendors.add("Harbour Records", (CALLBACK,), purpose=PURPOSE, jwks=jwks)[0]

    def _proved(self, prover: Prover | None) -> Proof | None:
        if prover is None:
            return None
        url = self.settings.issuer + "/oauth/token"
        return self.host.consent.proofs.check(prover.proof("POST", url), "POST", url)

    def asked(self, vendor: Vendor | None = None, scope: str = SCOPE) -> Asked:
        """A request that a vendor has just made: for what was bought for herself."""
        return Asked(self.host.consent, vendor or self.vendor, scope)

    def connect(
        self,
        vault: Vault,
        vendor: Vendor | None = None,
        scope: str = SCOPE,
        prover: Prover | None = None,
    ) -> TokenSet:
        """A grant over it, and its first tokens; bound to the key of a prover."""
        asked = self.asked(vendor, scope)
        decision = asked.approve(vault, asked.preview(vault))
        return self.host.consent.tokens.redeem(
            decision.code or "", asked.vendor, CALLBACK, asked.verifier, proof=self._proved(prover)
        )

    def refreshed(self, tokens: TokenSet, prover: Prover | None = None) -> TokenSet:
        """The next pair: a fresh access token for the next row of figures."""
        proof = self._proved(prover)
        return self.host.consent.tokens.refresh(tokens.refresh_token, self.vendor, proof=proof)

    def session(self, vault: Vault) -> Session:
        """A browser that is logged in and has the form for a new purchase open."""
        cookie = "vrm=" + vault.open_session()
        client = create_app(self.settings, host=self.host).test_client(use_cookies=False)
        page = client.get("/things/new", headers={"Cookie": cookie})
        if page.status_code != 200:
            raise RuntimeError(f"the form for a new purchase answered {page.status_code}")
        form = filled_in(page.get_data(as_text=True))
        return Session(cookie, form, parse_qs(form)["csrf_token"][0])

    def count(self, vault: Vault) -> int:
        """How many purchases the vault holds."""
        return vault.records("purchases").count()

    def entries(self, vault: str) -> int:
        """How many entries the log of a vault has."""
        row = self.host.engine.one("SELECT count(*) FROM log_entries WHERE vault = ?", (vault,))
        return int(row[0]) if row else 0

    def shared(self, grant_id: str) -> int:
        """How many rows a grant's view holds."""
        row = self.host.engine.one(
            "SELECT count(*) FROM views WHERE grant_id = ? AND sealed IS NOT NULL", (grant_id,)
        )
        return int(row[0]) if row else 0


class _Inputs(HTMLParser):
    """The inputs of the page's form for a record, as a browser would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = False
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "form":
            self.inside = (named.get("action") or "").endswith("/new")
        elif self.inside and tag in {"input", "select", "textarea"} and named.get("name"):
            self.found[str(named["name"])] = named.get("value") or ""


def filled_in(page: str) -> str:
    """The body that a browser posts when the customer has typed what she bought."""
    inputs = _Inputs()
    inputs.feed(page)
    document = next(goods.purchases(1))
    for facet, values in document.items():
        for name, value in values.items():
            if f"{facet}.{name}" in inputs.found:
                inputs.found[f"{facet}.{name}"] = str(value)
    if not {"record", "csrf_token", "item.title", "context.for"} <= inputs.found.keys():
        raise RuntimeError(f"the form has other inputs than expected: {sorted(inputs.found)}")
    body, number = re.subn(r"(?<=record=)[0-9a-f]{32}", "{fresh}", urlencode(inputs.found))
    if number != 1:
        raise RuntimeError("the form names no new record")
    return body
