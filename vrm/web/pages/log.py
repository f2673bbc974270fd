"""The disclosure log: every reading, refusal and change, newest first, with what does not fit said first."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from flask import render_template, request

from vrm.consent.disclosures import Entry
from vrm.errors import VendorNotFoundError
from vrm.posted import whole_number
from vrm.web import wording
from vrm.web.desk import desk, vault, web
from vrm.web.seeing import live_grants

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
        problems=desk().consent.problems(vault()),
        names=names(found),
        alarming=wording.ALARMING,
        live={grant.id for grant in live_grants()},
    )


def names(entries: Iterable[Entry]) -> dict[str, str]:
    """Client id → name, for entries that were written where no name was at hand."""
    found = {}
    for client_id in {entry.client_id for entry in entries if entry.client_id and not entry.vendor_name}:
        with suppress(VendorNotFoundError):
            found[client_id] = desk().consent.vendors.get(client_id).name
    return found


def _number(name: str, otherwise: int) -> int:
    found = whole_number(request.args.get(name, ""), 10)
    return otherwise if found is None else max(1, found)
