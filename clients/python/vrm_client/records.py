"""A record as a vendor sees it: granted facets only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from vrm_client.errors import ProtocolError
from vrm_client.transport import Json

Facet = Mapping[str, Json]
NOTHING: Facet = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `id` is yours alone: the same record has another id for another vendor."""

    id: str
    updated_at: datetime
    facets: Mapping[str, Facet] = field(repr=False)  # personal: not for logs

    def __getitem__(self, facet: str) -> Facet:
        """A granted facet, or KeyError."""
        return self.facets[facet]

    def facet(self, name: str) -> Facet:
        """A facet, empty when it was not granted."""
        return self.facets.get(name, NOTHING)

    def text(self, facet: str, name: str) -> str:
        """A text, empty when absent or not granted."""
        value = self.facet(facet).get(name)
        return value if isinstance(value, str) else ""


def parse_record(document: Json) -> Record:
    """Read a record: `{"id", "updated_at", "<facet>": {…}, …}`."""
    if not isinstance(document, dict):
        raise ProtocolError("a record is not an object")
    identifier = document.get("id")
    if not isinstance(identifier, str) or not identifier:
        raise ProtocolError("a record has no id")
    facets = {name: value for name, value in document.items() if isinstance(value, dict)}
    return Record(identifier, moment(document.get("updated_at")), facets)


def moment(value: Json) -> datetime:
    """A moment in whole seconds, written as RFC 3339 or as Unix time; ProtocolError for anything else."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise ProtocolError("a record does not say when it changed")
