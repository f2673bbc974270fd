"""JSON that vendors publish: fetched within limits, and for how long it may be kept.

Promises: a few fetches at once on this machine, and those of strangers in no known vendor's way; one answer
is one JSON object without a key twice, said to be JSON, of at most so many bytes; what HTTP says of its age
is respected between five minutes and a day (RFC 9111). Refuses to call anybody while a transaction of this
thread is open: the database would wait for a stranger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vrm import strict_json
from vrm.errors import OutboundError
from vrm.outbound import Answer, Outbound
from vrm.vault.engine import Engine

SHORTEST, USUAL, LONGEST = 300, 3600, 86_400  # seconds that an answer is kept
HOLD_BACK = 15  # seconds after a failed try in which there is no other
_AT_ONCE = 4
_WAIT = 2.0  # seconds for one of these places
_MAX_AGE = re.compile(r"max-age=\"?([0-9]{1,9})\"?", re.IGNORECASE)
_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, as text and read, and for how many seconds it may be kept."""

    text: str
    document: dict[str, Any]
    keep: int


class Fetching:
    """The fetching of documents."""

    def __init__(self, engine: Engine, outbound: Outbound) -> None:
        self._engine = engine
        self.outbound = outbound

    def json(self, url: str, *, most: int, known: bool, longest: int = LONGEST) -> Fetched:
        """The document at an address; OutboundError, and BusyError where too much is fetched already.

        `known`: of a vendor that the host or a customer knows; strangers cannot take the places of these.
        """
        if self._engine.in_transaction():
            raise RuntimeError("a call to a stranger inside of a transaction")
        with self._engine.slot("fetch" if known else "fetch-strange", _AT_ONCE, _WAIT):
            answer = self._outbound_answer(url, most)
        return Fetched(*_read(answer), keep=min(_keep(answer.headers), longest))

    def _outbound_answer(self, url: str, most: int) -> Answer:
        answer = self.outbound.get(url, most=most)
        if answer.status != 200:
            raise OutboundError(f"the address answered {answer.status}", answered=answer.status < 500)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        if not _JSON.fullmatch(media_type):
            raise OutboundError("what is there is not said to be JSON", answered=True)
        return answer


def _read(answer: Answer) -> tuple[str, dict[str, Any]]:
    try:
        text = answer.body.decode("utf-8")
        document = strict_json.loads(text)
    except ValueError:
        raise OutboundError("what is there is not JSON with unique keys", answered=True) from None
    if not isinstance(document, dict):
        raise OutboundError("what is there is not a JSON object", answered=True)
    return text, document


def _keep(headers: Mapping[str, str]) -> int:
    told = headers.get("cache-control", "")
    if re.search(r"\bno-(store|cache)\b", told, re.IGNORECASE):
        return SHORTEST
    found = _MAX_AGE.search(told)
    return max(SHORTEST, min(int(found.group(1)), LONGEST)) if found else USUAL
