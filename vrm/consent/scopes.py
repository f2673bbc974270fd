"""Scopes and request parts: what a vendor can ask for, in the catalog's terms.

A stored request always has the shape of RFC 9396 `authorization_details` of type `vrm_access`; a scope
string is its short form. Anything unknown, not shareable or not built is refused by name. A scope that
ends in `:write` carries no reading key: its holder may leave something in the mailbox, and follow that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vrm.consent.purposes import purpose as known_purpose
from vrm.consent.terms import require_terms
from vrm.errors import ScopeError
from vrm.vault.catalog import CATALOG, CATALOG_BY_NAME, N_

TYPE = "vrm_access"
CORRECTIONS = "answers.corrections"
ANSWERS: dict[str, str] = {CORRECTIONS: N_("Which of their own orders say nothing about your taste")}
WRITES: dict[str, str] = {
    "purchases": N_("Put purchases into your vault"),
    "inbox": N_("Leave messages in your inbox"),
}
MANAGEMENT: dict[str, str] = {  # they open no row; only beside others, for who can prove who it is
    "grant_management_query": N_("Look up what you agreed to"),
    "grant_management_revoke": N_("End it themselves"),
}
_PERIOD = re.compile(r"P([0-9]{1,4})([DWMY])")
INBOX, NO_CHANNEL = "inbox", "none"  # how an answer may come back: by her inbox, or not at all
_LIST_MEMBERS = ("datatypes", "actions", "fields", "locations")
_TEXT_MEMBERS = ("period", "purpose", "necessity", "retention", "terms", "response_channel")
_FOR_READING = ("fields", "filter", "period", "retention", "terms", "response_channel")
_MEMBERS = {"type", "filter", *_LIST_MEMBERS, *_TEXT_MEMBERS}
_MOST_PARTS = 20

Part = dict[str, Any]


def _all_scopes() -> dict[str, str]:
    found = {}
    for collection in CATALOG:
        for facet in collection.facets:
            if facet.shareable:
                found[f"{collection.name}.{facet.name}:read"] = facet.label
    found |= {f"{answer}:read": label for answer, label in ANSWERS.items()}
    return found | {write_scope(collection): label for collection, label in WRITES.items()}


def write_scope(collection: str) -> str:
    """What lets a vendor leave something for this collection."""
    return f"{collection}:write"


def writes(part: Part) -> bool:
    """Whether a part asks to put something in, rather than to read."""
    return bool(part["actions"] == ["write"])


def scopes_of(part: Part) -> list[str]:
    """The scopes that cover one part."""
    verb = "write" if part["actions"] == ["write"] else "read"
    return [f"{datatype}:{verb}" for datatype in part["datatypes"]]


def is_reading(scope: str) -> bool:
    """Whether a scope opens rows of a view."""
    return scope.endswith(":read")


SCOPES: dict[str, str] = _all_scopes()


def split_management(scope: str) -> tuple[str, list[str]]:
    """(the scope without those of grant management, these)."""
    words = scope.split()
    rest = " ".join(word for word in words if word not in MANAGEMENT)
    return rest, [word for word in MANAGEMENT if word in words]


def expand(collection: str) -> list[str]:
    """`purchases:read` is this day's shareable facets; later ones never join.

    ScopeError for an unknown collection and for one of which nothing is ever shared.
    """
    known = CATALOG_BY_NAME.get(collection)
    found = [f"{collection}.{facet.name}" for facet in known.facets if facet.shareable] if known else []
    if not found:
        raise ScopeError(f"scope {f'{collection}:read'[:60]!r} {_unreadable(collection)}")
    return found


def _unreadable(subject: str) -> str:
    """What is true of what nobody can ask to read: a collection, one of its facets, or neither."""
    collection, _, facet = subject.partition(".")
    known = CATALOG_BY_NAME.get(collection)
    if known is None or (facet and facet not in [one.name for one in known.facets]) or subject[-1:] == ".":
        return "is unknown"
    return "can only be written" if subject in WRITES else "is never shared"


def stream_of(datatype: str) -> str:
    """Where the rows of a datatype stand: its collection, or the answer itself."""
    return datatype if datatype in ANSWERS else datatype.partition(".")[0]


def member_of(scope: str) -> str:
    """The member of a record in which a scope's part leaves: its facet's name."""
    return scope.removesuffix(":read").partition(".")[2]


def subject_of(scope: str) -> str:
    """What a scope is about: `purchases.item:read` → `purchases.item`, `inbox:write` → `inbox`."""
    return scope.rpartition(":")[0]


def source_of(stream: str) -> str:
    """The collection whose records a stream is made from."""
    return "purchases" if stream == CORRECTIONS else stream


def parts_from_scope(scope: str, purpose: str) -> list[Part]:
    """The request parts of a scope string: all required. ScopeError for unknown ones, doubles or none."""
    reading: dict[str, list[str]] = {}
    writing: list[str] = []
    for word in scope.split():
        subject, _, verb = word.rpartition(":")
        if verb == "write" and subject in WRITES:
            writing.append(subject)
            continue
        if verb != "read":
            raise ScopeError(f"scope {word[:60]!r} is unknown")
        for datatype in [subject] if word in SCOPES else expand(subject):
            reading.setdefault(stream_of(datatype), []).append(datatype)
    if not reading and not writing:
        raise ScopeError("no scope was asked for")
    parts = [_required(list(dict.fromkeys(wanted)), "read", purpose) for wanted in reading.values()]
    return parts + [_required([subject], "write", purpose) for subject in dict.fromkeys(writing)]


def _required(datatypes: list[str], action: str, purpose: str) -> Part:
    return {
        "type": TYPE,
        "datatypes": datatypes,
        "actions": [action],
        "purpose": known_purpose(purpose).id,
        "necessity": "required",
    }


def scope_string(parts: Iterable[Part]) -> str:
    """The scopes that cover these parts."""
    return " ".join(dict.fromkeys(scope for part in parts for scope in scopes_of(part)))


def check_details(details: Any, *, beside_scope: bool = False, here: str = "") -> list[Part]:
    """Clean request parts of `authorization_details`; ScopeError by RFC 9396 §5's five reasons.

    Unknown type, unknown member, wrong JSON type, invalid value, missing required member. Beside a scope,
    whose parts are all required, every part here may be optional. `here`: this vault's address, which alone
    `locations` may name.
    """
    if not isinstance(details, list) or not details or len(details) > _MOST_PARTS:
        raise ScopeError(f"authorization_details must be a list of 1 to {_MOST_PARTS} objects")
    parts = [_checked_part(part, here) for part in details]
    if not beside_scope and all(part["necessity"] == "optional" for part in parts):
        raise ScopeError("at least one part must be required")
    return parts


def require_channels(parts: list[Part]) -> list[Part]:
    """Who means to answer by her inbox asks, in the same request, to leave something there: ScopeError.

    Otherwise she would be told of an answer that could never come, or come by a way she was not asked about.
    """
    answers = any(part.get("response_channel") == INBOX for part in parts)
    if answers and not any(leaves_messages(part) for part in parts):
        raise ScopeError("authorization_details: response_channel inbox needs a part that writes to inbox")
    return parts


def leaves_messages(part: Part) -> bool:
    """Whether a part asks to put messages into the inbox."""
    return writes(part) and INBOX in part["datatypes"]


def is_stored_part(part: Any) -> bool:
    """Whether this has the shape of a part that was checked once, perhaps narrowed since."""
    try:
        named = all(scope in SCOPES for scope in scopes_of(part)) and bool(part["datatypes"])
        periods = [part[name] for name in ("period", "retention") if name in part]
        texts = [*part.get("fields", ()), *part.get("filter", {}).get("category", ())]
        texts += part.get("locations", ())
        known_purpose(part["purpose"])
        _checked_words(part)
        return named and all(map(check_period, periods)) and all(isinstance(one, str) for one in texts)
    except (LookupError, TypeError, ValueError, AttributeError, ScopeError):
        return False


def _checked_shape(part: Any) -> None:
    """Type, unknown members, JSON types, missing members: RFC 9396 section 5's first reasons."""
    if not isinstance(part, dict) or part.get("type") != TYPE:
        raise ScopeError(f"authorization_details: type must be {TYPE}")
    for name, value in part.items():
        if name not in _MEMBERS:
            raise ScopeError(f"authorization_details: unknown member {str(name)[:60]!r}")
        texts = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        if name in _LIST_MEMBERS and not texts:
            raise ScopeError(f"authorization_details: {name} must be a list of texts")
        if name in _TEXT_MEMBERS and not isinstance(value, str):
            raise ScopeError(f"authorization_details: {name} must be a text")
    for name in ("datatypes", "purpose"):
        if name not in part:
            raise ScopeError(f"authorization_details: {name} is missing")


