"""Byte layouts: strict where they are read, exact where they are written."""

from typing import Any

import pytest

from vrm.errors import TamperedError
from vrm.vault import envelope

NAMED = {"item": b"\x00\x01", "größe": b"", "x" * 300: bytes(70_000)}


def test_text_is_normalised_before_it_is_measured() -> None:
    assert envelope.lp("e\u0301") == envelope.lp("é") == b"\x00\x02\xc3\xa9"


def test_an_integer_is_eight_bytes_whatever_its_size() -> None:
    assert {len(envelope.lp(number)) for number in (0, 1, 255, 1 << 40, (1 << 64) - 1)} == {10}


@pytest.mark.parametrize("number", [-1, 1 << 64])
def test_an_integer_outside_u64_is_our_own_mistake(number: int) -> None:
    with pytest.raises(ValueError, match="u64"):
        envelope.lp(number)


def test_a_part_beyond_u16_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="65,535"):
        envelope.lp("x" * 65_536)


def test_a_parsed_envelope_gives_its_pieces() -> None:
    blob = envelope.header(9) + b"n" * 12 + b"sealed" + b"t" * 16
    parsed = envelope.parse(blob)
    assert (parsed.generation, parsed.nonce, parsed.sealed) == (9, b"n" * 12, b"sealed" + b"t" * 16)
    assert parsed.header == blob[:6]


@pytest.mark.parametrize("length", range(envelope.SMALLEST))
def test_too_short_an_envelope_is_tampered(length: int) -> None:
    with pytest.raises(TamperedError):
        envelope.parse((envelope.header(1) + bytes(28))[:length])


def test_packed_parts_come_back() -> None:
    assert envelope.unpack(envelope.pack("a", 7, b"", b"\xff" * 65_535)) == [
        b"a",
        (7).to_bytes(8, "big"),
        b"",
        b"\xff" * 65_535,
    ]


@pytest.mark.parametrize("cut", range(1, 8))
def test_cut_packed_parts_are_tampered(cut: int) -> None:
    with pytest.raises(TamperedError):
        envelope.unpack(envelope.pack("ab", "cdef")[:-cut] if cut != 6 else b"\x00")


def test_named_parts_come_back_in_their_order() -> None:
    assert list(envelope.unpack_named(envelope.pack_named(NAMED)).items()) == list(NAMED.items())


def test_named_parts_cut_anywhere_are_tampered_or_fewer() -> None:
    blob = envelope.pack_named({"item": b"\x00\x01", "b": b"123"})
    for length in range(1, len(blob)):
        if length == len(envelope.pack_named({"item": b"\x00\x01"})):
            continue  # whole parts: that one is missing is for the reader of the record to notice
        with pytest.raises(TamperedError):
            envelope.unpack_named(blob[:length])


def test_a_name_that_comes_twice_is_tampered() -> None:
    once = envelope.pack_named({"item": b"1"})
    with pytest.raises(TamperedError):
        envelope.unpack_named(once + once)


def test_names_that_are_no_text_do_not_crash() -> None:
    assert list(envelope.unpack_named(b"\x00\x01\xff\x00\x00\x00\x00")) == ["\ufffd"]


@pytest.mark.parametrize(
    ("length", "padded"), [(0, 64), (1, 64), (63, 64), (64, 64), (65, 128), (128, 128), (129, 192)]
)
def test_padding_reaches_the_next_step_and_no_further(length: int, padded: int) -> None:
    text = b"x" * length
    assert envelope.pad(text, 64) == text + b" " * (padded - length)


@pytest.mark.parametrize("item", [b"", b"i" * 15, b"i" * 16, b"i" * 17])
@pytest.mark.parametrize("seq", [0, 1, (1 << 64) - 1])
def test_a_place_is_packed_like_any_parts(item: bytes, seq: int) -> None:
    assert envelope.pack_place(item, seq) == envelope.pack(item, seq)


@pytest.mark.parametrize("record", ["0" * 32, "profile", "é" * 16, "é" * 32, "0" * 31])
@pytest.mark.parametrize("revision", [0, 1 << 29, (1 << 64) - 1])
def test_a_record_is_packed_like_any_parts(record: str, revision: int) -> None:
    assert envelope.pack_record(record, revision) == envelope.pack(record, revision)


