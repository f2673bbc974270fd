"""`vrm serve`, `vrm openapi`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace
from typing import Any

from vrm import __version__, logs, serve
from vrm import settings as settings_module
from vrm.cli.frame import as_json, command, settings_of
from vrm.errors import SettingsError
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
    if chosen.tls_self_signed and settings.public_url and settings.on_loopback:
        raise SettingsError(
            f"VRM_PUBLIC_URL: {settings.issuer} is plain http, and --tls-self-signed speaks TLS",
            hint="write it with https://, or leave one of the two away",
        )
    if chosen.tls_self_signed and not settings.public_url:
        https = settings.issuer.replace("http://", "https://")
        settings = settings_module.checked(replace(settings, public_url=https))
    return settings


def _say(settings: Settings, level: int, told: str, plain: str) -> None:
    """One line on standard error, as the log is read by a program or by a person."""
    if settings.log_format == "json":
        logs.say(level, told)
    else:
        print(plain, file=sys.stderr, flush=True)


def _run_serve(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen)
    logs.setup(settings.log_level, settings.log_format)
    for name, meant in settings_module.misspelt(os.environ):
        told = f"{name} is not a setting{meant and f'; did you mean {meant}?'}"
        _say(settings, logging.WARNING, told, f"warning: {told}")
    serve.prepare(settings)

    def listening() -> None:
        told = f"vrm {__version__} serves {settings.issuer} (data in {settings.data_dir})"
        _say(settings, logging.INFO, told, f"{told}; Ctrl-C ends it")

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
