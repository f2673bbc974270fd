"""What a stolen credential of the customer's own program opens, and what the codes on its way do not."""

from __future__ import annotations

import json

import pytest

from tests.attacks.actors import Thief
from tests.attacks.conftest import Story
from tests.conftest import PASSPHRASE
from vrm.consent.credentials import write_token
from vrm.host import SCHEMAS
from vrm.vault.pairing import Begun
from vrm.vault.vault import Vaults


@pytest.fixture
def asked(vaults: Vaults, story: Story) -> Begun:
    """She approved a program that has not fetched its credential yet."""
    begun = vaults.pairings.begin("192.0.2.7")
    vaults.pairings.approve(story.customer.vault, begun.user_code, PASSPHRASE)
    return begun


def test_live_tool_opens_everything(vaults: Vaults, story: Story, asked: Begun, thief: Thief) -> None:
    loot = thief.open(write_token("tool", vaults.pairings.poll(asked.device).secret))
    everything = json.dumps(loot.documents, ensure_ascii=False)
    assert loot.kind == "tool"
    assert [text for text in story.canaries if text not in everything] == []


def test_disconnected_tool_opens_nothing(vaults: Vaults, story: Story, asked: Begun, thief: Thief) -> None:
    secret = vaults.pairings.poll(asked.device).secret
    assert vaults.tools.close(story.customer.vault.id, vaults.tools.id_of(secret))
    loot = thief.open(write_token("tool", secret))
    assert (loot.kind, loot.documents) == ("", [])


def test_a_copy_with_server_key_and_user_code_opens_nothing(asked: Begun, thief: Thief) -> None:
    """The answer waits in it, sealed to the device code, which is nowhere."""
    (thief.data / "notes.txt").write_text(asked.user_code)
    report = thief.rob()
    assert report.safe, report.text()
    assert report.tried["device private key"] > 0
    assert report.tried["tool key"] > 0


def test_no_copy_of_the_data_holds_tools_or_codes() -> None:
    assert {"tools", "pairings"} <= {table for schema in SCHEMAS for table in schema.left_out}
