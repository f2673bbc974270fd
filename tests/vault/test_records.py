"""Records: sealed, padded, watched, revised, and imports that show nothing until they are complete."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.beside import only_sqlite
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.errors import ConflictError, RecordNotFoundError, StorageError, TamperedError, ValidationError
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.changes import Change
from vrm.vault.envelope import SMALLEST, pack_named, unpack_named
from vrm.vault.keyring import Keyring
from vrm.vault.records import Records
from vrm.vault.schemas import Document, validate
from vrm.vault.serverkey import ServerKey
from vrm.vault.sqlite import SqliteEngine, Transaction
from vrm.vault.vault import Vault, Vaults


def book(title: str, **context: Any) -> Document:
    return validate("purchases", {"item": {"title": title}, "context": context})


@pytest.fixture
def records(vault: Vault) -> Records:
    return vault.records("purchases")


# ---- put, get, remove ------------------------------------------------------------------------------


def test_a_record_comes_back_with_its_revision(records: Records) -> None:
    record = records.put({"item": {"title": "Dune"}})
    document, first = records.read(record)
    assert document == book("Dune")
    assert records.get(record) == book("Dune")
    assert records.put({"item": {"title": "Emma"}}, record) == record
    assert records.read(record) == (book("Emma"), first + 1)
    assert (records.count(), records.ids(), list(records.scan())) == (1, [record], [(record, book("Emma"))])


def test_what_is_not_there_is_not_found(records: Records) -> None:
    for act in (records.get, records.read, records.remove):
        with pytest.raises(RecordNotFoundError):
            act("0" * 32)
    assert not records.contains("0" * 32)


def test_a_removed_record_is_gone(records: Records) -> None:
    record = records.put({"item": {"title": "Dune"}})
    records.remove(record)
    with pytest.raises(RecordNotFoundError):
        records.get(record)
    assert records.count() == 0


def test_a_write_against_another_revision_is_a_conflict(records: Records, vault: Vault) -> None:
    record = records.put({"item": {"title": "Dune"}})
    first = records.read(record)[1]
    records.put({"item": {"title": "Emma"}}, record, revision=first)
    with pytest.raises(ConflictError):
        records.put({"item": {"title": "Faust"}}, record, revision=first)
    with pytest.raises(ConflictError):
        records.remove(record, revision=first)
    with pytest.raises(ConflictError):
        records.put({"item": {"title": "Faust"}}, "0" * 32, revision=first)
    assert records.get(record) == book("Emma")
    records.remove(record, revision=first + 1)
    assert vault.check() == []


def test_an_invalid_document_is_refused_by_name(records: Records) -> None:
    with pytest.raises(ValidationError) as caught:
        records.put({"item": {"title": 5}})
    assert set(caught.value.fields) == {"item.title"}
    assert records.count() == 0


def test_several_changes_are_one(records: Records, vault: Vault) -> None:
    one, other = records.put({"item": {"title": "Dune"}}), records.put({"item": {"title": "Emma"}})
    with pytest.raises(ConflictError):
        records.apply({one: book("changed"), other: None}, expected={other: 7})
    assert (records.get(one), records.get(other)) == (book("Dune"), book("Emma"))
    records.apply({one: book("changed"), other: None, "f" * 32: book("new")})
    assert sorted(records.ids()) == sorted([one, "f" * 32])
    assert vault.check() == []


def test_ids_are_random(records: Records) -> None:
    ids = {records.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert {len(one) for one in ids} == {32}


def test_the_records_of_another_vault_are_not_there(vaults: Vaults, records: Records) -> None:
    record = records.put({"item": {"title": "Dune"}})
    other = vaults.create("bob", "another long passphrase")[0].records("purchases")
    assert not other.contains(record)
    with pytest.raises(RecordNotFoundError):
        other.get(record)


# ---- what the disk shows ---------------------------------------------------------------------------


def test_nothing_of_a_record_is_readable_on_disk(records: Records, folder: Path) -> None:
    records.put(
        {
            "item": {"title": "canary-title"},
            "recipient": {"gift_message": "canary-message"},
            "notes": {"text": "canary-notes"},
        }
    )
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"canary" not in stored
    assert b"Y2FuYXJ5" not in stored


def test_the_same_document_twice_is_different_bytes(records: Records) -> None:
    one, other = (records.seal("r", 1, book("Dune")) for _ in range(2))
    assert one != other
    assert len(one) == len(other)


@pytest.mark.parametrize(
    "context",
    [{}, {"for": "self"}, {"for": "gift"}, {"for": "household", "occasion": "x" * 60, "motive": "y" * 120}],
)
def test_lengths_do_not_tell_a_gift(records: Records, context: dict[str, Any]) -> None:
    seller = {"item": {"title": "Dune"}, "order": {"ordered": "2026-01-02"}, "price": {"total": "9.99"}}
    plain = records.seal("r", 1, records.check(seller))
    told = records.seal("r", 1, records.check({**seller, "context": context}))
    assert len(told) == len(plain)


def test_every_facet_of_every_collection_fills_whole_buckets(vault: Vault) -> None:
    for name, item in CATALOG_BY_NAME.items():
        records = vault.records(name)
        sealed = unpack_named(records.seal("r", 1, records.check({})))
        assert list(sealed) == [facet.name for facet in item.facets]
        assert {facet: len(blob) - SMALLEST for facet, blob in sealed.items()} == {
            facet.name: facet.bucket for facet in item.facets
        }


def test_a_body_cut_to_one_facet_does_not_open(records: Records) -> None:
    parts = unpack_named(records.seal("r", 1, book("Dune", **{"for": "gift"})))
    for cut in (dict(list(parts.items())[:1]), {}, {**parts, "weather": b""}):
        with pytest.raises(TamperedError):
            records.unseal("r", 1, pack_named(cut))


def test_many_are_opened_together_as_each_alone(records: Records) -> None:
    long = records.check({"item": {"title": "x" * 600}})  # more than a bucket
    stored = {f"{at:032x}": book(f"Volume {at}", **({"for": "gift"} if at % 3 else {})) for at in range(600)}
    stored |= {f"{at:032x}": long for at in (0, 300, 599)}
    stored["profile"] = book("of another length")
    rows = [(record, 7, records.seal(record, 7, document)) for record, document in stored.items()]
    assert dict(records.unseal_each(rows)) == stored
    for facets in (("item",), ("context", "notes")):
        some = {record: {name: document[name] for name in facets} for record, document in stored.items()}
        assert dict(records.unseal_each(rows, facets)) == some
    assert list(records.unseal_each([])) == list(records.unseal_each(rows[:0])) == []


def test_one_that_was_altered_among_many_opens_for_nobody_and_hides_none_before_it(records: Records) -> None:
    rows = [(f"{at:032x}", 7, records.seal(f"{at:032x}", 7, book(f"Volume {at}"))) for at in range(20)]
    record, revision, body = rows[10]
    others = [body[:-1] + bytes([body[-1] ^ 1]), b"\xff" + body[1:], body[:-1], rows[9][2], "text", None]
    altered: list[Any] = [(record, revision, other) for other in others]
    for one in (*altered, (record, 8, body), (record, "seven", body), (None, 7, body)):
        seen: list[str] = []
        with pytest.raises(TamperedError):
            seen.extend(told for told, _ in records.unseal_each([*rows[:10], one, *rows[11:]]))
        assert set(seen) <= {row[0] for row in rows} - {record}


# ---- watchers --------------------------------------------------------------------------------------


class Diary:
    """A watcher that writes down what it is told, in the same transaction."""

    def __init__(self, engine: SqliteEngine, *, fail: bool = False) -> None:
        self.fail = fail
        with engine.write() as transaction:
            transaction.execute("CREATE TABLE diary (record TEXT, document TEXT)")

    def changed(self, transaction: Transaction, keyring: Keyring, changes: Sequence[Change]) -> None:
        for change in changes:
            transaction.execute(
                "INSERT INTO diary VALUES (?, ?)", (change.record, json.dumps(change.document))
            )
        if self.fail:
            raise LookupError("the watcher could not follow")


@pytest.fixture
def watched(engine: SqliteEngine, server_key: ServerKey, clock: SettableClock) -> Callable[..., Vault]:
    """A vault that has a live grant and the given watcher."""

    def make(watcher: Any) -> Vault:
        vault = Vaults(engine, server_key, clock=clock, limits=CHEAP, watcher=watcher).create(
            "carol", PASSPHRASE
        )[0]
        with engine.write() as transaction:
            vault.set_roster_grants(transaction, ["grant"])
        return vault

    return make


def test_a_watcher_is_told_every_change(engine: SqliteEngine, watched: Callable[..., Vault]) -> None:
    vault = watched(Diary(engine))
    records = vault.records("purchases")
    record = records.put({"item": {"title": "Dune"}})
    records.remove(record)
    told = [(row[0], json.loads(row[1])) for row in engine.all("SELECT * FROM diary")]
    there = {**book("Dune"), "notes": {"arrived": vault._vaults.clock.now()}}
    assert told == [(record, there), (record, None)]


def test_where_the_watcher_fails_nothing_is_written(
    engine: SqliteEngine, watched: Callable[..., Vault]
) -> None:
    vault = watched(Diary(engine, fail=True))
    with pytest.raises(LookupError):
        vault.records("purchases").put({"item": {"title": "Dune"}})
    assert vault.records("purchases").count() == 0
    assert engine.all("SELECT * FROM diary") == []
    assert vault.check() == []


def test_a_vault_with_live_grants_and_no_watcher_refuses_to_write(watched: Callable[..., Vault]) -> None:
    vault = watched(None)
    with pytest.raises(RuntimeError, match="nobody keeps their views"):
        vault.records("purchases").put({"item": {"title": "Dune"}})
    with pytest.raises(RuntimeError, match="nobody keeps their views"):
        bring(vault.records("purchases"), ["Dune"])
    assert vault.records("purchases").count() == 0


def test_without_live_grants_nobody_is_told(engine: SqliteEngine, watched: Callable[..., Vault]) -> None:
    vault = watched(Diary(engine))
    with engine.write() as transaction:
        vault.set_roster_grants(transaction, [])
    vault.records("purchases").put({"item": {"title": "Dune"}})
    assert engine.all("SELECT * FROM diary") == []


def test_an_import_is_told_when_it_shows(engine: SqliteEngine, watched: Callable[..., Vault]) -> None:
    vault = watched(Diary(engine))
    records = vault.records("purchases")
    with records.staging() as staging:
        staging.add([(b"1", book("Dune")), (b"2", book("Emma"))])
        assert engine.all("SELECT * FROM diary") == []
        staging.publish(newer)
    assert sorted(row[0] for row in engine.all("SELECT record FROM diary")) == sorted(records.ids())


# ---- imports ---------------------------------------------------------------------------------------


def newer(current: Document, found: Document) -> Document:
    return found


def bring(records: Records, titles: list[str]) -> list[str]:
    with records.staging() as staging:
        ids = staging.add([(title.encode(), book(title)) for title in titles])
        staging.publish(newer)
    return ids


def shown(records: Records) -> list[str]:
    return sorted(document["item"]["title"] for _, document in records.scan())


def test_an_import_shows_nothing_until_it_is_published(records: Records, vault: Vault) -> None:
    records.put({"item": {"title": "before"}})
    with records.staging() as staging:
        (hidden,) = staging.add([(b"1", book("Dune"))])
        assert shown(records) == ["before"]
        assert not records.contains(hidden)
        with pytest.raises(RecordNotFoundError):
            records.get(hidden)
        assert staging.known() == {}
        staging.publish(newer)
        assert staging.known() == {b"1": hidden}
    assert shown(records) == ["Dune", "before"]
    assert vault.check() == []


def test_an_import_that_is_not_published_leaves_nothing(
    records: Records, engine: SqliteEngine, vault: Vault
) -> None:
    def fail() -> None:
        with records.staging() as staging:
            staging.add([(b"1", book("Dune"))])
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with records.staging() as staging:
        staging.add([(b"1", book("Dune"))])
    for table in ("records", "staged", "imports"):
        assert engine.all(f"SELECT * FROM {table}") == []
    assert vault.check() == []


def test_two_imports_at_once_are_refused(records: Records) -> None:
    refused = pytest.raises(ConflictError, match="another import is running")
    with records.staging(), refused, records.staging():
        pass
    bring(records, ["Dune"])


def test_imports_of_two_vaults_do_not_meet(vaults: Vaults, records: Records) -> None:
    other = vaults.create("bob", "another long passphrase")[0].records("purchases")
    with records.staging() as one, other.staging() as two:
        one.add([(b"1", book("Dune"))])
        two.add([(b"1", book("Emma"))])
        one.publish(newer)
        two.publish(newer)
    assert (shown(records), shown(other)) == (["Dune"], ["Emma"])


def test_a_known_record_is_replaced_when_published(records: Records, vault: Vault) -> None:
    (record,) = bring(records, ["Dune"])
    first = records.read(record)[1]
    with records.staging() as staging:
        staging.replace([(record, first, book("Dune, newer"))])
        assert shown(records) == ["Dune"]
        staging.publish(newer)
    assert records.read(record) == (book("Dune, newer"), first + 1)
    with records.staging() as staging:
        assert staging.known() == {b"Dune": record}
    assert vault.check() == []


def test_what_the_customer_did_meanwhile_counts(records: Records, vault: Vault) -> None:
    edited, removed = bring(records, ["Dune", "Emma"])
    seen = []

    def merge(current: Document, found: Document) -> Document:
        seen.append((current["item"]["title"], found["item"]["title"]))
        return {**found, "context": current["context"]}

    with records.staging() as staging:
        newer_ones = ((edited, "Dune, newer"), (removed, "Emma, newer"))
        staging.replace([(record, records.read(record)[1], book(title)) for record, title in newer_ones])
        records.put({"item": {"title": "Dune"}, "context": {"for": "gift"}}, edited)
        records.remove(removed)
        staging.publish(merge)
    assert seen == [("Dune", "Dune, newer")]
    assert records.get(edited) == book("Dune, newer", **{"for": "gift"})
    assert records.ids() == [edited]
    assert vault.check() == []


def test_a_staged_row_that_was_altered_stops_the_import_whole(
    records: Records, engine: SqliteEngine, vault: Vault
) -> None:
    (record,) = bring(records, ["Dune"])

    def publish() -> None:
        with records.staging() as staging:
            staging.add([(b"2", book("Emma"))])
            staging.replace([(record, 1, book("Dune, newer"))])
            with engine.write() as transaction:
                transaction.execute("UPDATE staged SET body = substr(body, 1, length(body) - 1)")
            staging.publish(newer)

    with pytest.raises(TamperedError):
        publish()
    assert shown(records) == ["Dune"]
    assert vault.check() == []


@only_sqlite
def test_a_full_disk_while_importing_leaves_the_vault_as_it_was(
    records: Records, engine: SqliteEngine, vault: Vault
) -> None:
    bring(records, ["before"])
    row = engine.one("PRAGMA page_count")
    engine.one(f"PRAGMA max_page_count={(row or (0,))[0] + 20}")
    with pytest.raises(StorageError):
        bring(records, [f"book {number}" for number in range(500)])
    engine.one("PRAGMA max_page_count=1000000")
    assert shown(records) == ["before"]
    assert vault.check() == []
    bring(records, ["after"])
    assert shown(records) == ["after", "before"]
    assert vault.check() == []
