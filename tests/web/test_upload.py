"""Posted forms are read as Werkzeug reads them, only faster."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser

from vrm.web.upload import FormParser

FORM = "application/x-www-form-urlencoded"
BODIES = st.text(alphabet="ab&=+%4C3Aé \x00;", max_size=60).map(str.encode) | st.binary(max_size=60)


def read(parser: FormDataParser, body: bytes) -> list[tuple[str, str]]:
    return list(parser.parse(BytesIO(body), FORM, len(body))[1].items(multi=True))


@given(body=BODIES)
def test_any_body_is_read_as_by_werkzeug(body: bytes) -> None:
    assert read(FormParser(), body) == read(FormDataParser(), body)


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        (b"title=Two+words&again=&again=%C3%A9", [("title", "Two words"), ("again", ""), ("again", "é")]),
        (b"&&alone&=nameless", [("alone", ""), ("", "nameless")]),
        (b"cut=%C3", [("cut", "%C3")]),
        (b"\xff=1", []),
    ],
)
def test_a_form_is_read(body: bytes, pairs: list[tuple[str, str]]) -> None:
    assert read(FormParser(), body) == pairs