def _checked_part(part: Any, here: str) -> Part:
    _checked_shape(part)
    action = _checked_action(part)
    clean: Part = {
        "type": TYPE,
        "datatypes": _checked_datatypes(part["datatypes"], action),
        "actions": [action],
        "purpose": known_purpose(part["purpose"]).id,
        "necessity": part.get("necessity", "required"),
    }
    if clean["necessity"] not in ("required", "optional"):
        raise ScopeError("authorization_details: necessity is required or optional")
    if "locations" in part:
        clean["locations"] = _checked_locations(part["locations"], here)
    if writes(clean):
        return _without_limits(part, clean)
    return clean | _limits(part, clean["datatypes"]) | _checked_words(part)


def _checked_locations(locations: list[str], here: str) -> list[str]:
    """RFC 9396 section 2.2: where it is to be used. There is one place, and it is this one."""
    if not here or {place.rstrip("/") for place in locations} != {here}:
        raise ScopeError("authorization_details: locations names another place than this vault")
    return [here]


def _checked_words(part: Part) -> Part:
    """What both sides only say, and no key enforces: the terms, and how an answer may come back."""
    clean: Part = {}
    if "terms" in part:
        clean["terms"] = require_terms(part["terms"])
    if "response_channel" in part:
        if part["response_channel"] not in (NO_CHANNEL, INBOX):
            raise ScopeError("authorization_details: response_channel is none or inbox")
        clean["response_channel"] = part["response_channel"]
    return clean


