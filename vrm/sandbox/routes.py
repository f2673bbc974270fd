"""The sandbox's own address, `/sandbox`: a page for people, the same acts for test programs.

Promises: a form post answers with the page, or with JSON where that is what `Accept` names. While somebody is
seated who answers by herself, a browser that comes to `/requests/{handle}` goes straight on to the vendor.
Refuses posts that another site's page makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from flask import Blueprint, Flask, Response, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as Answer

from vrm.api import guards, problems
from vrm.api.leaf import POLICY, leaf, note
from vrm.clock import rfc3339
from vrm.errors import ParameterError, ValidationError, VrmError
from vrm.sandbox.people import NAMES, PASSPHRASE, PEOPLE
from vrm.sandbox.stage import ANSWERS, ASK, Stage
from vrm.web.consenting import answer_address

Act = Callable[[], dict[str, object]]


def install(app: Flask, stage: Stage) -> None:
    """Hang the sandbox into an application."""
    routes = Blueprint("sandbox", __name__)
    acts: dict[str, Act] = {
        "seat": lambda: _seat(stage),
        "stop": lambda: {"stopped": stage.stop(_text("person"), erase=_text("erase") == "yes")},
        "narrow": lambda: {"narrowed": stage.narrow(_text("person"))},
        "buy": lambda: {"bought": stage.buy(_text("person"), _text("title"))},
        "visit": lambda: _visit(stage),
        "travel": lambda: {"now": stage.travel(_whole("days"))},
    }
    routes.add_url_rule("/sandbox", "show", lambda: _show(stage))
    for name, act in acts.items():
        routes.add_url_rule(f"/sandbox/{name}", name, lambda act=act: _done(act), methods=["POST"])
    routes.before_request(_from_here)
    routes.after_request(guards.protect)
    routes.register_error_handler(VrmError, problems.answer)
    app.register_blueprint(routes)
    app.before_request_funcs.setdefault(None, []).insert(0, lambda: _answered(stage))


def _answered(stage: Stage) -> Answer | None:
    """Somebody who answers by herself is at the browser."""
    kind, _, handle = request.path.lstrip("/").partition("/")
    if kind != "requests" or not handle or request.method != "GET" or stage.answer == ASK:
        return None
    try:
        decided = stage.decide(handle)
    except VrmError as error:
        return note("The sandbox cannot answer this", f"{stage.person}: {error}", 409)
    if decided is None:
        return note("Answered", f"{stage.person} has answered; the vendor fetches it.", 200)
    return redirect(answer_address(*decided), 303)


def _from_here() -> None:
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise ParameterError("only the sandbox's own page and programs act here")


def _seat(stage: Stage) -> dict[str, object]:
    stage.seat(_text("person") or stage.person, _text("answer") or stage.answer)
    return _state(stage)


def _visit(stage: Stage) -> dict[str, object]:
    stage.visit(_text("person"))
    return {"visited": _text("person")}


def _text(name: str) -> str:
    return request.form.get(name, "")


def _whole(name: str) -> int:
    text = _text(name)
    if not text.isascii() or not text.isdecimal() or len(text) > 6:
        raise ValidationError(fields={name: ["is a whole number"]})
    return int(text)


def _done(act: Act) -> Answer:
    said = act()
    if request.accept_mimetypes.best == "application/json":
        return Response(json.dumps(said), content_type="application/json")
    return redirect("/sandbox", 303)


def _state(stage: Stage) -> dict[str, object]:
    return {"person": stage.person, "answer": stage.answer, "now": rfc3339(stage.clock.now())}


def _show(stage: Stage) -> Response:
    if request.accept_mimetypes.best == "application/json":
        return Response(json.dumps(_state(stage)), content_type="application/json")
    page = leaf("Sandbox", _page(stage))
    page.headers["Content-Security-Policy"] = POLICY.replace("form-action 'none'", "form-action 'self'")
    return page


def _page(stage: Stage) -> Markup:
    text = Markup(
        "<p>Not a vault for anybody’s life: sample people, a passphrase that everybody knows"
        " (<code>{}</code>), and all of it is deleted when this ends.</p>"
        "<p>It is <strong>{}</strong> here. At the browser: <strong>{}</strong>, who {}.</p>"
    ).format(PASSPHRASE, rfc3339(stage.clock.now()), stage.person, ANSWERS[stage.answer])
    text += Markup("<h2>Who is at the browser</h2>") + _form(
        "seat",
        _choice("person", {person.name: f"{person.name}: {person.about}" for person in PEOPLE}, stage.person),
        _choice("answer", ANSWERS, stage.answer),
        button="Seat her",
    )
    people = {name: name for name in NAMES}
    text += Markup("<h2>What happens next</h2>")
    text += _form(
        "stop",
        _choice("person", people, stage.person),
        _tick("erase", "and asks to erase"),
        button="Stops all",
    )
    text += _form("narrow", _choice("person", people, stage.person), button="Shares one thing less")
    text += _form(
        "buy",
        _choice("person", people, stage.person),
        _field("title", "A new book"),
        button="Buys it, and shares it",
    )
    text += _form("visit", _choice("person", people, stage.person), button="Opens her vault")
    text += _form("travel", _field("days", "1"), button="Let days pass")
    return text


def _form(act: str, *fields: Markup, button: str) -> Markup:
    inner = Markup(" ").join(fields)
    return Markup('<form method="post" action="/sandbox/{}"><p>{} <button>{}</button></p></form>').format(
        act, inner, button
    )


def _choice(name: str, options: dict[str, str], chosen: str) -> Markup:
    rows = [
        Markup('<option value="{}"{}>{}</option>').format(
            value, Markup(" selected") if value == chosen else "", text
        )
        for value, text in options.items()
    ]
    return Markup('<label>{} <select name="{}">{}</select></label>').format(name, name, Markup("").join(rows))


def _field(name: str, value: str) -> Markup:
    return Markup('<label>{} <input name="{}" value="{}" autocomplete="off"></label>').format(
        name, name, value
    )


def _tick(name: str, text: str) -> Markup:
    return Markup('<label><input type="checkbox" name="{}" value="yes"> {}</label>').format(name, text)
