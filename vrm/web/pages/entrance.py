"""The ways in and out: create, recovery code, log in, recover, log out.

Refuses to say whether a name exists: an unknown name and a wrong passphrase get the same bytes after
the same work. A vault is not used before its recovery code was typed once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import g, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from vrm import meters
from vrm.errors import (
    BusyError,
    InvitationError,
    SessionExpiredError,
    TamperedError,
    UnlockError,
    UsernameTakenError,
    ValidationError,
)
from vrm.vault import recovery
from vrm.vault.engine import Transaction
from vrm.vault.invitations import Invitations
from vrm.vault.naming import normal_username
from vrm.vault.vault import Vault
from vrm.web import again, passphrases, sealed, session
from vrm.web.desk import desk, vault, web
from vrm.web.gate import anybody, own_token_check
from vrm.web.pages import me

Page = Response | str | tuple[str, int]

NAME_MOST = 64  # characters of a name that are shown again
CODE_MOST = 200  # characters of a typed recovery code
INVITATION_MOST = 64  # characters of an invitation that are looked at
LOG = logging.getLogger("vrm.web")


@web.get("/create")
@anybody
def create() -> Page:
    """The form for a new vault."""
    if g.vault is not None:
        return redirect(url_for("web.home"), 303)
    if desk().settings.signup_mode == "closed":
        return render_template("closed.html"), 403
    return _create_page(invitation=request.args.get("invitation", ""))


@web.post("/create")
@anybody
@own_token_check
def make_vault() -> Page:
    """Create the vault and show its recovery code, this once."""
    if desk().settings.signup_mode == "closed":
        return render_template("closed.html"), 403
    if g.vault is not None:
        return redirect(url_for("web.home"), 303)
    name = request.form.get("username", "").strip()
    passphrase = request.form.get("passphrase", "")
    if not session.token_is_good():
        return _create_page(name, stale=True), 403
    wrong = _name_faults(name)
    if reasons := passphrases.faults(passphrase, request.form.get("again", ""), name):
        wrong["passphrase"] = reasons
    if wrong:
        return _create_page(name, wrong), 400
    desk().limits.count_creation(request.remote_addr or "")
    try:
        made, code = desk().vaults.create(name, passphrase, claim=_claim())
    except UsernameTakenError:
        wrong["username"] = [gettext("This name is taken. Choose another one.")]
        return _create_page(name, wrong), 409
    except InvitationError:
        return _create_page(name, {"invitation": [_invitation_rule()]}), 403
    except ValidationError:
        return _create_page(name, {"username": [_name_rule()]}), 400
    session.begin(made)
    return render_template("code.html", code=code, advice=passphrases.advice(passphrase))


@web.get("/recovery-code")
def recovery_code() -> Page:
    """Ask for the code that was shown; it cannot be shown again."""
    if vault().recovery_confirmed and _proposal() is None:
        return redirect(url_for("web.home"), 303)
    return _code_page()


@web.post("/recovery-code")
def confirm_code() -> Page:
    """Check the typed code; from a page that was left open, too: a wrong one is never taken for right."""
    before, proposal = vault().recovery_confirmed, _proposal()
    typed = _typed_code()
    if proposal is not None:
        said = "code-new"
        try:
            recovery.accept(vault(), proposal, typed, desk().clock.now())
        except UnlockError:
            return _code_page(wrong=[_compare()]), 400
        except SessionExpiredError:
            said = "code-late"
        session.forget(session.CODE)
        session.notify(said)
        return redirect(url_for("web.me"), 303)
    good = vault().confirm_recovery_code(typed)
    if good or before:
        session.notify("welcome" if good else "code-wrong")
        return redirect(url_for("web.home"), 303)
    return _code_page(wrong=[_compare()]), 400


@web.post("/recovery-code/new")
def renew_code() -> Page:
    """A new code, for the passphrase; one that was confirmed stays good until she has typed the new one."""
    address = request.remote_addr or ""
    desk().limits.count_entry(vault().username, address)
    try:
        code = _new_code(request.form.get("passphrase", ""))
    except UnlockError:
        wrong = [gettext("That is not your passphrase.")]
        if vault().recovery_confirmed:  # she asked under Me, and her code is as good as before
            return me.show({"passphrase": wrong}), 403
        return _code_page(wrong_passphrase=wrong), 403
    desk().limits.give_back(vault().username, address)
    return _code_page(code)


def _new_code(passphrase: str) -> str:
    if not vault().recovery_confirmed:  # nobody has the one before
        return vault().new_recovery_code(passphrase)
    code, proposal = recovery.propose(vault(), passphrase, desk().clock.now())
    sealed.keep(session.CODE, proposal, recovery.SECONDS)
    return code


def _proposal() -> recovery.Proposal | None:
    found = sealed.find(session.CODE) if vault().recovery_confirmed else None
    return recovery.Proposal(*found) if found else None


def _compare() -> str:
    return gettext("That is not the code. Compare it letter by letter with what you wrote down.")


def _code_page(code: str = "", **rest: list[str]) -> str:
    return render_template("code.html", code=code, another=vault().recovery_confirmed, **rest)


@web.get("/login")
@anybody
def login() -> Page:
    """The log-in form."""
    if g.vault is not None:
        return redirect(url_for("web.home"), 303)
    return render_template("login.html", username="", wrong=())


@web.post("/login")
@anybody
@own_token_check
def log_in() -> Page:
    """Open the vault, or answer alike for an unknown name and a wrong passphrase."""
    name, kept = request.form.get("username", "").strip(), request.form.get(again.FIELD, "")
    shown = {"username": name[:NAME_MOST], "kept": kept[: again.SEALED_MOST]}
    if not session.token_is_good():
        return render_template("login.html", wrong=(), stale=True, **shown), 403
    address = request.remote_addr or ""
    desk().vaults.stretching.require_place()
    desk().limits.count_entry(name, address)
    try:
        opened = desk().vaults.unlock(name, request.form.get("passphrase", ""))
    except (UnlockError, ValidationError, TamperedError) as refused:
        meters.LOGINS_REFUSED.add()
        _log_tampering(refused)
        wrong = [gettext("This name and passphrase open no vault here.")]
        return render_template("login.html", wrong=wrong, **shown), 403
    except BusyError:
        desk().limits.give_back(name, address)
        raise
    desk().limits.give_back(name, address)
    if not _enter(opened):
        wrong = [gettext("Your passphrase or your keys were changed a moment ago. Log in again.")]
        return render_template("login.html", wrong=wrong, **shown), 403
    return (again.show(kept, opened) if kept else None) or redirect(url_for("web.home"), 303)


@web.get("/recover")
@anybody
def recover() -> Page:
    """The form for those who lost the passphrase."""
    return render_template("recover.html", username="", wrong={})


@web.post("/recover")
@anybody
@own_token_check
def recover_vault() -> Page:
    """Open the vault with the recovery code and set a new passphrase."""
    name = request.form.get("username", "").strip()
    passphrase = request.form.get("passphrase", "")
    if not session.token_is_good():
        return render_template("recover.html", username=name[:NAME_MOST], wrong={}, stale=True), 403
    if reasons := passphrases.faults(passphrase, request.form.get("again", ""), name):
        return _recover_page(name, {"passphrase": reasons}), 400
    address = request.remote_addr or ""
    desk().limits.count_entry(name, address)
    try:
        opened = desk().vaults.recover(name, _typed_code(), passphrase)
    except (UnlockError, SessionExpiredError, ValidationError, TamperedError) as refused:
        meters.LOGINS_REFUSED.add()
        _log_tampering(refused)
        wrong = {"code": [gettext("This name and recovery code open no vault here.")]}
        return _recover_page(name, wrong), 403
    desk().limits.give_back(name, address)
    if not _enter(opened):
        wrong = {"code": [gettext("Your passphrase or your keys were changed a moment ago. Try again.")]}
        return _recover_page(name, wrong), 403
    session.notify("recovered")
    return redirect(url_for("web.home"), 303)


def _recover_page(name: str, wrong: dict[str, list[str]]) -> str:
    """The form with what was typed but the passphrases: no browser keeps this page, and she has the paper."""
    return render_template("recover.html", username=name[:NAME_MOST], code=_typed_code(), wrong=wrong)


def _typed_code() -> str:
    return request.form.get("code", "")[:CODE_MOST]


@web.post("/logout")
def logout() -> Page:
    """Lock the vault."""
    session.end()
    session.notify("logged-out")
    return redirect(url_for("web.login"), 303)


def _enter(opened: Vault) -> bool:
    """Do what waits for her and begin a session; False where what opened the vault was replaced meanwhile."""
    try:
        desk().consent.at_unlock(opened)
        session.begin(opened)
    except SessionExpiredError:
        return False
    return True


def _name_faults(name: str) -> dict[str, list[str]]:
    try:
        normal_username(name)
    except ValidationError:
        return {"username": [_name_rule()]}
    return {}


def _name_rule() -> str:
    return gettext("A name has 2 to 40 letters, digits, dots, dashes or underscores.")


def _log_tampering(refused: Exception) -> None:
    # Outside, altered bytes and a wrong credential look alike; whoever runs the host must know.
    if isinstance(refused, TamperedError):
        LOG.error("a keyslot was altered: run `vrm check`")


def _claim() -> Callable[[Transaction], None] | None:
    """What spends the typed invitation, where one is needed; InvitationError for one that is not good."""
    if desk().settings.signup_mode != "invite":
        return None
    invitations, typed = Invitations.of(desk().vaults), _invitation()
    invitations.require(typed)  # before the costly part of making a vault

    def spend(transaction: Transaction) -> None:
        invitations.spend(transaction, typed)

    return spend


def _invitation() -> str:
    return request.form.get("invitation", "")[:INVITATION_MOST]


def _invitation_rule() -> str:
    return gettext(
        "This is not an invitation that can be used. Each is good for one vault and for some days only."
        " Compare it with what you were sent, or ask for a new one."
    )


def _create_page(
    name: str = "",
    wrong: dict[str, list[str]] | None = None,
    *,
    stale: bool = False,
    invitation: str | None = None,
) -> str:
    return render_template(
        "create.html",
        username=name[:NAME_MOST],
        wrong=wrong or {},
        stale=stale,
        invitation=_invitation() if invitation is None else invitation[:INVITATION_MOST],
    )
