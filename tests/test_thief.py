"""The thief finds what lies open: every key that is left in a copy, every text, every token, and says so."""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import sqlite3
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, part
from tests.attacks.conftest import Story, customer, story, thief, vendor
from tests.conftest import PASSPHRASE
from vrm import thief as command
from vrm.consent.credentials import read_token, split
from vrm.consent.disclosures import Disclosures
from vrm.errors import SettingsError, StorageError
from vrm.thief import keys
from vrm.thief.credential import open_with
from vrm.thief.texts import look
from vrm.vault import crypto, pairing
from vrm.vault.crypto import Key, Purpose
from vrm.vault.keyslots import SessionSlot
from vrm.vault.serverkey import ServerKey
from vrm.vault.tools import ToolSlot

__all__ = ["customer", "story", "thief", "vendor"]


def _root(story: Story) -> Key:
    return story.customer.vault.keyring.root()


def _of_root(purpose: Purpose, *parts: str) -> Callable[[Story], Key]:
    return lambda story: crypto.derive(_root(story), purpose, story.customer.vault.id, *parts)


def _grant(story: Story) -> Key:
    return story.customer.consent.grants.open(story.customer.vault, story.tokens.grant_id).keys.key


def _common(story: Story) -> Key:
    return crypto.derive(_grant(story), Purpose.COMMON, story.tokens.grant_id)


def _scope(scope: str) -> Callable[[Story], Key]:
    return lambda story: crypto.derive(_grant(story), Purpose.SCOPE, story.tokens.grant_id, scope)


def _wrapping(kind: str) -> Callable[[Story], Key]:
    def found(story: Story) -> Key:
        raw = read_token(kind, getattr(story.tokens, f"{kind}_token"))
        assert raw
        return split(kind, raw, story.customer.consent.tokens._pepper)[1]

    return found


def _secret(kind: str) -> Callable[[Story], Key]:
    def found(story: Story) -> Key:
        raw = read_token(kind, getattr(story.tokens, f"{kind}_token"))
        assert raw
        return Key(raw)

    return found


def _segment(story: Story) -> Key:
    vault = story.customer.vault
    name, sealed = vault.engine.all("SELECT segment, sealed_key FROM log_segments")[0]
    return Key(crypto.open_sealed(vault.keyring.log_private(), sealed, Purpose.LOG_SEGMENT, vault.id, name))


def _session(story: Story) -> Key:
    secret = story.customer.vault.open_session()
    return Key(base64.urlsafe_b64decode(secret + "="))


def _session_wrapping(story: Story) -> Key:
    return SessionSlot.lookup(_session(story).reveal(), story.customer.consent.tokens._pepper)[1]


def _tool(story: Story) -> Key:
    vaults, vault = story.customer.vault._vaults, story.customer.vault
    begun = vaults.pairings.begin("192.0.2.7")
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    return Key(vaults.pairings.poll(begun.device).secret)


def _tool_wrapping(story: Story) -> Key:
    return ToolSlot.lookup(_tool(story).reveal(), story.customer.consent.tokens._pepper)[1]


def _device(story: Story) -> Key:
    vaults, vault = story.customer.vault._vaults, story.customer.vault
    begun = vaults.pairings.begin("192.0.2.7")
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    return pairing._private(vaults.pairings._split(begun.device)[1])


def _request(story: Story) -> Key:
    raw = read_token("request", story.vendor.ask().handle)
    assert raw
    return crypto.split_secret(raw, story.customer.consent.tokens._pepper, Purpose.REQUEST)[1]


