"""`vrm login`, `vrm logout` and `vrm connections`: this machine as a program of the customer's own."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vrm.cli import remote
from vrm.cli.frame import add_json, command, group_of, show
from vrm.cli.remote import Kept, Question, Remote
from vrm.cli.saying import readable
from vrm.errors import OutboundError


def add(commands: Any) -> None:
    """Commands that work on a vault elsewhere."""
    made = command(
        commands,
        "login",
        _run_login,
        "connect this machine to a vault elsewhere, for twelve hours: it shows a code to type there",
        "vrm login https://vault.example",
        settings=False,
    )
    made.add_argument("url", metavar="URL", help="the vault's address")
    add_json(made)
    made = command(
        commands,
        "logout",
        _run_logout,
        "disconnect this machine from a vault, or from all",
        "vrm logout",
        settings=False,
    )
    made.add_argument("url", metavar="URL", nargs="?", help="which vault; without it, all")
    add_json(made)
    group = group_of(commands, "connections", "see and stop what companies read in a vault elsewhere")
    made = command(
        group, "list", _run_list, "list connections with companies", "vrm connections list", settings=False
    )
    add_at(made)
    add_json(made)
    made = command(
        group,
        "stop",
        _run_stop,
        "stop a connection: the company's next reading is refused",
        "vrm connections stop 4f1c…",
        settings=False,
    )
    made.add_argument("id", metavar="ID", help="as vrm connections list tells it")
    add_at(made)
    add_json(made)


def add_at(made: Any) -> None:
    """`--at`: which vault elsewhere."""
    made.add_argument(
        "--at", metavar="URL", help="the vault's address; not needed while connected to one only"
    )


def _run_login(chosen: argparse.Namespace) -> int:
    vault = Remote(chosen.url)
    vault.discover()
    asked = vault.ask()
    _show_code(asked)
    token = vault.wait(asked)
    told = vault.about(token)
    one = Kept(vault.url, str(told.get("username", "")), str(told.get("expires", "")), token)
    remote.keep(one)
    text = (
        f"Connected to the vault of {one.username} at {one.url} until {one.expires}.\n"
        "If that is not your vault: vrm logout"
    )
    show(chosen, {"url": one.url, "username": one.username, "expires": one.expires}, text)
    return 0


def _show_code(asked: Question) -> None:
    lines = [
        f"Open {asked.page} in your vault (Me, “Connect a program of yours”) and type this code:",
        "",
        f"    {asked.user_code}",
        "",
    ]
    if sys.stderr.isatty():
        lines.insert(3, f"    or open {asked.page_with_code}")
    lines.append(f"Waiting for up to {-(-asked.expires_in // 60)} minutes …")
    print(readable("\n".join(lines)), file=sys.stderr, flush=True)


def _run_logout(chosen: argparse.Namespace) -> int:
    found = [remote.kept(chosen.url)] if chosen.url else remote.all_kept()
    unreached = []
    for one in found:
        try:
            Remote(one.url).leave(one.token)
        except OutboundError:
            unreached.append(one.url)
        remote.forget(one.url)
    values = {"left": [one.url for one in found], "unreached": unreached}
    lines = [f"Disconnected from {one.url}." for one in found if one.url not in unreached]
    lines += [
        f"{url} cannot be reached: the credential is deleted here; disconnect it there under Me, too."
        for url in unreached
    ]
    show(chosen, values, "\n".join(lines) or "Connected to no vault.")
    return 1 if unreached else 0


def _run_list(chosen: argparse.Namespace) -> int:
    one = remote.kept(chosen.at)
    found = Remote(one.url).connections(one.token)
    lines = [
        f"{item['id']}  {item['state']:<8} {item['vendor']}: {', '.join(item['reads'])}" for item in found
    ]
    show(chosen, {"items": found}, "\n".join(lines) or "No connections.")
    return 0


def _run_stop(chosen: argparse.Namespace) -> int:
    one = remote.kept(chosen.at)
    Remote(one.url).stop(one.token, chosen.id)
    show(chosen, {"stopped": chosen.id}, "Stopped: the next reading is refused.")
    return 0