def _checked_action(part: Part) -> str:
    actions = part.get("actions", ["read"])
    if actions not in (["read"], ["write"]):
        raise ScopeError("authorization_details: a part has one action, read or write")
    return str(actions[0])


def _without_limits(part: Part, clean: Part) -> Part:
    """What is put in is not read: there are no rows and fields to choose."""
    for name in _FOR_READING:
        if name in part:
            raise ScopeError(f"authorization_details: a part that writes has no {name}")
    return clean


def _checked_datatypes(datatypes: list[str], verb: str) -> list[str]:
    if len(set(map(stream_of, datatypes))) != 1:
        raise ScopeError("authorization_details: the datatypes of one part belong to one collection")
    for datatype in datatypes:
        if f"{datatype}:{verb}" not in SCOPES:
            raise ScopeError(f"authorization_details: unknown datatype {datatype[:60]!r}")
    return list(dict.fromkeys(datatypes))


def _limits(part: Part, datatypes: list[str]) -> Part:
    clean: Part = {}
    if "fields" in part:
        clean["fields"] = _checked_fields(part["fields"], datatypes)
    if "filter" in part:
        clean["filter"] = _checked_filter(part["filter"], datatypes)
    if "period" in part:
        if stream_of(datatypes[0]) != "purchases":
            raise ScopeError("authorization_details: only purchases have a period")
        clean["period"] = check_period(part["period"])
    if "retention" in part:
        clean["retention"] = check_period(part["retention"])
    return clean


def known_fields(datatypes: Iterable[str]) -> set[str]:
    """The names of all fields of these facets."""
    named = (datatype.partition(".") for datatype in datatypes)
    return {
        field.name
        for collection, _, facet in named
        for field in CATALOG_BY_NAME[collection].facet(facet).fields
    }


def _checked_fields(names: list[str], datatypes: list[str]) -> list[str]:
    for datatype in datatypes:
        if datatype in ANSWERS:
            raise ScopeError("authorization_details: an answer has no fields to choose")
        if not known_fields([datatype]) & set(names):
            raise ScopeError(f"authorization_details: fields names nothing of {datatype}")
    known = known_fields(datatypes)
    for name in names:
        if name not in known:
            raise ScopeError(f"authorization_details: unknown field {name[:60]!r}")
    return list(dict.fromkeys(names))


def _checked_filter(value: Any, datatypes: list[str]) -> dict[str, list[str]]:
    if stream_of(datatypes[0]) != "purchases":
        raise ScopeError("authorization_details: only purchases have a filter")
    if not isinstance(value, dict) or set(value) != {"category"}:
        raise ScopeError("authorization_details: filter knows category only")
    names = value["category"]
    if (
        not isinstance(names, list)
        or not 0 < len(names) <= 50
        or not all(isinstance(name, str) for name in names)
    ):
        raise ScopeError("authorization_details: filter.category must be a list of texts")
    if any(not re.fullmatch(r"[a-z0-9\-]{1,60}", name) for name in names):
        raise ScopeError("authorization_details: filter.category holds a name that is no category")
    return {"category": sorted(set(names))}


def check_period(text: str) -> str:
    """An ISO 8601 duration of one unit, such as P2Y or P90D; ScopeError otherwise."""
    found = _PERIOD.fullmatch(text)
    if not found or not 0 < int(found[1]) <= 36_500:
        raise ScopeError(f"{text[:20]!r} is no period such as P2Y, P6M or P90D")
    return text
