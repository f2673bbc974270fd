"""Port, public address, certificate, proxies, sign-up: against real sockets, TLS included."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from tests.doctor.conftest import said
from vrm.app import create_app
from vrm.doctor import Finding, network
from vrm.host import open_host
from vrm.settings import Settings
from vrm.vault import crypto, serverkey

Wsgi = Callable[[dict[str, Any], Any], Any]


@contextmanager
def served(application: Wsgi, number: int = 0, certificate: tuple[str, str] | None = None) -> Iterator[int]:
    """A WSGI application on a real port, with TLS if there is a certificate."""
    server = make_server("127.0.0.1", number, application, threaded=True, ssl_context=certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """For this machine, and believed by this process."""
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    for path, text in zip(paths, crypto.self_signed("localhost"), strict=True):
        path.write_bytes(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(paths[0]))
    return str(paths[0]), str(paths[1])


def behind(proxies: int, application: Wsgi, proto: str = "https") -> Wsgi:
    """The application as so many proxies would call it."""

    def forwarded(environ: dict[str, Any], start: Any) -> Any:
        hops = ", ".join(f"203.0.113.{number}" for number in range(1, proxies + 1))
        added = {"HTTP_X_FORWARDED_FOR": hops, "HTTP_X_FORWARDED_PROTO": ",".join([proto] * proxies)}
        return application({**environ, "wsgi.url_scheme": "http", **(added if proxies else {})}, start)

    return forwarded


def public(settings: Settings, number: int, trusted: int) -> Settings:
    return replace(settings, public_url=f"https://localhost:{number}", trusted_proxies=trusted)


def of(check: str, found: Iterator[Finding]) -> tuple[str, str]:
    return next(said(one) for one in found if one.check == check)


# ---- port ------------------------------------------------------------------------------------------------


def test_a_free_port_is_well(settings: Settings) -> None:
    finding, ours = network.port(replace(settings, port=free_port()))
    assert said(finding)[0] == "ok"
    assert not ours


def test_our_own_server_on_the_port_is_known(settings: Settings) -> None:
    with served(create_app(settings)) as number:
        finding, ours = network.port(replace(settings, port=number))
    assert "vrm serves" in said(finding)[1]
    assert ours


def test_it_is_known_by_its_public_name_which_is_all_it_answers_to(settings: Settings) -> None:
    chosen = replace(settings, public_url="https://vault.example")
    with served(create_app(chosen)) as number:
        finding, ours = network.port(replace(chosen, port=number))
    assert "vrm serves" in said(finding)[1]
    assert ours


def test_something_else_on_the_port_fails(settings: Settings) -> None:
    def other(_environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"hello"]

    with served(other) as number:
        level, text = said(network.port(replace(settings, port=number))[0])
    assert level == "FAIL"
    assert "VRM_PORT" in text


def test_an_address_of_another_machine_fails(settings: Settings) -> None:
    assert said(network.port(replace(settings, host="192.0.2.1"))[0])[0] == "FAIL"


def test_an_address_for_the_numbers_is_looked_at(settings: Settings) -> None:
    def other(_environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"hello"]

    def told(number: int, host: str = "127.0.0.1") -> tuple[str, str]:
        return of("metrics", network.examine(replace(settings, metrics=f"{host}:{number}")))

    assert told(free_port())[0] == "ok"
    level, text = told(9600, "192.0.2.1")
    assert level == "FAIL"
    assert "VRM_METRICS names the address" in text
    with served(other) as number:
        level, text = told(number)
    assert level == "FAIL"
    assert "something else" in text
    assert "metrics" not in {one.check for one in network.examine(settings)}


def test_listening_to_everybody_in_plain_http_is_said(settings: Settings) -> None:
    assert said(network.listening(replace(settings, host="0.0.0.0")))[0] == "warn"
    assert said(network.listening(settings))[0] == "ok"


# ---- public address --------------------------------------------------------------------------------------


def test_a_proxy_that_adds_what_is_trusted_is_well(settings: Settings, certificate: tuple[str, str]) -> None:
    number = free_port()
    chosen = public(settings, number, 1)
    with served(behind(1, create_app(chosen)), number, certificate):
        found = list(network.examine(replace(chosen, signup="invite")))
    assert {one.level for one in found} == {"ok"}, found
    assert [one.check for one in found][2:] == ["public address", "certificate", "proxies", "sign-up"]


@pytest.mark.parametrize(
    ("proxies", "trusted", "words"),
    [(0, 1, "anybody can pretend"), (1, 2, "anybody can pretend"), (2, 1, "share one address")],
)
def test_other_proxies_than_trusted_ones_fail(
    settings: Settings, certificate: tuple[str, str], proxies: int, trusted: int, words: str
) -> None:
    number = free_port()
    chosen = public(settings, number, trusted)
    with served(behind(proxies, create_app(chosen)), number, certificate):
        level, text = of("proxies", network.examine(chosen))
    assert level == "FAIL"
    assert words in text
    assert f"VRM_TRUSTED_PROXIES={proxies}" in text


def test_a_proxy_that_does_not_say_https_fails(settings: Settings, certificate: tuple[str, str]) -> None:
    number = free_port()
    chosen = public(settings, number, 1)
    with served(behind(1, create_app(chosen), proto="http"), number, certificate):
        assert "X-Forwarded-Proto" in of("proxies", network.examine(chosen))[1]


def test_a_proxy_that_adds_nothing_is_said(settings: Settings) -> None:
    assert said(network.proxies(settings, {"for": 0, "https": False}))[0] == "warn"


def test_what_proxies_add_is_told_to_nobody_without_the_server_key(settings: Settings) -> None:
    app, now = create_app(settings), network.SystemClock().now()
    key = serverkey.load(settings.server_key_path)
    client, stranger = app.test_client(), serverkey.ServerKey(crypto.random_key())
    for proof in ("", "nonsense", f"{now}.", key.proof(now - 200), stranger.proof(now), key.proof(now)[:-1]):
        assert client.get("/healthz", headers={network.PROOF: proof}).get_json() == {"status": "ok"}
    seen = client.get("/healthz", headers={network.PROOF: key.proof(now)}).get_json()
    assert seen == {"status": "ok", "seen": {"for": 0, "https": False}}


def test_another_server_key_than_the_servers_is_said(
    settings: Settings, certificate: tuple[str, str], tmp_path: Path
) -> None:
    number = free_port()
    chosen = public(settings, number, 1)
    elsewhere = replace(chosen, data_dir=tmp_path / "elsewhere")
    open_host(elsewhere).engine.close()
    with served(behind(1, create_app(chosen)), number, certificate):
        assert "does not take us for its host" in of("proxies", network.examine(elsewhere))[1]


def test_another_vault_at_the_public_address_fails(settings: Settings, certificate: tuple[str, str]) -> None:
    number = free_port()
    chosen = public(settings, number, 0)
    with served(create_app(replace(chosen, public_url="https://localhost:1")), number, certificate):
        level, text = of("public address", network.examine(chosen))
    assert level == "FAIL"
    assert "another vault" in text


def test_a_certificate_that_does_not_hold_fails_while_the_server_runs(
    settings: Settings, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    number = free_port()
    chosen = public(settings, number, 0)
    with served(create_app(chosen), number, certificate):
        level, text = of("public address", network.public(chosen, served=True))
    assert level == "FAIL"
    assert "certificate is not good" in text


def test_an_address_where_nobody_answers_is_said(settings: Settings) -> None:
    chosen = public(settings, free_port(), 1)
    assert of("public address", network.public(chosen, served=False))[0] == "warn"
    assert of("public address", network.public(chosen, served=True))[0] == "FAIL"


def test_a_certificate_that_ends_soon_is_said() -> None:
    found = {"notAfter": "Jan  5 09:34:43 2027 GMT"}
    end = 1_799_141_683
    assert said(network.certificate(found, end - 15 * 86_400))[0] == "ok"
    level, text = said(network.certificate(found, end - 13 * 86_400))
    assert level == "warn"
    assert "2027-01-05" in text


# ---- sign-up ---------------------------------------------------------------------------------------------


def test_open_signup_on_a_public_host_is_said(settings: Settings) -> None:
    chosen = replace(settings, public_url="https://vault.example", signup="open")
    assert said(network.signup(chosen))[0] == "warn"
    for mode in ("closed", "invite"):
        assert said(network.signup(replace(chosen, signup=mode)))[0] == "ok"
    assert said(network.signup(replace(settings, signup="open")))[0] == "ok"
