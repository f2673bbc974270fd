"""`vrm vault invite`: links once, lists without them, takes back."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from vrm.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VRM_DATA_DIR", str(folder))
    monkeypatch.setenv("VRM_SIGNUP", "invite")
    monkeypatch.setenv("VRM_PUBLIC_URL", "https://vault.example")


def test_links_are_shown_once_listed_and_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vault", "invite", "--count", "2", "--days", "3", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    for one in made:
        link = urlsplit(one["link"])
        assert f"{link.scheme}://{link.netloc}{link.path}" == "https://vault.example/create"
        assert parse_qs(link.query) == {"invitation": [one["code"]]}
    assert main(["vault", "invite", "--revoke", made[0]["id"]]) == 0
    capsys.readouterr()
    assert main(["vault", "invite", "--list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert [(one["id"], one["state"]) for one in json.loads(listed)] == [(made[1]["id"], "waiting")]
    assert made[1]["code"] not in listed
    assert main(["vault", "invite", "--revoke", made[0]["id"]]) == 1
    assert capsys.readouterr().err == "error: there is no such invitation to take back\n"


@pytest.mark.parametrize("signup", ["closed", "open"])
def test_none_is_made_where_it_would_open_nothing(
    signup: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VRM_SIGNUP", signup)
    assert main(["vault", "invite"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: sign-up is {signup} here, so an invitation would open nothing"
    assert hint.startswith("hint: set VRM_SIGNUP=invite")


@pytest.mark.parametrize("wrong", [["--days", "0"], ["--days", "91"], ["--count", "101"]])
def test_what_is_out_of_range_is_said(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vault", "invite", *wrong]) == 1
    assert capsys.readouterr().err.startswith(f"error: {wrong[0]}: from 1 to ")
