"""Calls to addresses that strangers name: nothing inside is reached, and nothing takes long or much."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from tests.outside import LOOPBACK, Page, Site, scripted, site, way_out
from vrm import outbound
from vrm.errors import OutboundError
from vrm.outbound import Outbound, is_public
from vrm.vault import crypto

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"


@pytest.fixture
def there() -> Iterator[Site]:
    with site() as one:
        yield one


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    paths = [tmp_path_factory.mktemp("tls") / name for name in ("certificate.pem", "key.pem")]
    for path, text in zip(paths, crypto.self_signed("localhost"), strict=True):
        path.write_bytes(text)
    return str(paths[0]), str(paths[1])


def answering(sent: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + sent


# --- what is called


def test_an_allowed_address_is_asked_over_plain_http_and_answers(there: Site) -> None:
    url = there.put("/doc?x=1", {"a": 1}, X_Told="yes")
    answer = way_out().get(url)
    assert (answer.status, answer.body, answer.headers["x-told"]) == (200, b'{"a": 1}', "yes")
    [seen] = there.seen
    assert (seen.method, seen.path) == ("GET", "/doc?x=1")
    assert seen.headers["sec-gpc"] == "1"
    assert seen.headers["host"] == url.removeprefix("http://").partition("/")[0]
    assert seen.headers["accept"] == "application/json"
    assert "cookie" not in seen.headers


def test_something_sent_arrives_as_it_is(there: Site) -> None:
    there.put("/events", {})
    assert way_out().post(there.url + "/events", b"a.b.c", "application/secevent+jwt").status == 200
    [seen] = there.seen
    assert (seen.method, seen.body) == ("POST", b"a.b.c")
    assert seen.headers["content-type"] == "application/secevent+jwt"
    assert seen.headers["sec-gpc"] == "1"


def test_a_status_of_the_other_side_is_told(there: Site) -> None:
    assert way_out().get(there.url).status == 404
    assert there.seen[0].path == "/"


def test_https_is_asked_where_the_certificate_holds(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(certificate) as one:
        port = one.url.rpartition(":")[2]
        one.put("/k", [1])
        trust = ssl.create_default_context(cafile=certificate[0])
        called = way_out(trust=trust, resolve=lambda *_: ["127.0.0.1"])
        assert called.get(f"https://localhost:{port}/k").body == b"[1]"
        with pytest.raises(OutboundError):
            called.get(f"https://books.example:{port}/k")
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        usual = way_out()
        assert [usual.get(f"https://localhost:{port}/k").status for _ in range(2)] == [200, 200]
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(OutboundError, match="could not be called"):
            way_out().get(f"https://localhost:{port}/k")
        assert len(one.seen) == 3


def test_no_proxy_of_the_environment_is_used(there: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    there.put("/", 1)
    assert way_out().get(there.url + "/").status == 200


def test_the_systems_resolver_is_asked() -> None:
    assert set(outbound.resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


# --- what is not


@pytest.mark.parametrize(
    "url",
    [
        "",
        "books.example/x",
        "//books.example/x",
        "ftp://books.example/x",
        "file:///etc/passwd",
        "gopher://books.example/x",
        "https://",
        "https:///x",
        "https://user@books.example/x",
        "https://user:secret@books.example/x",
        "https://@books.example/x",
        "https://books.example/x#part",
        "https://books.example/x#",
        "https://books.example:0/x",
        "https://books.example:70000/x",
        "https://books.example:x/",
        "https://[books/x",
        "https://books.example/a b",
        "https://books.example/\r\nX: y",
        "https://books.example/\x00",
        "https://books.example\\@evil.example/",
        "https://bücher.example/",
        "https://books.example/ü",
        "https://books.example/" + "x" * 2000,
    ],
)
def test_what_is_no_address_is_not_even_looked_up(url: str) -> None:
    asked: list[str] = []
    out = Outbound(LOOPBACK, resolve=lambda host, _: asked.append(host) or [])  # type: ignore[func-returns-value]
    with pytest.raises(OutboundError, match="not an address"):
        out.get(url)
    assert asked == []


INSIDE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.5", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1"),
    *("2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1"),
    *("4000::1", "5f00::1"),
]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """To where a connection was begun; none is made."""
    begun: list[tuple[str, int]] = []

    def begin(address: tuple[str, int], **_: object) -> None:
        begun.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", begin)
    return begun


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_not_called(address: str, called: list[tuple[str, int]]) -> None:
    assert not is_public(ip_address(address))
    bare = address.partition("%")[0]
    for url in ("https://books.example/", f"https://[{bare}]/" if ":" in bare else f"https://{bare}/"):
        with pytest.raises(OutboundError, match="could not be called"):
            Outbound(resolve=lambda *_: [address]).get(url)
    assert called == []


@pytest.mark.parametrize(
    "spelled", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::ffff:7f00:1]"]
)
def test_loopback_in_other_spellings_is_not_called(spelled: str) -> None:
    with pytest.raises(OutboundError, match="could not be called"):
        Outbound().get(f"https://{spelled}/")


@pytest.mark.parametrize(
    "address", ["1.1.1.1", PUBLIC, "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "223.255.255.1"]
)
def test_an_address_of_the_internet_is_one(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "found", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC], [PUBLIC, "::1"], [PUBLIC, "nonsense"]]
)
def test_of_several_addresses_each_must_be_public(found: list[str], called: list[tuple[str, int]]) -> None:
    with pytest.raises(OutboundError):
        Outbound(resolve=lambda *_: found).get("https://books.example/")
    assert called == []


def test_a_name_that_changes_its_mind_is_asked_once_and_its_first_answer_is_called(
    called: list[tuple[str, int]],
) -> None:
    answers = [[PUBLIC], [PRIVATE]]
    with pytest.raises(OutboundError):
        Outbound(resolve=lambda *_: answers.pop(0)).get("https://books.example/")
    assert answers == [[PRIVATE]]
    assert called == [(PUBLIC, 443)]


def test_the_name_that_was_asked_for_is_told_to_the_address(there: Site) -> None:
    there.put("/", 1)
    port = there.url.rpartition(":")[2]
    out = Outbound([ip_network("127.0.0.1/32")], resolve=lambda *_: ["127.0.0.1"])
    assert out.get(f"http://books.example:{port}/").status == 200
    assert there.seen[0].headers["host"] == f"books.example:{port}"


def test_the_next_address_is_called_where_the_first_does_not_answer(there: Site) -> None:
    there.put("/", 1)
    port = there.url.rpartition(":")[2]
    out = way_out(resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert out.get(f"http://books.example:{port}/").status == 200


@pytest.mark.parametrize(
    "url", ["http://books.example/", "https://books.example:25/", "https://books.example:80/"]
)
def test_plain_http_and_low_ports_are_for_allowed_addresses_only(
    url: str, called: list[tuple[str, int]]
) -> None:
    with pytest.raises(OutboundError, match="could not be called"):
        Outbound(LOOPBACK, resolve=lambda *_: [PUBLIC]).get(url)
    assert called == []


@pytest.mark.parametrize("url", ["https://books.example/", "https://books.example:8443/"])
def test_443_and_high_ports_are_open(url: str, called: list[tuple[str, int]]) -> None:
    with pytest.raises(OutboundError):
        Outbound(resolve=lambda *_: [PUBLIC]).get(url)
    assert called == [(PUBLIC, 8443 if "8443" in url else 443)]


def test_plain_http_to_an_address_and_a_public_one_beside_it_is_refused(there: Site) -> None:
    with pytest.raises(OutboundError):
        way_out(resolve=lambda *_: ["127.0.0.1", PUBLIC]).get(there.url.replace("127.0.0.1", "books.example"))
    assert there.seen == []


def test_an_address_that_is_not_allowed_looks_like_one_that_is_not_there() -> None:
    with pytest.raises(OutboundError) as inside:
        Outbound().get("http://127.0.0.1:9/")
    with pytest.raises(OutboundError) as nowhere:
        Outbound(resolve=lambda *_: []).get("https://nowhere.example/")
    with pytest.raises(OutboundError) as closed:
        way_out().get("http://127.0.0.1:9/")
    assert str(inside.value) == str(nowhere.value) == str(closed.value)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://127.0.0.1:8600/x", True),
        ("http://localhost/x", True),
        ("http://[::1]/x", True),
        ("http://10.0.0.1/x", False),
        ("http://books.example/x", False),
        ("http:///x", False),
    ],
)
def test_which_address_may_be_plain(url: str, plain: bool) -> None:
    assert way_out().may_be_plain(url) is plain
    assert not Outbound().may_be_plain(url)


# --- answers that are none


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(there: Site, status: int) -> None:
    there.pages["/a"] = Page(b"", status, {"Location": there.url + "/b"})
    with pytest.raises(OutboundError, match="redirect"):
        way_out().get(there.url + "/a")
    with pytest.raises(OutboundError, match="redirect"):
        way_out().post(there.url + "/a", b"x", "text/plain")
    assert [one.path for one in there.seen] == ["/a", "/a"]


def test_a_body_may_be_as_large_as_allowed_and_no_larger(there: Site) -> None:
    there.pages["/"] = Page(b"x" * 100)
    assert len(way_out().get(there.url + "/", most=100).body) == 100
    with pytest.raises(OutboundError, match="too large"):
        way_out().get(there.url + "/", most=99)


def test_a_body_without_end_is_not_read_to_it() -> None:
    sent = [0]

    def pour(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(answering(b"Transfer-Encoding: chunked\r\n\r\n"))
        while sent[0] < 2**26:
            connected.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            sent[0] += 4096

    with scripted(pour) as url, pytest.raises(OutboundError, match="too large"):
        way_out().get(url)
    assert sent[0] < 2**25


@pytest.mark.parametrize(
    "answer",
    [
        answering(b"Content-Length: 10\r\n\r\nfive!"),
        answering(b"Transfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n"),
        answering(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_an_answer_that_is_cut_off_or_none_is_refused(answer: bytes) -> None:
    def say(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(answer)

    with scripted(say) as url, pytest.raises(OutboundError):
        way_out().get(url)


def test_an_answer_that_ends_with_the_connection_is_whole() -> None:
    def say(connected: socket.socket) -> None:
        connected.recv(4096)
        connected.sendall(answering(b"\r\nfive!"))

    with scripted(say) as url:
        assert way_out().get(url).body == b"five!"


def test_a_compressed_answer_is_refused(there: Site) -> None:
    there.pages["/"] = Page(b"x", headers={"Content-Encoding": "gzip"})
    with pytest.raises(OutboundError, match="compressed"):
        way_out().get(there.url + "/")


def drip(connected: socket.socket, sent: bytes) -> None:
    connected.recv(4096)
    for byte in sent:
        connected.sendall(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda one: time.sleep(3), id="says nothing"),
        pytest.param(lambda one: drip(one, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 99), id="drips headers"),
        pytest.param(
            lambda one: drip(one, answering(b"Content-Length: 99\r\n\r\n") + b"y" * 99), id="drips a body"
        ),
        pytest.param(lambda one: drip(one, b"HTTP/1.1 100 Continue\r\n\r\n" * 99), id="never begins"),
    ],
)
def test_a_slow_answer_ends_with_the_time_for_the_whole_call(script: object) -> None:
    with scripted(script) as url:  # type: ignore[arg-type]
        began = time.monotonic()
        with pytest.raises(OutboundError):
            way_out(timeout=0.3).get(url)
        assert time.monotonic() - began < 2.5


def test_a_slow_handshake_ends_with_it_too() -> None:
    with scripted(lambda one: drip(one, b"\x16\x03\x03\x40\x00" + bytes(99))) as url:
        began = time.monotonic()
        with pytest.raises(OutboundError):
            way_out(timeout=0.3).get(url.replace("http:", "https:"))
        assert time.monotonic() - began < 2.5


def test_time_that_is_over_between_two_reads_ends_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = outbound._Wire(ours, time.monotonic() - 1)
        with pytest.raises(TimeoutError):
            wire.sendall(b"x")
        assert wire.close() is None  # type: ignore[func-returns-value]
        assert ours.fileno() >= 0


def test_a_slow_resolver_ends_with_it_too() -> None:
    held = threading.Event()
    began = time.monotonic()
    with pytest.raises(OutboundError):
        Outbound(timeout=0.2, resolve=lambda *_: held.wait(5) and []).get("https://books.example/")
    assert time.monotonic() - began < 4
    held.set()


@pytest.mark.parametrize("error", [socket.gaierror("no such name"), UnicodeError("label too long")])
def test_a_name_that_cannot_be_resolved_is_not_called(error: Exception) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    with pytest.raises(OutboundError, match="could not be called"):
        Outbound(resolve=fail).get("https://" + "x" * 80 + ".example/")
