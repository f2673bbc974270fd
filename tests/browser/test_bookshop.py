"""The shop's side in a real browser: connect, be asked, share, see what the shop holds, stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from bookshop.app import create_app as open_shop
from bookshop.catalogue import load
from bookshop.desk import Desk
from bookshop.vaults import Vaults
from bookshop.visitors import Visitors
from tests.browser.test_pages import PHONE, serving
from tests.conftest import CHEAP, PASSPHRASE
from vrm.app import create_app
from vrm.host import open_host
from vrm.settings import Settings
from vrm_client import Vendor


def _later(apps: dict[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """An application that is made once its port is known."""

    def call(environ: Any, start: Any) -> Any:
        return apps[name](environ, start)

    return call


def test_a_customer_connects_the_shop_and_stops_it(browser: Browser, tmp_path: Path) -> None:
    apps: dict[str, Callable[..., Any]] = {}
    with (
        serving(_later(apps, "vault")) as port,
        serving(_later(apps, "shop")) as shop_port,
    ):
        settings = Settings(data_dir=tmp_path / "data", public_url=f"http://127.0.0.1:{port}")
        shop = f"http://localhost:{shop_port}"  # another host name: cookies do not keep ports apart
        host = open_host(settings, limits=CHEAP)
        apps["vault"] = create_app(settings, host=host)
        vendor, secret = host.consent.vendors.add("Corner Books", [f"{shop}/callback"])
        vault, code = host.vaults.create("alice", PASSPHRASE)
        vault.confirm_recovery_code(code)
        title = "The Hobbit"
        vault.records("purchases").put(
            {"item": {"title": title, "category": "books"}, "context": {"for": "self"}}
        )
        context = browser.new_context(viewport=PHONE, java_script_enabled=False)  # type: ignore[arg-type]
        page = context.new_page()
        client = Vendor(
            settings.issuer, client_id=vendor.client_id, client_secret=secret, redirect_uri=f"{shop}/callback"
        )
        apps["shop"] = open_shop(Desk(Vaults(settings.issuer, client), load(), Visitors(None), []))
        page.goto(f"{settings.issuer}/login")
        page.fill("[name=username]", "alice")
        page.fill("[name=passphrase]", PASSPHRASE)
        page.click("main button.primary")
        page.goto(shop)
        page.click("text=Connect my vault")
        expect(page).to_have_url(f"{settings.issuer}/requests/{page.url.rsplit('/', 1)[1]}")
        page.click("button[value=approve]")
        expect(page).to_have_url(f"{shop}/for-you")
        page.goto(f"{shop}/held")
        expect(page.locator("body")).to_contain_text(title)
        page.goto(f"{settings.issuer}/companies")
        page.click("text=Corner Books")
        page.click("main a:has-text('Stop')")
        page.click("main button.danger")
        page.goto(f"{shop}/for-you")
        expect(page.locator("body")).to_contain_text("Your vault says that sharing has ended")
        context.close()
        host.engine.close()
