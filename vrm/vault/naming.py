"""Names by which people tell one thing from another: of vaults, vendors, sellers.

Promises: a name shows all that it holds. Refuses control characters, marks that change the direction of
text, whatever has no width, and letters that show nothing: two names that look alike would be two vendors.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from vrm.errors import ValidationError

_NAME = re.compile(r"[\w][\w.\-]{1,39}")
# Letters and symbols for Unicode, but nothing for the eye: fillers, the empty Braille cell, a joiner.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")


def is_plain(name: str) -> bool:
    """Whether every character of the name can be seen, and there is one."""
    return bool(name.strip()) and name.isprintable() and not _BLANK.search(name)


def normal_username(username: str) -> str:
    """The one spelling under which a name is stored; ValidationError for what is no name."""
    name = unicodedata.normalize("NFKC", username).strip().casefold()
    if not _NAME.fullmatch(name) or not is_plain(name):
        raise ValidationError(
            fields={"username": ["needs 2 to 40 letters, digits, dots, dashes or underscores"]}
        )
    return name


@dataclass(frozen=True, slots=True)
class VaultEntry:
    """What the host sees of a vault."""

    id: str
    username: str
    created: int
