"""Discovery believes no document that steers a vendor elsewhere."""

import pytest

from vrm_client import ProtocolError, RefusedError, Transport, Vendor, discover
from vrm_client.discovery import Vault


def test_the_endpoints_are_found_from_the_address_alone(scripted, vendor):
    assert vendor.discover() == Vault(
        resource=scripted.url,
        issuer=scripted.url,
        authorization_endpoint=scripted.url + "/oauth/authorize",
        token_endpoint=scripted.url + "/oauth/token",
        revocation_endpoint=scripted.url + "/oauth/revoke",
    )


def test_the_documents_are_asked_for_once(scripted, vendor):
    vendor.discover()
    vendor.discover()
    assert len(scripted.to("/.well-known/oauth-protected-resource")) == 1


def test_the_well_known_name_goes_between_host_and_path(scripted, said):
    base = scripted.url + "/alice"
    about = {"resource": base, "authorization_servers": [base]}
    server = {
        **scripted.metadata,
        "issuer": base,
        "token_endpoint": base + "/token",
    }
    scripted.says("/.well-known/oauth-protected-resource/alice", said(about))
    scripted.says("/.well-known/oauth-authorization-server/alice", said(server))
    assert discover(base + "/", Transport()).token_endpoint == base + "/token"


def test_metadata_of_another_resource_is_refused(scripted, vendor):
    scripted.resource["resource"] = "https://other.example"
    with pytest.raises(ProtocolError, match="another resource"):
        vendor.discover()


def test_metadata_of_another_issuer_is_refused(scripted, vendor):
    scripted.metadata["issuer"] = scripted.url + "/"
    with pytest.raises(ProtocolError, match="another issuer"):
        vendor.discover()


@pytest.mark.parametrize("listed", [None, [], ["https://other.example"], 7, "…"])
def test_a_server_that_does_not_know_the_vault_is_refused(scripted, said, listed):
    thief = scripted.url + "/thief"
    scripted.says(
        "/.well-known/oauth-protected-resource/thief",
        said({"resource": thief, "authorization_servers": [scripted.url]}),
    )
    scripted.metadata["protected_resources"] = thief if listed == "…" else listed
    with pytest.raises(ProtocolError, match="one of its own"):
        discover(thief, Transport())


def test_a_server_beside_the_vault_says_that_it_is_its_own(scripted, said):
    vault = scripted.url + "/alice"
    about = {"resource": vault, "authorization_servers": [scripted.url]}
    scripted.says("/.well-known/oauth-protected-resource/alice", said(about))
    scripted.metadata["protected_resources"] = [vault]
    assert discover(vault, Transport()).issuer == scripted.url


@pytest.mark.parametrize("servers", [None, [], "https://a.example", [7], {}])
def test_a_vault_that_names_no_authorization_server_is_refused(scripted, vendor, servers):
    scripted.resource["authorization_servers"] = servers
    with pytest.raises(ProtocolError):
        vendor.discover()


@pytest.mark.parametrize("methods", [None, [], ["plain"], "S256"])
def test_a_server_without_pkce_s256_is_refused(scripted, vendor, methods):
    scripted.metadata["code_challenge_methods_supported"] = methods
    with pytest.raises(ProtocolError, match="PKCE"):
        vendor.discover()


@pytest.mark.parametrize("value", [None, False, "true"])
def test_a_server_that_does_not_name_itself_in_answers_is_refused(scripted, vendor, value):
    scripted.metadata["authorization_response_iss_parameter_supported"] = value
    with pytest.raises(ProtocolError, match="RFC 9207"):
        vendor.discover()


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "revocation_endpoint"])
@pytest.mark.parametrize(
    "url", [None, "https://thief.example/token", "http://127.0.0.1:1/token", "//x", "file:///etc"]
)
def test_an_endpoint_elsewhere_is_refused(scripted, vendor, name, url):
    scripted.metadata[name] = url
    with pytest.raises(ProtocolError):
        vendor.discover()


@pytest.mark.parametrize(
    "address",
    ["http://vault.example", "ftp://vault.example", "https://a:b@vault.example", "https://", "vault.example"],
)
def test_an_address_to_which_no_secret_may_go_is_refused(address):
    vendor = Vendor(address, client_id="x", redirect_uri="https://shop.example/cb")
    with pytest.raises(ProtocolError):
        vendor.discover()


def test_a_host_without_a_vault_is_told_as_such(scripted, vendor, said):
    scripted.says("/.well-known/oauth-protected-resource", said({}, 404))
    with pytest.raises(RefusedError) as told:
        vendor.discover()
    assert told.value.status == 404