KEYS: dict[str, tuple[str, Callable[[Story], Key]]] = {
    "root": ("root key", _root),
    "roster": ("roster key", _of_root(Purpose.ROSTER)),
    "journal head": ("journal key", _of_root(Purpose.JOURNAL_HEAD)),
    "journal": ("journal key", _of_root(Purpose.JOURNAL)),
    "reserve": ("reserve key", _of_root(Purpose.RESERVE)),
    "grant wrap": ("grant wrap key", _of_root(Purpose.GRANT_WRAP)),
    "log heads": ("log heads key", _of_root(Purpose.LOG_HEADS)),
    "log private": ("log private key", _of_root(Purpose.LOG_PAIR)),
    "log segment": ("log segment key", _segment),
    "gifts": ("record key", _of_root(Purpose.RECORD, "purchases", "context")),
    "address": ("record key", _of_root(Purpose.RECORD, "profile", "address")),
    "grant": ("grant key", _grant),
    "common": ("common key", _common),
    "scope item": ("scope key", _scope("purchases.item:read")),
    "scope order": ("scope key", _scope("purchases.order:read")),
    "access wrapping": ("token key", _wrapping("access")),
    "refresh wrapping": ("token key", _wrapping("refresh")),
    "access secret": ("token secret", _secret("access")),
    "refresh secret": ("token secret", _secret("refresh")),
    "session wrapping": ("session key", _session_wrapping),
    "session secret": ("session secret", _session),
    "tool wrapping": ("tool key", _tool_wrapping),
    "tool secret": ("tool secret", _tool),
    "device": ("device private key", _device),
    "request": ("request key", _request),
}
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda key: b"\x00noise" + key + b"more noise",
    "hex": lambda key: b"key = " + key.hex().encode() + b"\n",
    "base64": lambda key: b'{"key":"' + base64.b64encode(key) + b'"}',
    "base64url among others": lambda key: b"k-" + base64.urlsafe_b64encode(b"xy" + key + b"z"),
}


def test_every_kind_of_key_left_in_a_copy_opens_what_it_is_for(story: Story, thief: Thief) -> None:
    left = {name: find(story).reveal() for name, (_, find) in KEYS.items()}
    (thief.data / "notes.txt").write_bytes(b"\n".join(map(FORMS["hex"], left.values())))
    report = thief.rob()
    for kind, count in Counter(kind for kind, _ in KEYS.values()).items():
        assert report.opened[kind] >= count, (kind, report.text())
        assert f"OPENED with a {kind}" in report.text()
    assert not report.safe


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_found_in_every_form(form: str, story: Story, thief: Thief) -> None:
    (thief.data / "vrm.toml").write_bytes(FORMS[form](_root(story).reveal()))
    assert thief.rob().opened["root key"] >= 1


@pytest.mark.parametrize("hide", [lambda key: key, lambda key: bytes(7) + key + bytes(3)])
def test_a_key_in_a_column_is_found(hide: Callable[[bytes], bytes], story: Story, thief: Thief) -> None:
    """Whoever stores a key unwrapped, by mistake, is caught."""
    with story.customer.vault.engine.write() as transaction:
        stored = hide(_grant(story).reveal())
        transaction.execute("UPDATE grants SET vendor_tag = ?", (stored,))
    assert thief.rob().opened["grant key"] >= 1


def test_a_key_that_is_the_hash_of_something_stored_is_found(story: Story, thief: Thief) -> None:
    assert hashlib.sha256(b"abc").digest() in set(keys.of_file(b"abc"))
    with story.customer.vault.engine.write() as transaction:
        transaction.execute("UPDATE vendors SET purpose = 'abc'")
    copy = keys.Database(thief.copy() / "vrm.db")
    assert hashlib.sha256(b"abc").digest() in set(keys.of_database(copy))
    copy.close()


def test_a_token_in_a_log_is_used(story: Story, thief: Thief) -> None:
    (thief.data / "access.log").write_text(f"GET /?access_token={story.tokens.access_token} 200\n")
    report = thief.rob()
    assert report.opened["token"] == 1
    assert not report.safe


TEXT = "Über den Dächern"
FILES: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda raw: b"..." + raw + b"...",
    "in capitals": lambda raw: raw.decode().upper().encode(),
    "hex": lambda raw: raw.hex().encode(),
    "hex in capitals": lambda raw: raw.hex().upper().encode(),
    "base64 0": base64.b64encode,
    "base64 1": lambda raw: base64.b64encode(b"x" + raw + b"yz"),
    "base64 2": lambda raw: base64.urlsafe_b64encode(b"xy" + raw + b"z"),
    "UTF-16": lambda raw: b"\xff" + raw.decode().encode("utf-16-be"),
    "JSON": lambda raw: json.dumps({"title": raw.decode()}).encode(),
    "zlib": lambda raw: b"head" + zlib.compress(b"before " + raw) + b"tail",
    "zlib cut short": lambda raw: zlib.compress(raw + bytes(range(256)) * 8)[:-20],
    "gzip": lambda raw: b"head" + gzip.compress(raw.hex().encode()),
}


