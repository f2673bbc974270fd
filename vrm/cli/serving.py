"""`vrm serve`, `vrm openapi`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import Any

from vrm import __version__, serve
from vrm import settings as settings_module
from vrm.cli.frame import as_json, command, settings_of
from vrm.settings import Settings


def add(commands: Any) -> None:
    """Serving, and what is served."""
    made = command(
        commands,
        "serve",
        _run_serve,
        "serve the vault",
        "vrm serve",
        "vrm serve --port 9000 --workers 4",
        "VRM_PUBLIC_URL=https://vault.example vrm serve",
    )
    made.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    made.add_argument("--port", type=int, help="port to listen on (default 8600)")
    made.add_argument("--workers", type=int, help="server processes (default 2)")
    made.add_argument(
        "--no-worker",
        dest="send_events",
        action="store_const",
        const=0,
        help="leave the sending of events to vrm worker (VRM_SEND_EVENTS=0)",
    )
    made.add_argument(
        "--tls-self-signed", action="store_true", help="TLS with a certificate made for this run"
    )
    command(commands, "openapi", _run_openapi, "print the OpenAPI document", "vrm openapi > openapi.json")


def _settings(chosen: argparse.Namespace) -> Settings:
    settings = settings_of(chosen)
    if chosen.tls_self_signed and not settings.public_url:
        https = settings.issuer.replace("http://", "https://")
        settings = settings_module.checked(replace(settings, public_url=https))
    return settings


def _run_serve(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    for name, meant in settings_module.misspelt(os.environ):
        print(f"warning: {name} is not a setting{meant and f'; did you mean {meant}?'}", file=sys.stderr)
    serve.prepare(settings)

    def listening() -> None:
        print(
            f"vrm {__version__} serves {settings.issuer} (data in {settings.data_dir}); Ctrl-C ends it",
            file=sys.stderr,
            flush=True,
        )

    serve.serve(
        settings,
        self_signed=chosen.tls_self_signed,
        listening=listening,
        again=lambda: _settings(chosen),
    )
    return 0


def _run_openapi(chosen: argparse.Namespace) -> int:
    from vrm.api import openapi

    print(as_json(openapi.document(settings_of(chosen)), indent=2))
    return 0
