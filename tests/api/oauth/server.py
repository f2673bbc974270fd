"""A server process for the races: the real app on a data folder that another process shares.

    python -m tests.api.oauth.server FOLDER PUBLIC_URL

prints its port once it listens.
"""

from __future__ import annotations

import sys
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from tests import postgres
from vrm.app import create_app
from vrm.settings import Settings


class Quiet(WSGIRequestHandler):
    """No access log: it would name paths on the test's output."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass


def main() -> None:
    folder, public_url = sys.argv[1:]
    database = postgres.chosen(Path(folder))
    app = create_app(Settings(data_dir=Path(folder), database_url=database, public_url=public_url))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
