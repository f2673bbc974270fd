"""Sessions, form tokens and short notices, all in cookies; nothing of them is stored here.

Promises: the session cookie is HttpOnly, SameSite=Lax, without a Domain, and Secure with the
`__Host-` prefix unless the vault is served by http on loopback. Every form carries `csrf_token`: an
MAC by the server key of the session and its vault, or, before the log-in, under a random cookie. A token is
compared in constant time. Refuses every form from another site, whatever token it carries.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from flask import g, request
from flask.wrappers import Response
from werkzeug.exceptions import BadRequest

from vrm.errors import SessionExpiredError
from vrm.vault import crypto
from vrm.vault.crypto import Key, Purpose
from vrm.vault.vault import Vault
from vrm.web.desk import Desk, desk

SESSION: Final = ""
FORM: Final = "form"
NOTICE: Final = "notice"
WAITING: Final = "waiting"
LANGUAGE: Final = "language"
SEARCHES: Final = "searches"
CHOICES: Final = "choices"
SORTED: Final = "sorted"
MORE: Final = "more"
CODE: Final = "code"

NOTICE_SECONDS: Final = 60
WAITING_MOST: Final = 8  # handles kept for this browser
WAITING_SECONDS: Final = 24 * 3600
HANDLE_LENGTH: Final = 200  # characters; longer ones are nobody's


def resume() -> None:
    """Open the vault of the session cookie for this request, if there is one and it is still good."""
    g.vault = None
    g.secret = ""
    g.expired = False
    g.cookies = []
    secret = request.cookies.get(desk().cookie(SESSION), "")
    if not secret:
        return
    try:
        g.vault = desk().vaults.resume(secret)
        g.secret = secret
    except SessionExpiredError:
        g.expired = True  # the cookie stays: with it, a form typed meanwhile shows that it is hers


def begin(vault: Vault) -> None:
    """Start a session with a fresh secret; the secret of an earlier one ends."""
    end()
    secret = vault.open_session()
    g.vault, g.secret, g.expired = vault, secret, False
    keep(SESSION, secret)
    forget(FORM)


def end() -> None:
    """End the session of this request, here and in the vault."""
    if g.vault is not None and g.secret:
        g.vault.close_session(g.secret)
    g.vault, g.secret = None, ""
    forget(SESSION)
    forget(SEARCHES)
    forget(SORTED)
    forget(MORE)
    forget(CODE)


# ---- form tokens ------------------------------------------------------------------------------


def csrf_token() -> str:
    """The token for a form on the page being made."""
    if g.secret:
        return token_of(form_key(g.secret), g.vault.id)
    return _token(_form_secret(), "form")


def token_is_good() -> bool:
    """Whether the posted form carries the token of this session (or, before it, of this browser)."""
    sent = request.form.get("csrf_token", "")
    if g.secret:
        expected = token_of(form_key(g.secret), g.vault.id)
    else:
        cookie = request.cookies.get(desk().cookie(FORM), "")
        if not cookie:
            return False
        expected = _token(cookie, "form")
    return hmac.compare_digest(sent.encode(), expected.encode())


def from_here() -> bool:
    """Whether the browser says that the request comes from these pages.

    `Origin: null` says nothing here: it is what browsers send under our own `no-referrer`.
    """
    site, origin = request.headers.get("Sec-Fetch-Site", "same-origin"), request.headers.get("Origin", "null")
    try:
        return is_from_here(site, origin, {request.host, desk().host})
    except BadRequest:  # a host that is not ours
        return False


def is_from_here(site: str, origin: str, hosts: Collection[str]) -> bool:
    """The same of what the browser says of the site, and of the origin."""
    if site not in {"same-origin", "none"}:
        return False
    try:
        return origin == "null" or urlsplit(origin).netloc in hosts
    except ValueError:
        return False


def form_key(secret: str) -> str:
    """What the form tokens of a session are made of; it opens nothing."""
    return crypto.digest(secret.encode("utf-8", "surrogatepass")).hex()


def token_of(key: str, vault: str) -> str:
    """The form token of a session and the vault that it opened; for no other vault is one ever given."""
    return desk().vaults.server_key.form_token(key, vault)


def _token(secret: str, purpose: str) -> str:
    return crypto.mac(Key(bytes.fromhex(form_key(secret))), Purpose.CSRF, purpose).hex()


def _form_secret() -> str:
    found: str = getattr(g, "form_secret", "") or request.cookies.get(desk().cookie(FORM), "")
    if not found:
        found = secrets.token_urlsafe(32)
        keep(FORM, found)
    g.form_secret = found
    return found


# ---- notices: one code, shown on the next page --------------------------------------------------


def notify(code: str, at: int = 0) -> None:
    """Say `code` (a row of wording.NOTICES) on the next page, with a time where it names one."""
    keep(NOTICE, f"{code}.{at}" if at else code, seconds=NOTICE_SECONDS)


def notice() -> str:
    """The code to show on this page; it is then forgotten."""
    code = request.cookies.get(desk().cookie(NOTICE), "")
    if code and not any(name == desk().cookie(NOTICE) for name, *_ in g.cookies):
        forget(NOTICE)
    return code


# ---- requests that wait in this browser ---------------------------------------------------------


def waiting() -> list[str]:
    """Handles of vendors' requests that were opened in this browser, newest first."""
    kept = request.cookies.get(desk().cookie(WAITING), "").split(".")
    return [handle for handle in kept if 0 < len(handle) <= HANDLE_LENGTH][:WAITING_MOST]


def remember_waiting(handle: str) -> None:
    """Let Home list this request once the vault is open."""
    if len(handle) <= HANDLE_LENGTH and "." not in handle:
        others = [known for known in waiting() if known != handle]
        keep(WAITING, ".".join([handle, *others][:WAITING_MOST]), seconds=WAITING_SECONDS)


def forget_waiting(*handles: str) -> None:
    """These were decided or have expired."""
    left = [known for known in waiting() if known not in handles]
    if left:
        keep(WAITING, ".".join(left), seconds=WAITING_SECONDS)
    else:
        forget(WAITING)


# ---- cookies ------------------------------------------------------------------------------------


def keep(purpose: str, value: str, seconds: int | None = None) -> None:
    """Set a cookie with the answer to this request."""
    g.cookies.append((desk().cookie(purpose), value, seconds))


def forget(purpose: str) -> None:
    """Delete a cookie with the answer to this request."""
    g.cookies.append((desk().cookie(purpose), "", 0))


def write_cookies(response: Response) -> Response:
    """Put what `keep` and `forget` asked for into the answer; the last word on a name counts."""
    last = {name: (value, seconds) for name, value, seconds in getattr(g, "cookies", [])}
    for name, (value, seconds) in last.items():
        response.set_cookie(name, value, **attributes(seconds, desk()))
    return response


def attributes(seconds: int | None, of: Desk) -> dict[str, Any]:
    """What each of our cookies says beside its value."""
    return {"max_age": seconds, "path": "/", "secure": of.https, "httponly": True, "samesite": "Lax"}
