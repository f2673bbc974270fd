"""Requests whose bodies never touch the disk.

Werkzeug spools an upload of more than 500 KB to the temp folder, in plain text. Here every part
stays in memory, and each page says how much it accepts before the body is read.
"""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any

from flask import Request
from werkzeug.formparser import FormDataParser

from vrm.plain import FORM
from vrm.posted import form_pairs

FORM_BYTES = 768 * 1024  # a form without files; the longest catalog text fits many times
FORM_PARTS = 2_000


class FormParser(FormDataParser):
    """Werkzeug's parser; a form of many inputs, most of them empty, in a third of its time."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """(stream, form, files); what is no text at all is an empty form."""
        if mimetype != FORM:
            return super().parse(stream, mimetype, content_length, options)
        return stream, self.cls(form_pairs(stream.read())), self.cls()


class InMemoryRequest(Request):
    """Flask's request with uploads in memory and a small body unless a page asks for more."""

    form_data_parser_class = FormParser
    max_form_memory_size = FORM_BYTES
    max_form_parts = FORM_PARTS

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002 - Werkzeug's signature
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,  # noqa: ARG002
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        return BytesIO()
