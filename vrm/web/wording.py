"""What the pages call things: notices, reasons, events, dates. Tables here, sentences in templates."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from flask_babel import format_date, format_datetime, gettext, ngettext

from vrm.clock import today
from vrm.consent import policy
from vrm.consent.disclosures import Entry
from vrm.consent.scopes import WRITES, is_reading, subject_of
from vrm.consent.showing import NAMED_BY
from vrm.posted import whole_number
from vrm.vault.catalog import CATALOG_BY_NAME, FOR_WHOM, N_, Field
from vrm.vault.importers.categories import LABELS
from vrm.web import session
from vrm.web.desk import desk


def PN_(one: str, many: str) -> tuple[str, str]:  # noqa: N802 - found by the extractor, as N_ is
    """Mark a text and its plural for translation."""
    return one, many


# code → (tone, text); a code that is not here is not shown
NOTICES: Final[dict[str, tuple[str, str]]] = {
    "saved": ("", N_("Saved.")),
    "added": ("", N_("Added.")),
    "restored": ("", N_("It is back.")),
    "sorted": ("", N_("Sorted. Thank you.")),
    "welcome": ("", N_("Your vault is ready.")),
    "code-wrong": (
        "bad",
        N_(
            "That is not your recovery code. The one you have stays good; "
            "if you lost it, make a new one under Me."
        ),
    ),
    "code-new": ("", N_("Your new recovery code is in force. The old one opens nothing any more.")),
    "code-late": (
        "bad",
        N_("That new code was not typed in time. The one you have stays good; make another one if you like."),
    ),
    "disconnected": ("", N_("Disconnected. That program can do nothing here any more.")),
    "recovered": (
        "",
        N_(
            "Your vault is open and the new passphrase is in force. The recovery code still works; "
            "if somebody else may have seen it, make a new one under Me."
        ),
    ),
    "logged-out": ("", N_("You are logged out. Your vault is locked.")),
    "logged-out-everywhere": ("", N_("Logged out on every device. Your vault is locked.")),
    "expired": ("todo", N_("Your vault locked itself after a while without use. Log in to go on.")),
    "passphrase": ("", N_("The new passphrase is in force. Other devices were logged out.")),
    "erase-asked": ("", N_("They are asked to delete what they have read.")),
    "stopped": ("", N_("Stopped. The next reading is refused.")),
    "narrowed": ("", N_("Done. They see less from now on.")),
    "admitted": ("", N_("Done. They can see it from now on.")),
    "kept-back": ("", N_("Done. It stays with you.")),
    "unchanged": ("", N_("Nothing was changed.")),
    "nothing-left": (
        "todo",
        N_("Without these parts nothing would be left for them: that is to stop. Nothing was changed yet."),
    ),
    "ended": ("todo", N_("That permission had ended already (%(time)s).")),
    "replaced": (
        "todo",
        N_(
            "Nothing was stopped: that permission was changed (%(time)s). "
            "What is in force since then stands under Companies."
        ),
    ),
    "discarded": ("", N_("Thrown away.")),
    "gone": ("todo", N_("That is not there any more.")),
    "language": ("", N_("Language changed.")),
    "vault-deleted": ("", N_("Your vault is deleted. Nothing of it is left here.")),
}

# What happens to purchases that come in after the approval: the rule, in few words
FRESH: Final = ((policy.ASK, N_("ask me")), (policy.LATER, N_("after 14 days, unless I say no")))

DAYS: Final = ((1, N_("1 day")), (30, N_("30 days")), (90, N_("90 days")), (365, N_("1 year")))

EVENTS: Final[dict[str, str]] = {
    "granted": N_("You agreed to share"),
    "declined": N_("You shared nothing"),
    "connected": N_("Picked up its key"),
    "refreshed": N_("Renewed its key"),
    "new-keys": N_("You made new keys for this vault"),
    "read": N_("Read"),
    "refused": N_("Refused"),
    "deposited": N_("Left something for you"),
    "replaced": N_("Changed what it left"),
    "taken-back": N_("Took back what it left"),
    "narrowed": N_("You narrowed what they see"),
    "amended": N_("You agreed to a changed version of it"),
    "admitted": N_("You let something new in"),
    "revoked": N_("You stopped it"),
    "erase-asked": N_("You asked them to delete what they have read"),
    "end-confirmed": N_("They confirmed that they know it has ended"),
    "erase-confirmed": N_("They confirmed your wish to have it deleted"),
    "restored": N_("Ended, because this vault came from a copy"),
    "expired": N_("The time ran out"),
    "given-back": N_("They gave it back"),
    "blocked": N_("This vault’s host blocked the company"),
    "code-reused": N_("A used-up code came back, so everything was stopped"),
    "token-reused": N_("A used-up key came back, so everything was stopped"),
}
ALARMING: Final = {"refused", "code-reused", "token-reused", "blocked"}

# What stays with her, by reason: one, several
WITHHELD: Final[dict[str, tuple[str, str]]] = {
    "gift": PN_("%(num)d gift", "%(num)d gifts"),
    "household": PN_("%(num)d for the household", "%(num)d for the household"),
    "work": PN_("%(num)d for work", "%(num)d for work"),
    "other": PN_("%(num)d for someone else", "%(num)d for someone else"),
    "self": PN_("%(num)d of your own", "%(num)d of your own"),
    "unsorted": PN_("%(num)d not sorted yet", "%(num)d not sorted yet"),
    "new": PN_("%(num)d that came in later", "%(num)d that came in later"),
    "excluded": PN_("%(num)d taken out by you", "%(num)d taken out by you"),
    "period": PN_("%(num)d older than the limit", "%(num)d older than the limit"),
    "filter": PN_("%(num)d they did not ask for", "%(num)d they did not ask for"),
    "": PN_("%(num)d kept for another reason", "%(num)d kept for another reason"),
}

STATES: Final = {
    "live": N_("sharing"),
    "paused": N_("paused"),
    "revoked": N_("stopped"),
    "expired": N_("ended"),
    "replaced": N_("changed since"),
}


def translated(text: str) -> str:
    """A text of the catalog or a table in the page's language; anything else as it is.

    In templates never `_(variable)`: what that returns counts as safe HTML, whoever wrote the text.
    """
    return gettext(text) if text else ""


REASONS: Final = (
    (r"is longer than (\d+) characters", N_("Please use at most %(first)s characters.")),
    (r"has more than (\d+) entries", N_("Please give at most %(first)s lines.")),
    (r"must be from (\d+) to (\d+)", N_("Please give a number from %(first)s to %(second)s.")),
    (r"must be a whole number", N_("Please give a whole number.")),
    (r"must be a day.*", N_("Please give a day, such as 2026-11-21.")),
    (r"must be an amount.*", N_("Please give an amount, such as 12.99.")),
    (r"must be one of .*", N_("Please choose one of the answers.")),
    (r"must be true or false", N_("Please choose yes or no.")),
    (r"must be a currency.*", N_("A currency has three letters, such as EUR.")),
    (r"must be an ISBN.*", N_("An ISBN has ten or thirteen digits; its last is a check digit.")),
    (r"must be a barcode.*", N_("A barcode number has 8, 12, 13 or 14 digits; its last is a check digit.")),
    (r"must start with http.*", N_("A web address starts with http:// or https://.")),
    (r"needs a title", N_("Please give a title.")),
    (r"needs a topic", N_("Please give a topic.")),
    (r"needs something in it", N_("Please fill in something.")),
    (r"holds a character.*", N_("There is a hidden character in it that is not allowed.")),
)


def reason_text(reason: str) -> str:
    """Why a field was refused, said kindly and in the page's language."""
    for pattern, text in REASONS:
        found = re.fullmatch(pattern, reason)
        if found:
            first, second = (*found.groups(), "", "")[:2]
            return gettext(text, first=first, second=second)
    return gettext("This is not valid.")


