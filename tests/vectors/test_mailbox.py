"""Frozen bytes of mailbox, notes, states and keyed hashes: made once, opened for ever."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vectors.test_vectors import FILES, REFUSALS, cases, key
from vrm.consent.views import GrantKeys
from vrm.consent.writers import Pen, State
from vrm.errors import TamperedError
from vrm.vault import crypto
from vrm.vault.crypto import Purpose
from vrm.vault.keyring import Keyring
from vrm.vault.mailbox import Item, Mailbox
from vrm.vault.sqlite import SqliteEngine

FROZEN = FILES["mailbox"]
RING = Keyring(FROZEN["vault"], key(FROZEN["root"]))


def pen() -> Pen:
    keys = GrantKeys(FROZEN["grant"], key(FROZEN["grant_key"]))
    return Pen("vault", FROZEN["grant"], "purchases", keys.scope_key(FROZEN["scope"]), keys.common)


def test_the_keys_are_derived_as_they_were() -> None:
    assert crypto.public_of(RING.mailbox_private()).hex() == FROZEN["public"]
    assert pen().shelf.hex() == FROZEN["shelf"]
    assert pen().deposit_key.reveal().hex() == FROZEN["deposit_key"]


@cases("mailbox")
def test_an_item_opens_in_its_place_only(case: dict[str, Any], tmp_path: Path) -> None:
    item, mac, sealed = (bytes.fromhex(case[name]) for name in ("item", "mac", "sealed"))
    found = Item(1, case["origin"], case["number"], item, mac, sealed, "")
    mailbox = Mailbox(SqliteEngine(tmp_path / "vrm.db"))
    if "expect" in case:
        with pytest.raises(REFUSALS[case["expect"]]):
            mailbox.open(RING, found)
        return
    text = mailbox.open(RING, found)
    assert text.decode() == case["text"]
    assert mailbox.genuine(FROZEN["vault"], found, text, pen().deposit_key)
    assert not mailbox.genuine(FROZEN["vault"], found, text + b" ", pen().deposit_key)
    assert not mailbox.genuine("other", found, text, pen().deposit_key)


def test_marks_and_notes_open_under_the_root() -> None:
    marks, note = FROZEN["marks"], FROZEN["note"]
    opened = RING.cipher(Purpose.MAILBOX_MARKS).unseal(bytes.fromhex(marks["sealed"]))
    assert json.loads(opened) == marks["opened"]
    place = (note["origin"], bytes.fromhex(note["item"]))
    opened = RING.cipher(Purpose.MAILBOX_NOTE).unseal(bytes.fromhex(note["sealed"]), *place)
    assert json.loads(opened) == note["opened"]
    with pytest.raises(TamperedError):
        RING.cipher(Purpose.MAILBOX_NOTE).unseal(bytes.fromhex(note["sealed"]), "other", place[1])


def test_a_state_opens_in_its_version_only() -> None:
    frozen = FROZEN["state"]
    item, sealed = bytes.fromhex(frozen["item"]), bytes.fromhex(frozen["sealed"])
    opened = pen().open(item, frozen["version"], frozen["updated"], sealed)
    expected = State(item, frozen["version"], frozen["updated"], frozen["status"], frozen["reason"], True)
    assert opened == expected
    assert pen().tag(opened) == frozen["tag"]
    for place in ((bytes(16), 2, frozen["updated"]), (item, 1, frozen["updated"]), (item, 2, 0)):
        with pytest.raises(TamperedError):
            pen().open(*place, sealed)


def test_a_repeated_request_is_known_by_the_same_bytes() -> None:
    once = FROZEN["once"]
    assert pen().once(once["key"]).hex() == once["mac"]
    assert pen().once(once["key"], once["body"]).hex() == once["mac_of_body"]
