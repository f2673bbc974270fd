"""`/metrics` for Prometheus, on an address of its own: numbers of all workers of this server, of no person.

Promises: any worker answers for all, so that one that is gone takes no number with it. Off unless the host
names an address, because how much a vault is used tells about its customers; nothing of it is at the public
address. Refuses labels that name a vendor, a vault or a path.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from typing import Final

from vrm.errors import VrmError
from vrm.host import Host
from vrm.meters import BOUNDS, COUNTERS, Series

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE: Final = 5.0  # seconds for one question and its answer
_MOST: Final = 8192  # bytes of a question
_CLASSES: Final = ("other", "1xx", "2xx", "3xx", "4xx", "5xx")
_log = logging.getLogger("vrm.metrics")


def start(host: Host, series: list[Series], address: tuple[str, int]) -> threading.Thread:
    """Answer at this address in a thread; every worker does, and the system gives each question to one."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    door = socket.socket(family)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    door.bind(address)
    door.listen(8)
    thread = threading.Thread(target=_serve, args=(door, host, series), name="vrm-metrics", daemon=True)
    thread.start()
    return thread


def _serve(door: socket.socket, host: Host, series: list[Series]) -> None:
    while True:
        try:
            with door.accept()[0] as line:
                line.settimeout(_PATIENCE)
                line.sendall(_answer(_question(line), host, series))
        except OSError as error:
            _log.debug("a question broke off: %s", error.errno)
        except Exception:  # noqa: BLE001 - our own mistake must not end all watching
            _log.exception("no numbers")


def _question(line: socket.socket) -> bytes:
    """The first line of what was asked, and no more than that is looked at."""
    heard = b""
    while b"\r\n\r\n" not in heard and len(heard) < _MOST:
        piece = line.recv(_MOST)
        if not piece:
            break
        heard += piece
    return heard.partition(b"\r\n")[0]


def _answer(question: bytes, host: Host, series: list[Series]) -> bytes:
    if not question.startswith(b"GET /metrics "):
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    body = text(host, series).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def text(host: Host, series: list[Series]) -> str:
    """All numbers, in Prometheus' text format."""
    return "\n".join([*_requests(series), *_counters(), *_gauges(host), ""])


def _requests(series: list[Series]) -> Iterator[str]:
    found = [(one, total) for one in series if any((total := one.total()).classes)]
    yield from _head("vrm_requests_total", "Requests by rule and class of status.", "counter")
    for one, total in found:
        for kind, count in zip(_CLASSES, total.classes, strict=True):
            if count:
                yield f'vrm_requests_total{{{_labels(one)},status="{kind}"}} {count}'
    yield from _head(
        "vrm_request_seconds", "How long requests took, until their answer was made.", "histogram"
    )
    for one, total in found:
        below = 0
        for bound, count in zip((*BOUNDS, "+Inf"), total.buckets, strict=True):
            below += count
            yield f'vrm_request_seconds_bucket{{{_labels(one)},le="{bound}"}} {below}'
        yield f"vrm_request_seconds_sum{{{_labels(one)}}} {total.seconds}"
        yield f"vrm_request_seconds_count{{{_labels(one)}}} {below}"
    yield from _head("vrm_readings_total", "Readings of vendors that were answered.", "counter")
    yield f"vrm_readings_total {sum(total.classes[2] for one, total in found if _is_reading(one))}"


def _is_reading(one: Series) -> bool:
    return one.method == "GET" and one.rule.startswith("/api/v1/") and "/tools" not in one.rule


def _labels(one: Series) -> str:
    return f'method="{one.method}",rule="{one.rule}"'


def _counters() -> Iterator[str]:
    for counter in COUNTERS:
        yield from _head(f"vrm_{counter.name}_total", counter.about, "counter")
        yield f"vrm_{counter.name}_total {counter.total()}"


def _gauges(host: Host) -> Iterator[str]:
    """What is looked up when it is asked for; left out where the storage does not answer."""
    gauges = (
        ("vrm_events_waiting", "Events that wait for their vendors.", host.consent.outbox.waiting),
        ("vrm_database_bytes", "Size of the database, with its log.", host.engine.size),
    )
    for name, about, ask in gauges:
        try:
            value = ask()
        except VrmError as error:
            _log.warning("%s: %s", name, error.slug)
            continue
        yield from _head(name, about, "gauge")
        yield f"{name} {value}"


def _head(name: str, about: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {about}", f"# TYPE {name} {kind}"