def notice() -> tuple[str, str] | None:
    """Tone and text of what the page before this one wanted to say."""
    code, _, at = session.notice().partition(".")
    if code not in NOTICES:
        return None
    tone, text = NOTICES[code]
    return tone, gettext(text, time=moment(whole_number(at, 11)))


def withheld_text(reason: str, count: int) -> str:
    """`23 gifts`, `12 not sorted yet`, …"""
    one, many = WITHHELD.get(reason, WITHHELD[""])
    return ngettext(one, many, count)


def category_text(category: str) -> str:
    """`gift-cards` → `Gift cards`; `-` stands for none."""
    if category == "-":
        return gettext("no category")
    return gettext(LABELS[category]) if category in LABELS else category


def datatype_text(datatype: str) -> str:
    """`purchases.item` → `Purchases: what it is`."""
    collection, _, facet = datatype.partition(".")
    if collection == "answers":
        return gettext("corrections: which of their own orders say nothing about your taste")
    try:
        found = CATALOG_BY_NAME[collection]
        label = gettext(found.facet(facet).label)
    except KeyError:
        return datatype
    return gettext("%(collection)s: %(facet)s", collection=gettext(found.label), facet=lower_first(label))


def datatypes_text(datatypes: Iterable[str]) -> str:
    """`Purchases: what it is, what was paid; Profile: sizes`."""
    grouped: dict[str, list[str]] = {}
    for datatype in datatypes:
        collection, _, facet = datatype.partition(".")
        try:
            found = CATALOG_BY_NAME[collection]
            grouped.setdefault(gettext(found.label), []).append(
                lower_first(gettext(found.facet(facet).label))
            )
        except KeyError:
            grouped.setdefault(datatype_text(datatype), [])
    return "; ".join(f"{name}: {', '.join(facets)}" if facets else name for name, facets in grouped.items())


