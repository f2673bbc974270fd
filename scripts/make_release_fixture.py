"""Freeze a small data folder as this version writes it: what every later version must still open.

Run it once on the commit of a release and commit what it writes to `tests/fixtures/releases/VERSION/`:
`data.tar.xz` (database and server key; the key is made here and guards nothing else) and `manifest.json`,
which says what must be found in it afterwards: every record, passphrase, recovery code, token and log line.
It never overwrites: what a released version wrote does not change.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from vrm import __version__, samples  # noqa: E402 - after the path is set
from vrm.app import create_app  # noqa: E402
from vrm.consent.asking import StoredRequest  # noqa: E402
from vrm.consent.requests import Choices  # noqa: E402
from vrm.consent.scopes import check_details, parts_from_scope  # noqa: E402
from vrm.consent.tokens import TokenSet  # noqa: E402
from vrm.consent.vendors import Vendor  # noqa: E402
from vrm.errors import InsufficientScopeError  # noqa: E402
from vrm.host import Host, open_host  # noqa: E402
from vrm.settings import Settings  # noqa: E402
from vrm.vault import intake, sorting  # noqa: E402
from vrm.vault.catalog import CATALOG  # noqa: E402
from vrm.vault.crypto import KdfLimits  # noqa: E402
from vrm.vault.invitations import Invitations  # noqa: E402
from vrm.vault.vault import Vault  # noqa: E402

AT = 1_795_000_000  # seconds: the day on which all of it happens, 18 November 2026
CHEAP = KdfLimits(memory=19 * 1024, passes=1, lanes=1)
CALLBACK = "https://vendor.example/callback"
LINES = 14  # of the sample's order history
PURPOSE = "ProvideProductRecommendations"
PASSPHRASES = {"alice": "correct horse battery staple", "bob": "a second phrase of four words"}

Manifest = dict[str, Any]


class _Clock:
    """Each act happens a second after the one before."""

    at = AT

    def now(self) -> int:
        return self.at


@dataclass
class Shop:
    """A registered vendor and what it keeps."""

    vendor: Vendor
    secret: str | None

    @property
    def verifier(self) -> str:
        return hashlib.sha256(self.vendor.client_id.encode()).hexdigest()

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def told(self) -> Manifest:
        """What the manifest says of it."""
        return {
            "client_id": self.vendor.client_id,
            "name": self.vendor.name,
            "secret": self.secret,
            "redirect_uri": CALLBACK,
            "verifier": self.verifier,
        }


def part(*datatypes: str, **limits: Any) -> dict[str, Any]:
    """A part of a request."""
    return {"type": "vrm_access", "datatypes": list(datatypes), "purpose": PURPOSE, **limits}


def register(host: Host, name: str, **rest: Any) -> Shop:
    """A vendor of this host."""
    return Shop(*host.consent.vendors.add(name, [CALLBACK], purpose=PURPOSE, **rest))


def ask(host: Host, shop: Shop, *parts: dict[str, Any]) -> StoredRequest:
    """A request of this vendor that waits."""
    return host.consent.requests.submit(
        shop.vendor,
        check_details(list(parts), beside_scope=True),
        redirect_uri=CALLBACK,
        state="st4te",
        code_challenge=shop.challenge,
    )


def approve(host: Host, vault: Vault, request: StoredRequest, **choices: Any) -> tuple[str, str]:
    """(grant, code)"""
    chosen = Choices(**choices)
    digest = host.consent.requests.preview(vault, request.handle, chosen).digest
    decision = host.consent.requests.approve(vault, request.handle, chosen, digest)
    return str(decision.grant_id), str(decision.code)


def redeem(host: Host, shop: Shop, code: str) -> TokenSet:
    """Tokens for a code."""
    return host.consent.tokens.redeem(code, shop.vendor, CALLBACK, shop.verifier)


def fill(vault: Vault) -> None:
    """Imported purchases, most of them sorted, and what she typed herself."""
    export = samples.path().joinpath("Retail.OrderHistory.1.csv").read_bytes()
    lines = b"".join(export.splitlines(keepends=True)[: LINES + 1])
    intake.bring_in(vault, [("Retail.OrderHistory.1.csv", io.BytesIO(lines))])
    purchases = vault.records("purchases")
    pairs = sorted(purchases.scan())
    changed = sorting.answer(pairs[:8], "self", True) + sorting.answer(pairs[8:11], "gift", False)
    for record, document in changed:
        purchases.put(document, record)
    vault.records("preferences").put({"statement": {"topic": "Crime novels", "strength": "like"}})
    vault.records("profile").put({"name": {"given": "Alice", "family": "Rowan"}, "sizes": {"shoes": "39"}})


def share(host: Host, vault: Vault, clock: _Clock) -> Manifest:
    """Vendors, grants in every state, tokens, refusals, and requests that wait."""
    shops = {
        "reading": register(host, "Corner Books"),
        "ended": register(host, "Pocket Reader", public=True),
        "correcting": register(host, "Big Shop", sells_as=["amazon.com"]),
        "blocked": register(host, "Closed Shop"),
        "writing": register(host, "Pharmacy"),
    }
    reading = _read(host, vault, shops["reading"], clock)
    ended, code = approve(host, vault, ask(host, shops["ended"], part("purchases.item")))
    dead = redeem(host, shops["ended"], code)
    host.consent.grants.revoke(vault, ended)
    clock.at += 1
    asked = ask(host, shops["correcting"], part("answers.corrections"))
    correcting, code = approve(host, vault, asked, sellers=("amazon.com",))
    answering = redeem(host, shops["correcting"], code)
    access = host.consent.reader.authenticate(answering.access_token)
    answer = json.loads(host.consent.reader.answer(access, "corrections"))
    host.consent.sweeping.block(shops["blocked"].vendor.client_id)
    _, unspent = approve(host, vault, ask(host, shops["ended"], part("profile.sizes")))
    waiting = ask(host, shops["reading"], part("preferences.statement"))
    writing = _write(host, vault, shops["writing"], clock)
    return {
        "writing": writing,
        "vendors": {name: shop.told() for name, shop in shops.items()},
        "reading": reading,
        "ended": {"grant": ended, "access_token": dead.access_token, "refresh_token": dead.refresh_token},
        "correcting": {"grant": correcting, "access_token": answering.access_token, "answer": answer},
        "code": {"vendor": "ended", "code": unspent},
        "request": {"handle": waiting.handle, "number": waiting.number},
    }


def _read(host: Host, vault: Vault, shop: Shop, clock: _Clock) -> Manifest:
    """A grant that is read, refused more, and changed by an edit that the vendor has not seen yet."""
    basic = part("purchases.item", "purchases.order", period="P2Y")
    request = ask(host, shop, basic, part("purchases.price", necessity="optional"))
    excluded = min(record for record, document in vault.records("purchases").scan() if _own(document))
    grant, code = approve(host, vault, request, exclude=frozenset({excluded}))
    tokens = redeem(host, shop, code)
    reader = host.consent.reader
    clock.at += 1
    access = reader.authenticate(tokens.access_token)
    before, cursor, _ = reader.changes(access, "purchases")
    try:
        reader.page(access, "profile")
    except InsufficientScopeError:
        clock.at += 1
    gone = max(record for record, document in vault.records("purchases").scan() if _own(document))
    document = vault.records("purchases").get(gone)
    vault.records("purchases").put({**document, "context": {"for": "gift"}}, gone)
    clock.at += 1
    fresh = host.consent.tokens.refresh(tokens.refresh_token, shop.vendor)
    rows = [json.loads(row) for row in reader.page(access, "purchases", limit=500)[0]]
    return {
        "grant": grant,
        "access_token": fresh.access_token,
        "refresh_token": fresh.refresh_token,
        "scope": fresh.scope,
        "rows": rows,
        "cursor": cursor,
        "gone": sorted({json.loads(row)["id"] for row in before} - {row["id"] for row in rows}),
    }


def _write(host: Host, vault: Vault, shop: Shop, clock: _Clock) -> Manifest:
    """A grant under which one receipt was filed, and another waits."""
    request = ask(host, shop, *parts_from_scope("purchases:write", PURPOSE))
    _, code = approve(host, vault, request)
    token = redeem(host, shop, code).access_token
    access, left = host.consent.reader.authenticate(token), {}
    for number, status in enumerate(("filed", "pending"), 1):
        receipt = {"item": {"title": f"Receipt {number}"}, "order": {"order_number": f"R-{number}"}}
        state, _ = host.consent.deposits.submit(access, "purchases", receipt, f"receipt-{number}")
        left[status] = {"id": state.item.hex(), "title": f"Receipt {number}"}
        if status == "filed":
            host.consent.at_unlock(vault)
        clock.at += 1
    return {"access_token": token, **left}


def _own(document: dict[str, dict[str, Any]]) -> bool:
    return document.get("context", {}).get("for") == "self"


def told(host: Host, vault: Vault) -> Manifest:
    """What one customer must find again."""
    records = {kind.name: dict(sorted(vault.records(kind.name).scan())) for kind in CATALOG}
    log = [
        [entry.at, entry.event, entry.grant_id, entry.vendor_name, entry.stream, entry.count, entry.reason]
        for entry in host.consent.log.read(vault, 10_000)
    ]
    return {"vault": vault.id, "records": records, "log": log}


def freeze(folder: Path) -> Manifest:
    """Write a data folder; returns its manifest."""
    clock = _Clock()
    settings = Settings(data_dir=folder, public_url="http://127.0.0.1:8600")
    host = open_host(settings, clock=clock, limits=CHEAP)
    create_app(settings, host=host)  # the tables of the pages, too
    made = {name: host.vaults.create(name, phrase) for name, phrase in PASSPHRASES.items()}
    alice = made["alice"][0]
    fill(alice)
    alice.confirm_recovery_code(made["alice"][1])
    made["bob"][0].records("preferences").put({"statement": {"topic": "Tea", "strength": "like"}})
    shared = share(host, alice, clock)
    manifest = {
        "version": __version__,
        "schemas": dict(host.engine.all("SELECT name, version FROM schemas ORDER BY name")),
        "at": clock.at,
        "vaults": {
            name: {"passphrase": PASSPHRASES[name], "recovery_code": code, **told(host, vault)}
            for name, (vault, code) in made.items()
        },
        "invitation": Invitations.of(host.vaults).make(7)[1],
        "session": {"vault": "alice", "secret": alice.open_session()},
        **shared,
    }
    host.engine.purge()
    host.engine.close()
    return manifest


def main() -> int:
    """Write the fixture of this version."""
    target = ROOT / "tests" / "fixtures" / "releases" / __version__
    if target.exists() or "dev" in __version__:
        print(f"error: {__version__} is not a release without a fixture", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "data"
        manifest = freeze(folder)
        target.mkdir(parents=True)
        with tarfile.open(target / "data.tar.xz", "w:xz") as archive:
            for name in ("vrm.db", "server.key"):
                archive.add(folder / name, name)
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
