"""What a check says: how bad it is, what was found, what to do."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `do` is empty where there is nothing to do."""

    check: str
    level: str
    what: str
    do: str = ""

    def line(self) -> str:
        """`warn  swap: … — what to do`"""
        return f"{self.level:<4}  {self.check}: {self.what}" + (f" — {self.do}" if self.do else "")


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, OK, what)


def warn(check: str, what: str, do: str) -> Finding:
    """It works, and could be better."""
    return Finding(check, WARN, what, do)


def fail(check: str, what: str, do: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(check, FAIL, what, do)
