"""`vrm vendor add`, `list` and `block`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vrm.cli.frame import add_json, command, group_of, host_of, new_host_of, show, show_once
from vrm.clock import rfc3339
from vrm.consent.vendors import Vendor
from vrm.errors import ValidationError

PROOFS = {
    "client_secret_basic": "by a secret",
    "private_key_jwt": "by its own key",
    "none": "not at all (public)",
}


def add(commands: Any) -> None:
    """The group `vendor`."""
    group = group_of(commands, "vendor", "register, list and block vendors")
    _vendor_add_parser(group)
    add_json(command(group, "list", _run_vendor_list, "list the vendors of this host", "vrm vendor list"))
    made = command(
        group,
        "block",
        _run_vendor_block,
        "block a vendor: all its grants end at once",
        "vrm vendor block vrm_client_…",
    )
    made.add_argument("client_id", metavar="CLIENT_ID", help="as vrm vendor list tells it")
    add_json(made)


def _vendor_add_parser(group: Any) -> None:
    made = command(
        group,
        "add",
        _run_vendor_add,
        "register a vendor and print its client id and secret, once",
        'vrm vendor add "Corner Books" --redirect-uri https://cornerbooks.example/callback',
        'vrm vendor add "Shelf App" --redirect-uri http://127.0.0.1/callback --public',
    )
    made.add_argument("name", metavar="NAME", help="as customers will read it")
    made.add_argument(
        "--redirect-uri", action="append", default=[], metavar="URI", help="where answers go; may be repeated"
    )
    proof = made.add_mutually_exclusive_group()
    proof.add_argument("--public", action="store_true", help="a client that cannot keep a secret (an app)")
    proof.add_argument("--jwks", type=Path, metavar="FILE", help="its public keys, a JWK Set: no secret then")
    proof.add_argument("--jwks-uri", metavar="URL", help="where it publishes its public keys")
    made.add_argument("--dpop-bound", action="store_true", help="it takes only tokens bound to a key (DPoP)")
    made.add_argument("--events-uri", default="", metavar="URL", help="where it is told of ends and changes")
    made.add_argument(
        "--resource-server", action="store_true", help="it asks for nothing itself, but is shown tokens"
    )
    made.add_argument(
        "--resource", default="", metavar="URL", help="its address, for which others may ask for tokens"
    )
    made.add_argument(
        "--sells-as",
        action="append",
        default=[],
        metavar="SELLER",
        help="seller name on purchases, for corrections; may be repeated",
    )
    made.add_argument(
        "--purpose",
        default="RequestedServiceProvision",
        metavar="DPV_ID",
        help="purpose of requests that name none (RequestedServiceProvision)",
    )
    add_json(made)


def _run_vendor_add(chosen: argparse.Namespace) -> int:
    vendor, secret = new_host_of(chosen).consent.vendors.add(
        chosen.name,
        chosen.redirect_uri,
        public=chosen.public,
        resource_server=chosen.resource_server,
        sells_as=chosen.sells_as,
        purpose=chosen.purpose,
        jwks=_keys(chosen.jwks),
        jwks_uri=_address(chosen.jwks_uri),
        dpop_bound=chosen.dpop_bound,
        events_uri=chosen.events_uri,
        resource=chosen.resource,
    )
    values = {"client_id": vendor.client_id} | ({"client_secret": secret} if secret else {})
    lines = [f"{name}: {value}" for name, value in values.items()]
    if secret:
        lines.append("The secret is shown once and stored only as a hash.")
    show_once(
        chosen,
        values,
        "\n".join(lines),
        made=f"{vendor.name} was registered as {vendor.client_id}",
        lost="its secret" if secret else "that",
        hint=f"vrm vendor block {vendor.client_id}, and add it again"
        if secret
        else "vrm vendor list shows it",
    )
    return 0


def _keys(path: Path | None) -> str:
    """What the file says; ValidationError where it cannot be read, or says nothing.

    Nothing would mean that there are no keys: who asked for them would be registered with a secret.
    """
    if path is None:
        return ""
    try:
        found = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValidationError(fields={"jwks": ["cannot be read"]}) from None
    if not found:
        raise ValidationError(fields={"jwks": ["is empty"]})
    return found


def _address(given: str | None) -> str:
    """The same of an address of keys, such as one from a variable that is not set."""
    if given == "":
        raise ValidationError(fields={"jwks_uri": ["is empty"]})
    return given or ""


def _run_vendor_list(chosen: argparse.Namespace) -> int:
    vendors = host_of(chosen).consent.vendors.listing()
    values = [
        {
            "client_id": one.client_id,
            "name": one.name,
            "redirect_uris": list(one.redirect_uris),
            "public": one.public,
            "auth_method": one.auth_method,
            "keys": one.jwks_uri or ("registered" if one.jwks else None),
            "dpop_bound": one.dpop_bound,
            "events_uri": one.events_uri or None,
            "resource": one.resource or None,
            "origin": one.origin,
            "claimed": one.claimed or None,
            "blocked": one.blocked,
            "created": rfc3339(one.created),
        }
        for one in vendors
    ]
    lines = [_line(one) for one in vendors]
    show(
        chosen,
        values,
        "\n".join(lines) or "No vendors yet. Register one: vrm vendor add NAME --redirect-uri URI",
    )
    return 0


def _line(one: Vendor) -> str:
    """Name, id, and how it proves itself."""
    proof = PROOFS[one.auth_method] + (", tokens bound to a key" if one.dpop_bound else "")
    whence = "" if one.verified else f", not verified ({one.origin})"
    return f"{one.name:<24} {one.client_id}  {proof}{whence}{'  BLOCKED' if one.blocked else ''}"


def _run_vendor_block(chosen: argparse.Namespace) -> int:
    ended = host_of(chosen).consent.sweeping.block(chosen.client_id)
    show(chosen, {"client_id": chosen.client_id, "ended": ended}, f"Blocked; grants ended: {ended}.")
    return 0
