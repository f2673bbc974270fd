"""Headers of every answer: nothing may be framed, sniffed, referred, cached or scripted.

The pages have no script and no inline style, so the policy allows neither. `form-action` names the
vendor's origin on the one page whose form ends there: Chromium applies it to the redirect as well.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from flask import g, request
from flask.wrappers import Response

from vrm.web.desk import desk

POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'{also}; "
    "frame-ancestors 'none'; base-uri 'none'"
)
FIXED: Final = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-read=(), browsing-topics=()"
    ),
}
HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")


def let_forms_reach(redirect_uri: str) -> None:
    """Let the form on this page end at the origin of `redirect_uri`."""
    g.form_target = form_target(redirect_uri)


def form_target(redirect_uri: str) -> str:
    """The CSP source for a redirect URI: its origin; its scheme where CSP has no word for the host."""
    parts = urlsplit(redirect_uri)
    scheme = parts.scheme.lower()
    if not SCHEME.fullmatch(scheme):
        return ""
    if scheme in {"http", "https"} and HOST.fullmatch(parts.netloc):
        return f"{scheme}://{parts.netloc}"
    return f"{scheme}:"  # an IPv6 address, or an app's own scheme


def of_pages(https: bool, target: str = "") -> dict[str, str]:
    """What every page says; its form may also end at the origin `target`."""
    said = {"Content-Security-Policy": POLICY.format(also=f" {target}" if target else ""), **FIXED}
    return {**said, "Strict-Transport-Security": "max-age=31536000"} if https else said


def write_headers(response: Response) -> Response:
    """Add what is not there yet; an answer of another part of the app keeps its own words."""
    for name, value in of_pages(desk().https, getattr(g, "form_target", "")).items():
        response.headers.setdefault(name, value)
    if request.endpoint == "web.static" and response.status_code == 200:
        response.headers["Cache-Control"] = "public, max-age=86400"
    else:
        response.headers.setdefault("Cache-Control", "no-store")
    return response
