"""Which language a page speaks, and how it writes dates and numbers.

A language exists when its catalogue does: `translations/<code>/LC_MESSAGES/messages.mo`; English is
the source. The customer's choice (a cookie) comes first, then the browser's wish; anything unknown
is answered in English, never with an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from flask import Flask, current_app, has_request_context, request
from flask_babel import Babel, get_locale

from vrm.web import session
from vrm.web.desk import desk

SOURCE = "en"
TRANSLATIONS = Path(__file__).parent / "translations"


def install(app: Flask) -> None:
    """Set up translation for `app`."""
    app.config.setdefault("BABEL_DEFAULT_LOCALE", SOURCE)
    app.config.setdefault("BABEL_DEFAULT_TIMEZONE", "UTC")
    app.config.setdefault("BABEL_TRANSLATION_DIRECTORIES", str(TRANSLATIONS))
    Babel(app, locale_selector=chosen)


def languages() -> dict[str, str]:
    """Codes and own names of the languages that exist."""
    return _languages(current_app.config["BABEL_TRANSLATION_DIRECTORIES"])


@cache
def _languages(folder: str) -> dict[str, str]:
    codes = [SOURCE, *sorted(path.parts[-3] for path in Path(folder).glob("*/LC_MESSAGES/messages.mo"))]
    named: dict[str, str] = {}
    for code in codes:
        try:
            named[code] = Locale.parse(code).get_display_name() or code
        except (UnknownLocaleError, ValueError):
            continue
    return named


def chosen() -> str:
    """The language of this request."""
    if not has_request_context():
        return SOURCE
    wished = request.cookies.get(desk().cookie(session.LANGUAGE), "")
    if wished in languages():
        return wished
    return request.accept_languages.best_match(list(languages())) or SOURCE


def direction() -> str:
    """`ltr` or `rtl`."""
    locale = get_locale()
    return locale.text_direction if locale else "ltr"


def code() -> str:
    """The language's code as HTML's `lang` wants it."""
    return str(get_locale() or SOURCE).replace("_", "-")
