"""Frozen bytes of every stored format: what was written once must open for ever, what was altered never.

The files beside this one were made once and are not made again: a change of a format needs a new version
and new files. `expect` names the slug of the refusal.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vrm import errors
from vrm.clock import SystemClock
from vrm.vault import crypto, envelope, keyslots, serverkey
from vrm.vault.crypto import Cipher, KdfCost, Key, Purpose
from vrm.vault.journal import Journal
from vrm.vault.keyring import Keyring
from vrm.vault.keyslots import PassphraseSlot, RecoverySlot, SessionSlot, Slot
from vrm.vault.layout import SCHEMA
from vrm.vault.records import Records
from vrm.vault.roster import open_roster
from vrm.vault.sqlite import SqliteEngine

FOLDER = Path(__file__).parent
REFUSALS = {cls.slug: cls for cls in (errors.TamperedError, errors.UnlockError)}
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}


def cases(name: str, member: str = "cases") -> Any:
    found = FILES[name][member]
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


def part(value: Any) -> envelope.Part:
    read: envelope.Part = bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
    return read


def parts(values: list[Any]) -> list[envelope.Part]:
    return [part(value) for value in values]


def key(text: str) -> Key:
    return Key(bytes.fromhex(text))


class TestEncoding:
    vectors = FILES["encoding"]

    def test_length_prefixed_parts(self) -> None:
        for vector in self.vectors["lp"]:
            assert envelope.lp(part(vector["part"])).hex() == vector["bytes"]

    def test_parts_that_do_not_fit_are_refused(self) -> None:
        for vector in self.vectors["lp_refused"]:
            long = vector.get("bytes_long")
            given = bytes(long) if long else vector["part"]
            if vector.get("fits"):
                assert len(envelope.lp(given)) == 2 + long
                continue
            with pytest.raises(ValueError, match="part"):
                envelope.lp(given)

    def test_packed_parts(self) -> None:
        for vector in self.vectors["pack"]:
            given = [bytes.fromhex(text) for text in vector["parts"]]
            assert envelope.pack(*given).hex() == vector["bytes"]
            assert envelope.unpack(bytes.fromhex(vector["bytes"])) == given

    @pytest.mark.parametrize("blob", vectors["unpack_refused"])
    def test_parts_whose_lengths_do_not_add_up_are_tampered(self, blob: str) -> None:
        with pytest.raises(errors.TamperedError):
            envelope.unpack(bytes.fromhex(blob))

    def test_named_parts(self) -> None:
        for vector in self.vectors["named"]:
            given = {name: bytes.fromhex(text) for name, text in vector["named"].items()}
            assert envelope.pack_named(given).hex() == vector["bytes"]
            assert envelope.unpack_named(bytes.fromhex(vector["bytes"])) == given

    @pytest.mark.parametrize("name", vectors["named_refused"])
    def test_named_parts_that_do_not_add_up_are_tampered(self, name: str) -> None:
        with pytest.raises(errors.TamperedError):
            envelope.unpack_named(bytes.fromhex(self.vectors["named_refused"][name]))

    def test_contexts_of_every_purpose(self) -> None:
        frozen = {vector["purpose"]: vector for vector in self.vectors["context"]}
        assert set(frozen) <= {purpose.value for purpose in Purpose}, "a purpose was taken out of the table"
        for name, vector in frozen.items():
            assert crypto.context(Purpose(name), *parts(vector["parts"])).hex() == vector["bytes"]

    def test_padding(self) -> None:
        for vector in self.vectors["pad"]:
            assert envelope.pad(vector["text"].encode(), vector["bucket"]).decode() == vector["padded"]


class TestDerivations:
    vectors = FILES["derivations"]

    def test_every_purpose_derives_its_own_frozen_bytes(self) -> None:
        root, given = key(self.vectors["key"]), parts(self.vectors["parts"])
        secret, salt = bytes.fromhex(self.vectors["secret"]), bytes.fromhex(self.vectors["salt"])
        for name, derived in self.vectors["derive"].items():
            purpose = Purpose(name)
            assert crypto.derive(root, purpose, *given).reveal().hex() == derived
            assert crypto.mac(root, purpose, *given).hex() == self.vectors["mac"][name]
            check, wrapping = crypto.split_secret(secret, salt, purpose, *given)
            assert [check.hex(), wrapping.reveal().hex()] == self.vectors["split"][name]

    def test_no_two_purposes_derive_the_same(self) -> None:
        pieces = [*self.vectors["derive"].values(), *self.vectors["mac"].values()]
        pieces += [half for pair in self.vectors["split"].values() for half in pair]
        assert len(set(pieces)) == len(pieces) == 4 * len(self.vectors["derive"])

    def test_public_key(self) -> None:
        assert crypto.public_of(key(self.vectors["key"])).hex() == self.vectors["public"]

    def test_stretched_passphrases(self) -> None:
        for vector in self.vectors["stretch"]:
            raw = keyslots.passphrase_bytes(vector["passphrase"])
            cost = KdfCost.decode(bytes.fromhex(vector["cost"]))
            assert crypto.stretch(raw, cost).hex() == vector["bytes"]

    def test_what_the_root_derives(self) -> None:
        frozen = self.vectors["keyring"]
        ring = Keyring(frozen["vault"], key(frozen["root"]))
        assert ring.log_private().reveal().hex() == frozen["log_private"]
        for *given, mac in frozen["pairwise"]:
            assert ring.pairwise(*given).hex() == mac
        for *given, mac in frozen["fingerprint"]:
            assert ring.fingerprint(*given).hex() == mac

    def test_what_the_server_key_derives(self, tmp_path: Path) -> None:
        frozen = self.vectors["server_key"]
        path = tmp_path / "server.key"
        path.touch(0o600)
        path.write_text(frozen["file"])
        own = serverkey.load(path)
        assert own.pepper.hex() == frozen["pepper"]
        vault, name, public, mac = frozen["vouch"]
        assert own.vouch(vault, name, bytes.fromhex(public)).hex() == mac
        *given, mac = frozen["vendor_secret"]
        assert own.hash_secret(*given).hex() == mac
        *given, mac = frozen["vendor_tag"]
        assert own.vendor_tag(*given).hex() == mac
        assert own.limit_key(*frozen["limit_key"][0]).hex() == frozen["limit_key"][1]
        assert own.routing.unseal(bytes.fromhex(frozen["routing"]), "grant") == b"[]"


@cases("envelopes")
def test_envelopes(case: dict[str, Any]) -> None:
    cipher = Cipher(key(case["key"]), Purpose(case["purpose"]), *parts(case["parts"]))
    blob = bytes.fromhex(case["blob"])
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            cipher.unseal(blob, *parts(case["bound"]))
    else:
        assert cipher.unseal(blob, *parts(case["bound"])).hex() == case["text"]


def slot_of(row: dict[str, Any]) -> Slot:
    names = {"params", "check", "public", "wrapped", "handed"} & row.keys()
    return Slot(**{**row, **{name: bytes.fromhex(row[name]) for name in names}})


def unwrap(row: Slot, kind: str, credential: str) -> Key:
    if kind == "recovery":
        return RecoverySlot.unwrap(row, credential)
    stretched = crypto.stretch(keyslots.passphrase_bytes(credential), KdfCost.decode(row.params))
    return PassphraseSlot.unwrap(row, stretched)


@cases("keyslots")
def test_keyslots(case: dict[str, Any]) -> None:
    row, kind = slot_of(case["row"]), case["name"].partition(":")[0]
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            unwrap(row, kind, case["credential"])
    else:
        assert unwrap(row, kind, case["credential"]).reveal().hex() == case["root"]
        assert row.mark() == case["mark"]


@cases("keyslots", "sessions")
def test_sessions(case: dict[str, Any]) -> None:
    lookup, wrapping = SessionSlot.lookup(bytes.fromhex(case["secret"]), bytes.fromhex(case["pepper"]))
    assert lookup.hex() == case["lookup"]
    given = (case["vault"], wrapping, lookup, case["expires"], bytes.fromhex(case["wrapped"]))
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            SessionSlot.unwrap(*given)
    else:
        assert SessionSlot.unwrap(*given).reveal().hex() == case["root"]


class TestKdfCosts:
    vectors = FILES["kdf_costs"]

    def test_costs_within_the_bounds(self) -> None:
        for vector in self.vectors["accepted"]:
            blob = bytes.fromhex(vector["bytes"])
            cost = KdfCost.decode(blob)
            assert (cost.memory, cost.passes, cost.lanes) == (
                vector["memory"],
                vector["passes"],
                vector["lanes"],
            )
            assert (cost.salt.hex(), cost.encode()) == (vector["salt"], blob)

    @pytest.mark.parametrize("name", vectors["refused"])
    def test_costs_outside_are_refused_before_anything_is_allocated(self, name: str) -> None:
        with pytest.raises(errors.TamperedError):
            KdfCost.decode(bytes.fromhex(self.vectors["refused"][name]))


class TestRecoveryCodes:
    vectors = FILES["recovery_codes"]

    def test_codes(self) -> None:
        for vector in self.vectors["codes"]:
            assert keyslots.code_bytes(vector["code"]).hex() == vector["bytes"]

    @pytest.mark.parametrize("how", vectors["typed"])
    def test_typing_is_forgiven(self, how: str) -> None:
        typed = self.vectors["typed"][how]
        assert keyslots.code_bytes(typed).hex() == self.vectors["codes"][0]["bytes"]

    @pytest.mark.parametrize("what", vectors["refused"])
    def test_mistakes_look_like_a_wrong_code(self, what: str) -> None:
        with pytest.raises(errors.UnlockError):
            keyslots.code_bytes(self.vectors["refused"][what])


@cases("sealed_to_a_key")
def test_sealed_to_a_key(case: dict[str, Any]) -> None:
    private, blob = key(case["private"]), bytes.fromhex(case["blob"])
    given = (private, blob, Purpose(case["purpose"]), *parts(case["parts"]))
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            crypto.open_sealed(*given)
    else:
        assert crypto.open_sealed(*given).hex() == case["text"]
        assert crypto.public_of(private).hex() == case["public"]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "vrm.db")
    engine.install([SCHEMA])
    yield engine
    engine.close()


def ring_of(name: str, case: dict[str, Any]) -> Keyring:
    return Keyring(case.get("vault", FILES[name]["vault"]), key(FILES[name]["root"]))


@cases("records")
def test_records(case: dict[str, Any], bare: SqliteEngine) -> None:
    records = Records(bare, ring_of("records", case), case["collection"], None, SystemClock())
    given = (case["record"], case["revision"], bytes.fromhex(case["body"]))
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            records.unseal(*given)
    else:
        assert records.unseal(*given) == case["document"]


@cases("journals")
def test_journals(case: dict[str, Any], bare: SqliteEngine) -> None:
    follow(case, bare, ring_of("journals", case))


@cases("rotations", "journals")
def test_journals_written_anew(case: dict[str, Any], bare: SqliteEngine) -> None:
    follow(case, bare, Keyring(FILES["rotations"]["vault"], key(FILES["rotations"]["root"]), 2))


def follow(case: dict[str, Any], bare: SqliteEngine, ring: Keyring) -> None:
    with bare.write() as transaction:
        for seq, sealed in case["entries"]:
            transaction.execute(
                "INSERT INTO journal VALUES (?, ?, ?)", (ring.vault, seq, bytes.fromhex(sealed))
            )
        if case["head"] is not None:
            transaction.execute(
                "INSERT INTO journal_heads VALUES (?, ?)", (ring.vault, bytes.fromhex(case["head"]))
            )
    journal = Journal(bare, ring)
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            list(journal.walk())
        assert journal.check_head() == case["head_ok"]
    else:
        assert [list(noted) for noted in journal.walk()] == case["changes"]
        assert journal.check_head()
        assert journal.position() == case["position"]


@cases("rosters")
def test_rosters(case: dict[str, Any], bare: SqliteEngine) -> None:
    ring = ring_of("rosters", case)
    with bare.write() as transaction:
        transaction.execute(
            "INSERT INTO vaults (vault, username, created, generation, log_public, log_mac, roster,"
            " confirmed, watched) VALUES (?, 'alice', 0, 1, ?, ?, ?, 0, 0)",
            (ring.vault, b"", b"", bytes.fromhex(case["roster"])),
        )
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            open_roster(bare, ring)
    else:
        assert open_roster(bare, ring)[:2] == (case["slots"], case["grants"])


@cases("rotations", "handovers")
def test_handovers(case: dict[str, Any]) -> None:
    row = slot_of(case["row"])
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            RecoverySlot.unwrap(row, case["credential"])
    else:
        assert RecoverySlot.unwrap(row, case["credential"]).reveal().hex() == case["root"]
        assert (row.newest(), row.mark()) == (case["generation"], case["mark"])


@cases("rotations", "heirlooms")
def test_heirlooms(case: dict[str, Any]) -> None:
    file = FILES["rotations"]
    ring = Keyring(file["vault"], key(file["root"]), 2, heirlooms=bytes.fromhex(case["sealed"]))
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            ring.heirlooms()
        return
    *pairwise, item = case["pairwise"]
    *line, fingerprint = case["fingerprint"]
    assert ring.pairwise(*pairwise).hex() == item
    assert ring.fingerprint(*line).hex() == fingerprint


def test_the_root_before_stands_under_the_new_one() -> None:
    file = FILES["rotations"]
    cipher = Keyring(file["vault"], key(file["root"]), 2).cipher(Purpose.PREVIOUS_ROOT)
    previous = bytes.fromhex(file["previous"])
    assert cipher.unwrap(previous, 1).reveal().hex() == file["first_root"]
    with pytest.raises(errors.TamperedError):
        cipher.unwrap(previous, 2)
