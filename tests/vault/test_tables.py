"""TinyDB's tables over sealed rows: its own tests, its queries, and writers at once, none of them lost."""

import hashlib
import importlib.metadata
import multiprocessing
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSPHRASE
from tests.vault.writers import insert_and_edit, purchase
from vrm.errors import ValidationError
from vrm.vault.tables import Document, Query, RecordTable, where
from vrm.vault.vault import Vault, Vaults

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LOCK = HERE / "upstream.txt"
SUITES = ("test_tables.py", "test_tinydb.py", "test_operations.py", "test_queries.py")
SPAWN = multiprocessing.get_context("spawn")


# ---- TinyDB's own tests ----------------------------------------------------------------------------


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def archive() -> Path:
    """TinyDB's source archive, as locked, fetched once into .tools/ by pip."""
    name, _, wanted = LOCK.read_text(encoding="utf-8").partition(" --hash=sha256:")
    path = ROOT / ".tools" / f"{name.replace('==', '-')}.tar.gz"
    if not path.exists():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "tinydb"]
        told = subprocess.run(
            [*fetch, "--require-hashes", "--requirement", LOCK, "--dest", path.parent],
            capture_output=True,
            text=True,
        )
        if told.returncode:
            if os.environ.get("VRM_TEST_STRICT") == "1":
                pytest.fail(told.stderr)
            pytest.skip("TinyDB's source archive cannot be fetched; a package index must be reachable")
    assert sha256(path) == wanted.strip()
    return path