def fields_text(datatype: str, only: Container[str] | None = None) -> str:
    """The fields that a facet holds, in words; of these `only`, where a part of a request names some."""
    collection, _, facet = datatype.partition(".")
    try:
        fields = CATALOG_BY_NAME[collection].facet(facet).fields
    except KeyError:
        return ""
    shown = [field.label for field in fields if only is None or field.name in only]
    return ", ".join(lower_first(gettext(label)) for label in shown)


def lower_first(text: str) -> str:
    """For a label in the middle of a sentence; abbreviations keep their capitals."""
    return text if text[1:2].isupper() or text[1:2] == " " else text[:1].lower() + text[1:]


def choice_text(field: Field, value: Any) -> str:
    """The label of a choice, or a value as people write it."""
    for code, label in field.choices:
        if code == value:
            return gettext(label)
    return str(value)


def for_whom_text(value: str) -> str:
    """`gift` → `a gift`."""
    return gettext(dict(FOR_WHOM)[value]) if value in dict(FOR_WHOM) else value


def event_text(event: str) -> str:
    """What an entry of the log is about."""
    return gettext(EVENTS[event]) if event in EVENTS else event.replace("-", " ").capitalize()


def state_text(state: str) -> str:
    """`live` → `sharing`."""
    return gettext(STATES[state]) if state in STATES else state


def in_purchases(datatype: str) -> bool:
    """Whether a datatype is about purchases, which have dates."""
    return datatype.startswith("purchases.")


REFUSALS: Final[dict[str, str]] = {
    "not granted": N_("asked for something that you did not grant"),
    "grant ended": N_("came after the end"),
    "token ended": N_("came with a key that was taken away"),
    "token expired": N_("came with a key that had run out"),
    "no key": N_("came with a key that works only together with a secret of theirs, and did not have it"),
    "another key": N_("came with a key that works only together with a secret, and had another one"),
    "proof used": N_("sent the same signed message twice"),
    "code-reused": N_("came again with a code that was used up"),
    "token-reused": N_("came again with a key that was used up"),
    "too much": N_("wanted to leave more than there is room for"),
    "more": N_("came so often within an hour that further tries of that hour are left out here"),
}


