"""`vrm worker`: pushes events to vendors (RFC 8935) until each has answered, or three days are over.

Promises: an event is sent at least once, with the same `jti` at each try, one at a time to each vendor and in
order; many workers on one database share the work. Killed at any step, nothing is lost: what it was sending
goes out again when its lease is over. TERM lets the exchange that runs finish, which takes seconds at most.
Every call goes through `vrm.outbound`. Refuses to believe anything in an answer but its status and a short
code: a vendor's words end here.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final

from vrm.consent import events, outbox
from vrm.consent.notices import MEDIA_TYPE, Notice
from vrm.consent.outbox import Sending, Turn
from vrm.errors import OutboundError, ValidationError, VrmError
from vrm.host import Host
from vrm.outbound import Outbound

EVERY = 2.0  # seconds between two looks into the outbox
LANES = 4  # vendors to which one `vrm worker` sends at once
FAILED: Final = "failed"
_TAKEN = (200, 202, 204)  # 202 is the standard's; what also says that it was taken is not sent again
_CODE = re.compile(r"[A-Za-z_]{1,40}")
_log = logging.getLogger("vrm.worker")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a vendor's answer means: `outcome` is ACKNOWLEDGED, REFUSED or FAILED."""

    outcome: str
    reason: str = ""


class Worker:
    """Sends from the outbox of one host; used by one thread."""

    def __init__(
        self, host: Host, stop: threading.Event | None = None, outbound: Outbound | None = None
    ) -> None:
        self._outbox = host.consent.outbox
        self._signer = host.consent.signer
        self._vendors = host.consent.vendors
        self._clock = host.clock
        self._issuer = host.settings.issuer
        self._outbound = outbound or Outbound(host.settings.outbound_networks)
        self.stop = stop or threading.Event()

    def run(self) -> None:
        """Send what is due, again and again, until `stop` is set."""
        while not self.stop.wait(EVERY):
            try:
                self.work()
            except VrmError as error:
                _log.warning("events wait: %s", error.slug)
            except Exception:  # noqa: BLE001 - our own mistake must not end all sending
                _log.exception("sending failed")

    def work(self) -> Counter[str]:
        """Send what is due now; how often each outcome came."""
        done: Counter[str] = Counter()
        while not self.stop.is_set() and self._outbox.address():
            pass
        while not self.stop.is_set() and (turn := self._outbox.take()):
            self._send_queue(turn, done)
        return done

    def _send_queue(self, turn: Turn, done: Counter[str]) -> None:
        while sending := self._outbox.next(turn):
            reply = self.push(sending.uri, sending.notice)
            done[reply.outcome] += 1
            self._keep(turn, sending, reply)
            if reply.outcome == FAILED:
                return
            if self.stop.is_set():
                self._outbox.release(turn)
                return

    def _keep(self, turn: Turn, sending: Sending, reply: Reply) -> None:
        if reply.outcome == outbox.ACKNOWLEDGED:
            self._outbox.acknowledged(turn, sending)
            return
        _log.warning("%s does not take events: %s", sending.notice.client_id, reply.reason)
        if reply.outcome == outbox.REFUSED:
            self._outbox.refused(turn, sending, reply.reason)
        else:
            self._outbox.failed(turn, sending, reply.reason)

    def push(self, uri: str, notice: Notice) -> Reply:
        """One exchange."""
        token = self._signer.sign(notice, self._issuer)
        try:
            answer = self._outbound.post(uri, token, MEDIA_TYPE, accept="application/json")
        except OutboundError as error:
            return Reply(FAILED, str(error))
        if answer.status in _TAKEN:
            return Reply(outbox.ACKNOWLEDGED)
        if answer.status == 400:
            return Reply(outbox.REFUSED, _code(answer.body))
        return Reply(FAILED, f"http-{answer.status}")

    def test(self, client_id: str) -> tuple[str, Reply]:
        """Send a vendor a test event at once: (its address, what it said).

        VendorNotFoundError; ValidationError where it has no address.
        """
        vendor = self._vendors.get(client_id)
        if not vendor.events_uri:
            raise ValidationError(
                "this vendor has no address for events", hint="vrm vendor add … --events-uri https://…"
            )
        notice = Notice(secrets.token_urlsafe(16), events.TEST, self._clock.now(), client_id)
        return vendor.events_uri, self.push(vendor.events_uri, notice)


def _code(body: bytes) -> str:
    """The `err` of a refusal (RFC 8935 section 2.3); nothing else of it is kept."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    code = found.get("err") if isinstance(found, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "http-400"


def start(host: Host, stop: threading.Event | None = None) -> threading.Thread:
    """A thread that sends; in each server process, or several in one `vrm worker`."""
    thread = threading.Thread(target=Worker(host, stop).run, name="vrm-worker", daemon=True)
    thread.start()
    return thread
