"""`vrm vault invite`: links by which people you name make their vaults, each good for one."""

from __future__ import annotations

import argparse
from typing import Any
from urllib.parse import quote

from vrm.cli.frame import add_json, command, host_of, new_host_of, show, show_once
from vrm.clock import rfc3339
from vrm.errors import SettingsError, ValidationError
from vrm.host import Host
from vrm.vault.invitations import Invitation, Invitations

_DAYS = (1, 90)
_COUNT = (1, 100)


def add(group: Any) -> None:
    """The command `vrm vault invite`, in the group `vault`."""
    made = command(
        group,
        "invite",
        _run,
        "print one-time links by which others create their vaults",
        "VRM_SIGNUP=invite VRM_PUBLIC_URL=https://vault.example vrm vault invite --days 3",
        "vrm vault invite --list",
        "vrm vault invite --revoke 5b0c…",
    )
    made.add_argument("--days", type=int, default=7, metavar="N", help="how long they are good (default 7)")
    made.add_argument("--count", type=int, default=1, metavar="N", help="how many to make (default 1)")
    instead = made.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="name those that were made; shows no link again")
    instead.add_argument("--revoke", metavar="ID", help="take one back, by the id that --list shows")
    add_json(made)


def _run(chosen: argparse.Namespace) -> int:
    for name, (least, most) in (("days", _DAYS), ("count", _COUNT)):
        if not least <= getattr(chosen, name) <= most:
            raise ValidationError(f"--{name}: from {least} to {most}")
    making = not chosen.list and chosen.revoke is None
    host = new_host_of(chosen) if making else host_of(chosen)
    invitations = Invitations.of(host.vaults)
    if chosen.list:
        return _list(chosen, host, invitations)
    if chosen.revoke is not None:
        invitations.revoke(chosen.revoke)
        show(chosen, {"id": chosen.revoke, "revoked": True}, "Taken back.")
        return 0
    return _make(chosen, host, invitations)


def _make(chosen: argparse.Namespace, host: Host, invitations: Invitations) -> int:
    mode = host.settings.signup_mode
    if mode != "invite":  # with other settings than the server's the link would be wrong as well
        raise SettingsError(
            f"sign-up is {mode} here, so an invitation would open nothing",
            hint="set VRM_SIGNUP=invite, for this command and for vrm serve",
        )
    made = [invitations.make(chosen.days) for _ in range(chosen.count)]
    values = [
        {"id": one.id, "link": _link(host, code), "code": code, "expires": rfc3339(one.expires)}
        for one, code in made
    ]
    until = values[0]["expires"][:10]
    lines = [value["link"] for value in values]
    show_once(
        chosen,
        values,
        "\n".join([*lines, f"Each is good for one vault, until {until}; it is shown once."]),
        made=f"invitations were made: {chosen.count}",
        lost="their links",
        hint="vrm vault invite --list names them, --revoke ID takes one back; then make others",
    )
    return 0


def _link(host: Host, code: str) -> str:
    return f"{host.settings.issuer}/create?invitation={quote(code)}"


def _list(chosen: argparse.Namespace, host: Host, invitations: Invitations) -> int:
    now = host.clock.now()
    values = [
        {
            "id": one.id,
            "state": _state(one, now),
            "created": rfc3339(one.created),
            "expires": rfc3339(one.expires),
        }
        for one in invitations.listing()
    ]
    lines = [f"{value['id']}  {value['state']:<8} until {value['expires'][:10]}" for value in values]
    show(chosen, values, "\n".join(lines) or "No invitations yet. Make one: vrm vault invite")
    return 0


def _state(one: Invitation, now: int) -> str:
    if one.used:
        return "used"
    return "waiting" if now < one.expires else "expired"