def entry_text(entry: Entry) -> str:
    """The sentence below an entry of the log."""
    said = []
    if entry.event == "read":
        rows = ngettext("%(num)d row", "%(num)d rows", entry.count)
        said.append(gettext("%(rows)s of %(stream)s", rows=rows, stream=stream_text(entry.stream)))
    elif entry.reason:
        said.append(gettext(REFUSALS[entry.reason]) if entry.reason in REFUSALS else entry.reason)
    if entry.event in {"refused", "granted", "narrowed"} and entry.scopes:
        said.append(scopes_text(entry.scopes))
    if entry.detail:
        said.append(entry.detail)
    return " · ".join(said)


def scopes_text(scopes: Iterable[str]) -> str:
    """What may be read, then what may be put in."""
    held = list(scopes)
    reading = datatypes_text(subject_of(scope) for scope in held if is_reading(scope))
    writing = writes_text(subject_of(scope) for scope in held if not is_reading(scope))
    return "; ".join(text for text in (reading, writing) if text)


def writes_text(collections: Iterable[str]) -> str:
    """`Put purchases into your vault; Leave messages in your inbox`."""
    return "; ".join(gettext(WRITES[name]) for name in collections if name in WRITES)


ASIDE: Final[dict[str, str]] = {
    "invalid": N_("What it left does not fit into your vault."),
    "foreign": N_("It was not left by anybody whom you allowed to."),
    "unreadable": N_("It was changed where it is stored, so it does not open."),
    "again": N_("It was filed before and came a second time."),
}


def aside_text(reason: str) -> str:
    """Why something that was left could not be filed."""
    return gettext(ASIDE.get(reason, ASIDE["unreadable"]))


def stream_text(stream: str) -> str:
    """Where rows were read from."""
    if stream in CATALOG_BY_NAME:
        return gettext(CATALOG_BY_NAME[stream].label)
    if stream == "deposits":
        return gettext("what it left itself")
    return gettext("corrections") if stream.startswith("answers.") else stream


def day(value: str | int | None, style: str = "medium") -> str:
    """A day, from `YYYY-MM-DD` or from seconds; what is not a day is shown as it is, what is missing not."""
    if not value:  # also what a template finds no value for, which is neither None nor ""
        return ""
    try:
        at = datetime.fromtimestamp(value, UTC) if isinstance(value, int) else datetime.fromisoformat(value)
    except ValueError:
        return str(value)
    return str(format_date(at.date(), style))


def moment(seconds: int | None) -> str:
    """A time of day with its day; today and yesterday by name."""
    if not seconds:
        return gettext("never")
    at = datetime.fromtimestamp(seconds, UTC)
    clock = str(format_datetime(at, "HH:mm"))
    ago = today(desk().clock) - at.date()
    if ago == timedelta(0):
        return gettext("today, %(time)s UTC", time=clock)
    if ago == timedelta(1):
        return gettext("yesterday, %(time)s UTC", time=clock)
    return f"{format_date(at.date(), 'medium')}, {clock} UTC"


def month(value: str | None) -> str:
    """`Mar 2026`, enough to recognise a purchase."""
    try:
        return str(format_date(date.fromisoformat((value or "")[:10]), "MMM y"))
    except ValueError:
        return ""


def period_text(period: str) -> str:
    """`P2Y` → `2 years`; nothing → all."""
    found = re.fullmatch(r"P(\d+)([DWMY])", period or "")
    if not found:
        return gettext("all")
    count = int(found[1])
    match found[2]:
        case "D":
            return ngettext("%(num)d day", "%(num)d days", count)
        case "W":
            return ngettext("%(num)d week", "%(num)d weeks", count)
        case "M":
            return ngettext("%(num)d month", "%(num)d months", count)
        case _:
            return ngettext("%(num)d year", "%(num)d years", count)


