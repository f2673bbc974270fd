"""Laws of the vault: opening undoes sealing, tables are a dictionary, padding hides, validating is final."""

import json
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.errors import TamperedError, UnlockError, ValidationError
from vrm.vault import crypto, envelope, keyslots, serverkey
from vrm.vault.catalog import CATALOG, CATALOG_BY_NAME, Field
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.layout import SCHEMA
from vrm.vault.naming import normal_username
from vrm.vault.schemas import validate
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.tables import where
from vrm.vault.vault import Vault, Vaults

PARTS = st.lists(
    st.one_of(st.text(max_size=40), st.binary(max_size=40), st.integers(0, 2**64 - 1)), max_size=4
)
KEYS = st.binary(min_size=32, max_size=32).map(Key)
PURPOSES = st.sampled_from(Purpose)
LAW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


# ---- sealing ---------------------------------------------------------------------------------------


@LAW
@given(KEYS, PURPOSES, PARTS, PARTS, st.binary(max_size=2000), st.integers(0, 2**32 - 1))
def test_unsealing_undoes_sealing(
    key: Key, purpose: Purpose, parts: list[Any], bound: list[Any], text: bytes, generation: int
) -> None:
    blob = Cipher(key, purpose, *parts, generation=generation).seal(text, *bound)
    assert Cipher(key, purpose, *parts).unseal(blob, *bound) == text
    assert len(blob) == len(text) + envelope.SMALLEST


@LAW
@given(KEYS, PURPOSES, PARTS, PARTS, PARTS, PARTS)
def test_only_the_very_context_opens(
    key: Key, purpose: Purpose, parts: list[Any], bound: list[Any], other: list[Any], also: list[Any]
) -> None:
    blob = Cipher(key, purpose, *parts).seal(b"text", *bound)
    if envelope.pack(*parts, *bound) == envelope.pack(*other, *also):
        return  # the same context in another spelling
    with pytest.raises(TamperedError):
        Cipher(key, purpose, *other).unseal(blob, *also)


@LAW
@given(st.binary(max_size=200))
def test_noise_never_opens_and_never_crashes(blob: bytes) -> None:
    with pytest.raises(TamperedError):
        Cipher(Key(bytes(32)), Purpose.RECORD).unseal(blob)
    with pytest.raises(TamperedError):
        crypto.open_sealed(Key(bytes(32)), b"\x01" + blob, Purpose.LOG_SEGMENT)


@LAW
@given(KEYS, PURPOSES, PARTS, st.binary(max_size=500))
def test_opening_undoes_sealing_to_a_key(key: Key, purpose: Purpose, parts: list[Any], text: bytes) -> None:
    blob = crypto.seal_to(crypto.public_of(key), text, purpose, *parts)
    assert crypto.open_sealed(key, blob, purpose, *parts) == text


@LAW
@given(st.lists(st.binary(max_size=300), max_size=6))
def test_unpacking_undoes_packing(parts: list[bytes]) -> None:
    assert envelope.unpack(envelope.pack(*parts)) == parts


@LAW
@given(
    st.dictionaries(
        st.text(max_size=20).map(lambda text: unicodedata.normalize("NFC", text)),
        st.binary(max_size=300),
        max_size=6,
    )
)
def test_unpacking_undoes_packing_by_name(named: dict[str, bytes]) -> None:
    assert envelope.unpack_named(envelope.pack_named(named)) == named


@LAW
@given(st.binary(max_size=100))
def test_noise_unpacks_or_is_tampered(blob: bytes) -> None:
    for read in (envelope.unpack, envelope.unpack_named):
        try:
            read(blob)
        except TamperedError:
            continue


@LAW
@given(st.text(max_size=60))
def test_what_is_typed_as_a_code_is_twenty_bytes_or_a_wrong_credential(text: str) -> None:
    with suppress(UnlockError):
        assert len(keyslots.code_bytes(text)) == 20


@LAW
@given(st.text(max_size=50))
def test_a_normal_name_is_its_own_normal_name(typed: str) -> None:
    try:
        name = normal_username(typed)
    except ValidationError:
        return
    assert normal_username(name) == name


# ---- documents -------------------------------------------------------------------------------------

CLEAN = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cf", "Cn")), min_size=1, max_size=30)


def values(field: Field) -> st.SearchStrategy[Any]:
    match field.kind:
        case "choice":
            return st.sampled_from([value for value, _ in field.choices])
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(0, field.max)
        case "money":
            return st.decimals("0", "99999", places=2).map(str)
        case "date":
            return st.dates().map(str)
        case "url":
            return CLEAN.map(lambda text: "https://shop.test/" + text.strip())
        case "list":
            return st.lists(CLEAN, max_size=3)
        case _:
            return CLEAN.map(lambda text: text[: field.max])


def documents(collection: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            facet.name: st.fixed_dictionaries(
                {}, optional={field.name: values(field) for field in facet.fields}
            )
            for facet in CATALOG_BY_NAME[collection].facets
        },
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("collection", [item.name for item in CATALOG])
@LAW
@given(data=st.data())
def test_validating_is_idempotent_and_survives_json(collection: str, data: st.DataObject) -> None:
    try:
        once = validate(collection, data.draw(documents(collection)))
    except ValidationError:
        return  # such as a rating of 0
    assert validate(collection, once) == once
    assert json.loads(json.dumps(once, allow_nan=False)) == once


@pytest.mark.parametrize("collection", [item.name for item in CATALOG])
@LAW
@given(data=st.data())
def test_anything_at_all_is_valid_or_refused_with_reasons(collection: str, data: st.DataObject) -> None:
    names = [facet.name for facet in CATALOG_BY_NAME[collection].facets]
    given_names = st.sampled_from(names) | st.text(max_size=5)
    found, reasons = outcome(collection, data.draw(st.dictionaries(given_names, ANYTHING, max_size=3)))
    if found is not None:
        assert list(found) == names
    else:
        assert reasons
        assert all(said and all(said) for said in reasons.values())


