"""A PostgreSQL server: each thing that can be wrong with it is named, with what to do."""

from __future__ import annotations

import pytest

from tests.doctor.conftest import said
from vrm.doctor import server


@pytest.mark.parametrize(
    ("told", "level"),
    [("15.18 (Debian 15.18-0+deb12u1)", "ok"), ("13.1", "ok"), ("12.22", "FAIL"), ("9.6.24", "FAIL")],
)
def test_an_old_server_fails(told: str, level: str) -> None:
    assert said(server.version(told))[0] == level


@pytest.mark.parametrize(
    ("fsync", "pages", "words"),
    [
        ("off", "on", "turn on fsync in"),
        ("on", "off", "turn on full_page_writes"),
        ("off", "off", "fsync and full_page_writes"),
    ],
)
def test_a_server_that_forgets_what_it_acknowledged_fails(fsync: str, pages: str, words: str) -> None:
    level, text = said(server.durable(fsync=fsync, pages=pages))
    assert level == "FAIL"
    assert words in text


def test_a_server_that_keeps_it_is_well() -> None:
    assert said(server.durable(fsync="on", pages="on"))[0] == "ok"


@pytest.mark.parametrize(
    ("kind", "level"), [("open", "warn"), ("tls", "ok"), ("socket", "ok"), ("loopback", "ok")]
)
def test_a_line_that_others_read_is_warned_of(kind: str, level: str) -> None:
    assert said(server.line(kind))[0] == level


@pytest.mark.parametrize(("superuser", "level"), [("on", "warn"), ("off", "ok")])
def test_a_superuser_is_warned_of(superuser: str, level: str) -> None:
    assert said(server.role(superuser))[0] == level
