"""What the hazmat line refuses: other purposes, other contexts, altered bytes, and showing a key."""

import copy
import hmac
import json
import os
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

import vrm
from vrm.errors import TamperedError
from vrm.vault import crypto, envelope, keyslots, purpose
from vrm.vault.crypto import Cipher, KdfCost, KdfLimits, Key, Lock, Mac, Probe, Purpose
from vrm.vault.keyring import Keyring

SECRET = b"canary-of-32-bytes-in-every-key!"
KEY = Key(SECRET)
MAC = Mac(KEY, Purpose.PAIRWISE)
FORKS = """
import os, sys
from vrm.vault.crypto import Cipher, Key, Purpose
cipher = Cipher(Key(bytes(32)), Purpose.RECORD)
cipher.seal(b"before the fork")
for _ in range(4):
    if not os.fork():
        nonces = b"".join(cipher.seal(b"")[6:18] for _ in range(int(sys.argv[1])))
        sys.stdout.buffer.write(nonces)
        sys.stdout.buffer.flush()
        os._exit(0)
    os.wait()
"""
SOURCES = {path: path.read_text(encoding="utf-8") for path in Path(vrm.__file__).parent.rglob("*.py")}


class TestPurposes:
    def test_no_purpose_is_there_twice(self) -> None:
        values = re.findall(r"^    [A-Z_]+ = \"(.+)\"$", SOURCES[Path(purpose.__file__)], re.MULTILINE)
        assert len(values) == len(Purpose) == len(set(values))

    def test_purposes_are_short_plain_words(self) -> None:
        assert [one for one in Purpose if not re.fullmatch(r"[a-z][a-z-]{2,30}", one)] == []

    def test_no_context_is_written_anywhere_but_in_the_one_place(self) -> None:
        stray = [str(path) for path, text in SOURCES.items() if re.search(r"""["']vrm/\d""", text)]
        assert stray == [crypto.__file__]
        assert SOURCES[Path(crypto.__file__)].count('("vrm/1/"') == 1

    def test_every_purpose_is_used(self) -> None:
        everything = "\n".join(SOURCES.values())
        assert [one.name for one in Purpose if f"Purpose.{one.name}" not in everything] == []

    def test_contexts_differ_where_parts_are_cut_differently(self) -> None:
        purpose = Purpose.RECORD
        made = [
            crypto.context(purpose, "ab", "c"),
            crypto.context(purpose, "a", "bc"),
            crypto.context(purpose, "abc"),
            crypto.context(purpose, "abc", ""),
            crypto.context(purpose, "", "abc"),
        ]
        assert len(set(made)) == len(made)


class TestAcrossPurposes:
    def test_an_envelope_of_one_purpose_opens_under_no_other_even_with_the_same_key(self) -> None:
        ciphers = {purpose: Cipher(KEY, purpose, "vault") for purpose in Purpose}
        sealed = {purpose: cipher.seal(b"text", "id") for purpose, cipher in ciphers.items()}
        for one, other in permutations(Purpose, 2):
            with pytest.raises(TamperedError):
                ciphers[other].unseal(sealed[one], "id")

    def test_an_envelope_of_one_purpose_opens_under_no_other_with_the_keys_derived_for_them(self) -> None:
        ciphers = {one: Cipher(crypto.derive(KEY, one, "vault"), one, "vault") for one in Purpose}
        sealed = {purpose: cipher.seal(b"text") for purpose, cipher in ciphers.items()}
        for one, other in permutations(Purpose, 2):
            with pytest.raises(TamperedError):
                ciphers[other].unseal(sealed[one])

    def test_what_was_sealed_to_a_key_for_one_purpose_opens_for_no_other(self) -> None:
        public = crypto.public_of(KEY)
        sealed = {one: crypto.seal_to(public, b"text", one, "vault") for one in Purpose}
        for one, other in permutations(Purpose, 2):
            with pytest.raises(TamperedError):
                crypto.open_sealed(KEY, sealed[one], other, "vault")
        for one in Purpose:
            assert crypto.open_sealed(KEY, sealed[one], one, "vault") == b"text"

    def test_macs_and_splits_of_two_purposes_share_nothing(self) -> None:
        made = {crypto.mac(KEY, one, "x") for one in Purpose}
        made |= {crypto.split_secret(SECRET, b"salt", one, "x")[0] for one in Purpose}
        assert len(made) == 2 * len(Purpose)


