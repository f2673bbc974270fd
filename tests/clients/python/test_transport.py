"""What arrives is bounded, strict and never followed."""

import gzip
import time

import pytest

from vrm_client import ProtocolError, Transport, UnreachableError


def test_a_redirect_is_not_followed_and_no_secret_goes_along(scripted, connect, said):
    thief = "/thief"
    scripted.says("/oauth/token", said({}, 307, {"Location": scripted.url + thief}))
    with pytest.raises(ProtocolError, match="redirect"):
        connect()
    assert scripted.to(thief) == []


def test_a_reading_is_not_redirected_either(scripted, connect, said):
    connection = connect()
    scripted.says("/api/v1/grant", said({}, 302, {"Location": scripted.url + "/thief"}))
    with pytest.raises(ProtocolError, match="redirect"):
        connection.grant()
    assert scripted.to("/thief") == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"NaN", "application/json"),
        (b'{"a": Infinity}', "application/json"),
        (b"\xff\xfe{", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"{}", "text/html"),
        (b"[]", "application/json"),
    ],
)
def test_garbage_is_not_taken_for_an_answer(scripted, connect, said, body, kind):
    connection = connect()
    scripted.says("/api/v1/grant", said(body, 200, {"Content-Type": kind}))
    with pytest.raises(ProtocolError):
        connection.grant()


@pytest.mark.parametrize("status", [201, 204, 206])
def test_another_success_than_200_is_not_taken_for_an_answer(scripted, connect, said, status):
    connection = connect()
    scripted.says("/api/v1/grant", said({}, status))
    with pytest.raises(ProtocolError):
        connection.grant()


def test_an_answer_that_is_too_long_is_cut_off(scripted, said):
    scripted.says("/long", said(b"x" * 5000))
    with pytest.raises(ProtocolError, match="more than"):
        Transport(max_bytes=1000).get(scripted.url + "/long")


def test_a_small_answer_that_swells_is_cut_off(scripted, said):
    scripted.says("/bomb", said(gzip.compress(b"0" * 5_000_000), 200, {"Content-Encoding": "gzip"}))
    with pytest.raises(ProtocolError, match="more than"):
        Transport(max_bytes=100_000).get(scripted.url + "/bomb")


def test_an_answer_that_drips_is_given_up(scripted):
    def drip(handler):
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        )
        try:
            for _ in range(100):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    scripted.raw["/drip"] = drip
    with pytest.raises(UnreachableError, match="in time"):
        Transport(timeout=0.3).get(scripted.url + "/drip")


def test_an_answer_that_breaks_off_is_no_answer(scripted):
    def break_off(handler):
        handler.wfile.write(
            b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a"'
        )

    scripted.raw["/half"] = break_off
    with pytest.raises(UnreachableError):
        Transport().get(scripted.url + "/half")


def test_something_that_is_not_http_is_no_answer(scripted):
    scripted.raw["/odd"] = lambda handler: handler.wfile.write(b"hello\r\n\r\n")
    with pytest.raises(UnreachableError):
        Transport().get(scripted.url + "/odd")


def test_a_host_that_does_not_listen_is_unreachable(scripted):
    scripted.close()
    with pytest.raises(UnreachableError):
        Transport(timeout=1).get(scripted.url)


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example/",
        "http://127.0.0.1.example/",
        "https://name:word@vault.example/",
        "https://vault.example/#part",
        "https://vault.example:0/",
        "https://vault.example:99999/",
        "https://[::1",
        "file:///etc/passwd",
        "",
    ],
)
def test_nothing_is_sent_to_an_address_that_is_not_safe(url):
    with pytest.raises(ProtocolError):
        Transport().get(url, headers={"Authorization": "Bearer vrm_at_secret"})


def test_the_environment_and_netrc_change_nothing(scripted, said, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password thief\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    scripted.says("/x", said({}))
    assert Transport().get(scripted.url + "/x", headers={"Authorization": "Bearer mine"}).status == 200
    assert scripted.calls[-1].headers["Authorization"] == "Bearer mine"


def test_cookies_are_not_kept(scripted, said):
    scripted.says("/x", said({}, 200, {"Set-Cookie": "a=b"}))
    transport = Transport()
    transport.get(scripted.url + "/x")
    transport.get(scripted.url + "/x")
    assert "Cookie" not in scripted.calls[-1].headers


def test_a_reading_whose_connection_was_closed_is_sent_again(scripted, connect):
    connection = connect()
    hung_up = []

    def hang_up_once(handler):
        hung_up.append(handler.path)
        del scripted.raw["/api/v1/grant"]

    scripted.raw["/api/v1/grant"] = hang_up_once
    assert connection.grant() == {"scope": "purchases.item:read"}
    assert hung_up == ["/api/v1/grant"]


def test_a_code_whose_answer_was_lost_is_not_sent_again(scripted, connect):
    scripted.raw["/oauth/token"] = lambda handler: None
    with pytest.raises(UnreachableError):
        connect()
    assert len(scripted.to("/oauth/token")) == 1
