"""A plain page for a person, from the rim that otherwise talks to programs.

Promises: no script, nothing from elsewhere, no form, one inline style that the policy names by its hash.
Every text is escaped.
"""

from __future__ import annotations

import base64
import hashlib

from flask import Response
from markupsafe import Markup, escape

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "code,pre{font-family:ui-monospace,monospace;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:start;vertical-align:top;padding:.3rem .6rem;"
    "border-block-end:1px solid #ddd}h2{margin-block-start:2.5rem}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}a{color:#9cf}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def leaf(title: str, body: Markup, status: int = 200) -> Response:
    """A whole page around `body`, which is escaped already."""
    text = Markup(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>{}</title><style>{}</style></head><body><main><h1>{}</h1>{}</main></body></html>\n"
    ).format(title, Markup(_STYLE), title, body)  # noqa: S704 - our own constant
    response = Response(str(text), status=status, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    return response


def note(title: str, sentence: str, status: int) -> Response:
    """A page of one sentence."""
    return leaf(title, Markup("<p>{}</p>").format(escape(sentence)), status)