class TestEnvelopes:
    cipher = Cipher(KEY, Purpose.RECORD, "vault")

    def test_every_truncation_is_tampering(self) -> None:
        blob = self.cipher.seal(b"some text that was sealed")
        for length in range(len(blob)):
            with pytest.raises(TamperedError):
                self.cipher.unseal(blob[:length])

    @pytest.mark.parametrize("trail", [b"\0", b" ", bytes(16), bytes(1000)])
    def test_trailing_bytes_are_tampering(self, trail: bytes) -> None:
        with pytest.raises(TamperedError):
            self.cipher.unseal(self.cipher.seal(b"text") + trail)

    def test_leading_bytes_are_tampering(self) -> None:
        with pytest.raises(TamperedError):
            self.cipher.unseal(b"\0" + self.cipher.seal(b"text"))

    def test_every_flipped_bit_is_tampering(self) -> None:
        blob = self.cipher.seal(b"text")
        for position in range(len(blob) * 8):
            altered = bytearray(blob)
            altered[position // 8] ^= 1 << position % 8
            with pytest.raises(TamperedError):
                self.cipher.unseal(bytes(altered))

    @pytest.mark.parametrize("version", [value for value in range(256) if value != envelope.VERSION])
    def test_an_unknown_version_is_refused(self, version: int) -> None:
        with pytest.raises(TamperedError):
            self.cipher.unseal(bytes([version]) + self.cipher.seal(b"text")[1:])

    @pytest.mark.parametrize("suite", [value for value in range(256) if value != envelope.SUITE_AES_256_GCM])
    def test_an_unknown_suite_is_refused(self, suite: int) -> None:
        blob = self.cipher.seal(b"text")
        with pytest.raises(TamperedError):
            self.cipher.unseal(blob[:1] + bytes([suite]) + blob[2:])

    def test_envelopes_cannot_be_spliced(self) -> None:
        one, other = self.cipher.seal(b"one!"), self.cipher.seal(b"two!")
        for at in range(1, len(one)):
            spliced = one[:at] + other[at:]
            if spliced in {one, other}:
                continue
            with pytest.raises(TamperedError):
                self.cipher.unseal(spliced)

    def test_every_failure_is_the_same_error_and_tells_nothing(self) -> None:
        blob = self.cipher.seal(b"text")
        told = set()
        for broken in (b"", blob[:-1], b"\x02" + blob[1:], blob[:-1] + bytes([blob[-1] ^ 1])):
            with pytest.raises(TamperedError) as caught:
                self.cipher.unseal(broken)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None or caught.value.__suppress_context__
            told.add((type(caught.value), str(caught.value), caught.value.hint))
        assert len(told) == 1

    def test_sealing_twice_gives_different_bytes(self) -> None:
        assert self.cipher.seal(b"text") != self.cipher.seal(b"text")

    def test_a_wrapped_key_comes_back(self) -> None:
        wrapped = self.cipher.wrap(KEY, "slot")
        assert self.cipher.unwrap(wrapped, "slot") == KEY
        assert SECRET not in wrapped
        with pytest.raises(TamperedError):
            self.cipher.unwrap(wrapped, "another slot")

    def test_many_sealed_at_once_open_one_by_one_and_share_no_nonce(self) -> None:
        other = Cipher(KEY, Purpose.RECORD, "another vault")
        sealings = [(self.cipher, b"text"), (other, b"text"), (self.cipher, b""), (other, bytes(5000))]
        places = [envelope.pack("id", at) for at in range(4)]
        sealed = crypto.seal_all([(*one, place) for one, place in zip(sealings, places, strict=True)])
        for at, ((cipher, text), blob) in enumerate(zip(sealings, sealed, strict=True)):
            assert cipher.unseal(blob, "id", at) == text
            with pytest.raises(TamperedError):
                cipher.unseal(blob, "id", at + 1)
        assert len({blob[6:18] for blob in sealed}) == len(sealed)
        assert crypto.seal_all([]) == []

    def test_a_probe_opens_what_a_cipher_of_its_key_would_and_nothing_else(self) -> None:
        earlier = Cipher(KEY, Purpose.RECORD, "vault", generation=3)
        stranger = Probe(Key(bytes(32)))
        for cipher in (self.cipher, earlier):
            blob = cipher.seal(b"text", "id", 7)
            assert Probe(KEY).opens(Lock(blob, Purpose.RECORD, "vault", "id", 7))
            assert not stranger.opens(Lock(blob, Purpose.RECORD, "vault", "id", 7))
            assert not Probe(KEY).opens(Lock(blob, Purpose.RECORD, "vault", "id", 8))
            assert not Probe(KEY).opens(Lock(blob, Purpose.ROOT, "vault", "id", 7))
            assert not Probe(KEY).opens(Lock(blob[:-1] + b"\0\0", Purpose.RECORD, "vault", "id", 7))

    @pytest.mark.parametrize("part", [None, 1.5, -1])
    def test_no_lock_is_made_of_what_is_no_envelope(self, part: Any) -> None:
        for broken in (b"", b"\x02" + self.cipher.seal(b"text")[1:], "text"):
            with pytest.raises(TamperedError):
                Lock(broken, Purpose.RECORD, "vault")  # type: ignore[arg-type]
        with pytest.raises(TamperedError):
            Lock(self.cipher.seal(b"text"), Purpose.RECORD, part)

    def test_nonces_never_repeat_across_forked_workers(self) -> None:
        each = 250_000 if os.environ.get("VRM_TEST_LONG") == "1" else 50_000
        command = [sys.executable, "-c", FORKS, str(each)]
        told = subprocess.run(command, capture_output=True, check=True).stdout
        assert len(told) == 4 * each * 12
        assert len({told[at : at + 12] for at in range(0, len(told), 12)}) == 4 * each

    def test_a_mac_that_is_keyed_once_is_that_of_each_time(self) -> None:
        for parts in (("vendor", "stream", "record"), (), (b"\x00", 7), ("vendor", "stream", "record")):
            assert MAC.of(*parts) == crypto.mac(KEY, Purpose.PAIRWISE, *parts)


class TestHiding:
    @pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, "{!s:>80}".format])
    def test_a_key_does_not_show(self, show: Callable[[object], str]) -> None:
        for thing in (
            KEY,
            [KEY],
            {"key": KEY},
            Cipher(KEY, Purpose.ROOT),
            Probe(KEY),
            Keyring("vault", KEY),
            MAC,
        ):
            assert "canary" not in show(thing)

    def test_a_dataclass_that_holds_a_key_does_not_show_it(self) -> None:
        derived = keyslots.Derived(b"check", KEY, KEY)
        assert "canary" not in repr(derived)

    @pytest.mark.parametrize("thing", [KEY, Cipher(KEY, Purpose.ROOT), Probe(KEY), MAC])
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_keys_and_ciphers_are_not_pickled(self, thing: object, protocol: int) -> None:
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(thing, protocol)

    @pytest.mark.parametrize("thing", [KEY, Cipher(KEY, Purpose.ROOT), Probe(KEY), MAC])
    def test_keys_and_ciphers_are_not_copied(self, thing: object) -> None:
        for act in (copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="neither pickled nor copied"):
                act(thing)

    def test_a_key_is_no_json_no_bytes_and_no_dictionary_key(self) -> None:
        with pytest.raises(TypeError):
            json.dumps(KEY)
        with pytest.raises(TypeError):
            bytes(KEY)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            hash(KEY)
        assert not hasattr(KEY, "__dict__")

    def test_a_traceback_with_its_locals_shows_no_key(self) -> None:
        cipher = Cipher(KEY, Purpose.ROOT)
        try:
            cipher.unwrap(b"not an envelope")
        except TamperedError as error:
            shown = traceback.TracebackException.from_exception(error, capture_locals=True)
            assert "canary" not in "".join(shown.format())

    def test_keys_compare_by_content_and_only_with_keys(self) -> None:
        assert Key(SECRET) == KEY
        assert crypto.random_key() != KEY
        assert KEY != SECRET

    @pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
    def test_a_key_has_32_bytes(self, length: int) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            Key(bytes(length))