@pytest.fixture
def upstream(archive: Path, tmp_path: Path) -> Path:
    """A folder with nothing in it but TinyDB's tests."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    with tarfile.open(archive) as opened:
        for name in ("conftest.py", *SUITES):
            member = opened.extractfile(f"{archive.name.removesuffix('.tar.gz')}/tests/{name}")
            assert member
            (folder / name).write_bytes(member.read())
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def test_the_archive_is_of_the_version_in_use() -> None:
    name = LOCK.read_text(encoding="utf-8").split()[0]
    assert name == f"tinydb=={importlib.metadata.version('tinydb')}"


def test_tinydbs_own_tests_pass_over_our_table(upstream: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.vault.upstream"],
        cwd=upstream,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout[-3000:] + told.stderr[-1000:]
    assert "168 passed, 18 xfailed" in told.stdout.splitlines()[-1]


# ---- what our table does ---------------------------------------------------------------------------


@pytest.fixture
def table(vault: Vault) -> RecordTable:
    return vault.table("purchases")


def titles(documents: list[Document]) -> list[str]:
    return sorted(document["item"]["title"] for document in documents)


def fill(table: RecordTable) -> list[str]:
    return table.insert_multiple(
        [
            purchase("Dune", **{"for": "self"}),
            purchase("Emma", **{"for": "gift"}),
            purchase("Faust", **{"for": "gift"}),
            purchase("Walden"),
        ]
    )


def test_an_inserted_document_comes_back_whole_with_its_id(table: RecordTable) -> None:
    record = table.insert(purchase("Dune", **{"for": "self"}))
    found = table.get(doc_id=record)
    assert isinstance(found, Document)
    assert found.doc_id == record
    assert len(record) == 32
    assert found["item"] == {"title": "Dune"}
    assert found["recipient"] == {}  # every facet is there, filled or not


def test_ids_are_random_and_tell_no_order(table: RecordTable) -> None:
    ids = [table.insert(purchase(str(number))) for number in range(20)]
    assert len(set(ids)) == 20
    assert ids != sorted(ids)


def test_get_by_condition_by_id_and_by_ids(table: RecordTable) -> None:
    ids = fill(table)
    found = table.get(where("item")["title"] == "Emma")
    assert isinstance(found, Document)
    assert found.doc_id == ids[1]
    both = table.get(doc_ids=[ids[0], ids[3], "0" * 32])
    assert isinstance(both, list)
    assert titles(both) == ["Dune", "Walden"]
    assert table.get(doc_id="0" * 32) is None
    assert table.get(where("item")["title"] == "Ulysses") is None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (where("context")["for"] == "gift", ["Emma", "Faust"]),
        (where("context")["for"].one_of(["self", "gift"]), ["Dune", "Emma", "Faust"]),
        (~where("context")["for"].exists(), ["Walden"]),
        (Query().item.title.matches("^[DE]"), ["Dune", "Emma"]),
        (Query().item.title.search("a"), ["Emma", "Faust", "Walden"]),
        ((where("context")["for"] == "gift") & (where("item")["title"] != "Emma"), ["Faust"]),
        ((where("item")["title"] == "Dune") | (where("item")["title"] == "Walden"), ["Dune", "Walden"]),
        (Query().item.title.test(lambda title: len(title) == 6), ["Walden"]),
        (Query().item.fragment({"title": "Emma"}), ["Emma"]),
        (Query().noop(), ["Dune", "Emma", "Faust", "Walden"]),
    ],
)
def test_queries(table: RecordTable, condition: Any, expected: list[str]) -> None:
    fill(table)
    assert titles(table.search(condition)) == expected
    assert table.count(condition) == len(expected)
    assert table.contains(condition) == bool(expected)


def test_all_iteration_and_length(table: RecordTable) -> None:
    assert (len(table), table.all(), list(table)) == (0, [], [])
    ids = fill(table)
    assert len(table) == 4
    assert (
        {document.doc_id for document in table} == {document.doc_id for document in table.all()} == set(ids)
    )


def test_update_by_condition_by_ids_and_of_all(table: RecordTable) -> None:
    ids = fill(table)
    changed = table.update({"notes": {"text": "wrapped"}}, where("context")["for"] == "gift")
    assert sorted(changed) == sorted(ids[1:3])
    assert table.update({"context": {"for": "self"}}, doc_ids=[ids[3]]) == [ids[3]]
    assert sorted(table.update({"experience": {"rating": 5}})) == sorted(ids)
    assert table.count(where("notes")["text"] == "wrapped") == 2
    assert table.count(where("experience")["rating"] == 5) == 4


def test_update_by_a_function(table: RecordTable) -> None:
    fill(table)

    def louder(document: Any) -> None:
        document["item"]["title"] = document["item"]["title"].upper()

    table.update(louder, where("item")["title"] == "Dune")
    assert table.contains(where("item")["title"] == "DUNE")
    assert table.update_multiple([(louder, where("item")["title"] == "Emma")])
    assert table.contains(where("item")["title"] == "EMMA")


def test_an_update_of_ids_that_are_not_there_changes_nothing(table: RecordTable, vault: Vault) -> None:
    fill(table)
    before = list(vault.records("purchases").stored())
    assert table.update({"notes": {"text": "x"}}, doc_ids=["0" * 32]) == []
    assert list(vault.records("purchases").stored()) == before


def test_only_rows_that_changed_are_written(table: RecordTable, vault: Vault) -> None:
    ids = fill(table)
    before = {record: revision for record, revision, _ in vault.records("purchases").stored()}
    table.update({"context": {"for": "gift"}}, where("context")["for"] == "gift")  # is so already
    table.update({"context": {"for": "self"}}, doc_ids=[ids[3]])
    after = {record: revision for record, revision, _ in vault.records("purchases").stored()}
    assert after == {**before, ids[3]: before[ids[3]] + 1}


def test_upsert_updates_what_is_there_and_inserts_what_is_not(table: RecordTable) -> None:
    ids = fill(table)
    assert table.upsert({"notes": {"text": "first"}}, where("item")["title"] == "Dune") == [ids[0]]
    (fresh,) = table.upsert(purchase("Ulysses"), where("item")["title"] == "Ulysses")
    assert fresh not in ids
    assert len(table) == 5
    assert table.upsert(Document({"notes": {"text": "by id"}}, doc_id=ids[1])) == [ids[1]]
    assert table.upsert(Document(purchase("Own"), doc_id="f" * 32)) == ["f" * 32]
    assert table.contains(doc_id="f" * 32)


def test_a_document_keeps_an_id_of_its_own_once(table: RecordTable) -> None:
    assert table.insert(Document(purchase("Dune"), doc_id="a" * 32)) == "a" * 32
    with pytest.raises(ValueError, match="already exists"):
        table.insert(Document(purchase("Emma"), doc_id="a" * 32))


def test_remove_by_condition_by_ids_and_truncate(table: RecordTable, vault: Vault) -> None:
    ids = fill(table)
    assert sorted(table.remove(where("context")["for"] == "gift")) == sorted(ids[1:3])
    assert table.remove(doc_ids=[ids[0], "0" * 32]) == [ids[0]]
    assert titles(table.all()) == ["Walden"]
    fill(table)
    table.truncate()
    assert len(table) == 0
    assert vault.check() == []


def test_remove_without_a_condition_is_refused(table: RecordTable) -> None:
    with pytest.raises(RuntimeError, match="truncate"):
        table.remove()


def test_a_result_is_a_copy_of_its_own(table: RecordTable) -> None:
    fill(table)
    condition = where("item")["title"] == "Dune"
    found = table.search(condition)[0]
    found["item"]["title"] = "changed in memory only"
    assert titles(table.search(condition)) == ["Dune"]
    assert table.search(condition)[0]["item"] == {"title": "Dune"}


def test_two_tables_on_one_vault_never_answer_from_the_past(table: RecordTable, vault: Vault) -> None:
    other, condition = vault.table("purchases"), where("context")["for"] == "gift"
    fill(table)
    assert table.count(condition) == other.count(condition) == 2
    other.remove(condition)
    assert table.count(condition) == 0
    assert len(table._query_cache) == 0


def test_an_exception_in_the_middle_of_an_update_undoes_all_of_it(table: RecordTable, vault: Vault) -> None:
    fill(table)
    before = list(vault.records("purchases").stored())
    seen: list[str] = []

    def fail_at_the_third(document: Any) -> None:
        document["notes"] = {"text": "half"}
        seen.append(document["item"]["title"])
        if len(seen) == 3:
            raise LookupError("third")

    with pytest.raises(LookupError, match="third"):
        table.update(fail_at_the_third)
    assert list(vault.records("purchases").stored()) == before
    assert vault.check() == []


@pytest.mark.parametrize(
    "document",
    [
        {"item": {"title": "x" * 1001}},
        {"item": {"colour": "red"}},
        {"weather": {}},
        {"context": {"for": "nobody"}},
        {"price": {"total": 12.99}},
        {"item": "Dune"},
    ],
)
def test_invalid_documents_are_refused_and_nothing_is_stored(
    table: RecordTable, vault: Vault, document: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError) as caught:
        table.insert_multiple([purchase("good"), document])
    assert caught.value.fields
    assert len(table) == 0
    assert vault.check() == []


def test_an_update_to_something_invalid_is_refused(table: RecordTable) -> None:
    fill(table)
    with pytest.raises(ValidationError):
        table.update({"experience": {"rating": 6}})
    assert table.count(where("experience")["rating"].exists()) == 0


def test_what_is_no_mapping_is_refused(table: RecordTable) -> None:
    with pytest.raises(ValueError, match="Mapping"):
        table.insert([1, 2])  # type: ignore[arg-type]


def test_ids_of_other_kinds_are_simply_not_there(table: RecordTable) -> None:
    fill(table)
    assert not table.contains(doc_id=1)
    assert table.get(doc_id=1) is None


def test_what_tinydb_reads_is_a_mapping_like_any(table: RecordTable) -> None:
    """Its tables of other ids ask for more of it than ours do (`keys`, for the next number)."""
    records = fill(table)
    rows = table._read_table()
    assert sorted(rows.keys()) == sorted(rows) == sorted(records)
    assert dict(rows) == dict(rows.items())
    assert titles(list(rows.values())) == ["Dune", "Emma", "Faust", "Walden"]
    assert [record in rows for record in (records[0], "0" * 32)] == [True, False]


def test_a_table_shows_how_much_and_never_what(table: RecordTable) -> None:
    fill(table)
    assert "Dune" not in repr(table)


def test_tables_of_two_collections_and_two_vaults_share_nothing(vaults: Vaults, table: RecordTable) -> None:
    fill(table)
    other = vaults.create("bob", "another long passphrase")[0]
    assert len(other.table("purchases")) == 0
    assert len(other.table("preferences")) == 0


# ---- writers at once -------------------------------------------------------------------------------


def test_sixteen_writers_in_four_processes_lose_nothing(vault: Vault, folder: Path) -> None:
    threads, each = 4, 10
    writers = [
        SPAWN.Process(target=insert_and_edit, args=(folder, PASSPHRASE, number, threads, each))
        for number in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    expected = {
        f"{number}-{thread}-{at}"
        for number in range(4)
        for thread in range(threads)
        for at in range(each)
        if at % 5 != 4
    }
    found = vault.table("purchases").all()
    assert {document["item"]["title"] for document in found} == expected
    assert len(found) == len(expected)
    assert {document["context"]["for"] for document in found} == {"gift"}
    assert vault.check() == []
