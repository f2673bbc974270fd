"""Hangs the pages into the app: request class, session, form tokens, headers, language, faults."""

from __future__ import annotations

from flask import Flask

from vrm.clock import Clock
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault import catalog
from vrm.vault.vault import Vaults
from vrm.web import again, faults, forms, gate, headers, language, seeing, session, wording
from vrm.web.desk import EXTENSION, Desk, desk, web
from vrm.web.limits import Limits
from vrm.web.pages import (
    companies,
    connecting,
    devices,
    entrance,
    home,
    imports,
    inbox,
    log,
    me,
    moving,
    records,
    requests,
    sorting,
    things,
    tools,
)
from vrm.web.upload import InMemoryRequest

PAGES = (
    companies,
    connecting,
    devices,
    entrance,
    home,
    imports,
    inbox,
    log,
    me,
    moving,
    records,
    requests,
    sorting,
    things,
    tools,
)

PHRASES = (
    wording.aside_text,
    wording.category_text,
    wording.choice_text,
    wording.datatype_text,
    wording.datatypes_text,
    wording.day,
    wording.entry_text,
    wording.event_text,
    wording.fields_text,
    wording.for_whom_text,
    wording.initials,
    wording.minutes,
    wording.moment,
    wording.month,
    wording.parted,
    wording.period_text,
    wording.reason_text,
    wording.rest_text,
    wording.row_title,
    wording.state_text,
    wording.thing_title,
    wording.translated,
    wording.withheld_text,
    wording.writes_text,
)

__all__ = ["PAGES", "register"]


def register(app: Flask, vaults: Vaults, consent: Consent, settings: Settings, clock: Clock) -> None:
    """Serve the customer's pages from `app`."""
    limits = Limits(consent.counting, consent.permits)
    app.extensions[EXTENSION] = Desk(vaults, consent, settings, clock, limits)
    app.request_class = InMemoryRequest
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    language.install(app)
    _teach_templates(app)
    faults.install(app)
    app.register_blueprint(web)


def _teach_templates(app: Flask) -> None:
    for phrase in PHRASES:
        app.jinja_env.filters[phrase.__name__] = phrase
    app.jinja_env.tests["in_purchases"] = wording.in_purchases
    app.jinja_env.globals.update(
        catalog=catalog,
        chosen=again.chosen,
        csrf_token=session.csrf_token,
        notice=wording.notice,
        also_noticed=seeing.noticed,
        text_direction=language.direction,
        language_code=language.code,
        shown=forms.shown,
        days_to_choose=wording.DAYS,
        fresh_rules=wording.FRESH,
        desk=desk,
    )


web.before_request(session.resume)
web.before_request(gate.admit)
web.after_request(session.write_cookies)
web.after_request(headers.write_headers)