class TestStretching:
    def test_production_starts_at_64_mib_three_passes(self) -> None:
        cost = KdfLimits().fresh()
        assert (cost.memory, cost.passes, cost.lanes, len(cost.salt)) == (64 * 1024, 3, 1, 16)

    def test_every_slot_has_its_own_salt(self) -> None:
        assert KdfLimits().fresh().salt != KdfLimits().fresh().salt

    def test_a_refused_cost_allocates_nothing(self) -> None:
        before = _peak()
        for memory in (512 * 1024 + 1, 2**31, 2**32 - 1):
            with pytest.raises(TamperedError):
                KdfCost.decode(KdfCost(memory, 1, 1, bytes(16)).encode())
        assert _peak() == before

    def test_passphrase_salt_and_cost_all_count(self) -> None:
        base = KdfCost(19 * 1024, 1, 1, bytes(16))
        costs = [base, KdfCost(20 * 1024, 1, 1, bytes(16)), KdfCost(19 * 1024, 2, 1, bytes(16))]
        costs += [KdfCost(19 * 1024, 1, 2, bytes(16)), KdfCost(19 * 1024, 1, 1, b"another salt, 16")]
        made = {crypto.stretch(b"passphrase", cost) for cost in costs}
        assert len({*made, crypto.stretch(b"Passphrase", base)}) == 6


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class TestManyAtOnce:
    """Parts of rows, each alone in its body."""

    head = envelope.lp("item")
    cipher = Cipher(KEY, Purpose.VIEW, "grant")

    def bodies(self, *texts: bytes, cipher: Cipher | None = None) -> tuple[list[bytes], list[bytes]]:
        places = [envelope.pack_place(bytes([number]) * 16, number) for number in range(len(texts))]
        sealed = map((cipher or self.cipher).seal_packed, texts, places)
        return [envelope.headed(self.head, one) for one in sealed], places

    def test_they_are_what_each_alone_is(self) -> None:
        texts = [b"", b"text", b"longer text", b"text"]
        blobs, places = self.bodies(*texts)
        assert self.cipher.unseal_all(blobs, self.head, places) == texts

    def test_one_moved_altered_or_cut_is_tampering(self) -> None:
        blobs, places = self.bodies(b"one", b"two")
        cut = [envelope.headed(self.head, blobs[1][len(self.head) + 4 :][:size]) for size in range(6, 36)]
        flipped = blobs[1][:-1] + bytes([blobs[1][-1] ^ 1])
        for broken in ([blobs[1], blobs[0]], *([blobs[0], other] for other in (flipped, *cut))):
            with pytest.raises(TamperedError):
                self.cipher.unseal_all(broken, self.head, places)

    def test_others_are_left_to_who_opens_one_by_one(self) -> None:
        blobs, places = self.bodies(b"one", b"two")
        older, _ = self.bodies(b"one", b"two", cipher=Cipher(KEY, Purpose.VIEW, "grant", generation=2))
        two_parts = blobs[1] + envelope.headed(envelope.lp("more"), b"x")
        for other in (older[1], two_parts, b"", self.head):
            assert self.cipher.unseal_all([blobs[0], other], self.head, places) is None