@pytest.mark.parametrize("form", FILES)
def test_a_text_is_found_in_every_form(form: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(FILES[form](TEXT.encode()))
    assert [(one.text, one.file) for one in look(tmp_path, [TEXT, "not there at all"])][:1] == [
        (TEXT, "x.bin")
    ]


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("before", [1, 4, 9, 30])
def test_it_is_found_among_many_texts_where_a_large_file_is_cut(
    form: str, before: int, tmp_path: Path
) -> None:
    others = [f"Another text, number {number}" for number in range(40)]
    noise = b"\x80\x81\x82\x83" * (1 << 18)
    (tmp_path / "x.bin").write_bytes(noise[before:] + FILES[form](TEXT.encode()) + noise[:before])
    assert {one.text for one in look(tmp_path, [*others, TEXT])} == {TEXT}


@pytest.mark.parametrize("size", range(10))
def test_small_files_are_looked_through_for_many_texts(size: int, tmp_path: Path) -> None:
    texts = [f"{number:06}" for number in range(100)]
    (tmp_path / "x.bin").write_bytes(b"000042xyz"[:size])
    assert {one.text for one in look(tmp_path, texts)} == ({"000042"} if size >= len("000042") else set())


def test_a_text_is_found_in_a_zip_and_in_a_file_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("first.txt", "nothing " * 50)
        made.writestr("second.txt", f"{TEXT} " * 50)
    (tmp_path / f"{TEXT}.txt").write_bytes(b"")
    assert {(one.file, one.form) for one in look(tmp_path, [TEXT])} == {
        ("a.zip", "compressed"),
        (f"{TEXT}.txt", "file name"),
    }


def test_texts_that_are_not_there_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 40 + zlib.compress(b"other"))
    assert look(tmp_path, [TEXT, "Another long text"]) == []


def test_texts_that_chance_writes_are_not_looked_for(story: Story, thief: Thief) -> None:
    (thief.data / "noise.bin").write_bytes(b"Z2lmd gift Emma")
    report = thief.rob(look_for=["gift", "Emma", "Kindred"])
    assert (report.looked_for, report.too_short, report.found) == (1, 2, [])
    assert "not looked for: 2 texts of less than 6 bytes" in report.text()


def test_what_lies_open_is_named_and_nothing_else(story: Story, thief: Thief) -> None:
    report = thief.rob()
    assert report.safe
    assert report.clear.vaults == [
        {
            "name": "alice",
            "created": "2026-11-18T11:06:40Z",
            "records": {"purchases": 7, "preferences": 1, "profile": 1},
        }
    ]
    assert report.clear.vendors == ["Corner Books"]
    [link] = report.clear.connections
    assert (link["vendor"], link["vault"], link["state"], link["rows"]) == (
        "Corner Books",
        "alice",
        "live",
        2,
    )
    assert set(link) == {
        "grant",
        "vault",
        "vendor",
        "state",
        "created",
        "expires",
        "last_read",
        "reads",
        "rows",
    }


def test_without_the_server_key_not_even_the_vendor_is_named(story: Story, thief: Thief) -> None:
    report = thief.rob(key=False)
    assert report.server_keys == 0
    assert report.clear.connections[0]["vendor"] == ""


def test_the_copy_is_not_touched(story: Story, thief: Thief) -> None:
    copy = thief.copy("untouched")
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()
    }
    command.rob(copy, token=story.tokens.access_token, look_for=["x" * 12])
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()}
    assert after == before


def test_rows_that_are_only_in_the_write_ahead_log_are_seen(story: Story, thief: Thief) -> None:
    story.customer.buy("Only just bought")
    copy = thief.copy()
    assert (copy / "vrm.db-wal").stat().st_size > 0
    assert command.rob(copy / "vrm.db").clear.vaults[0]["records"]["purchases"] == 8


