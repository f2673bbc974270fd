# Types of what we use of flask-babel, which ships none. mypy reports a name that is missing here: add it.
import datetime as dt
from collections.abc import Callable

from babel import Locale
from flask import Flask

class Babel:
    def __init__(
        self,
        app: Flask | None = None,
        *,
        default_locale: str = "en",
        default_domain: str = "messages",
        default_translation_directories: str = "translations",
        default_timezone: str = "UTC",
        locale_selector: Callable[[], str | Locale | None] | None = None,
        timezone_selector: Callable[[], str | None] | None = None,
    ) -> None: ...

def gettext(string: str, **variables: object) -> str: ...
def ngettext(singular: str, plural: str, num: int, **variables: object) -> str: ...
def get_locale() -> Locale | None: ...
def format_date(
    date: dt.date | dt.datetime | None = None, format: str | None = None, rebase: bool = True
) -> str: ...
def format_datetime(
    datetime: dt.datetime | None = None, format: str | None = None, rebase: bool = True
) -> str: ...
