"""Requests whose bodies never touch the disk.

Werkzeug spools an upload of more than 500 KB to the temp folder, in plain text. Here every part
stays in memory, and each page says how much it accepts before the body is read.
"""

from __future__ import annotations

from io import BytesIO
from typing import IO

from flask import Request

FORM_BYTES = 768 * 1024  # a form without files; the longest catalog text fits many times
FORM_PARTS = 2_000


class InMemoryRequest(Request):
    """Flask's request with uploads in memory and a small body unless a page asks for more."""

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
