"""Bring a history in: files or a ZIP, read in memory, reported file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Final

from flask import render_template, request
from flask_babel import gettext
from werkzeug.datastructures import FileStorage

from vrm.errors import ConflictError, FormatError, ImportLimitError
from vrm.web.desk import vault, web

Page = str | tuple[str, int]

FILES_MOST: Final = 50
NAME_MOST: Final = 200  # characters of a file's name
REJECTED_SHOWN: Final = 100


@web.get("/import")
def show_import() -> Page:
    """The form."""
    return render_template("import.html", wrong=(), tried=False, file="")


@web.post("/import")
def take_import() -> Page:
    """Import what was uploaded; all of it or, if a file cannot be read, none."""
    from vrm.vault import intake
    from vrm.vault.importers import reading

    files = [upload for upload in request.files.getlist("files") if upload.filename]
    if not files:
        return _again(gettext("Choose a file first."), 400, tried=False)
    if len(files) > FILES_MOST:
        return _again(gettext("Please choose at most %(most)s files at once.", most=FILES_MOST), 400)
    begun: list[str] = []
    try:
        reports = intake.bring_in(vault(), _one_by_one(files, begun))
    except FormatError as error:
        reason = gettext(
            "This is not a file that the vault can read. It reads order histories as CSV or ZIP."
        )
        if error.hint in reading.ADVICE:
            reason = f"{reason} {gettext(error.hint)}"
        return _again(reason, 400, file=begun[-1])
    except ImportLimitError:
        reason = gettext("That is more than one import may hold. Send fewer files, one after the other.")
        return _again(reason, 413, file=begun[-1])
    except ConflictError:
        return _again(gettext("Another import of yours is still running. Wait until it has finished."), 409)
    return render_template("imported.html", reports=reports, shown=REJECTED_SHOWN)


def _one_by_one(files: Iterable[FileStorage], begun: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Each file when it is its turn; the last one that was `begun` is the one that could not be read."""
    for upload in files:
        begun.append(str(upload.filename)[-NAME_MOST:])
        yield begun[-1], upload.stream


def _again(reason: str, status: int, *, tried: bool = True, file: str = "") -> Page:
    return render_template("import.html", wrong=[reason], tried=tried, file=file), status