def outcome(collection: str, document: Any) -> tuple[Any, dict[str, list[str]]]:
    try:
        return validate(collection, document), {}
    except ValidationError as error:
        return None, error.fields


# ---- lengths ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def still() -> Iterator[Vault]:
    """A vault for laws that write nothing."""
    with TemporaryDirectory() as folder:
        engine = SqliteEngine(Path(folder) / "vrm.db")
        engine.install([SCHEMA])
        key = serverkey.load(Path(folder) / "server.key")
        yield Vaults(engine, key, clock=SettableClock(), limits=CHEAP).create("alice", PASSPHRASE)[0]
        engine.close()


ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126, blacklist_characters='"\\'), max_size=60)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "for": st.sampled_from(["self", "gift", "household", "work", "other"]),
        "occasion": ASCII,
        "motive": ASCII,
        "use_for_taste": st.booleans(),
    },
)


@LAW
@given(st.data(), SAID, SAID)
def test_whom_it_was_for_changes_no_length(still: Vault, data: st.DataObject, one: Any, other: Any) -> None:
    records = still.records("purchases")
    facts = data.draw(documents("purchases"))
    lengths = set()
    for context in (one, other, {}):
        try:
            document = records.check({**facts, "context": context, "experience": {}})
        except ValidationError:
            return
        lengths.add(len(records.seal("r" * 32, 1, document)))
    assert len(lengths) == 1


@LAW
@given(st.data())
def test_a_sealed_document_opens_as_it_was(still: Vault, data: st.DataObject) -> None:
    for item in CATALOG:
        records = still.records(item.name)
        try:
            document = records.check(data.draw(documents(item.name)))
        except ValidationError:
            continue
        body = records.seal("r", 7, document)
        assert records.unseal("r", 7, body) == document
        with pytest.raises(TamperedError):
            records.unseal("r", 8, body)


# ---- tables ----------------------------------------------------------------------------------------

TITLES = st.sampled_from(["Dune", "Emma", "Faust", "Walden"])
WORDS = st.sampled_from(["self", "gift", "work"])


class TableIsADictionary(RuleBasedStateMachine):
    """Any sequence of edits, undone ones too, leaves the table as a dictionary would be left."""

    @initialize()
    def open(self) -> None:
        self.folder = TemporaryDirectory()
        self.engine = SqliteEngine(Path(self.folder.name) / "vrm.db")
        self.engine.install([SCHEMA])
        key = serverkey.load(Path(self.folder.name) / "server.key")
        vaults = Vaults(self.engine, key, clock=SettableClock(), limits=CHEAP)
        self.vault = vaults.create("alice", PASSPHRASE)[0]
        self.table = self.vault.table("purchases")
        self.model: dict[str, Any] = {}

    @rule(titles=st.lists(TITLES, max_size=3), word=WORDS)
    def insert(self, titles: list[str], word: str) -> None:
        given = [{"item": {"title": title}, "context": {"for": word}} for title in titles]
        for record, document in zip(self.table.insert_multiple(given), given, strict=True):
            self.model[record] = validate("purchases", document)

    @rule(title=TITLES, word=WORDS)
    def update(self, title: str, word: str) -> None:
        self.table.update({"context": {"for": word}}, where("item")["title"] == title)
        for record, document in self.model.items():
            if document["item"]["title"] == title:
                self.model[record] = {**document, "context": {"for": word}}

    @rule(title=TITLES, word=WORDS)
    def upsert(self, title: str, word: str) -> None:
        found = self.table.upsert(
            {"item": {"title": title}, "context": {"for": word}}, where("item")["title"] == title
        )
        for record in found:
            held = self.model.get(record, validate("purchases", {}))
            self.model[record] = {**held, "item": {"title": title}, "context": {"for": word}}

    @rule(title=TITLES, word=WORDS)
    def remove(self, title: str, word: str) -> None:
        self.table.remove((where("item")["title"] == title) & (where("context")["for"] == word))
        self.model = {
            record: document
            for record, document in self.model.items()
            if (document["item"]["title"], document["context"]["for"]) != (title, word)
        }

    @rule(word=WORDS)
    def fail_in_the_middle(self, word: str) -> None:
        def fail() -> None:
            with self.engine.write():
                self.table.insert({"item": {"title": "Dune"}, "context": {"for": word}})
                self.table.update({"notes": {"text": "never"}})
                raise LookupError

        with pytest.raises(LookupError):
            fail()

    @rule(titles=st.lists(TITLES, max_size=3, unique=True), publish=st.booleans())
    def bring(self, titles: list[str], publish: bool) -> None:
        given = [
            validate("purchases", {"item": {"title": title}, "context": {"for": "self"}}) for title in titles
        ]
        with self.vault.records("purchases").staging() as staging:
            ids = staging.add(
                [(title.encode(), document) for title, document in zip(titles, given, strict=True)]
            )
            if publish:
                staging.publish(lambda current, found: found)
                self.model.update(zip(ids, given, strict=True))

    @precondition(lambda self: len(self.model) > 3)
    @rule()
    def truncate(self) -> None:
        self.table.truncate()
        self.model = {}

    @invariant()
    def the_same(self) -> None:
        if hasattr(self, "table"):
            assert {document.doc_id: dict(document) for document in self.table} == self.model
            assert len(self.table) == len(self.model)
            assert self.vault.check() == []

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            self.folder.cleanup()


TestTableIsADictionary = TableIsADictionary.TestCase
TestTableIsADictionary.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