@pytest.mark.parametrize(("record", "revision"), [("0" * 32, -1), ("p", 1 << 64), ("0" * 32, "1.5"), (7, 1)])
def test_a_record_that_nothing_was_packed_from_is_tampered(record: Any, revision: Any) -> None:
    with pytest.raises(TamperedError):
        envelope.pack_record(record, revision)


def test_many_records_are_packed_as_one_by_one() -> None:
    usual = [("0" * 32, 1 << 29), ("f" * 32, 0)]
    for records in (usual, [*usual, ("profile", 1)], [*usual, ("é" * 32, 1)]):
        assert envelope.pack_records(records) == [envelope.pack(*one) for one in records]
    altered: list[Any] = [("0" * 32, -1), ("0" * 32, "x"), (None, 1), (b"0" * 32, 1)]
    for one in altered:
        with pytest.raises(TamperedError):
            envelope.pack_records([one])


def test_parts_of_usual_blobs_are_cut_with_their_names() -> None:
    layout = envelope.Layout(("item", "price"), (40, 60))
    blobs = [layout.pack([bytes([at]) * 40, bytes([at]) * 60]) for at in range(3)]
    assert all(map(layout.is_usual, blobs))
    for body in (layout.pack([bytes(60), bytes(60)]), blobs[0][:-1], "x" * len(blobs[0]), None):
        assert not layout.is_usual(body)
    (head, parts), _ = layout.columns(blobs, (1, 0))
    assert head == envelope.lp("price")
    assert [envelope.sole(part, head) for part in parts] == [bytes([at]) * 60 for at in range(3)]


@pytest.mark.parametrize("sizes", [(40, 60), (60, 40), (0, 0), (100, 60)])
def test_a_layout_packs_like_any_named_parts(sizes: tuple[int, int]) -> None:
    layout, blobs = envelope.Layout(("item", "price"), (40, 60)), [bytes(size) for size in sizes]
    packed = layout.pack(blobs)
    assert packed == envelope.pack_named(dict(zip(("item", "price"), blobs, strict=True)))
    assert layout.take(packed, (0, 1)) == blobs
    assert layout.take(packed, (1,)) == blobs[1:]
    for other in (packed[:-1], packed + b"x", b"\xff" + packed[1:]):
        assert layout.take(other, (0,)) is None
    with pytest.raises(ValueError, match="zip"):
        layout.pack(blobs[:1])


def test_a_sole_part_is_told_from_any_other_body() -> None:
    head = envelope.lp("item")
    body = envelope.pack_named({"item": b"text"})
    assert envelope.sole(body, head) == b"text"
    assert envelope.sole(envelope.pack_named({"item": b""}), head) == b""
    others = [envelope.pack_named({"item": b"text", "more": b""}), envelope.pack_named({"more": b"text"})]
    for other in (b"", head, *others, *(body[:length] for length in range(len(body))), body + b"x"):
        assert envelope.sole(other, head) is None


def test_many_parts_and_places_are_as_one_by_one() -> None:
    head = envelope.lp("item")
    blobs = [envelope.pack_named({"item": text}) for text in (b"", b"text", b"x" * 300)]
    begins = envelope.sole_from(blobs, head)
    assert [blob[begins:] for blob in blobs] == [b"", b"text", b"x" * 300]
    others: list[Any] = [
        envelope.pack_named({"item": b"text", "more": b""}),
        envelope.pack_named({"other": b"text"}),
        head,
        blobs[1] + b"x",
        "text",
    ]
    assert [envelope.sole_from([blobs[0], other], head) for other in others] == [0] * 5
    assert envelope.sole_from(blobs[1:], head, b"te") == 0
    assert envelope.sole_from(blobs[1:2], head, b"te") == begins
    assert envelope.pack_places([(bytes(16), 5)]) == [envelope.pack_place(bytes(16), 5)]
    places = [(bytes(16), 5), (b"short", 6), (b"x" * 16, 1 << 60)]
    assert envelope.pack_places(places) == [envelope.pack_place(item, seq) for item, seq in places]
    altered: list[Any] = [(bytes(16), -1), (bytes(16), "x"), (None, 1)]
    for bad in altered:
        with pytest.raises(TamperedError):
            envelope.pack_places([bad])