def test_a_database_alone_is_robbed_too(story: Story, thief: Thief) -> None:
    report = command.rob(thief.copy() / "vrm.db", token=story.tokens.access_token)
    assert report.server_keys == 0
    assert report.token is not None
    assert report.token.documents == []


def test_keys_of_several_vendors_are_told_apart(story: Story, thief: Thief) -> None:
    other = Vendor.register(story.customer.consent, "Toy Shop")
    other.connect(story.customer, part("purchases.price"))
    report = thief.rob(story.tokens.access_token)
    assert report.safe
    assert report.token is not None
    assert {scope for row in report.token.documents for scope in row if scope != "id"} == {
        "purchases.item",
        "purchases.order",
    }


def test_a_credential_that_opens_more_than_its_own_is_reported(
    story: Story, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check itself: with one key for all scopes, an access token opens what it was not given."""
    derive = crypto.derive

    def careless(key: Key, purpose: Purpose, *parts: object) -> Key:
        return derive(key, purpose, parts[0]) if purpose is Purpose.SCOPE else derive(key, purpose, *parts)  # type: ignore[arg-type]

    monkeypatch.setattr(crypto, "derive", careless)
    granted = [part("purchases.item"), part("purchases.price")]
    tokens = story.vendor.connect(story.customer, *granted)
    narrow = story.vendor.refresh(tokens.refresh_token, "purchases.item:read")
    report = thief.rob(narrow.access_token)
    assert report.token is not None
    assert report.token.beyond["scope key"] >= 1
    assert not report.safe
    assert "OPENED beyond that with a scope key" in report.text()


def test_the_server_key_opens_the_routing_and_no_content(server_key: ServerKey) -> None:
    assert len(list(keys.of_server(server_key))) >= 5


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("y")
    with pytest.raises(StorageError):
        command.rob(tmp_path)


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_command_ends_with_0_where_nothing_opened(
    story: Story, thief: Thief, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(story.tokens.access_token + "\n")
    assert (
        _run(str(thief.copy()), "--token-file", str(tmp_path / "token"), "--look-for", "Canary-purchases")
        == 0
    )
    told = capsys.readouterr().out
    assert "nothing opened." in told
    assert "none is there." in told
    assert "With the access credential: 2 rows of purchases.item:read, purchases.order:read." in told
    assert "nothing beyond" in told
    assert "anary-" not in told


def test_the_command_ends_with_1_where_something_opened(
    story: Story, thief: Thief, capsys: pytest.CaptureFixture[str]
) -> None:
    (thief.data / "backup.txt").write_bytes(b"Canary-purchases and " + FORMS["base64"](_root(story).reveal()))
    assert _run(str(thief.copy()), "--look-for", "Canary-purchases", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["safe"] is False
    assert told["opened"]["root key"] >= 1
    assert told["found"] == [{"text": "Canary-purchases", "file": "backup.txt", "form": "as it is"}]


def test_an_unknown_credential_opens_nothing(story: Story, thief: Thief) -> None:
    copy = keys.Database(thief.copy() / "vrm.db")
    for token in ("", "vrm_at_" + "A" * 48, "no token at all", base64.urlsafe_b64encode(bytes(32)).decode()):
        assert open_with(copy, story.customer.consent.tokens._pepper, token).kind == ""
    copy.close()
    report = thief.rob("vrm_rt_" + "A" * 48)
    assert report.safe
    assert "The credential opened nothing" in report.text()


def test_a_copy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        _run(str(tmp_path / "none"))


def test_a_database_of_something_else_is_no_danger(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as raw:
        raw.execute('CREATE TABLE "odd; name" (x)')
        raw.execute("CREATE TABLE notes (x TEXT, y BLOB)")
        raw.execute("INSERT INTO notes VALUES ('text', x'00')")
    raw.close()
    assert command.rob(tmp_path).safe


def test_every_log_event_is_sealed(story: Story, thief: Thief, customer: Customer) -> None:
    assert isinstance(customer.consent.log, Disclosures)
    story.vendor.read(story.tokens.access_token)
    assert thief.rob(look_for=["granted", '"event"', "vendor_name"]).found == []
