"""Frozen bytes of a program's credential and of the codes on its way: made once, opened for ever."""

import json

import pytest

from tests.vectors.test_vectors import FILES, key
from vrm.consent.credentials import read_token
from vrm.errors import PairingError, TamperedError
from vrm.vault import crypto, pairing
from vrm.vault.crypto import Purpose
from vrm.vault.keyring import Keyring
from vrm.vault.serverkey import ServerKey
from vrm.vault.tools import ToolSlot

FROZEN = FILES["tools"]
TOOL, PAIRING = FROZEN["tool"], FROZEN["pairing"]
SERVER = ServerKey(key(FROZEN["server_key"]))


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def test_a_tools_credential_opens_the_root_until_its_end_only() -> None:
    secret = read_token("tool", TOOL["written"])
    assert secret == raw(TOOL["secret"])
    lookup, wrapping = ToolSlot.lookup(secret, SERVER.pepper)
    assert lookup.hex() == TOOL["lookup"]
    opened = ToolSlot.cipher(FROZEN["vault"], wrapping, lookup, TOOL["expires"]).unwrap(raw(TOOL["wrapped"]))
    assert opened.reveal().hex() == FROZEN["root"]
    with pytest.raises(TamperedError):
        ToolSlot.cipher(FROZEN["vault"], wrapping, lookup, TOOL["expires"] + 1).unwrap(raw(TOOL["wrapped"]))


def test_the_note_of_a_tool_opens_under_the_root() -> None:
    cipher = Keyring(FROZEN["vault"], key(FROZEN["root"])).cipher(Purpose.TOOL_NOTE)
    assert json.loads(cipher.unseal(raw(TOOL["note"]), raw(TOOL["lookup"]))) == [TOOL["address"]]
    with pytest.raises(TamperedError):
        cipher.unseal(raw(TOOL["note"]), bytes(32))


def test_a_device_code_makes_the_pair_that_opens_the_answer() -> None:
    device = read_token("device", PAIRING["written"])
    assert device == raw(PAIRING["device"])
    lookup, made = crypto.split_secret(device, SERVER.pepper, Purpose.PAIRING)
    assert lookup.hex() == PAIRING["lookup"]
    assert crypto.public_of(pairing._private(made)).hex() == PAIRING["public"]
    answer, place = raw(PAIRING["answer"]), (lookup, FROZEN["vault"], PAIRING["expires"])
    assert pairing._opened(made, answer, *place) == raw(TOOL["secret"])
    for other in ((bytes(32), *place[1:]), (lookup, "other", place[2]), (*place[:2], place[2] + 1)):
        with pytest.raises(PairingError):
            pairing._opened(made, answer, *other)


def test_a_user_code_finds_what_was_sealed_for_it() -> None:
    tag = SERVER.user_code(PAIRING["user_code"])
    assert tag.hex() == PAIRING["tag"]
    place = (raw(PAIRING["lookup"]), tag, PAIRING["expires"])
    assert json.loads(SERVER.pairings.unseal(raw(PAIRING["sealed"]), *place)) == PAIRING["told"]
    with pytest.raises(TamperedError):
        SERVER.pairings.unseal(raw(PAIRING["sealed"]), place[0], SERVER.user_code("BCDFGHJL"), place[2])
