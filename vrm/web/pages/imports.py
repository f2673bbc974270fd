"""Bring a history in: files or a ZIP, read in memory, reported file by file."""

from __future__ import annotations

from typing import Final

from flask import render_template, request
from flask_babel import gettext

from vrm.errors import ConflictError, FormatError, ImportLimitError
from vrm.web.desk import vault, web

Page = str | tuple[str, int]

FILES_MOST: Final = 50
REJECTED_SHOWN: Final = 100


@web.get("/import")
def show_import() -> Page:
    """The form."""
    return render_template("import.html", wrong=(), reports=None)


@web.post("/import")
def take_import() -> Page:
    """Import what was uploaded; all of it or, if a file cannot be read, none."""
    from vrm.vault import intake

    files = [upload for upload in request.files.getlist("files") if upload.filename][:FILES_MOST]
    if not files:
        return _again(gettext("Choose a file first."), 400)
    try:
        reports = intake.bring_in(vault(), [(str(upload.filename)[-200:], upload.stream) for upload in files])
    except FormatError:
        return _again(
            gettext(
                "One of these is not a file that the vault can read. It reads order histories as CSV or ZIP."
            ),
            400,
        )
    except ImportLimitError:
        return _again(
            gettext("That is more than one import may hold. Send fewer files, one after the other."), 413
        )
    except ConflictError:
        return _again(gettext("Another import of yours is still running. Wait until it has finished."), 409)
    return render_template("imported.html", reports=reports, shown=REJECTED_SHOWN)


def _again(reason: str, status: int) -> Page:
    return render_template("import.html", wrong=[reason]), status
