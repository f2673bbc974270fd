"""`vrm sandbox`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from vrm import settings as settings_module
from vrm.cli.frame import add_json, command
from vrm.sandbox import serving
from vrm.sandbox.people import NAMES, PASSPHRASE


def add(commands: Any) -> None:
    """The command `sandbox`."""
    made = command(
        commands,
        "sandbox",
        _run_sandbox,
        "serve a vault with five sample people to integrate against; nothing is kept",
        "vrm sandbox",
        "vrm sandbox --redirect-uri http://127.0.0.1:3000/callback",
        "curl -H 'Accept: application/json' -d person=alice -d answer=approve http://127.0.0.1:8600/sandbox/seat",
        settings=False,
    )
    made.add_argument("--port", type=int, help="port to listen on (default 8600)")
    made.add_argument("--host", help="address of this machine to listen on (default 127.0.0.1)")
    made.add_argument("--name", default="Your Shop", help="what the people read of you (Your Shop)")
    made.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="where answers go; may be repeated (http://127.0.0.1:8601/callback)",
    )
    made.add_argument("--events-uri", default="", metavar="URI", help="where signed events go")
    add_json(made)


def _run_sandbox(chosen: argparse.Namespace) -> int:
    with serving.folder() as folder:
        wished = settings_module.load({"host": chosen.host, "port": chosen.port})
        settings = serving.sandboxed(wished, Path(folder))
        uris = chosen.redirect_uri or ["http://127.0.0.1:8601/callback"]
        client_id, secret = serving.prepare(settings, chosen.name, uris, chosen.events_uri)
        told = {
            "vault": settings.issuer,
            "sandbox": f"{settings.issuer}/sandbox",
            "client_id": client_id,
            "client_secret": secret,
            "redirect_uris": uris,
            "people": list(NAMES),
            "passphrase": PASSPHRASE,
        }
        serving.run(settings, lambda: _tell(chosen, told))
    return 0


def _tell(chosen: argparse.Namespace, told: dict[str, Any]) -> None:
    if chosen.json:
        print(json.dumps(told), flush=True)
        return
    for name, value in told.items():
        print(f"{name}: {', '.join(value) if isinstance(value, list) else value}", flush=True)
    print("Ctrl-C ends it; nothing is kept.", file=sys.stderr, flush=True)
