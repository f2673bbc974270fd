"""`vrm vendor`: a vendor is registered with its keys, and the list says how each proves itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vrm import jose
from vrm.cli import main

PUBLIC = {name: value for name, value in jose.private_key(bytes(32)).items() if name != "d"}
BACK = ("--redirect-uri", "https://x.example/cb")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(folder))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["vendor", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def add(capsys: pytest.CaptureFixture[str], name: str, *flags: str) -> Any:
    code, out, _ = run(capsys, "add", name, *BACK, *flags, "--json")
    assert code == 0
    return json.loads(out)


def test_a_vendor_with_keys_gets_an_id_and_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [PUBLIC]}))
    events = "https://x.example/events"
    assert set(add(capsys, "A", "--jwks", "jwks.json", "--dpop-bound", "--events-uri", events)) == {
        "client_id"
    }
    assert set(add(capsys, "B", "--jwks-uri", "https://x.example/jwks")) == {"client_id"}
    assert set(add(capsys, "C")) == {"client_id", "client_secret"}
    assert set(add(capsys, "D", "--public")) == {"client_id"}
    listed = json.loads(run(capsys, "list", "--json")[1])
    told = [
        (one["name"], one["auth_method"], one["keys"], one["dpop_bound"], one["events_uri"]) for one in listed
    ]
    assert told == [
        ("A", "private_key_jwt", "registered", True, events),
        ("B", "private_key_jwt", "https://x.example/jwks", False, None),
        ("C", "client_secret_basic", None, False, None),
        ("D", "none", None, False, None),
    ]
    assert {(one["origin"], one["claimed"]) for one in listed} == {("host", None)}
    lines = run(capsys, "list")[1].splitlines()
    assert [line.split("  ")[-1].strip() for line in lines] == [
        "by its own key, tokens bound to a key",
        "by its own key",
        "by a secret",
        "not at all (public)",
    ]


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"{}", b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'])
def test_a_file_without_usable_keys_registers_nobody(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "jwks.json").write_bytes(content)
    code, out, err = run(capsys, "add", "A", *BACK, "--jwks", "jwks.json")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "jwks" in err
    assert "No vendors yet" in run(capsys, "list")[1]


def test_an_empty_address_of_keys_registers_nobody_with_a_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "add", "A", *BACK, "--jwks-uri", "") == (1, "", "error: jwks_uri is empty\n")
    assert "No vendors yet" in run(capsys, "list")[1]


def test_one_way_of_proof_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(capsys, "add", "A", *BACK, "--public", "--jwks-uri", "https://x.example/jwks")
