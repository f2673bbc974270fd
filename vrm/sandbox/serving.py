"""One process, one folder that is deleted at the end, the real application."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flask import Flask

from vrm import logs, serve, worker
from vrm import settings as settings_module
from vrm.app import create_app
from vrm.errors import SettingsError
from vrm.host import Host, open_host, start_sweeper
from vrm.sandbox import people, routes
from vrm.sandbox.stage import Stage, TravelClock
from vrm.settings import LOOPBACK, Settings
from vrm.vault.crypto import KdfLimits

CHEAP = KdfLimits(memory=19 * 1024, passes=1)  # its passphrases are known: each unlock may be quick
NEAR = "127.0.0.0/8, ::1/128"


def sandboxed(settings: Settings, folder: Path) -> Settings:
    """These settings for a sandbox in `folder`; SettingsError for an address that others can reach."""
    if settings.host not in LOOPBACK:
        raise SettingsError(
            f"VRM_HOST: {settings.host}: a sandbox serves this machine only", hint="leave --host away"
        )
    return settings_module.checked(
        replace(
            settings,
            data_dir=folder,
            database_url="",
            server_key_file="",
            public_url="",
            workers=1,
            signup="closed",
            registration="open",
            outbound_allow=NEAR,
            trusted_proxies=0,
        )
    )


def prepare(settings: Settings, shop: str, redirect_uris: list[str], events_uri: str) -> tuple[str, str]:
    """Make the people, and register the vendor: (client id, secret)."""
    serve.require_free(settings)
    host = _open(settings)
    try:
        people.create(host.vaults, host.clock)
        vendor, secret = host.consent.vendors.add(shop, redirect_uris, events_uri=events_uri)
    finally:
        host.engine.close()
    assert secret is not None
    return vendor.client_id, secret


def run(settings: Settings, listening: Callable[[], object]) -> None:
    """Serve until a signal ends it."""
    serve.serve(settings, listening=listening, target="vrm.sandbox.serving:application")


def folder() -> tempfile.TemporaryDirectory[str]:
    """Where everything is, until the end."""
    return tempfile.TemporaryDirectory(prefix="vrm-sandbox-")


def application() -> Flask:
    """What the one process serves; its settings come through the environment from `run`."""
    settings = settings_module.load()
    serve.heed_only_the_parent()
    logs.setup(settings.log_level, settings.log_format)
    host = _open(settings)
    start_sweeper(host)
    worker.start(host)
    app = staged(host)
    serve.tell_ready(settings)
    return app


def staged(host: Host) -> Flask:
    """The application of a host whose clock can travel, with the sandbox's own address."""
    assert isinstance(host.clock, TravelClock)
    app = create_app(host.settings, host=host)
    routes.install(app, Stage(host, host.clock))
    return app


def _open(settings: Settings) -> Host:
    return open_host(settings, clock=TravelClock(), limits=CHEAP)
