"""Access tokens for less than was granted (RFC 6749 section 6, RFC 9396 section 6): our rule of comparison.

Less is fewer datatypes, because a token that names fewer carries fewer keys. What rows a datatype has, and
which fields, was sealed at the approval: a token can open them or not, so a request that names other fields,
another period or another filter than was granted is refused, and never answered with more than it asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vrm.consent.policy import HERE
from vrm.consent.scopes import Part, known_fields, scope_string, scopes_of
from vrm.errors import DetailsError, ScopeError, TargetError

_LIMITS = ("filter", "period", "retention", "terms", "response_channel")


def by_scope(granted: Sequence[str], scope: str | None) -> tuple[str, ...]:
    """The scopes of a token by a `scope` parameter; ScopeError for more than was granted."""
    if scope is None or not scope.split():
        return tuple(granted)
    wanted = set(scope.split())
    if not wanted <= set(granted):
        raise ScopeError("more was asked for than was granted")
    return tuple(name for name in granted if name in wanted)


def by_details(parts: Sequence[Part], wanted: Sequence[Part]) -> str:
    """The scopes of a token by `authorization_details`: every object within one that was granted.

    `wanted`: objects as `check_details` returns them. DetailsError for more than was granted, and where a
    datatype was granted twice under different limits and only one of them is named: its rows cannot be told
    apart any more.
    """
    pairs = [(one, part) for one in wanted for part in parts if _within(one, part)]
    for one in wanted:
        if not any(one is found for found, _ in pairs):
            raise DetailsError("authorization_details: more was asked for than was granted")
        for part in parts:
            for scope in set(scopes_of(one)) & set(scopes_of(part)):
                if not any(part is also and scope in scopes_of(found) for found, also in pairs):
                    raise DetailsError(f"authorization_details: {scope} was granted in other parts, too")
    return scope_string(wanted)


def by_resource(allowed: Sequence[str], resource: str | None) -> str:
    """Whom a token is for (RFC 8707 section 2.2); TargetError for a place that was not granted.

    Where the vendor does not say: this vault, else the first place that it had named.
    """
    if resource is None:
        return HERE if HERE in allowed else allowed[0]
    if resource not in allowed:
        raise TargetError()
    return resource


def require_same(
    audience: str,
    scopes: Sequence[str],
    parts: Sequence[Part],
    resource: str | None,
    scope: str | None,
    details: Sequence[Part] | None,
) -> None:
    """Refuse who asks for the answer of this audience, scopes and parts again, but for something else.

    Less is not answered with more. TargetError, ScopeError, DetailsError; what is not said is as it was.
    """
    if resource not in (None, audience):
        raise TargetError()
    if len(by_scope(scopes, scope)) < len(scopes):
        raise ScopeError("another scope than that of the answer")
    if details is not None and set(by_details(parts, details).split()) != set(scopes):
        raise DetailsError("authorization_details: others than those of the answer")


def cut(parts: Iterable[Part], scopes: Iterable[str]) -> list[Part]:
    """The granted parts as far as a token of these scopes goes."""
    allowed = set(scopes)
    return [_cut(part, kept) for part in parts if (kept := _kept(part, allowed))]


def _kept(part: Part, scopes: set[str]) -> list[str]:
    named = zip(part["datatypes"], scopes_of(part), strict=True)
    return [datatype for datatype, scope in named if scope in scopes]


def _cut(part: Part, datatypes: list[str]) -> Part:
    if datatypes == part["datatypes"]:
        return part
    less = {**part, "datatypes": datatypes}
    if "fields" in part:
        known = known_fields(datatypes)
        less["fields"] = [name for name in part["fields"] if name in known]
    return less


def _within(one: Part, part: Part) -> bool:
    """Whether `one` asks for no more than some datatypes of `part`; limits it leaves out are as granted."""
    if not set(scopes_of(one)) <= set(scopes_of(part)) or one["purpose"] != part["purpose"]:
        return False
    less = _cut(part, one["datatypes"])
    same_fields = "fields" not in one or set(one["fields"]) == set(less.get("fields", ()))
    return same_fields and all(one[name] == part.get(name) for name in _LIMITS if name in one)
