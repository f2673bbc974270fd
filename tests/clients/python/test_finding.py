"""What a visitor types leads to her vault, and to nothing on the shop's own network."""

import datetime as dt
import ssl
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vrm_client import ProtocolError, PublicTransport, Transport, UnreachableError, VrmClientError, find

FINGER = "/.well-known/webfinger"
HERE = ["127.0.0.0/8"]


def test_an_address_with_a_name_is_looked_up_at_its_host(scripted, said):
    host = urlsplit(scripted.url).netloc
    links = [
        {"rel": "elsewhere", "href": "https://other.example"},
        {"rel": "urn:vrm:rel:vault", "href": "https://vault.example/"},
    ]
    kind = {"Content-Type": "application/jrd+json"}
    scripted.says(FINGER, said({"links": links}, 200, kind))
    assert find(f" alice@{host} ", Transport()) == "https://vault.example"
    [call] = scripted.to(FINGER)
    assert call.query == {"resource": f"acct:alice@{host}", "rel": "urn:vrm:rel:vault"}


def test_a_host_without_webfinger_is_itself_the_vault(scripted):
    host = urlsplit(scripted.url).netloc
    assert find(f"acct:alice@{host}", Transport()) == scripted.url


@pytest.mark.parametrize(
    ("typed", "vault"),
    [
        ("vault.example", "https://vault.example"),
        ("https://vault.example/", "https://vault.example"),
        ("vault.example:8443", "https://vault.example:8443"),
        ("Vault.EXAMPLE", "https://vault.example"),
        ("v\u00e4ult.example:8443", "https://xn--vult-loa.example:8443"),
        ("127.0.0.1:8600", "http://127.0.0.1:8600"),
        ("http://localhost:8600", "http://localhost:8600"),
    ],
)
def test_a_bare_host_is_asked_nothing(typed, vault):
    assert find(typed, Transport()) == vault


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "alice@",
        "@vault.example",
        "a@b@c",
        "http://vault.example",
        "https://vault.example/path",
        "https://user:word@vault.example",
        "vault.example?x=1",
        "vault example",
        "ftp://vault.example",
        "javascript:alert(1)",
        "vault.example:99999",
        "vault..example",
        ".example",
        "x" * 64 + ".example",
        "vault.example\uff0fx",
        "shop.example\uff20vault.example",
        "vault\u200e\ud800.example",
        "x" * 400,
    ],
)
def test_what_is_no_address_is_refused(typed):
    with pytest.raises(ProtocolError):
        find(typed, Transport())


@pytest.mark.parametrize(
    "links",
    [
        None,
        {},
        [],
        [7],
        [{"rel": "urn:vrm:rel:vault"}],
        [{"rel": "urn:vrm:rel:vault", "href": "http://plain.example"}],
    ],
)
def test_a_lookup_that_names_no_vault_is_refused(scripted, said, links):
    scripted.says(FINGER, said({"links": links}))
    with pytest.raises(ProtocolError):
        find(f"alice@{urlsplit(scripted.url).netloc}", Transport())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[fec0::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        "localhost",
    ],
)
def test_nothing_inside_is_spoken_with(host):
    with pytest.raises(VrmClientError) as told:
        PublicTransport(timeout=2).get(f"https://{host}/x")
    assert "not on the public internet" in str(told.value)


@pytest.mark.parametrize("host", ["vault..example", "x" * 64 + ".example", "v\u00e4ult.example"])
def test_a_name_that_cannot_be_is_refused_also_where_a_vault_names_it(host):
    with pytest.raises(ProtocolError):
        PublicTransport(timeout=2).get(f"https://{host}/x")


def test_plain_http_is_spoken_where_it_was_allowed_only(scripted, said):
    scripted.says("/x", said({"here": 1}))
    assert PublicTransport(allow=HERE).get(f"{scripted.url}/x").json() == {"here": 1}
    with pytest.raises(ProtocolError, match="public internet"):
        PublicTransport().get(f"{scripted.url}/x")


def test_a_name_that_leads_nowhere_cannot_be_reached():
    with pytest.raises(UnreachableError):
        PublicTransport(timeout=2).get("https://no-such-host.invalid/")


@pytest.fixture
def certified(tmp_path):
    """An https server on loopback that is certified as `localhost`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = tmp_path / "tls.crt", tmp_path / "tls.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"host": "%s"}' % self.headers["Host"].encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    server = HTTPServer(("127.0.0.1", 0), Answering)
    server.handle_error = lambda *_: None  # a client that refuses the certificate hangs up
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port, str(public)
    server.shutdown()
    server.server_close()


def test_the_checked_address_is_spoken_to_under_the_certified_name(certified):
    port, ca_file = certified
    transport = PublicTransport(allow=[*HERE, "::1/128"], ca_file=ca_file)
    assert transport.get(f"https://localhost:{port}/x?y=1").json() == {"host": f"localhost:{port}"}


def test_a_connection_is_kept_for_the_next_request(scripted, said):
    scripted.says("/x", said({}))
    transport = PublicTransport(allow=HERE)
    for _ in range(3):
        transport.get(f"{scripted.url}/x")
    pool = transport._pool_to(urlsplit(scripted.url), "127.0.0.1")
    assert (pool.num_requests, pool.num_connections) == (3, 1)


def test_a_certificate_of_another_name_is_refused(certified):
    port, ca_file = certified
    with pytest.raises(UnreachableError):
        PublicTransport(allow=HERE, ca_file=ca_file).get(f"https://127.0.0.1:{port}/x")


def test_a_certificate_that_nobody_vouches_for_is_refused(certified):
    with pytest.raises(UnreachableError):
        PublicTransport(allow=HERE).get(f"https://localhost:{certified[0]}/x")
