"""Taking everything along, and ending a vault: what gives all away or takes all away asks for the passphrase.

The encrypted file is finished before its first byte leaves, in a nameless file beside the database, so a
download is whole and no reader holds the database up while a slow line takes it. What is not encrypted is
never written to a disk here.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import tempfile
from collections.abc import Iterator
from typing import IO, Final

from flask import Response, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from vrm.clock import rfc3339
from vrm.errors import UnlockError, ValidationError
from vrm.vault import copies, removal
from vrm.vault.catalog import CATALOG, CATALOG_BY_NAME
from vrm.vault.naming import normal_username
from vrm.vault.vault import Vault
from vrm.web import session
from vrm.web.desk import desk, vault, web

Page = AnyResponse | str | tuple[str, int]
_PIECE: Final = 1 << 16  # bytes of a download at once
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


@web.get("/me/take")
def take() -> Page:
    """The two ways of taking everything along."""
    return render_template("take.html", wrong=[])


@web.post("/me/take")
def take_along() -> Page:
    """The download: encrypted (as `vrm vault export`), as JSON, or purchases as CSV."""
    if wrong := _asked_again():
        return render_template("take.html", wrong=wrong), 403
    day = rfc3339(desk().clock.now())[:10]
    match request.form.get("form", ""):
        case "json":
            return _download(_as_json(vault(), day), f"vault-{day}.json", "application/json")
        case "csv":
            return _download(_as_csv(vault()), f"purchases-{day}.csv", "text/csv; charset=utf-8")
    return _sealed(f"vault-{day}.vrm")


@web.get("/me/delete")
def ask_delete_vault() -> Page:
    """What deleting the vault means."""
    return render_template("delete_vault.html", wrong={})


@web.post("/me/delete")
def delete_vault() -> Page:
    """Delete this vault; needs its name and the passphrase."""
    wrong: dict[str, list[str]] = {}
    if not _is_name(request.form.get("name", "")):
        wrong["name"] = [gettext("That is not the name of this vault.")]
    elif reasons := _asked_again():
        wrong["passphrase"] = reasons
    if wrong:
        return render_template("delete_vault.html", wrong=wrong), 403
    removal.delete(vault().engine, vault().id)
    session.end()
    session.notify("vault-deleted")
    return redirect(url_for("web.login"), 303)


@web.post("/restored")
def restored_read() -> Page:
    """She has read that her vault came from a copy."""
    copies.was_told(vault().engine, vault().id)
    return redirect(url_for("web.home"), 303)


def _is_name(typed: str) -> bool:
    try:
        return normal_username(typed) == vault().username
    except ValidationError:
        return False


def _asked_again() -> list[str]:
    """Why the passphrase that was typed does not count; empty if it does."""
    address = request.remote_addr or ""
    desk().limits.count_entry(vault().username, address)
    try:
        vault().check_passphrase(request.form.get("passphrase", ""))
    except UnlockError:
        return [gettext("That is not your passphrase.")]
    except ValidationError as refused:
        return [reason for reasons in refused.fields.values() for reason in reasons]
    desk().limits.give_back(vault().username, address)
    return []


def _sealed(name: str) -> Response:
    out = tempfile.TemporaryFile(dir=desk().settings.data_dir)  # noqa: SIM115 - closed by the answer
    try:
        size, _ = desk().consent.moves.export(vault(), out)
        out.seek(0)
    except BaseException:
        out.close()
        raise
    answer = _download(_pieces(out), name, "application/octet-stream")
    answer.call_on_close(out.close)
    answer.content_length = size
    return answer


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    with source:
        while piece := source.read(_PIECE):
            yield piece


def _download(body: Iterator[bytes], name: str, kind: str) -> Response:
    answer = Response(body, content_type=kind)
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer


def _as_json(opened: Vault, day: str) -> Iterator[bytes]:
    yield json.dumps({"vault": opened.username, "taken": day}, ensure_ascii=False)[:-1].encode()
    yield b', "records": {'
    for number, collection in enumerate(CATALOG):
        yield (", " if number else "").encode() + json.dumps(collection.name).encode() + b": ["
        for place, (record, document) in enumerate(opened.records(collection.name).scan()):
            text = json.dumps({"id": record, **document}, ensure_ascii=False)
            yield ((",\n" if place else "\n") + text).encode()
        yield b"]"
    yield b"}}\n"


def _as_csv(opened: Vault) -> Iterator[bytes]:
    collection = CATALOG_BY_NAME["purchases"]
    columns = [(facet.name, field.name) for facet in collection.facets for field in facet.fields]
    yield codecs.BOM_UTF8  # without it Excel reads the letters of another alphabet
    yield _line(["id", *(f"{facet}.{field}" for facet, field in columns)])
    for record, document in opened.records(collection.name).scan():
        yield _line([record, *(_cell(document.get(facet, {}).get(field)) for facet, field in columns)])


def _line(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return out.getvalue().encode()


def _cell(value: object) -> str:
    """A value as text that no spreadsheet takes for a formula."""
    text = "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