def minutes(seconds: int) -> str:
    """A waiting time that nobody has to compute with."""
    if seconds < 60:
        return ngettext("%(num)d second", "%(num)d seconds", max(1, seconds))
    return ngettext("%(num)d minute", "%(num)d minutes", -(-seconds // 60))


def thing_title(document: Mapping[str, Any]) -> str:
    """What a purchase is called in lists."""
    return str(document.get("item", {}).get("title") or gettext("(no title)"))


def row_title(row: Any) -> str:
    """What a row that leaves is called."""
    return title_text(row.title, row.document)


def title_text(title: str, facets: Collection[str]) -> str:
    """What a record of these facets is called; the profile's has no title of its own."""
    if title:
        return title
    return gettext("About you") if NAMED_BY.isdisjoint(facets) else gettext("(no title)")


NUMBERS: Final = {"isbn", "asin", "gtin", "url", "order_number"}  # last: they tell a person least
SAID_ELSEWHERE: Final = {"title", "topic", "ordered", "category_path"}
_FIELDS: Final = {
    (facet.name, field.name): field
    for collection in CATALOG_BY_NAME.values()
    for facet in collection.facets
    for field in facet.fields
}
_ANSWERED: Final = {  # what an answer tells of a purchase
    ("corrections", "order"): _FIELDS["order", "order_number"],
    ("corrections", "item"): _FIELDS["item", "asin"],
    ("corrections", "use_for_taste"): _FIELDS["context", "use_for_taste"],
}
_SPEAKS: Final = re.compile(r"[^\W\d_].*[^\W\d_].*[^\W\d_]", re.DOTALL)  # at least three letters


def rest_text(document: Mapping[str, Any]) -> str:
    """A row that leaves, in a line: without title and date, and without what only machines want.

    What does not tell by itself what it is, as a number, stands with its name. The page says beside it which
    facts leave, and shows every byte on demand.
    """
    said: list[str] = []
    numbers: list[str] = []
    for facet, values in document.items():
        if not isinstance(values, Mapping):
            continue
        amounts = any((field := _FIELDS.get((facet, name))) and field.kind == "money" for name in values)
        for name, value in values.items():
            field = _FIELDS.get((facet, name)) or _ANSWERED.get((facet, name))
            if name in SAID_ELSEWHERE or value in (None, "", []) or (field and field.by == "vault"):
                continue
            if name == "currency" and amounts:  # it stands behind each of them
                continue
            told = _brief(field, value, values.get("currency", "")) if field else str(value)
            (numbers if name in NUMBERS else said).append(told)
    return " · ".join(said + numbers)


LINE: Final = 160  # characters of a row that are seen at once


def parted(text: str) -> tuple[str, str]:
    """(what of a row is seen at once, the rest of it), between two facts, or two words of a long one."""
    if len(text) <= LINE:
        return text, ""
    for between in (" · ", " "):
        at = text.rfind(between, LINE // 2, LINE)
        if at > 0:
            return text[:at], text[at + len(between) :]
    return text[:LINE], text[LINE:]


def _brief(field: Field, value: Any, currency: str) -> str:
    """A value of a row; with the name of its field where it needs one."""
    if field.name == "category":
        return category_text(str(value))
    if field.choices:
        return choice_text(field, value)
    text = str(value)
    match field.kind:
        case "boolean":
            text = gettext("yes") if value else gettext("no")
        case "list":
            text = ", ".join(str(item) for item in value)
        case "money":
            text = f"{value} {currency}".rstrip()
        case "date":
            text = day(value)
        case _ if field.name not in NUMBERS - {"url"} and _SPEAKS.search(text):
            return text
    return gettext("%(name)s: %(value)s", name=lower_first(gettext(field.label)), value=text)


def initials(name: str) -> str:
    """One or two letters that stand for a company."""
    words = [word for word in name.split() if word[:1].isalnum()]
    return "".join(word[0] for word in words[:2]).upper() or "?"