class TestSealedToAKey:
    public = crypto.public_of(KEY)

    def test_every_truncation_and_flip_is_tampering(self) -> None:
        blob = crypto.seal_to(self.public, b"text", Purpose.LOG_SEGMENT, "vault")
        broken: list[bytes] = [blob[:length] for length in range(len(blob))]
        broken += [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in range(len(blob))]
        for one in broken:
            with pytest.raises(TamperedError):
                crypto.open_sealed(KEY, one, Purpose.LOG_SEGMENT, "vault")

    def test_only_its_private_key_opens(self) -> None:
        blob = crypto.seal_to(self.public, b"text", Purpose.LOG_SEGMENT)
        with pytest.raises(TamperedError):
            crypto.open_sealed(crypto.random_key(), blob, Purpose.LOG_SEGMENT)

    def test_a_public_key_that_adds_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r".*"):
            crypto.seal_to(bytes(32), b"text", Purpose.LOG_SEGMENT)


def test_comparison_is_by_bytes() -> None:
    assert crypto.equal(b"same", b"same")
    assert not crypto.equal(b"same", b"sama")
    assert not crypto.equal(b"same", b"sam")


def test_a_certificate_for_trials_names_this_machine_only() -> None:
    certificate, private = crypto.self_signed("vault.test")
    assert certificate.startswith(b"-----BEGIN CERTIFICATE-----")
    assert private.startswith(b"-----BEGIN PRIVATE KEY-----")


@given(secret=st.binary(min_size=32, max_size=64), salt=st.binary(max_size=64), part=st.binary(max_size=200))
def test_a_credential_is_split_as_rfc_5869_derives(secret: bytes, salt: bytes, part: bytes) -> None:
    info = crypto.context(Purpose.TOKEN, part)
    derived = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(secret)
    lookup, key = crypto.split_secret(secret, salt, Purpose.TOKEN, part)
    assert lookup + key.reveal() == derived


@given(part=st.binary(max_size=200))
def test_a_mac_is_what_rfc_2104_defines(part: bytes) -> None:
    expected = hmac.digest(KEY.reveal(), crypto.context(Purpose.CSRF, part), "sha256")
    assert crypto.mac(KEY, Purpose.CSRF, part) == expected


@given(secret=st.binary(min_size=32, max_size=32), part=st.binary(max_size=200))
def test_a_subkey_is_what_rfc_5869_expands(secret: bytes, part: bytes) -> None:
    info = crypto.context(Purpose.SCOPE, part)
    expanded = HKDFExpand(algorithm=SHA256(), length=32, info=info).derive(secret)
    assert crypto.derive(Key(secret), Purpose.SCOPE, part).reveal() == expanded
