"""The tree of errors: drawn as it is, slugs that stay, and nothing that looks like an accident."""

import re

import pytest

from vrm import errors
from vrm.errors import RateLimitedError, TamperedError, UnlockError, ValidationError, VrmError

TREE = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, VrmError)]


def test_every_error_has_a_slug_of_its_own() -> None:
    slugs = [cls.slug for cls in TREE]
    assert len(set(slugs)) == len(slugs)
    assert [slug for slug in slugs if not re.fullmatch(r"[a-z][a-z-]+", slug)] == []


def test_slugs_stay_as_they_were_published() -> None:
    published = {
        "UnlockError": "wrong-credential",
        "BusyError": "busy",
        "TamperedError": "tampered",
        "UsernameTakenError": "username-taken",
        "ValidationError": "invalid",
        "RecordNotFoundError": "not-found",
        "ConflictError": "conflict",
        "StorageError": "storage-unavailable",
        "SettingsError": "settings-invalid",
        "DataNewerError": "data-newer",
        "FormatError": "unknown-format",
        "ImportLimitError": "import-too-large",
        "SessionExpiredError": "session-expired",
        "RateLimitedError": "rate-limited",
    }
    assert {name: getattr(errors, name).slug for name in published} == published


def test_the_drawn_tree_names_every_class_where_it_stands() -> None:
    drawn = re.findall(r"^ {4}[│├└─ ]*(\w+Error)", errors.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(cls.__name__ for cls in TREE)


@pytest.mark.parametrize("cls", TREE)
def test_a_bare_error_speaks_for_itself(cls: type[VrmError]) -> None:
    said = str(cls())
    assert said
    assert not said.endswith(".")
    assert "\n" not in said


def test_an_error_carries_message_hint_and_fields() -> None:
    error = ValidationError("no", hint="try", fields={"item.title": ["is missing"]})
    assert (str(error), error.hint, error.fields) == ("no", "try", {"item.title": ["is missing"]})


def test_fields_are_a_copy() -> None:
    given = {"a": ["b"]}
    error = ValidationError(fields=given)
    given.clear()
    assert error.fields == {"a": ["b"]}


def test_too_many_tries_say_when_to_come_back() -> None:
    error = RateLimitedError(retry_after=7)
    assert error.retry_after == 7
    assert "7 seconds" in error.hint


def test_failed_opens_carry_nothing() -> None:
    for cls in (TamperedError, UnlockError):
        assert (cls().hint, cls().fields, cls().args) == ("", {}, (str(cls()),))
