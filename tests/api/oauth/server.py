"""A server process for the races: the vendor's rim on a data folder that another process shares.

    python -m tests.api.oauth.server FOLDER PUBLIC_URL

prints its port once it listens.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from vrm.api import register
from vrm.clock import SystemClock
from vrm.consent.service import Consent
from vrm.settings import Settings
from vrm.vault import serverkey
from vrm.vault.engine import SqliteEngine
from vrm.vault.vault import Vaults


class Quiet(WSGIRequestHandler):
    """No access log: it would name paths on the test's output."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass


def main() -> None:
    folder, public_url = sys.argv[1:]
    settings = Settings(data_dir=Path(folder), public_url=public_url)
    engine = SqliteEngine(settings.database_path)
    vaults = Vaults(engine, serverkey.load(settings.server_key_path), clock=SystemClock())
    app = Flask("vrm")
    register(app, Consent(engine, vaults, SystemClock()), vaults, settings)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
