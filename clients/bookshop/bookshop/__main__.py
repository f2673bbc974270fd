"""`python -m bookshop`: open the shop."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from bookshop.app import create_app
from bookshop.catalogue import load
from bookshop.desk import Desk
from bookshop.sold import read_orders
from bookshop.told import Seen
from bookshop.vaults import Anywhere, Vaults, kept_key
from bookshop.visitors import Visitors
from vrm_client import ProtocolError, PublicTransport, Vendor


class Quiet(WSGIRequestHandler):
    """Logs paths without their query: the callback's holds a code."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:  # noqa: ARG002 - the signature is not ours
        self.log("info", "%s %s %s", self.command, self.path.partition("?")[0], code)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(
        prog="bookshop", description="Corner Books, a demo shop that asks a vault."
    )
    line.add_argument("--vault", required=True, help="public address of the vault")
    line.add_argument("--client-id", required=True, help="as vrm vendor add printed it")
    line.add_argument("--client-secret-file", type=Path, help="without it: a public client")
    line.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    line.add_argument("--port", type=int, default=8601, help="port to listen on (default 8601)")
    line.add_argument("--public-url", help="address of the shop, if not http://HOST:PORT")
    line.add_argument("--orders", type=Path, help="order file or folder: what the shop sold on this account")
    line.add_argument("--store", type=Path, help="file that keeps visitors between runs (holds tokens)")
    line.add_argument(
        "--any-vault",
        type=Path,
        metavar="KEY",
        help="speak with any vault, proving it by the key in this file",
    )
    line.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="beside public addresses, vaults may be here: 127.0.0.0/8",
    )
    return line


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted."""
    options = parser().parse_args(arguments)
    catalogue = load()
    address = (options.public_url or f"http://{options.host}:{options.port}").rstrip("/")
    try:
        secret = options.client_secret_file.read_text().strip() if options.client_secret_file else None
        sold = read_orders(options.orders, catalogue) if options.orders else []
        vendor = Vendor(
            options.vault,
            client_id=options.client_id,
            client_secret=secret,
            redirect_uri=f"{address}/callback",
        )
        anywhere = None
        if options.any_vault:
            transport = PublicTransport(allow=options.allow)
            anywhere = Anywhere(address, kept_key(options.any_vault), transport)
        desk = Desk(Vaults(options.vault, vendor, anywhere), catalogue, Visitors(options.store), sold)
        seen = Seen(options.store and options.store.with_name(options.store.name + ".events"))
        app = create_app(desk, seen=seen)
        server = make_server(options.host, options.port, app, threaded=True, request_handler=Quiet)
    except (OSError, ValueError, ProtocolError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"Corner Books is open at {address} (pid {os.getpid()})\n")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
