"""`vrm worker` against real receivers: good ones, slow ones, hostile ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.attacks.conftest import tell
from tests.conftest import SettableClock
from tests.outside import Page, Seen, Site, scripted, site, way_out
from vrm import jose, worker
from vrm.cli import main, parser
from vrm.cli.frame import settings_of
from vrm.clock import SystemClock
from vrm.consent.grants import DAY
from vrm.consent.service import Consent
from vrm.errors import StorageError, ValidationError, VendorNotFoundError
from vrm.host import Host
from vrm.settings import Settings
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults
from vrm.worker import Worker

ROOT = Path(__file__).parents[1]
ISSUER = "http://127.0.0.1:8600"


@pytest.fixture
def shop() -> Iterator[Site]:
    """A receiver that takes everything."""
    with site() as found:
        found.pages["/events"] = Page(b"", 202)
        yield found


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, public_url=ISSUER, outbound_allow="127.0.0.1")


@pytest.fixture
def host(
    settings: Settings, engine: SqliteEngine, vaults: Vaults, consent: Consent, clock: SettableClock
) -> Host:
    return Host(settings, engine, vaults, consent, clock)


@pytest.fixture
def customer(vault: Vault, consent: Consent) -> Customer:
    made = Customer(vault, consent)
    made.buy("Kindred")
    return made


@pytest.fixture
def vendor(consent: Consent, shop: Site) -> Vendor:
    return Vendor.register(consent, events_uri=shop.url + "/events")


def end(customer: Customer, vendor: Vendor, **how: Any) -> str:
    """A connection, made and stopped."""
    grant_id = vendor.connect(customer, days=30).grant_id
    customer.consent.grants.revoke(customer.vault, grant_id, **how)
    return grant_id


def opened(seen: Seen, consent: Consent) -> dict[str, Any]:
    return jose.read(seen.body.decode(), consent.signer.jwks()["keys"], typ="secevent+jwt").claims


def state(consent: Consent, grant_id: str) -> str:
    [told] = consent.outbox.told(grant_id)
    return told.state


def test_an_event_is_a_signed_token_pushed_as_the_standard_says(
    host: Host, consent: Consent, customer: Customer, vendor: Vendor, shop: Site, clock: SettableClock
) -> None:
    grant_id = end(customer, vendor)
    assert Worker(host).work() == {"acknowledged": 1}
    [seen] = shop.seen
    assert (seen.method, seen.path) == ("POST", "/events")
    assert seen.headers["content-type"] == "application/secevent+jwt"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["sec-gpc"] == "1"
    claims = opened(seen, consent)
    subject, jti = claims.pop("sub"), claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "aud": vendor.registered.client_id,
        "iat": clock.now(),
        "toe": clock.now(),
        "events": {"urn:vrm:event:consent-revoked": {"grant_id": grant_id}},
    }
    assert len(subject) == 32
    assert len(jti) == 22
    assert state(consent, grant_id) == "acknowledged"
    assert Worker(host).work() == {}


def test_a_wish_to_erase_says_by_when_it_is_expected(
    host: Host, consent: Consent, customer: Customer, vendor: Vendor, shop: Site, clock: SettableClock
) -> None:
    grant_id = end(customer, vendor, erase=True)
    Worker(host).work()
    claims = opened(shop.seen[1], consent)
    about = {"grant_id": grant_id, "expected_by": clock.now() + 30 * DAY}
    assert claims["events"] == {"urn:vrm:event:erase-requested": about}


def test_no_byte_of_an_event_is_of_what_the_customer_keeps(
    host: Host, consent: Consent, vault: Vault, vendor: Vendor, shop: Site, clock: SettableClock
) -> None:
    story = tell(Customer(vault, consent), vendor)
    grant_id = story.tokens.grant_id
    for record in story.shared:
        story.customer.change(record, "item", title="Anew")
    clock.forward(DAY)
    Worker(host).work()
    consent.grants.narrow(vault, grant_id, drop=frozenset({"purchases.order:read"}))
    Worker(host).work()
    consent.grants.revoke(vault, grant_id, erase=True)
    Worker(host).work()
    said = [opened(seen, consent) for seen in shop.seen]
    assert [kind.rpartition(":")[2] for claims in said for kind in claims["events"]] == [
        "data-changed",
        "consent-amended",
        "consent-revoked",
        "erase-requested",
    ]
    secret = [
        *story.canaries,
        "Anew",
        "alice",
        vault.id,
        *story.shared,
        *story.withheld.values(),
        "purchases",
    ]
    for seen, claims in zip(shop.seen, said, strict=True):
        sent = json.dumps([seen.path, seen.headers, claims]).encode() + seen.body
        assert [text for text in secret if text.encode() in sent] == []
        [about] = claims["events"].values()
        assert set(about) <= {"grant_id", "expected_by"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"err":"invalid_audience","description":"<b>no</b>"}', "invalid_audience"),
        (b'{"err":"not a code"}', "http-400"),
        (b'{"err":5}', "http-400"),
        (b"[]", "http-400"),
        (b"<html>", "http-400"),
        (b"[" * 60_000, "http-400"),
    ],
)
def test_a_refusal_is_final_and_only_its_code_is_kept(
    host: Host,
    consent: Consent,
    customer: Customer,
    vendor: Vendor,
    shop: Site,
    engine: SqliteEngine,
    body: bytes,
    reason: str,
) -> None:
    shop.pages["/events"] = Page(body, 400)
    grant_id = end(customer, vendor)
    assert Worker(host).work() == {"refused": 1}
    assert state(consent, grant_id) == "refused"
    assert engine.one("SELECT answer FROM events") == (reason,)
    assert Worker(host).work() == {}


@pytest.mark.parametrize(
    "page",
    [
        Page(b"", 500),
        Page(b"", 503),
        Page(b"", 404),
        Page(b"", 302, {"Location": "/elsewhere"}),
        Page(b"x" * 1_000_000, 202),
        Page(b"", 202, {"Content-Encoding": "gzip"}),
    ],
)
def test_any_other_answer_is_none_and_the_same_event_comes_again(
    host: Host, customer: Customer, vendor: Vendor, shop: Site, clock: SettableClock, page: Page
) -> None:
    shop.pages["/events"] = page
    end(customer, vendor)
    assert Worker(host).work() == {"failed": 1}
    assert Worker(host).work() == {}
    shop.pages["/events"] = Page(b"", 202)
    clock.forward(75)
    assert Worker(host).work() == {"acknowledged": 1}
    first, again = shop.seen
    assert first.path == again.path == "/events"
    assert first.body == again.body


def hang(connected: socket.socket) -> None:
    while connected.recv(1024):
        pass


def drip(connected: socket.socket) -> None:
    connected.sendall(b"HTTP/1.1 202 Accepted\r\n")
    while True:
        connected.sendall(b"X: y\r\n")
        time.sleep(0.05)


def hang_up(connected: socket.socket) -> None:
    connected.recv(10)


def babble(connected: socket.socket) -> None:
    connected.sendall(b"\xff" * 100_000)


@pytest.mark.parametrize("script", [hang, drip, hang_up, babble])
def test_a_receiver_that_hangs_or_babbles_costs_one_short_try(
    host: Host, customer: Customer, consent: Consent, script: Any
) -> None:
    with scripted(script) as url:
        bad = Vendor.register(consent, "Bad Books", events_uri=url)
        end(customer, bad)
        begun = time.monotonic()
        assert Worker(host, outbound=way_out(timeout=0.3)).work() == {"failed": 1}
        assert time.monotonic() - begun < 5


def test_a_vendor_that_does_not_answer_keeps_no_other_waiting(
    host: Host, customer: Customer, consent: Consent, vendor: Vendor, shop: Site
) -> None:
    bad = Vendor.register(consent, "Bad Books", events_uri="http://127.0.0.1:9/events")
    for one in (bad, vendor, bad, vendor):
        end(customer, one)
    assert Worker(host).work() == {"failed": 1, "acknowledged": 2}


def test_an_address_on_a_private_network_is_not_called(
    settings: Settings,
    engine: SqliteEngine,
    vaults: Vaults,
    consent: Consent,
    clock: SettableClock,
    customer: Customer,
    vendor: Vendor,
    shop: Site,
) -> None:
    end(customer, vendor)
    strict = Host(Settings(data_dir=settings.data_dir, public_url=ISSUER), engine, vaults, consent, clock)
    assert Worker(strict).work() == {"failed": 1}
    assert shop.seen == []


def test_many_workers_send_each_event_once(
    host: Host, customer: Customer, vendor: Vendor, shop: Site, consent: Consent
) -> None:
    grants = [end(customer, vendor) for _ in range(12)]
    counts: list[Any] = []
    lanes = [threading.Thread(target=lambda: counts.append(Worker(host).work())) for _ in range(4)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert sum(count["acknowledged"] for count in counts) == 12
    told = [
        opened(seen, consent)["events"]["urn:vrm:event:consent-revoked"]["grant_id"] for seen in shop.seen
    ]
    assert told == grants


def test_a_worker_that_is_stopped_finishes_its_exchange_and_leaves_the_rest(
    host: Host, customer: Customer, vendor: Vendor, shop: Site, consent: Consent
) -> None:
    first, second = end(customer, vendor), end(customer, vendor)
    stopped = Worker(host)
    shop.at_call = stopped.stop.set
    assert stopped.work() == {"acknowledged": 1}
    assert (state(consent, first), state(consent, second)) == ("acknowledged", "waiting")
    assert stopped.work() == {}
    shop.at_call = lambda: None
    assert Worker(host).work() == {"acknowledged": 1}  # at once: the queue was given back


def test_a_worker_goes_on_after_a_failure_of_its_own(
    host: Host,
    customer: Customer,
    vendor: Vendor,
    shop: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(worker, "EVERY", 0.01)
    end(customer, vendor)
    trouble: list[Exception] = [StorageError(), ZeroDivisionError()]
    address = host.consent.outbox.address

    def troubled() -> int:
        if trouble:
            raise trouble.pop()
        return address()

    monkeypatch.setattr(host.consent.outbox, "address", troubled)
    stop = threading.Event()
    shop.at_call = stop.set
    worker.start(host, stop).join(10)
    assert len(shop.seen) == 1
    assert "storage" in caplog.text
    assert "sending failed" in caplog.text


def test_a_failing_vendor_is_named_in_the_log_and_no_grant_is(
    host: Host, customer: Customer, vendor: Vendor, shop: Site, caplog: pytest.LogCaptureFixture
) -> None:
    shop.pages["/events"] = Page(b"", 500)
    grant_id = end(customer, vendor)
    Worker(host).work()
    assert f"{vendor.registered.client_id} does not take events: http-500" in caplog.text
    assert grant_id not in caplog.text


def test_a_test_event_goes_out_at_once_and_names_no_grant(
    host: Host, vendor: Vendor, shop: Site, consent: Consent
) -> None:
    uri, reply = Worker(host).test(vendor.registered.client_id)
    assert (uri, reply.outcome) == (shop.url + "/events", "acknowledged")
    claims = opened(shop.seen[0], consent)
    assert claims["events"] == {"urn:vrm:event:test": {}}
    assert "sub" not in claims


def test_a_test_event_needs_a_vendor_with_an_address(host: Host, consent: Consent) -> None:
    silent = Vendor.register(consent, "Silent Books")
    with pytest.raises(ValidationError):
        Worker(host).test(silent.registered.client_id)
    with pytest.raises(VendorNotFoundError):
        Worker(host).test("vrm_client_nobody")


# -- the command ------------------------------------------------------------------------------------


@pytest.fixture
def command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(folder))
    monkeypatch.setenv("VRM_OUTBOUND_ALLOW", "127.0.0.1")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def clock() -> Any:
    return SettableClock(SystemClock().now())  # the commands go by the machine's


@pytest.mark.usefixtures("command")
def test_blocked_by_the_host_while_nobody_is_logged_in_is_told_by_the_next_worker(
    customer: Customer, vendor: Vendor, shop: Site, consent: Consent, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor.connect(customer, days=30)
    assert printed(capsys, "vendor", "block", vendor.registered.client_id)["ended"] == 1
    done = printed(capsys, "worker", "--once")
    assert done == {"acknowledged": 1, "refused": 0, "failed": 0, "waiting": 0}
    assert list(opened(shop.seen[0], consent)["events"]) == ["urn:vrm:event:consent-revoked"]


@pytest.mark.usefixtures("command")
def test_the_test_command_prints_what_the_vendor_said(
    vendor: Vendor, shop: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    client_id = vendor.registered.client_id
    assert printed(capsys, "worker", "--test", client_id)["outcome"] == "acknowledged"
    shop.pages["/events"] = Page(b'{"err":"invalid_key"}', 400)
    said = printed(capsys, "worker", "--test", client_id, code=1)
    assert (said["outcome"], said["reason"]) == ("refused", "invalid_key")
    assert main(["worker", "--test", "nobody"]) == 1


def begun(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vrm", "worker", "--data-dir", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "VRM_OUTBOUND_ALLOW": "127.0.0.1"},
        stderr=subprocess.DEVNULL,
    )


def test_term_ends_a_worker_after_the_exchange_that_runs(
    folder: Path, customer: Customer, vendor: Vendor, shop: Site, consent: Consent
) -> None:
    grant_id = end(customer, vendor)
    running = begun(folder)

    def terminate_and_linger() -> None:
        running.send_signal(signal.SIGTERM)
        time.sleep(0.3)

    shop.at_call = terminate_and_linger
    try:
        assert running.wait(30) == 0
    finally:
        with suppress(ProcessLookupError):
            running.kill()
    assert state(consent, grant_id) == "acknowledged"


@pytest.mark.usefixtures("command")
def test_a_flag_of_serve_leaves_the_sending_to_a_worker() -> None:
    assert [
        settings_of(parser().parse_args(["serve", *more])).send_events for more in ([], ["--no-worker"])
    ] == [
        1,
        0,
    ]


LISTING = """
import os, threading, vrm.serve
for flag in "01":
    os.environ["VRM_SEND_EVENTS"] = flag
    vrm.serve.application()
    names = (thread.name for thread in threading.enumerate())
    print(sorted(name for name in names if name in ("vrm-sweep", "vrm-worker")))
"""


def test_a_server_process_sends_itself_unless_it_is_told_not_to(folder: Path, vault: Vault) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        cwd=ROOT,
        env={**os.environ, "VRM_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['vrm-sweep']", "['vrm-sweep', 'vrm-sweep', 'vrm-worker']"]
