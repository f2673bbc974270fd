"""What a passphrase must be: long. Any characters, nothing trimmed, nothing composed.

Length is what makes guessing costly; rules about digits and signs only make people forget.
"""

from __future__ import annotations

from typing import Final

from flask_babel import gettext

LEAST: Final = 12  # characters
GOOD: Final = 20
MOST: Final = 1024  # bytes
DIFFERENT: Final = 5  # characters that differ from one another


def faults(passphrase: str, again: str | None = None, username: str = "") -> list[str]:
    """Why it cannot be used; empty if it can."""
    if len(passphrase) < LEAST:
        return [gettext("Use at least %(least)s characters. Four words you like do it.", least=LEAST)]
    if len(passphrase.encode("utf-8", "surrogatepass")) > MOST:
        return [gettext("Use at most %(most)s bytes.", most=MOST)]
    if len(set(passphrase)) < DIFFERENT:
        return [gettext("That repeats too few characters. Four words you like do better.")]
    rest = passphrase.casefold().replace(username.casefold(), "") if username else passphrase
    if len(rest) < LEAST // 2:
        return [gettext("That is little more than your name. Four words you like do better.")]
    if again is not None and again != passphrase:
        return [gettext("The two passphrases differ. Type the same one twice.")]
    return []


def advice(passphrase: str) -> str:
    """One honest line about a passphrase that was accepted."""
    if len(passphrase) < GOOD:
        return gettext(
            "Your passphrase has %(count)s characters. That is enough; %(good)s or more is better, "
            "and you can change it under Me.",
            count=len(passphrase),
            good=GOOD,
        )
    return gettext("Your passphrase has %(count)s characters. That is a strong one.", count=len(passphrase))
