"""The bare Flask routes that every figure stands beside: the same bytes, on granian with the same options.

A route here looks nothing up, opens nothing and writes nothing: it returns what the vault answered once.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from flask import Flask, Response
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

_ANSWERS = "VRM_BENCH_ANSWERS"


@dataclass(frozen=True, slots=True)
class Answer:
    """One route: its rule, and what it returns."""

    rule: str
    method: str
    status: int
    content_type: str
    body: str
    location: str = ""


def write_answers(path: Path, answers: list[Answer]) -> None:
    """Keep the answers for the servers that `serve` starts."""
    path.write_text(json.dumps([asdict(answer) for answer in answers]), encoding="utf-8")


def application() -> Flask:
    """What each worker serves."""
    app = Flask("bare", static_folder=None)
    for number, values in enumerate(json.loads(Path(os.environ[_ANSWERS]).read_text(encoding="utf-8"))):
        _add_route(app, f"answer{number}", Answer(**values))
    return app


def _add_route(app: Flask, name: str, answer: Answer) -> None:
    body = answer.body.encode()
    headers = {"Location": answer.location} if answer.location else None

    def bare(**_: str) -> Response:
        return Response(body, status=answer.status, headers=headers, content_type=answer.content_type)

    app.add_url_rule(answer.rule, name, bare, methods=[answer.method])


def serve(port: int, workers: int, answers: str) -> None:
    """Serve until a signal ends it, with the options of `vrm serve`."""
    os.environ[_ANSWERS] = answers
    Granian(
        "bench.baseline:application",
        factory=True,
        interface=Interfaces.WSGI,
        address="127.0.0.1",
        port=port,
        workers=workers,
        blocking_threads=4,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        websockets=False,
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
