"""Exports whose maker sealed what he liked: he holds the vault in them, and nothing else of the host."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from tests.consent.test_moves import House
from vrm.consent.moves import SECTIONS
from vrm.errors import ConflictError, TamperedError, UnlockError, VendorNotFoundError, VrmError
from vrm.vault import crypto, export, keyslots, removal
from vrm.vault.crypto import Cipher, KdfCost, KdfLimits, Purpose
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, Slot
from vrm.vault.moving import Credential
from vrm.vault.vault import Vault, Vaults

LONG = os.environ.get("VRM_TEST_LONG") == "1"
VAULT = "ab" * 16
CODE = keyslots.new_code()
WITH = Credential(passphrase=PASSPHRASE)
BY_CODE = Credential(code=CODE)
DEAR = KdfLimits(memory=128 * 1024, passes=1, lanes=1)  # more than here and than the default
NAMES = [section.table for section in SECTIONS]


class Maker:
    """Writes exports by himself: ways in, manifest, and what is sealed under the root."""

    def __init__(self, vault: str = VAULT) -> None:
        self.vault = vault
        self.root = crypto.random_key()
        self.ring = Keyring(vault, self.root)

    def by_passphrase(self, limits: KdfLimits = CHEAP) -> Slot:
        cost = limits.fresh()
        stretched = crypto.stretch(PASSPHRASE.encode(), cost)
        return PassphraseSlot.wrap(self.vault, stretched, cost, self.root, 1)

    def by_code(self) -> Slot:
        return RecoverySlot.wrap(self.vault, CODE, self.root, 1)

    def stranger(self, **members: Any) -> Slot:
        """A way in that nobody needs to open."""
        wrapped = Cipher(crypto.random_key(), Purpose.ROOT).seal(bytes(32))
        slot = Slot(self.vault, "0" * 16, "recovery", bytes(16), bytes(32), bytes(32), wrapped, 1)
        return replace(slot, **members)

    def sealed(self, purpose: Purpose, value: object) -> bytes:
        return self.ring.cipher(purpose).seal(json.dumps(value).encode())

    def write(
        self,
        slots: Sequence[Slot],
        *,
        manifest: Mapping[str, object] | None = None,
        planted: Sequence[tuple[str, tuple[Any, ...]]] = (),
        known: object = None,
        head: object = (0, bytes(32).hex()),
        marks: object = None,
    ) -> bytes:
        known = [{slot.slot: slot.mark() for slot in slots}, []] if known is None else known
        values: dict[str, object] = {
            "vault": self.vault,
            "username": "mallory",
            "created": 1,
            "generation": 1,
            "confirmed": True,
            "taken": 2,
            "roster": self.sealed(Purpose.ROSTER, known).hex(),
            "versions": {"vault": 2, "consent": 2},
            "rows": dict.fromkeys(NAMES, 0),
            "tables": {section.table: list(section.columns) for section in SECTIONS},
        }
        out = io.BytesIO()
        writer = export.Writer(out, self.ring, slots)
        writer.manifest(export.Manifest(**{**values, **(manifest or {})}))  # type: ignore[arg-type]
        writer.row(NAMES.index("journal_heads"), (self.sealed(Purpose.JOURNAL_HEAD, head),))
        marked = self.sealed(Purpose.MAILBOX_MARKS, {} if marks is None else marks)
        writer.row(NAMES.index("mailbox_marks"), (marked,))
        for table, cells in planted:
            writer.row(NAMES.index(table), cells)
        writer.finish()
        return out.getvalue()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("there"), SettableClock(1_795_000_000))
    yield house
    house.engine.close()


@pytest.fixture
def house(tmp_path: Path, clock: SettableClock) -> Iterator[House]:
    made = House(tmp_path / "house", clock)
    yield made
    made.engine.close()


def answer(house: House, blob: bytes, credential: Credential) -> Vault | Exception:
    try:
        return house.bring(blob, credential)
    except Exception as error:  # noqa: BLE001 - of whatever kind: the tests judge it
        return error


def refuse(house: House, blob: bytes, credential: Credential = WITH) -> None:
    """What is wrong in the file is called damage, and nothing is stored."""
    error = answer(house, blob, credential)
    assert isinstance(error, TamperedError)
    assert "damaged, cut or altered" in str(error)
    assert house.rows().keys() == {"schemas"}


def test_what_the_maker_writes_is_an_export_where_nothing_is_wrong(house: House) -> None:
    maker = Maker()
    vault = house.bring(maker.write([maker.by_passphrase(), maker.by_code()]))
    assert vault.check() == []
    assert house.vaults.recover("mallory", CODE, PASSPHRASE).id == VAULT


# --- names that the host would vouch for

PLANT = """INSERT INTO vendors (client_id, name, redirect_uris, secret, resource_server, sells_as, purpose,
    blocked, created, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def test_no_way_in_of_an_export_becomes_a_row_of_the_vendors(house: House) -> None:
    row = ("vrm_client_evil", "Amazon", '["https://evil.example/cb"]', None, 0, "[]", "x", 0, 1)
    told = crypto.digest(json.dumps(list(row)).encode())
    for vault in ("", VAULT):
        maker = Maker(vault)
        planted = maker.stranger(slot="vendor", public=told)
        refuse(house, maker.write([maker.by_passphrase(), planted]))
    with pytest.raises(TamperedError):
        house.vaults.server_key.vouch("", "vendor", told)
    mac = house.vaults.server_key.vouch(VAULT, "vendor", told)
    with house.engine.write() as transaction:
        transaction.execute(PLANT, (*row, mac))
    with pytest.raises(VendorNotFoundError):
        house.consent.vendors.get("vrm_client_evil")


@pytest.mark.parametrize(
    "vault", ["", "../../x", "AB" * 16, "ab" * 17, "ab" * 15 + "/x", "ab" * 16 + "\n", "é" * 32]
)
def test_a_vault_has_an_id_that_this_project_makes(house: House, vault: str) -> None:
    maker = Maker(vault)
    refuse(house, maker.write([maker.by_passphrase()]))


@pytest.mark.parametrize(
    "members",
    [
        {"slot": "log"},
        {"slot": "0" * 15},
        {"slot": "0" * 16 + "\n"},
        {"kind": "session"},
        {"kind": "passphrase"},
        {"public": bytes(31)},
        {"check": b""},
        {"generation": 0},
        {"generation": 2**64 - 1},
    ],
    ids=str,
)
def test_a_way_in_has_a_name_and_a_kind_that_this_project_makes(
    house: House, members: dict[str, Any]
) -> None:
    maker = Maker()
    refuse(house, maker.write([maker.by_passphrase(), maker.stranger(**members)]))


@pytest.mark.parametrize("generation", [b"", b"\x01", bytes(8) + b"\x01", 0, 2**63])
def test_a_way_in_says_of_which_root_it_is_in_eight_bytes(house: House, generation: Any) -> None:
    maker = Maker()
    refuse(house, maker.write([maker.by_passphrase(), maker.stranger(generation=generation)]))


def test_two_ways_in_of_one_kind_or_one_name_are_refused(house: House) -> None:
    maker = Maker()
    own = maker.by_passphrase()
    refuse(house, maker.write([own, maker.by_code(), maker.stranger()]))
    refuse(house, maker.write([maker.stranger(), maker.by_code()]), BY_CODE)
    refuse(house, maker.write([own, maker.stranger(slot=own.slot)]))


# --- what a log-in costs


def cost_of(vaults: Vaults) -> KdfCost:
    row = vaults.engine.one("SELECT params FROM keyslots WHERE kind = 'passphrase'")
    assert row is not None
    return KdfCost.decode(row[0])


@pytest.mark.parametrize(
    "limits", [DEAR, KdfLimits(memory=20 * 1024, passes=2, lanes=2)], ids=["dear", "other"]
)
def test_the_passphrase_of_an_export_costs_here_what_this_host_asks(house: House, limits: KdfLimits) -> None:
    maker = Maker()
    vault = house.bring(maker.write([maker.by_passphrase(limits), maker.by_code()]))
    cost = cost_of(house.vaults)
    assert (cost.memory, cost.passes, cost.lanes) == (CHEAP.memory, CHEAP.passes, CHEAP.lanes)
    assert vault.check() == []
    assert house.vaults.unlock("mallory", PASSPHRASE).problems() == []
    with pytest.raises(UnlockError):
        house.vaults.unlock("mallory", "a wrong passphrase")


def test_brought_by_its_code_a_passphrase_that_costs_too_much_is_refused(house: House) -> None:
    maker = Maker()
    with pytest.raises(ConflictError, match="costs more than this host allows"):
        house.bring(maker.write([maker.by_passphrase(DEAR), maker.by_code()]), BY_CODE)
    assert house.rows().keys() == {"schemas"}


def test_one_that_costs_what_is_usual_elsewhere_stays_as_dear(house: House) -> None:
    maker = Maker()
    house.bring(maker.write([maker.by_passphrase(KdfLimits()), maker.by_code()]), BY_CODE)
    assert cost_of(house.vaults).memory == KdfLimits().memory
    assert house.vaults.unlock("mallory", PASSPHRASE).problems() == []
    assert cost_of(house.vaults).memory == KdfLimits().memory


def test_a_dear_vault_makes_no_unknown_name_dearer(house: House) -> None:
    maker = Maker()
    house.bring(maker.write([maker.by_passphrase(KdfLimits()), maker.by_code()]), BY_CODE)
    for number in range(20):
        cost = house.vaults.stretching.usual_cost(f"nobody{number}")
        assert (cost.memory, cost.passes) == (CHEAP.memory, CHEAP.passes)


# --- members of any kind

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
named = st.dictionaries(st.sampled_from([*NAMES, "vault", "consent"]), anything, max_size=3)
packed = st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
cells = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | packed
)
often = settings(
    max_examples=1000 if LONG else 60,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def take(house: House, blob: bytes) -> None:
    """Refused with nothing stored, or a vault that is whole."""
    vault = answer(house, blob, BY_CODE)
    if isinstance(vault, Vault):
        assert vault.check() == []
        removal.delete(house.engine, vault.id)
    else:
        assert isinstance(vault, VrmError)
    assert house.rows().keys() == {"schemas"}


@often
@given(st.sampled_from(export.Manifest.__slots__), anything | named)
def test_any_manifest_is_refused_or_makes_a_whole_vault(there: House, member: str, value: object) -> None:
    maker = Maker()
    take(there, maker.write([maker.by_code()], manifest={member: value}))


@pytest.mark.parametrize(
    "members",
    [
        *({"roster": value} for value in (5, "zz", "é", "ABCD")),
        *({"rows": value} for value in ({"records": "x"}, [], {"records": True}, {"records": -1})),
        *({"versions": value} for value in ([], {"vault": "9"}, {"vault": 1.5})),
        *(
            {"tables": value}
            for value in ([], {"records": 5}, {"records": ["record", "record"]}, {"records": [[]]})
        ),
        *({"created": value} for value in ("x", [1], 1 << 70, -1, None)),
        *({"taken": value} for value in (None, 1 << 70, 1.0)),
        *({"confirmed": value} for value in ("x", 1)),
        *({"username": value} for value in (5, None)),
        *({"generation": value} for value in ("1", True, None)),
        {"by": [1], "versions": {"vault": 99}},
    ],
    ids=str,
)
def test_a_manifest_of_other_kinds_is_damaged(house: House, members: dict[str, object]) -> None:
    maker = Maker()
    refuse(house, maker.write([maker.by_code()], manifest=members), BY_CODE)


@often
@given(
    st.sampled_from([field.name for field in fields(Slot) if field.name != "vault"]), packed, st.booleans()
)
def test_any_way_in_is_refused_or_makes_a_whole_vault(
    there: House, member: str, value: bytes, alone: bool
) -> None:
    maker = Maker()
    given_now: Any = int.from_bytes(value[:8], "big") if member == "generation" else value
    slot = replace(maker.by_code() if alone else maker.by_passphrase(), **{member: given_now})
    known: list[object] = [{}, []]
    take(there, maker.write([slot] if alone else [maker.by_code(), slot], known=known))


@often
@given(anything | st.lists(anything, min_size=2, max_size=3), st.sampled_from(["known", "head", "marks"]))
def test_anything_sealed_under_the_root_is_refused_or_makes_a_whole_vault(
    there: House, value: object, place: str
) -> None:
    maker = Maker()
    take(there, maker.write([maker.by_code()], **{place: value}))  # type: ignore[arg-type]


@often
@given(st.data(), st.sampled_from(NAMES))
def test_any_row_is_refused_or_makes_a_whole_vault(there: House, data: st.DataObject, table: str) -> None:
    maker, count = Maker(), len(SECTIONS[NAMES.index(table)].columns)
    some = data.draw(st.integers(0, count))
    columns = list(SECTIONS[NAMES.index(table)].columns)[:some]
    tables = {section.table: list(section.columns) for section in SECTIONS} | {table: columns}
    if table in {"journal_heads", "mailbox_marks"}:
        tables[table] = ["sealed"]
        columns = tables[table]
    row = tuple(data.draw(cells) for _ in columns)
    take(there, maker.write([maker.by_code()], manifest={"tables": tables}, planted=[(table, row)]))
