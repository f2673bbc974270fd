"""What the suite measures on: vaults, a vendor, grants, tokens, a session; all made by `vrm` itself."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

from bench import goods
from bench.proving import Prover
from vrm.app import Host, create_app, open_host
from vrm.consent import policy
from vrm.consent.proofs import Proof
from vrm.consent.requests import Choices
from vrm.consent.scopes import parts_from_scope
from vrm.consent.tokens import TokenSet
from vrm.consent.vendors import Vendor
from vrm.settings import Settings
from vrm.vault.crypto import KdfLimits
from vrm.vault.vault import Vault

SCOPE = "purchases.item:read"
CALLBACK = "https://books.example/callback"
PURPOSE = "ProvideProductRecommendations"
PASSPHRASE = "seven wet umbrellas in the hall"
# A session is opened without the passphrase while we measure; what Argon2id costs is not asked here.
CHEAP = KdfLimits(memory=19 * 1024, passes=1)


@dataclass(frozen=True, slots=True)
class Session:
    """A customer's browser: its cookie, and the form for a new purchase, filled in."""

    cookie: str
    form: str  # with {fresh} where the new record's id stands


class World:
    """One data directory that `vrm serve` serves while we mint tokens and count records beside it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.settings = Settings(data_dir=folder, port=port)
        self.host: Host = open_host(self.settings, limits=CHEAP)
        consent = self.host.consent
        self.vendor, secret = consent.vendors.add("Corner Books", (CALLBACK,), purpose=PURPOSE)
        pair = base64.b64encode(f"{self.vendor.client_id}:{secret}".encode()).decode()
        self.basic = f"Basic {pair}"

    def close(self) -> None:
        """Let go of the database."""
        self.host.engine.close()

    def vault(self, name: str, records: int) -> Vault:
        """A vault with so many purchases, half of them gifts."""
        vault, code = self.host.vaults.create(name, PASSPHRASE)
        vault.confirm_recovery_code(code)
        table = vault.records("purchases")
        table.apply({table.new_id(): table.check(document) for document in goods.purchases(records)})
        return vault

    def _proved(self, prover: Prover | None) -> Proof | None:
        if prover is None:
            return None
        url = self.settings.issuer + "/oauth/token"
        return self.host.consent.proofs.check(prover.proof("POST", url), "POST", url)

    def connect(
        self,
        vault: Vault,
        vendor: Vendor | None = None,
        scope: str = SCOPE,
        prover: Prover | None = None,
    ) -> TokenSet:
        """A grant over what was bought for herself, and its first tokens; bound to the key of a prover."""
        consent, vendor = self.host.consent, vendor or self.vendor
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        stored = consent.requests.submit(
            vendor,
            parts_from_scope(scope, PURPOSE),
            redirect_uri=CALLBACK,
            state="s",
            code_challenge=challenge,
        )
        choices = Choices(fresh=policy.AT_ONCE)
        shown = consent.requests.preview(vault, stored.handle, choices)
        decision = consent.requests.approve(vault, stored.handle, choices, shown.digest)
        proof = self._proved(prover)
        return consent.tokens.redeem(decision.code or "", vendor, CALLBACK, verifier, proof=proof)

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
        return Session(cookie, filled_in(page.get_data(as_text=True)))

    def count(self, vault: Vault) -> int:
        """How many purchases the vault holds."""
        return vault.records("purchases").count()

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
