"""Laws of every reader of strangers' text: any input gives a value or the one error that it declares."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import pytest
from authlib.oauth2 import OAuth2Error
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from tests.hostile.importers.files import COLUMNS, GOOD, NAME, zipped
from vrm.api import guards
from vrm.api.oauth import authorize
from vrm.api.oauth.parameters import basic_credentials
from vrm.consent import scopes, vendors
from vrm.consent.credentials import PREFIXES, read_token, write_token
from vrm.errors import (
    FormatError,
    ImportLimitError,
    ParameterError,
    ScopeError,
    TamperedError,
    UnlockError,
    ValidationError,
)
from vrm.vault import crypto, envelope, schemas
from vrm.vault.catalog import CATALOG
from vrm.vault.importers import reading, values
from vrm.vault.importers.csvfile import Budget, Table
from vrm.vault.importers.limits import Limits
from vrm.vault.keyslots import RecoverySlot, new_code
from vrm.vault.naming import normal_username
from vrm.web import consenting, forms

LONG = os.environ.get("VRM_TEST_LONG") == "1"
tried = limits(max_examples=2000 if LONG else 40, deadline=None)
anything = st.text(st.characters(), max_size=200)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(anything, inner, max_size=5),
    max_leaves=12,
)
ATTRIBUTES = ["type", "datatypes", "actions", "purpose", "fields", "filter", "period", "necessity", "terms"]
detail_like = st.dictionaries(st.sampled_from(ATTRIBUTES), json_like, max_size=9).map(
    lambda found: {"type": "vrm_access", "datatypes": ["purchases.item"], "actions": ["read"], **found}
)


@tried
@given(anything | json_like.map(json.dumps))
@example("[" * 100_000)
@example("9" * 100_000)
@example('{"a":1,"a":2}')
def test_authorization_details_are_strict_json_or_refused(text: str) -> None:
    try:
        authorize.parse_details(text)
    except authorize.InvalidAuthorizationDetailsError:
        return


@tried
@given(json_like | st.lists(detail_like, max_size=3))
def test_the_parts_of_a_request_are_valid_or_refused(details: Any) -> None:
    try:
        parts = scopes.check_details(details, beside_scope=False)
    except ScopeError:
        return
    json.dumps(parts).encode()
    assert all(part["type"] == "vrm_access" for part in parts)


@tried
@given(anything | st.lists(st.sampled_from(sorted(scopes.SCOPES))).map(" ".join))
def test_scopes_are_known_or_refused(text: str) -> None:
    try:
        authorize.check_scope_syntax(text)
        parts = scopes.parts_from_scope(text, "ProvideProductRecommendations")
    except (OAuth2Error, ScopeError):
        return
    assert parts


@tried
@given(st.lists(st.tuples(st.sampled_from(["limit", "cursor", "updated_since", "x"]), anything), max_size=4))
def test_parameters_of_a_reading_are_understood_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        query = guards.page_query(MultiDict(pairs))
    except ParameterError:
        return
    assert 1 <= query.limit <= guards.LIMIT_MAX


@tried
@given(st.sampled_from(sorted(PREFIXES)), anything, st.binary(min_size=32, max_size=32))
def test_a_token_is_read_back_or_none(kind: str, text: str, raw: bytes) -> None:
    assert read_token(kind, text) is None
    assert read_token(kind, PREFIXES[kind] + text) is None
    assert read_token(kind, write_token(kind, raw)) == raw


@tried
@given(anything)
def test_basic_credentials_are_a_pair_or_none(text: str) -> None:
    for header in (text, "Basic " + text):
        found = basic_credentials(header.encode("latin-1", "replace").decode("latin-1"))
        assert found is None or len(found) == 2


CODE = new_code()
ROOT = crypto.random_key()


@tried
@given(anything)
def test_what_is_no_recovery_code_opens_nothing(text: str) -> None:
    row = RecoverySlot.wrap("v" * 32, CODE, ROOT, 1)
    with pytest.raises(UnlockError):
        RecoverySlot.unwrap(row, text)


@tried
@given(anything)
def test_a_name_is_one_or_refused(text: str) -> None:
    try:
        name = normal_username(text)
    except ValidationError:
        return
    assert normal_username(name) == name


@tried
@given(anything | st.from_regex(r"https?://[^/]{0,20}(/.*)?", fullmatch=True))
def test_a_redirect_address_is_usable_or_refused(text: str) -> None:
    try:
        uri = vendors.check_redirect_uri(text)
    except ValidationError:
        return
    assert "\n" not in consenting.answer_address(uri, {"code": "c"})


@tried
@given(st.binary(max_size=300))
def test_an_envelope_is_one_or_tampered(blob: bytes) -> None:
    try:
        envelope.parse(blob)
    except TamperedError:
        return


@tried
@given(anything)
def test_cells_of_an_export_are_values_or_explained(text: str) -> None:
    for parse in (values.parse_date, values.parse_money, values.parse_quantity, values.parse_payment):
        try:
            parse(text)
        except values.CellError:
            continue
    assert values.parse_currency(text) in ("", text)
    assert values.clean(text).isprintable() or {"\u200c", "\u200d"} & set(text)


@tried
@given(st.sampled_from([one.name for one in CATALOG]), json_like | st.dictionaries(anything, json_like))
def test_a_document_is_valid_or_its_faults_are_named(collection: str, document: Any) -> None:
    given_document = document if isinstance(document, dict) else {"item": document}
    try:
        schemas.validate(collection, given_document)
    except ValidationError:
        return


@tried
@given(
    st.dictionaries(st.sampled_from(["item.title", "price.total", "order.ordered", "order.status"]), anything)
)
def test_a_form_is_a_document_or_its_faults_are_named(form: dict[str, str]) -> None:
    collection = CATALOG[0]
    document, wrong = forms.checked(collection, forms.read(collection, form))
    assert wrong or schemas.validate(collection.name, document) == document


def rows_of(content: bytes) -> None:
    bounds = Limits()
    budget = Budget(bounds)
    with reading.unpacking(NAME):
        for source in reading.sources(NAME, io.BytesIO(content), bounds, budget):
            table = Table(source.name, source.stream, bounds)
            format = reading.recognise(table)
            for _ in format.rows(table) if format else table.records():
                continue


@tried
@given(st.binary(max_size=2000) | st.binary(max_size=500).map(lambda tail: COLUMNS.encode() + b"\n" + tail))
def test_a_file_is_read_or_refused(content: bytes) -> None:
    try:
        rows_of(content)
    except (FormatError, ImportLimitError):
        return


WHOLE = zipped((NAME, GOOD), ("a/" + NAME, GOOD * 20))


@tried
@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_a_zip_with_any_bytes_altered_or_cut_is_read_or_refused(
    changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    try:
        rows_of(bytes(content[: len(content) - cut]))
    except (FormatError, ImportLimitError):
        return
