"""The disclosure log: every reading, refusal and change, newest first, with what does not fit said first."""

from __future__ import annotations

from typing import Final

from flask import render_template, request

from vrm.web import wording
from vrm.web.desk import desk, vault, web

PAGE: Final = 50


@web.get("/log")
def log() -> str:
    """One page of the log."""
    anchor, page = _number("from", desk().clock.now()), _number("page", 1)
    found = desk().consent.log.read(vault(), PAGE + 1, (anchor, (page - 1) * PAGE))
    return render_template(
        "log.html",
        entries=found[:PAGE],
        more=len(found) > PAGE,
        page=page,
        anchor=anchor,
        problems=integrity_problems(),
        alarming=wording.ALARMING,
    )


def integrity_problems() -> list[str]:
    """Where vault or log are not what was written."""
    return [*vault().problems(), *desk().consent.log.problems(vault())]


def _number(name: str, otherwise: int) -> int:
    text = request.args.get(name, "")
    return max(1, int(text)) if text.isdecimal() and len(text) < 11 else otherwise
