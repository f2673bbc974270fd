"""Debian's mod_oauth2: a resource server of another make, which asks the vault what a token is (RFC 7662).

Apache serves one file to whoever brings a token for it. The vault told it nothing beforehand but its own
client id and secret.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.serving import free_port
from tests.judges.conftest import absent
from tests.judges.fapi import FapiVendor
from tests.judges.shop import Shop
from tests.judges.stage import Town, answer_in, confidential, new_key

MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authn_core", "authz_core", "authz_user", "oauth2")
CONFIGURATION = """
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
LogLevel warn
{person}
{modules}
DocumentRoot {folder}/htdocs
<Location /{path}>
    AuthType oauth2
    OAuth2TokenVerify introspect {issuer}/oauth/introspect {options}
    OAuth2AcceptTokenIn header name=Authorization&type={scheme}
    OAuth2TargetPass remote_user_claim=client_id
    Require valid-user
</Location>
"""


@dataclass
class Apache:
    """One that runs, and the address of what it protects."""

    address: str
    folder: Path

    def get(self, token: str, scheme: str = "Bearer", **headers: str) -> httpx.Response:
        return httpx.get(self.address, headers={"Authorization": f"{scheme} {token}", **headers}, timeout=30)


def start(town: Town, scheme: str) -> Iterator[Apache]:
    """Registered as a resource server, configured and running."""
    program = shutil.which("apache2", path="/usr/sbin:/usr/bin")
    if program is None or not (MODULES / "mod_oauth2.so").exists():
        absent("Debian's mod_oauth2 is not here: run 'sudo make system'")
    port, path = free_port(), "shelf"
    address = f"http://127.0.0.1:{port}/{path}"
    vendor, secret = town.host.consent.vendors.add("Shelf", resource_server=True, resource=address)
    options = {"introspect.auth": "client_secret_basic", "introspect.ssl_verify": "false"}
    options |= {"client_id": vendor.client_id, "client_secret": str(secret)}
    options |= {"type": "dpop"} if scheme == "DPoP" else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # its workers are another person where the tests are root
        (folder / "htdocs").mkdir()
        (folder / "htdocs" / path).write_text("what only a token opens")
        text = CONFIGURATION.format(
            port=port,
            folder=folder,
            path=path,
            issuer=town.issuer,
            scheme=scheme,
            options="&".join(f"{key}={value}" for key, value in options.items()),
            person="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
            modules="\n".join(f"LoadModule {one}_module {MODULES}/mod_{one}.so" for one in LOADED),
        )
        (folder / "apache.conf").write_text(text)
        command = [program, "-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            try:
                wait(address, running)
                yield Apache(address, folder)
            finally:
                running.terminate()


def wait(address: str, running: subprocess.Popen[str]) -> None:
    for _ in range(200):
        if running.poll() is not None:
            raise AssertionError(running.stderr.read() if running.stderr else "it ended")
        try:
            httpx.get(address)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("Apache does not answer")


@pytest.fixture(scope="module")
def apache(town: Town) -> Iterator[Apache]:
    yield from start(town, "Bearer")


def given(shop: Shop, resource: str | None) -> str:
    """An access token for that resource; None for the vault itself."""
    named = {"resource": resource} if resource else {}
    back = answer_in(shop.town.alice.decide(shop.address(**shop.question, **named)))
    token = shop.redeem(back["code"], **named)
    assert token.status_code == 200, token.text
    return str(token.json()["access_token"])


@pytest.mark.meets("rfc9700-23", "rfc9700-24", "rfc9700-66")
def test_a_token_for_this_server_opens_it_and_none_for_another(town: Town, apache: Apache) -> None:
    shop = Shop(town, confidential(town))
    here, vault = given(shop, apache.address), given(shop, None)
    assert apache.get(here).text == "what only a token opens"
    assert shop.read(here) == 401  # and at the vault it carries no key
    assert apache.get(vault).status_code == 401
    assert shop.read(vault) == 200


def test_what_is_no_token_opens_nothing(apache: Apache) -> None:
    assert apache.get("nonsense").status_code == 401
    assert httpx.get(apache.address).status_code == 401


@pytest.fixture(scope="module")
def bound(town: Town) -> Iterator[Apache]:
    """The same, which asks for a proof beside each token."""
    yield from start(town, "DPoP")


@pytest.mark.meets("rfc9700-20", "rfc9700-65", "rfc9700-68")
def test_a_bound_token_opens_it_with_a_right_proof_only(town: Town, bound: Apache) -> None:
    vendor = FapiVendor.register(town)
    code = answer_in(town.alice.decide(vendor.address(vendor.pushed({}, resource=bound.address))))["code"]
    answer = vendor.redeem(code, {}, resource=bound.address)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]

    def get(**changes: Any) -> int:
        made = vendor.proof("GET", bound.address, **{"token": token, **changes})
        return bound.get(token, "DPoP", DPoP=made).status_code

    assert get() == 200
    assert get(key=new_key()) == 401
    assert get(htm="POST") == 401
    assert get(htu=bound.address + "/other") == 401
    assert bound.get(token, "DPoP").status_code == 401
    assert bound.get(token).status_code == 401
