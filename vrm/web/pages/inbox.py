"""The inbox: what companies left as messages, and what of all that they left could not be filed.

Looking at it files what has come since the log-in. A message is read and deleted here, with a way back;
it is shared with nobody. What could not be filed is named with its reason and can be thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from vrm.posted import whole_number
from vrm.web import session
from vrm.web.desk import desk, readable, vault, web

PAGE: Final = 50  # messages on a page


@dataclass(frozen=True, slots=True)
class Line:
    """A message in the list."""

    record: str
    message: dict[str, Any]


def count_messages() -> int:
    """How many messages there are."""
    return vault().records("inbox").count()


@web.get("/inbox")
def inbox() -> str:
    """All messages, the newest first."""
    left = desk().consent.go_on_filing(vault())
    lines = [Line(record, document["message"]) for record, document in readable("inbox")]
    lines.sort(key=lambda line: (line.message.get("received", ""), line.record), reverse=True)
    start = whole_number(request.args.get("start", ""), 7) or 0
    return render_template(
        "inbox.html",
        lines=lines[start : start + PAGE],
        count=len(lines),
        before=max(0, start - PAGE) if start else None,
        more=start + PAGE if start + PAGE < len(lines) else None,
        left=left,
        aside=desk().consent.filing.put_aside(vault()),
    )


@web.get("/inbox/<record>")
def message(record: str) -> str:
    """One message, and the purchase that it is about where there is one."""
    document = vault().records("inbox").get(record)
    return render_template(
        "message.html",
        record=record,
        message=document["message"],
        purchases=_of_order(document["message"].get("order_number", "")),
    )


@web.post("/inbox/aside/discard")
def discard() -> Response:
    """Throw away something that could not be filed."""
    origin, number = request.form.get("origin", ""), request.form.get("number", "")
    if not number.removeprefix("-").isdecimal() or len(number) > 20:
        raise BadRequest
    gone = desk().consent.filing.discard(vault(), origin, int(number))
    session.notify("discarded" if gone else "gone")
    return redirect(url_for("web.inbox"), 303)


def _of_order(number: str) -> list[tuple[str, dict[str, Any]]]:
    if not number:
        return []
    found = readable("purchases", ("item", "order"))
    return [
        (record, document) for record, document in found if document["order"].get("order_number") == number
    ]
