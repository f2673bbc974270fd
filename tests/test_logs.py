"""Lines that say where and when, and never what."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vrm import logs
from vrm.errors import BusyError, DrainingError, OutboundError, StorageConflictError, StorageError

SECRET = "vrm_at_canary"


def record(
    message: str = "it failed", *args: object, error: BaseException | None = None
) -> logging.LogRecord:
    told = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("vrm.web", logging.ERROR, __file__, 1, message, args, told)


def raised() -> BaseException:
    try:
        try:
            {}[SECRET]
        except KeyError as first:
            raise StorageError(f"cannot store {SECRET}") from first
    except StorageError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("form", [logs.Plain(), logs.Json()])
def test_an_exception_shows_where_and_of_which_kind_but_nothing_of_what_it_said(
    form: logging.Formatter,
) -> None:
    written = form.format(record(error=raised()))
    assert SECRET not in written
    for part in ("StorageError storage-unavailable", "KeyError", "test_logs.py", "raised"):
        assert part in written


def test_an_error_of_the_system_shows_its_number() -> None:
    try:
        Path(f"/nowhere/{SECRET}").read_bytes()
    except OSError as error:
        written = logs.Plain().format(record(error=error))
    assert "FileNotFoundError errno=2" in written
    assert SECRET not in written


@pytest.mark.parametrize("form", [logs.Plain(), logs.Json()])
def test_nobody_writes_a_line_of_his_own(form: logging.Formatter) -> None:
    written = form.format(record("%s asked", "alice\nERROR vrm.web all is lost"))
    assert "\nERROR" not in written


def test_json_is_one_object_with_what_the_record_brings() -> None:
    one = record("GET /healthz 200")
    one.status, one.ms, one.rule = 200, 1.5, "/healthz"
    found = json.loads(logs.Json().format(one))
    assert (found["level"], found["logger"], found["status"], found["ms"]) == ("error", "vrm.web", 200, 1.5)
    assert found["time"].endswith("+00:00")
    assert "request" not in found


def test_each_request_has_a_number_of_its_own() -> None:
    logs.begin()
    assert logs.request_id(draw=False) == ""
    first = logs.request_id()
    assert logs.request_id() == first
    assert f"request={first}" in logs.Plain().format(record())
    logs.begin()
    assert logs.request_id() != first
    logs.begin()


def test_a_failure_of_ours_is_written_down_and_what_passes_is_not(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("vrm.api")
    for quiet in (BusyError(), DrainingError(), StorageConflictError(), OutboundError()):
        logs.failed(log, quiet, 503)
    logs.failed(log, StorageError(), 404)
    assert not caplog.records
    logs.failed(log, raised_by_sqlite(), 503)
    [one] = caplog.records
    written = logs.Plain().format(one)
    assert "ERROR vrm.api answered 503" in written
    assert "StorageError storage-unavailable" in written
    assert "OperationalError SQLITE_ERROR" in written
    assert SECRET not in written


def raised_by_sqlite() -> Exception:
    try:
        try:
            with closing(sqlite3.connect(":memory:")) as raw:
                raw.execute(f"SELECT {SECRET}")
        except sqlite3.Error as first:
            raise StorageError(SECRET) from first
    except StorageError as error:
        return error
    raise AssertionError
