"""The shop meets a vault that never heard of it, and only with its visitor's word."""

import json
import re
import stat
from ipaddress import ip_network
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from urllib3 import request as http
from werkzeug.serving import WSGIRequestHandler, make_server

from bookshop.app import create_app as open_shop
from bookshop.catalogue import load
from bookshop.desk import Desk
from bookshop.vaults import MOST, Anywhere, Vaults, kept_key
from bookshop.visitors import Visitors
from vrm.app import create_app
from vrm.clock import SystemClock
from vrm.consent.requests import Choices
from vrm.consent.service import Consent
from vrm.host import Host
from vrm.outbound import Outbound
from vrm.settings import Settings
from vrm_client import PublicTransport, SigningKey, Vendor, VrmClientError

HERE = ["127.0.0.0/8"]
HOME = "https://home.example"


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        """Nothing."""


@pytest.fixture
def served():
    """Serve an application that is told its own address."""
    running = []

    def serve(application):
        server = make_server("127.0.0.1", 0, None, threaded=True, request_handler=Quiet)
        server.app = application(f"http://127.0.0.1:{server.port}")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.port}"

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def clock():
    """The shop's own: its proofs say when they were made."""
    return SystemClock()


@pytest.fixture
def consent_calling_here(engine, vaults, clock):
    """A host that may call this machine: in earnest shops are on the public internet."""
    return Consent(engine, vaults, clock, outbound=Outbound([ip_network(net) for net in HERE]))


@pytest.fixture
def vault_address(served, engine, vaults, consent_calling_here, folder, clock):
    def application(address):
        settings = Settings(data_dir=folder, public_url=address, outbound_allow=HERE[0])
        return create_app(settings, host=Host(settings, engine, vaults, consent_calling_here, clock))

    return served(application)


@pytest.fixture
def shop(served):
    """A shop at its own address, registered nowhere; (its test client, its desk)."""
    made = {}

    def application(address):
        anywhere = Anywhere(address, SigningKey.generate(), PublicTransport(allow=HERE))
        home = Vendor(HOME, client_id="c", client_secret="s", redirect_uri=address + "/callback")
        made["desk"] = Desk(Vaults(HOME, home, anywhere), load(), Visitors(), [])
        made["app"] = open_shop(made["desk"])
        return made["app"]

    served(application)
    return made["app"].test_client(), made["desk"]


def test_a_customer_of_any_vault_connects_it(shop, vault_address, vault, consent_calling_here):
    client, desk = shop
    vault.records("purchases").put(
        {"item": {"title": "Piranesi", "category": "books"}, "order": {}, "context": {"for": "self"}}
    )
    page = client.post("/connect", data={"vault": vault_address.removeprefix("http://")})
    assert vault_address in page.text
    [place] = re.findall(r'class="go" href="([^"]+)"', page.text)
    place = place.replace("&amp;", "&")
    assert parse_qs(urlsplit(place).query)["client_id"] == [desk.vaults.anywhere.address + "/client.json"]
    answer = http("GET", place, redirect=False)
    handle = urlsplit(answer.headers["Location"]).path.removeprefix("/requests/")
    requests = consent_calling_here.requests
    assert "Corner Books" not in requests.open(handle).vendor.shown_name  # by its domain, not by its word
    digest = requests.preview(vault, handle, Choices()).digest
    decision = requests.approve(vault, handle, Choices(), digest)
    query = f"code={decision.code}&state={decision.state}&iss={vault_address}"
    assert client.get(f"/callback?{query}").status_code == 303
    held = client.get("/internal/holds.json").get_json()["visitors"][0]
    assert [row["item"]["title"] for row in held["records"]] == ["Piranesi"]
    [grant] = consent_calling_here.grants.listing(vault)
    consent_calling_here.grants.revoke(vault, grant.id)
    assert "sharing has ended" in client.get("/for-you").text


def test_who_comes_from_her_vault_is_asked_whether_it_is_hers(shop):
    client, _ = shop
    page = client.get("/.well-known/vrm-connect?iss=https://vault.example")
    assert "If that is your vault" in page.text
    assert '<input type="hidden" name="vault" value="https://vault.example">' in page.text
    assert not client.get_cookie("corner_books")


@pytest.mark.parametrize(
    "typed", ["javascript:alert(1)", "not an address", "http://vault.example", "10.0.0.1", "[::1]"]
)
def test_nothing_else_than_a_vault_in_public_is_spoken_with(shop, typed):
    client, _ = shop
    answer = client.post("/connect", data={"vault": typed})
    assert answer.status_code == 502
    assert 'role="status"' in answer.text


def test_the_document_says_who_the_shop_is_and_no_secret(shop):
    client, desk = shop
    document = client.get("/client.json").get_json()
    assert document["client_id"] == desk.vaults.anywhere.address + "/client.json"
    assert document["token_endpoint_auth_method"] == "private_key_jwt"
    assert "d" not in document["jwks"]["keys"][0]


def test_a_shop_of_one_vault_offers_no_other():
    home = Vendor(HOME, client_id="c", client_secret="s", redirect_uri="https://shop.example/callback")
    vaults = Vaults(HOME, home)
    client = open_shop(Desk(vaults, load(), Visitors(), [])).test_client()
    assert client.get("/client.json").status_code == 404
    assert client.get("/.well-known/vrm-connect?iss=https://vault.example").status_code == 404
    assert 'name="vault"' not in client.get("/").text
    assert vaults.find("https://elsewhere.example") == HOME
    with pytest.raises(VrmClientError, match="one vault only"):
        vaults.at("https://elsewhere.example")


def test_vaults_that_anybody_can_name_do_not_pile_up():
    key = SigningKey.generate()
    anywhere = Anywhere("https://shop.example", key, PublicTransport())
    home = Vendor(HOME, client_id="c", client_secret="s", redirect_uri="https://shop.example/callback")
    vaults = Vaults(HOME, home, anywhere)
    first = vaults.at("https://v0.example")
    assert vaults.at("https://v0.example") is first
    for number in range(1, MOST + 1):
        vaults.at(f"https://v{number}.example")
    assert vaults.at("https://v0.example") is not first
    assert vaults.at(HOME) is home


def test_the_key_is_made_once_and_only_the_shop_reads_it(tmp_path):
    file = tmp_path / "shop.key"
    made = kept_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept_key(file).thumbprint == made.thumbprint
    file.write_text(json.dumps(made.public()))
    with pytest.raises(ValueError, match="not a private key"):
        kept_key(file)
