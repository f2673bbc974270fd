"""From her vault to a company: she names it, and goes there with her vault's address.

Promises: this server asks nothing of the company, and nothing but the vault's public address goes along. She
sees the company's address letter by letter (letters outside ASCII as they travel) before she follows.
Refuses whatever is not the address of a site.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

from flask import render_template, request
from flask_babel import gettext
from markupsafe import Markup
from werkzeug.wrappers import Response

from vrm.settings import LOOPBACK
from vrm.web.desk import desk, web

CONNECT = "/.well-known/vrm-connect"
MOST = 253  # characters of a host name
_SITE = re.compile(r"(?:(https?)://)?([^\s/?#@:]+)(:[0-9]{1,5})?/?", re.IGNORECASE)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")

Page = Response | str | tuple[str, int]


@web.get("/connect")
def connect() -> Page:
    """Where do you want to go?"""
    return _page()


@web.post("/connect")
def show_company() -> Page:
    """The link to the company, and where exactly it leads."""
    typed = request.form.get("company", "").strip()
    site = site_of(typed)
    if site is None:
        wrong = gettext("That is not the address of a site. Write it as in your browser.")
        return _page(typed=typed[:MOST], wrong=[wrong]), 400
    link = f"{site}{CONNECT}?{urlencode({'iss': desk().settings.issuer})}"
    return _page(typed=typed, site=site, link=link)


def site_of(typed: str) -> str | None:
    """The origin of a site that somebody typed (http on this machine only); None for anything else."""
    found = _SITE.fullmatch(typed) if len(typed) <= MOST + 20 else None
    if found is None:
        return None
    scheme, name, port = (found[1] or "").lower(), found[2], found[3] or ""
    try:
        host = name.encode("ascii").decode() if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return None
    host = host.lower()
    if host in LOOPBACK:
        return f"{scheme or 'http'}://{host}{port}"
    if scheme == "http" or not _HOST.fullmatch(host):
        return None
    return f"https://{host}{port}"


def _page(typed: str = "", site: str = "", link: str = "", wrong: list[str] | None = None) -> str:
    code = scannable(desk().settings.issuer)
    return render_template("connect.html", typed=typed, site=site, link=link, wrong=wrong, code=code)


def scannable(address: str) -> Markup:
    """A QR code (ISO/IEC 18004) of an address, as a drawing without script or style."""
    import segno

    drawn = segno.make_qr(address).svg_inline(
        border=2,
        dark="#000",
        light="#fff",
        omitsize=True,
        svgclass="scannable",
        lineclass=None,
        title=address,
    )
    return Markup(drawn)  # noqa: S704 - segno's drawing; it escapes the title
