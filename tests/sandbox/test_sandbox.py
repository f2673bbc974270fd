"""A vendor's engineer meets people who answer as told, over real HTTP, and nothing is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from tests.faults.household import ROOT, free_port
from vrm_client import DeclinedError, Part, RevokedError, SigningKey, Vendor

WHY = "ProvideProductRecommendations"
BACK = "http://127.0.0.1:3999/callback"
BOOKS = [
    Part(["purchases.item", "purchases.order"], WHY),
    Part(["purchases.price"], WHY, necessity="optional"),
]
JSON = {"Accept": "application/json"}


@dataclass
class Sandbox:
    """A running sandbox, and the vendor that it registered."""

    told: dict[str, Any]

    def vendor(self, **how: Any) -> Vendor:
        return Vendor(
            self.told["vault"],
            client_id=self.told["client_id"],
            client_secret=self.told["client_secret"],
            redirect_uri=BACK,
            **how,
        )

    def act(self, name: str, **fields: str) -> dict[str, Any]:
        answer = httpx.post(f"{self.told['sandbox']}/{name}", data=fields, headers=JSON, timeout=60)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def ask(self, vendor: Vendor, parts: list[Part] = BOOKS) -> Any:
        """Ask whoever is at the browser; the connection."""
        asked = vendor.ask(parts)
        at_vault = httpx.get(asked.url, timeout=60)
        assert at_vault.status_code == 303
        answered = httpx.get(at_vault.headers["Location"], timeout=60)
        assert answered.status_code == 303, answered.text
        return vendor.finish(asked, answered.headers["Location"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    place = tmp_path_factory.mktemp("sandbox")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("VRM_")}
    with (place / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "vrm", "sandbox", "--json"),
                *("--port", str(free_port()), "--redirect-uri", BACK),
            ],
            cwd=ROOT,
            env={**environ, "TMPDIR": str(place), "XDG_DATA_HOME": str(place / "own")},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    yield Sandbox(json.loads(process.stdout.readline()))
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    process.wait(30)
    process.stdout.close()
    assert "refused" not in (place / "errors").read_text()  # no worker had to be killed
    (place / "errors").unlink()
    assert list(place.iterdir()) == []  # nothing is kept, nothing was put among her own vaults


@pytest.fixture
def seated(running: Sandbox) -> Callable[[str, str], Sandbox]:
    def seat(person: str, answer: str) -> Sandbox:
        running.act("seat", person=person, answer=answer)
        return running

    return seat


Seated = Callable[[str, str], Sandbox]


def test_who_shares_all_shares_optional_parts_too(seated: Seated) -> None:
    sandbox = seated("alice", "approve")
    connection = sandbox.ask(sandbox.vendor())
    assert "purchases.price:read" in connection.scope
    assert len(list(connection.records("purchases"))) > 20


def test_who_shares_what_is_required_shares_no_more(seated: Seated) -> None:
    sandbox = seated("alice", "required")
    assert "purchases.price:read" not in sandbox.ask(sandbox.vendor()).scope


def test_who_declines_shares_nothing(seated: Seated) -> None:
    sandbox = seated("alice", "decline")
    with pytest.raises(DeclinedError):
        sandbox.ask(sandbox.vendor())


def test_each_of_the_five_is_as_she_is_described(seated: Seated) -> None:
    counts = {}
    for person in ("alice", "bob", "carla", "dmitri", "esra"):
        sandbox = seated(person, "approve")
        rows = list(sandbox.ask(sandbox.vendor()).records("purchases"))
        counts[person] = len(rows)
        if person == "dmitri":
            titles = [row.text("item", "title") for row in rows]
            assert "源氏物語 第一帖" in titles
            assert any(row.text("order", "ordered") in (None, "") for row in rows)
    assert counts["carla"] == 1200
    assert counts["bob"] == counts["esra"] == 0
    assert counts["dmitri"] == 6


def test_she_stops_now(seated: Seated) -> None:
    sandbox = seated("bob", "approve")
    connection = sandbox.ask(sandbox.vendor())
    assert sandbox.act("stop", person="bob")["stopped"] >= 1
    with pytest.raises(RevokedError):
        connection.grant()


def test_she_shares_one_thing_less(seated: Seated) -> None:
    sandbox = seated("dmitri", "approve")
    connection = sandbox.ask(sandbox.vendor())
    sandbox.act("narrow", person="dmitri")
    granted = connection.grant()["scope"]
    assert granted == "purchases.item:read purchases.order:read"


def test_she_buys_something_and_it_is_seen(seated: Seated) -> None:
    sandbox = seated("bob", "approve")
    connection = sandbox.ask(sandbox.vendor())
    sandbox.act("buy", person="bob", title="Piranesi")
    assert [row.text("item", "title") for row in connection.records("purchases")][-1:] == ["Piranesi"]
    assert sandbox.act("visit", person="bob") == {"visited": "bob"}


def test_a_vendor_with_keys_is_met_as_well(seated: Seated) -> None:
    sandbox = seated("carla", "required")
    connection = sandbox.ask(sandbox.vendor(proof_key=SigningKey.generate()))
    assert len(list(connection.records("purchases", limit=500))) == 1200


def test_time_passes_and_grants_end(seated: Seated) -> None:
    sandbox = seated("esra", "approve")
    connection = sandbox.ask(sandbox.vendor())
    before = httpx.get(sandbox.told["sandbox"], headers=JSON).json()["now"]
    after = sandbox.act("travel", days="91")["now"]
    assert after > before
    with pytest.raises(RevokedError):
        connection.grant()


@pytest.mark.parametrize(
    ("act", "fields"),
    [
        ("seat", {"person": "mallory"}),
        ("seat", {"answer": "maybe"}),
        ("stop", {"person": ""}),
        ("travel", {"days": "-1"}),
        ("travel", {"days": "0"}),
        ("travel", {"days": "401"}),
        ("travel", {"days": "a while"}),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(running: Sandbox, act: str, fields: dict[str, str]) -> None:
    answer = httpx.post(f"{running.told['sandbox']}/{act}", data=fields, headers=JSON)
    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == set(fields) if "errors" in answer.json() else True


def test_another_sites_page_acts_on_nobody(running: Sandbox) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = httpx.post(f"{running.told['sandbox']}/stop", data={"person": "alice"}, headers=headers)
    assert answer.status_code == 400


def test_the_page_offers_what_programs_do(running: Sandbox) -> None:
    page = httpx.get(running.told["sandbox"])
    for act in ("seat", "stop", "narrow", "buy", "visit", "travel"):
        assert f'action="/sandbox/{act}"' in page.text
    assert "form-action 'self'" in page.headers["Content-Security-Policy"]
    answer = httpx.post(f"{running.told['sandbox']}/seat", data={"person": "bob", "answer": "ask"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sandbox")


def test_by_hand_the_real_pages_are_shown(seated: Seated) -> None:
    sandbox = seated("alice", "ask")
    page = httpx.get(sandbox.vendor().ask(BOOKS).url, follow_redirects=True)
    assert page.status_code == 200
    assert "it waits there" in page.text or "vault" in page.text


def test_the_acts_on_the_page_for_vendors_do_what_it_says(running: Sandbox) -> None:
    page = (ROOT / "docs" / "vendors.md").read_text(encoding="utf-8")
    acts = re.findall(r'^act (\w+) "?([^"\n ]+)"?', page, re.MULTILINE)
    assert [name for name, _ in acts] == ["seat", "narrow", "buy", "stop", "travel"]
    for name, fields in acts:
        running.act(name, **dict(parse_qsl(fields)))


def test_a_sandbox_is_for_this_machine_only() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vrm", "sandbox", "--host", "0.0.0.0"],
        cwd=ROOT,
        env={**os.environ, "VRM_PUBLIC_URL": "https://vault.example"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "serves this machine only" in done.stderr
