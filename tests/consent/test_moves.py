"""One vault out of one host and into another: what travels, what does not, and what is refused."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Vendor
from tests.attacks.conftest import Story, tell
from tests.beside import only_sqlite
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.consent import moves
from vrm.consent.service import Consent
from vrm.errors import (
    ConflictError,
    DataNewerError,
    FormatError,
    StorageError,
    TamperedError,
    TokenError,
    UnlockError,
    UsernameTakenError,
    VrmError,
)
from vrm.host import SCHEMAS
from vrm.vault import copies, crypto, envelope, export, moving, removal, serverkey
from vrm.vault.catalog import CATALOG
from vrm.vault.crypto import Cipher, Purpose
from vrm.vault.export import Row, Section
from vrm.vault.moving import Credential
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

READER = Path(__file__).parents[2] / "scripts" / "read_export.py"
WITH = Credential(passphrase=PASSPHRASE)


class House:
    """A host of its own."""

    def __init__(self, folder: Path, clock: SettableClock) -> None:
        self.folder = folder
        self.engine = SqliteEngine(folder / "vrm.db")
        self.engine.install(SCHEMAS)
        self.vaults = Vaults(self.engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
        self.consent = Consent(self.engine, self.vaults, clock)

    def bring(self, blob: bytes, credential: Credential = WITH, name: str = "") -> Vault:
        return self.consent.moves.bring(io.BytesIO(blob), credential, name=name)[0]

    def rows(self) -> dict[str, int]:
        """Table → how many rows."""
        counts = {table: self.engine.one(f"SELECT count(*) FROM {table}") for table in self.engine.tables()}
        return {table: row[0] for table, row in counts.items() if row and row[0]}


@pytest.fixture
def house(tmp_path: Path, clock: SettableClock) -> Iterator[Callable[[str], House]]:
    opened: list[House] = []

    def build(name: str = "there") -> House:
        opened.append(House(tmp_path / name, clock))
        return opened[-1]

    yield build
    for one in opened:
        one.engine.close()


@pytest.fixture
def alice(vaults: Vaults) -> tuple[Vault, str]:
    return vaults.create("alice", PASSPHRASE)


@pytest.fixture
def story(alice: tuple[Vault, str], consent: Consent) -> Story:
    customer = Customer(alice[0], consent)
    return tell(customer, Vendor.register(consent))


def exported(consent: Consent, vault: Vault) -> bytes:
    out = io.BytesIO()
    size, _ = consent.moves.export(vault, out)
    assert size == len(out.getvalue())
    return out.getvalue()


def documents(vault: Vault) -> dict[str, dict[str, object]]:
    return {item.name: dict(vault.records(item.name).scan()) for item in CATALOG}


# --- there and back


@pytest.mark.parametrize("way", ["passphrase", "recovery code"])
def test_an_export_opens_on_another_host_with_either_way_in(
    alice: tuple[Vault, str], story: Story, consent: Consent, house: Callable[..., House], way: str
) -> None:
    story.vendor.read(story.tokens.access_token)
    blob = exported(consent, alice[0])
    there = house()
    vault = there.bring(blob, WITH if way == "passphrase" else Credential(code=alice[1]))
    assert (vault.id, vault.username) == (alice[0].id, "alice")
    assert documents(vault) == documents(alice[0])
    assert vault.check() == []
    unlocked = there.vaults.unlock("alice", PASSPHRASE)
    assert there.consent.at_unlock(unlocked) == []
    assert there.vaults.recover("alice", alice[1], PASSPHRASE).check() == []


def test_what_was_shared_arrives_as_history(
    alice: tuple[Vault, str], story: Story, consent: Consent, house: Callable[..., House]
) -> None:
    story.vendor.read(story.tokens.access_token)
    there = house()
    vault = there.bring(exported(consent, alice[0]))
    (grant,) = there.consent.grants.listing(vault)
    (before,) = consent.grants.listing(alice[0])
    assert (grant.state, before.state) == ("revoked", "live")
    assert (grant.id, grant.agreement, grant.reserve, grant.reads) == (
        before.id,
        before.agreement,
        before.reserve,
        before.reads,
    )
    events = {entry.event for entry in there.consent.log.read(vault)}
    assert {"granted", "connected", "read", "restored"} <= events
    with pytest.raises(TokenError):
        there.consent.reader.authenticate(story.tokens.access_token)
    assert not {"tokens", "sessions", "views", "requests"} & there.rows().keys()


def test_a_vault_that_came_can_go_on_living(
    alice: tuple[Vault, str], story: Story, consent: Consent, house: Callable[..., House]
) -> None:
    there = house()
    customer = Customer(there.bring(exported(consent, alice[0])), there.consent)
    vendor = Vendor.register(there.consent)
    tokens = vendor.connect(customer)
    before = vendor.titles(tokens.access_token)
    customer.buy("Emma")
    assert there.consent.problems(customer.vault) == []
    assert customer.vault.check() == []
    again = exported(there.consent, customer.vault)
    back = house("back").bring(again)
    assert documents(back) == documents(customer.vault)
    assert before


def test_an_export_of_an_empty_vault_arrives(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    assert house().bring(exported(consent, alice[0])).check() == []


def test_an_unfinished_import_does_not_travel(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    records = alice[0].records("purchases")
    with records.staging() as staging:
        staging.add([(b"1", records.check({"item": {"title": "hidden"}}))])
        there = house().bring(exported(consent, alice[0]))
    assert there.records("purchases").count() == 0
    assert there.engine.one("SELECT count(*) FROM records") == (0,)


def test_she_is_told_once_that_her_vault_came_from_a_copy(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House], clock: SettableClock
) -> None:
    taken = clock.now()
    blob = exported(consent, alice[0])
    clock.forward(86_400)
    vault = house().bring(blob)
    assert copies.restored(vault.engine, vault.id) == copies.Restored(taken, clock.now())
    copies.was_told(vault.engine, vault.id)
    assert copies.restored(vault.engine, vault.id) is None


def test_every_table_of_a_vault_travels_or_stays_for_a_reason(engine: SqliteEngine) -> None:
    stays = {
        "vaults": "in the manifest",
        "keyslots": "in the header",
        "sessions": "live with their host",
        "imports": "unfinished",
        "staged": "unfinished",
        "rotations": "an export waits for its end",
        "restored": "made anew",
        "tokens": "credentials",
        "views": "of grants that end",
        "refusals": "counts of this host",
        "adoptions": "under the server key here",
    }
    of_vaults = {table for table, columns in engine.tables().items() if {"vault", "grant_id"} & set(columns)}
    left_out = {table for schema in SCHEMAS for table in schema.left_out}
    assert of_vaults - left_out - stays.keys() == {section.table for section in moves.SECTIONS}


def test_every_column_travels_or_is_filled(engine: SqliteEngine) -> None:
    tables, given_anew = engine.tables(), {"mailbox.place", "grants.edition"}  # order of rows; of a view
    for section in moves.SECTIONS:
        columns = {name for name in tables[section.table] if f"{section.table}.{name}" not in given_anew}
        assert {"vault", *section.columns, *section.filled} == columns, section.table


# --- what is refused


def test_a_vault_that_is_here_is_not_doubled(alice: tuple[Vault, str], consent: Consent) -> None:
    with pytest.raises(ConflictError, match="here already"):
        consent.moves.bring(io.BytesIO(exported(consent, alice[0])), WITH, name="other")


def test_a_name_that_is_taken_needs_another(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    there = house()
    there.vaults.create("alice", PASSPHRASE)
    blob = exported(consent, alice[0])
    with pytest.raises(UsernameTakenError):
        there.bring(blob)
    assert there.bring(blob, name="Alice2").username == "alice2"
    assert {one.username for one in there.vaults.listing()} == {"alice", "alice2"}


@pytest.mark.parametrize(
    "credential", [Credential("a wrong passphrase"), Credential(code="0000-0000"), Credential()]
)
def test_a_wrong_credential_opens_no_export(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House], credential: Credential
) -> None:
    there = house()
    with pytest.raises(UnlockError):
        there.bring(exported(consent, alice[0]), credential)
    assert there.rows().keys() == {"schemas"}


def test_no_flipped_byte_and_no_cut_passes(
    story: Story, alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    blob, there = exported(consent, alice[0]), house()
    places = sorted({*range(0, 900, 23), *range(900, len(blob), 3001), len(blob) - 1})
    for at in places:
        spoilt = bytearray(blob)
        spoilt[at] ^= 0x20
        with pytest.raises(VrmError):
            there.bring(bytes(spoilt))
    for length in (0, 5, 16, 17, 18, 40, 700, 1200, len(blob) // 2, len(blob) - 1):
        with pytest.raises(VrmError):
            there.bring(blob[:length])
    assert there.rows().keys() == {"schemas"}


def frames(blob: bytes) -> tuple[bytes, list[bytes]]:
    """(what stands before the chunks, each chunk with its length)."""
    at = 18
    for _ in range(2):
        at += 2 + struct.unpack_from(">H", blob, at)[0]
    start, found = blob[:at], []
    while at < len(blob):
        size = 4 + struct.unpack_from(">I", blob, at)[0]
        found.append(blob[at : at + size])
        at += size
    return start, found


@pytest.fixture
def many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_FULL", 2048)


@pytest.mark.parametrize(
    "change", ["last left out", "swapped", "doubled", "first left out", "extended", "mixed"]
)
def test_chunks_left_out_swapped_doubled_or_mixed_are_refused(
    many_chunks: None,
    story: Story,
    alice: tuple[Vault, str],
    consent: Consent,
    house: Callable[..., House],
    change: str,
) -> None:
    start, chunks = frames(exported(consent, alice[0]))
    _, others = frames(exported(consent, alice[0]))
    assert len(chunks) >= 5
    made = {
        "last left out": chunks[:-1],
        "swapped": [chunks[0], chunks[2], chunks[1], *chunks[3:]],
        "doubled": [*chunks[:2], chunks[1], *chunks[2:]],
        "first left out": chunks[1:],
        "extended": [*chunks, chunks[-1]],
        "mixed": [chunks[0], others[1], *chunks[2:]],
    }[change]
    there = house()
    with pytest.raises(TamperedError):
        there.bring(start + b"".join(made))
    assert there.rows().keys() == {"schemas"}
    assert house("good").bring(start + b"".join(chunks)).check() == []


def test_a_length_that_lies_takes_no_memory(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    start, chunks = frames(exported(consent, alice[0]))
    for size in (export.MOST + 1, 2**32 - 1, 0, 33):
        with pytest.raises(TamperedError):
            house().bring(start + chunks[0] + struct.pack(">I", size) + bytes(100))


class Forger:
    """Who holds a vault of his own and writes what he likes into an export of it."""

    def __init__(self, vault: Vault) -> None:
        self.vault = vault

    def write(self, out: io.BytesIO, rows: list[tuple[int, Row]], **changes: object) -> None:
        values = {
            "vault": self.vault.id,
            "username": "forged",
            "created": 1,
            "generation": 1,
            "confirmed": True,
            "taken": 1,
            "roster": bytes(self.vault.engine.one("SELECT roster FROM vaults")[0]).hex(),
            "versions": {},
            "tables": {section.table: list(section.columns) for section in moves.SECTIONS},
            "rows": {},
        }
        writer = export.Writer(out, self.vault.keyring, self.vault.own_slots())
        writer.manifest(export.Manifest(**{**values, **changes}))
        for number, cells in rows:
            writer.row(number, cells)
        writer.finish()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"tables": {"vaults": ["vault"]}}, DataNewerError),
        ({"tables": {"tokens": ["lookup"]}}, DataNewerError),
        ({"tables": {"records": ["body", "vault"]}}, DataNewerError),
        ({"versions": {"vault": 99}}, DataNewerError),
        ({"versions": {"unknown": 1}}, DataNewerError),
        ({"generation": 2}, TamperedError),
        ({"vault": "0" * 32}, TamperedError),
        ({"roster": ""}, TamperedError),
        ({"username": "../../etc"}, VrmError),
    ],
)
def test_a_forged_manifest_is_refused(
    alice: tuple[Vault, str], house: Callable[..., House], changes: dict[str, object], error: type[VrmError]
) -> None:
    out = io.BytesIO()
    Forger(alice[0]).write(out, [], **changes)
    there = house()
    with pytest.raises(error):
        there.bring(out.getvalue())
    assert there.rows().keys() == {"schemas"}


@pytest.mark.parametrize(
    "rows",
    [
        [(99, ())],
        [(0, ("purchases", "r", "text", 0, None, b""))],
        [(0, ("purchases", "r", None, 0, None, b""))],
        [(0, ("purchases", "00" * 16, 1, 0, None, b"not sealed"))],
        [(1, (1, b"x")), (1, (1, b"x"))],
        [(2, (b"head",))],
    ],
    ids=[
        "no such table",
        "wrong kind",
        "nothing where something must be",
        "not sealed",
        "twice",
        "no journal",
    ],
)
def test_forged_rows_are_refused(
    alice: tuple[Vault, str], house: Callable[..., House], rows: list[tuple[int, Row]]
) -> None:
    out = io.BytesIO()
    Forger(alice[0]).write(out, rows)
    there = house()
    with pytest.raises(TamperedError):
        there.bring(out.getvalue())
    assert there.rows().keys() == {"schemas"}


def test_an_export_takes_no_row_of_another_vault(
    alice: tuple[Vault, str], story: Story, consent: Consent, house: Callable[..., House]
) -> None:
    there = house()
    bob, _ = there.vaults.create("bob", PASSPHRASE)
    grant = Vendor.register(there.consent).connect(Customer(bob, there.consent)).grant_id
    number = [section.table for section in moves.SECTIONS].index("grants")
    out = io.BytesIO()
    Forger(alice[0]).write(out, [(number, (grant, "live", 1, 2, None, None, 0, 0, b"", b"", b""))])
    before = there.rows()
    with pytest.raises(TamperedError):
        there.bring(out.getvalue())
    assert there.rows() == before


def test_a_way_in_planted_in_the_header_is_refused(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    blob = exported(consent, alice[0])
    start, chunks = frames(blob)
    (size,) = struct.unpack_from(">H", start, 18)
    head, wrap = start[20 : 20 + size], start[20 + size :]
    parts = envelope.unpack(head)
    planted = envelope.unpack(parts[1])
    planted[0] = b"f" * 16
    for rows in ([*parts, envelope.pack(*planted)], parts[:2], [parts[0], parts[2], parts[1]]):
        forged = start[:18] + envelope.lp(envelope.pack(*rows)) + wrap
        with pytest.raises((TamperedError, UnlockError)):
            house().bring(forged + b"".join(chunks))


@pytest.mark.parametrize(
    "params", [(0, 1, 1), (2**32 - 1, 1, 1), (19 * 1024, 0, 1), (19 * 1024, 2**32 - 1, 8), (19 * 1024, 1, 0)]
)
def test_costs_out_of_bounds_are_refused_before_they_are_paid(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House], params: tuple[int, int, int]
) -> None:
    blob = exported(consent, alice[0])
    row = next(slot for slot in alice[0].own_slots() if slot.kind == "passphrase")
    at = blob.index(row.params)
    forged = blob[:at] + struct.pack(">III", *params) + blob[at + 12 :]
    with pytest.raises(TamperedError):
        house().bring(forged)


def test_many_ways_in_are_refused_before_they_are_tried(
    alice: tuple[Vault, str], house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    slots = alice[0].own_slots() * 5
    export.Writer(out, alice[0].keyring, slots).finish()
    monkeypatch.setattr(crypto, "stretch", lambda *_: pytest.fail("a way in was tried"))
    with pytest.raises(TamperedError):
        house().bring(out.getvalue())


def test_another_file_and_another_version_are_told_apart(
    alice: tuple[Vault, str], consent: Consent, house: Callable[..., House]
) -> None:
    blob = exported(consent, alice[0])
    with pytest.raises(FormatError):
        house().bring(b"PK\x03\x04" + blob)
    with pytest.raises(DataNewerError):
        house().bring(export.MAGIC + b"\x00\x02" + blob[18:])


def test_log_entries_that_this_host_did_not_write_do_not_travel(
    story: Story,
    alice: tuple[Vault, str],
    consent: Consent,
    engine: SqliteEngine,
    house: Callable[..., House],
) -> None:
    vault = alice[0]
    name, key = crypto.random_bytes(16), crypto.random_key()
    public = crypto.public_of(vault.keyring.log_private())
    sealed = crypto.seal_to(public, key.reveal(), Purpose.LOG_SEGMENT, vault.id, name)
    entry = Cipher(key, Purpose.LOG_ENTRY, vault.id, name).seal(
        b'{"event": "read", "count": 9}', 1, bytes(32), 5
    )
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO log_segments VALUES (?, ?, ?, ?)", (vault.id, name, sealed, bytes(32))
        )
        transaction.execute("INSERT INTO log_entries VALUES (?, ?, 1, 5, ?)", (vault.id, name, entry))
    there = house()
    came = there.bring(exported(consent, vault))
    assert 9 not in {one.count for one in there.consent.log.read(came)}
    assert there.engine.one("SELECT count(*) FROM log_segments WHERE segment = ?", (name,)) == (0,)


def test_a_log_whose_heads_were_altered_travels_as_far_as_this_host_wrote_it(
    story: Story,
    alice: tuple[Vault, str],
    consent: Consent,
    engine: SqliteEngine,
    house: Callable[..., House],
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE log_heads SET sealed = x'00'")
        transaction.execute(
            "INSERT INTO log_segments SELECT vault, zeroblob(16), sealed_key, mac FROM log_segments"
        )
    blob, there = exported(consent, alice[0]), house()
    with pytest.raises(TamperedError, match="damaged before it was exported"):
        there.bring(blob)
    came, _ = there.consent.moves.bring(io.BytesIO(blob), WITH, damaged=True)
    assert there.engine.one("SELECT count(*) FROM log_segments WHERE segment = zeroblob(16)") == (0,)
    assert {"granted", "connected", "restored"} <= {entry.event for entry in there.consent.log.read(came)}
    assert there.consent.log.problems(came) == ["the sealed heads of the log were altered or taken away"]


def test_a_vault_whose_keys_are_being_renewed_is_not_exported(
    alice: tuple[Vault, str], consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute(
            "INSERT INTO rotations (vault, generation, previous, parts, part, after, done, total)"
            " VALUES (?, 2, x'00', '[]', '', '', 0, 1)",
            (alice[0].id,),
        )
    with pytest.raises(ConflictError):
        exported(consent, alice[0])


# --- a vault that was damaged before


@pytest.fixture
def damaged(story: Story, alice: tuple[Vault, str], consent: Consent, engine: SqliteEngine) -> bytes:
    """Exported after somebody altered a record and an entry of the log."""
    story.vendor.read(story.tokens.access_token)
    with engine.write() as transaction:
        row = transaction.execute("SELECT body FROM records WHERE record = ?", (story.shared[0],)).fetchone()
        altered = row[0][:-1] + bytes([row[0][-1] ^ 1])
        transaction.execute("UPDATE records SET body = ? WHERE record = ?", (altered, story.shared[0]))
        transaction.execute("UPDATE log_entries SET sealed = CAST(sealed || x'00' AS BLOB) WHERE seq = 2")
    return exported(consent, alice[0])


def test_a_damaged_vault_is_taken_in_only_if_one_says_so(damaged: bytes, house: Callable[..., House]) -> None:
    there = house()
    with pytest.raises(TamperedError, match="damaged before it was exported"):
        there.bring(damaged)
    assert there.rows().keys() == {"schemas"}
    vault, _ = there.consent.moves.bring(io.BytesIO(damaged), WITH, damaged=True)
    assert len(vault.check()) == 1
    assert there.consent.log.problems(vault)
    assert [grant.state for grant in there.consent.grants.listing(vault)] == ["revoked"]


def test_the_reader_without_vrm_prints_what_opens_and_names_what_does_not(
    damaged: bytes, story: Story, tmp_path: Path
) -> None:
    path = tmp_path / "alice.vrm"
    path.write_bytes(damaged)
    answer = read(path, "--passphrase-file", "-", typed=PASSPHRASE)
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        f"error: record {story.shared[0]} does not open",
        "error: a part of the log does not open",
    ]
    found = json.loads(answer.stdout)
    assert len(found["records"]["purchases"]) == 6
    assert len(found["connections"]) == 1


@only_sqlite
def test_a_row_that_the_database_cannot_give_is_a_fault_of_the_storage(
    story: Story, alice: tuple[Vault, str], consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE journal SET sealed = CAST(x'ff' AS TEXT) WHERE seq = 3")
    with pytest.raises(StorageError):
        exported(consent, alice[0])


def test_a_vault_without_a_way_in_that_is_vouched_for_is_not_exported(
    alice: tuple[Vault, str], consent: Consent, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE keyslots SET created = created, checked = x'00'")
    with pytest.raises(TamperedError, match="no way into this vault"):
        exported(consent, alice[0])
    removal.delete(engine, alice[0].id)
    with pytest.raises(TamperedError):
        exported(consent, alice[0])


def test_progress_is_told_of_export_and_import(
    story: Story,
    alice: tuple[Vault, str],
    consent: Consent,
    house: Callable[..., House],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(moving, "_BATCH", 4)
    told: list[tuple[str, int, int]] = []
    out = io.BytesIO()
    consent.moves.export(alice[0], out, lambda *step: told.append(step))
    out.seek(0)
    house().consent.moves.bring(out, WITH, progress=lambda *step: told.append(step))
    assert {step for step, _, _ in told} == {"exporting", "importing"}
    assert all(0 < done <= total for _, done, total in told)


# --- what a writer refuses, and a reader of any bytes


def test_a_row_beyond_a_chunk_is_refused_where_it_is_written(
    alice: tuple[Vault, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = export.Writer(io.BytesIO(), alice[0].keyring, alice[0].own_slots())
    with pytest.raises(ValueError, match="float"):
        writer.row(0, (1.5,))
    monkeypatch.setattr(export, "MOST", 1000)
    monkeypatch.setattr(export, "_FULL", 1000)
    with pytest.raises(ValueError, match="beyond what a chunk may hold"):
        writer.row(0, (bytes(1000),))


@pytest.mark.parametrize(
    "header",
    [
        envelope.pack(b"\xff\xfe", b""),
        envelope.pack("vault", envelope.pack("only", "seven", b"", b"", b"", b"", 1)),
        envelope.pack("vault", envelope.pack("a", "b", b"", b"", b"", b"", b"short", b"")),
        envelope.pack("vault"),
        b"\x00",
    ],
    ids=["no text", "too few columns", "no number", "no way in", "no parts"],
)
def test_a_header_of_any_bytes_is_refused(house: Callable[..., House], header: bytes) -> None:
    with pytest.raises(TamperedError):
        house().bring(export.MAGIC + b"\x00\x01" + envelope.lp(header) + envelope.lp(b"wrap"))


@pytest.mark.parametrize(
    "chunk",
    [
        None,
        b"",
        b"no JSON",
        b"[]",
        b'{"vault": 1}',
    ],
)
def test_a_first_chunk_that_is_no_manifest_is_refused(
    alice: tuple[Vault, str], house: Callable[..., House], chunk: bytes | None
) -> None:
    out = io.BytesIO()
    writer = export.Writer(out, alice[0].keyring, alice[0].own_slots())
    if chunk is not None:
        writer._pending += chunk
        writer.finish()
    with pytest.raises(TamperedError):
        house().bring(out.getvalue())


@pytest.mark.parametrize(
    "raw",
    [b"\x07", b"\x01\x00", b"\x02\x00\x00\x00\x09ab", b"\x02\x00\x00\x00\x01\xff", b"\x03\x00", b""],
    ids=["unknown kind", "cut number", "beyond the chunk", "no text", "cut size", "no cell"],
)
def test_cells_of_any_bytes_are_refused(
    alice: tuple[Vault, str], house: Callable[..., House], raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    finish = export.Writer.finish

    def with_bytes(writer: export.Writer) -> None:
        writer._pending += b"\x00" + raw  # a row of the first table
        finish(writer)

    monkeypatch.setattr(export.Writer, "finish", with_bytes)
    Forger(alice[0]).write(out, [])
    there = house()
    with pytest.raises(TamperedError):
        there.bring(out.getvalue())
    assert there.rows().keys() == {"schemas"}


# --- the reader without vrm


def read(path: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """The script in a Python that finds neither this checkout nor an installed vrm."""
    code = (
        "import runpy, sys; sys.modules['vrm'] = None; sys.argv = sys.argv[1:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code, str(READER), str(path), *arguments],
        input=typed,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        cwd=path.parent,
    )


def told(entry: dict[str, object]) -> tuple[object, ...]:
    return entry["at"], entry["event"], entry.get("grant_id", "")


@pytest.mark.parametrize("renewed", [False, True], ids=["first root", "renewed root"])
def test_the_reader_without_vrm_prints_what_the_vault_holds(
    story: Story, alice: tuple[Vault, str], consent: Consent, tmp_path: Path, renewed: bool
) -> None:
    vault, code = alice
    story.vendor.read(story.tokens.access_token)
    if renewed:
        vault.rotate(PASSPHRASE)
        vault.go_on_rotating()
        assert vault.rotating() is None
    path = tmp_path / "alice.vrm"
    path.write_bytes(exported(consent, vault))
    by_passphrase = read(path, "--passphrase-file", "-", typed=PASSPHRASE + "\n")
    by_code = read(path, "--recovery-code-file", "-", typed=code + "\n")
    assert by_passphrase.stderr == ""
    assert by_passphrase.stdout == by_code.stdout
    found = json.loads(by_passphrase.stdout)
    for item in CATALOG:
        records = {one.pop("id"): one for one in found["records"].get(item.name, [])}
        assert records == dict(vault.records(item.name).scan())
    entries = consent.log.read(vault, 1000)
    assert sorted(map(told, found["log"])) == sorted((one.at, one.event, one.grant_id) for one in entries)
    (grant,) = consent.grants.listing(vault)
    (connection,) = found["connections"]
    assert connection["agreement"] == json.loads(grant.agreement.encode())


def test_the_reader_without_vrm_refuses_what_is_wrong(
    many_chunks: None, story: Story, alice: tuple[Vault, str], consent: Consent, tmp_path: Path
) -> None:
    blob = exported(consent, alice[0])
    start, chunks = frames(blob)
    path = tmp_path / "alice.vrm"
    cases = {
        "another file": b"PK\x03\x04",
        "flipped": blob[:2000] + bytes([blob[2000] ^ 1]) + blob[2001:],
        "cut": blob[: len(blob) // 2],
        "cut at a chunk": start + b"".join(chunks[:-1]),
        "swapped": start + b"".join([chunks[0], chunks[2], chunks[1], *chunks[3:]]),
    }
    for name, spoilt in cases.items():
        path.write_bytes(spoilt)
        answer = read(path, "--passphrase-file", "-", typed=PASSPHRASE)
        assert (answer.returncode, answer.stdout) == (1, ""), name
        assert answer.stderr.startswith("error: "), name
        assert answer.stderr.count("\n") == 1, name
    path.write_bytes(blob)
    assert "does not open" in read(path, "--passphrase-file", "-", typed="wrong wrong wrong").stderr


def test_sections_name_no_kind_that_is_not_known() -> None:
    kinds = {kind for section in moves.SECTIONS for kind in section.columns.values()}
    assert kinds <= {"i", "t", "b", "i?", "b?"}
    assert isinstance(moves.SECTIONS[0], Section)
