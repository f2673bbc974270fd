"""Hangs the pages into the app: request class, session, form tokens, headers, language, faults."""

from __future__ import annotations

from flask import Flask

from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault import catalog
from vrm.vault.vault import Vaults
from vrm.web import faults, forms, gate, headers, language, session, wording
from vrm.web.desk import EXTENSION, Desk, desk, web
from vrm.web.limits import SCHEMA, Limits
from vrm.web.pages import companies, entrance, home, imports, log, me, records, requests, sorting, things
from vrm.web.upload import InMemoryRequest

PAGES = (companies, entrance, home, imports, log, me, records, requests, sorting, things)

__all__ = ["PAGES", "register"]


def register(app: Flask, vaults: Vaults, consent: Consent, settings: Settings, clock: Clock) -> None:
    """Serve the customer's pages from `app`."""
    vaults.engine.install([SCHEMA])
    limits = Limits(vaults.engine, vaults.server_key.limit_key, clock)
    app.extensions[EXTENSION] = Desk(vaults, consent, settings, clock, limits)
    app.request_class = InMemoryRequest
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    language.install(app)
    _teach_templates(app)
    faults.install(app)
    app.register_blueprint(web)


def _teach_templates(app: Flask) -> None:
    for name in (
        "category_text", "choice_text", "datatype_text", "day", "entry_text", "event_text", "fields_text", "for_whom_text", "initials",
        "minutes", "moment", "month", "reason_text", "rest_text", "state_text", "thing_title", "withheld_text",
    ):  # fmt: skip
        app.jinja_env.filters[name] = getattr(wording, name)
    app.jinja_env.tests["in_purchases"] = wording.in_purchases
    app.jinja_env.globals.update(
        catalog=catalog,
        csrf_token=session.csrf_token,
        notice=wording.notice,
        text_direction=language.direction,
        language_code=language.code,
        shown=forms.shown,
        periods=wording.PERIODS,
        days_to_choose=wording.DAYS,
        desk=desk,
    )


web.before_request(session.resume)
web.before_request(gate.admit)
web.after_request(session.write_cookies)
web.after_request(headers.write_headers)
