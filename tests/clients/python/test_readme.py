"""The example in the README runs as it stands."""

import re
from pathlib import Path
from types import SimpleNamespace

from vrm_client import Vendor

README = Path(__file__).parents[3] / "clients" / "python" / "README.md"


def example():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return code


def test_the_example_is_twenty_odd_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 25


def test_the_example_asks_reads_and_keeps(scripted, said, capsys):
    row = {
        "id": "r1",
        "updated_at": "2026-11-20T10:00:00Z",
        "item": {"title": "Piranesi"},
        "order": {"ordered": "2026-03-01"},
    }
    scripted.says("/api/v1/purchases", said({"items": [row], "next": None}))
    kept, forgotten, request = [], [], SimpleNamespace(url="")
    session = {}

    def redirect(url):
        assert url.startswith(scripted.url + "/oauth/authorize?")
        request.url = f"https://shop.example/cb?code=c&state={session['asked']['state']}&iss={scripted.url}"

    names = {
        "VAULT": scripted.url,
        "CLIENT_ID": "shop",
        "CLIENT_SECRET": "secret",
        "REDIRECT_URI": "https://shop.example/cb",
        "session": session,
        "redirect": redirect,
        "request": request,
        "keep": kept.append,
        "forget": forgotten.append,
    }
    exec(compile(example(), README.name, "exec"), names)
    assert capsys.readouterr().out == "2026-03-01 Piranesi\n"
    assert isinstance(names["shop"], Vendor)
    assert len(kept) == 1
    assert forgotten == []


def test_the_example_forgets_when_she_stops_it(scripted, said):
    problem = {"Content-Type": "application/problem+json"}
    scripted.says("/api/v1/purchases", said({"type": "/problems/grant-inactive"}, 401, problem))
    names = {
        "VAULT": scripted.url,
        "CLIENT_ID": "shop",
        "CLIENT_SECRET": None,
        "REDIRECT_URI": "https://shop.example/cb",
        "session": (session := {}),
        "request": (request := SimpleNamespace(url="")),
        "keep": list,
        "forget": (forgotten := []).append,
    }

    def redirect(_):
        request.url = f"https://shop.example/cb?code=c&state={session['asked']['state']}&iss={scripted.url}"

    exec(compile(example(), README.name, "exec"), {**names, "redirect": redirect})
    assert len(forgotten) == 1
