"""Taking everything along, deleting the vault, and being told that it came from a copy."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import CHEAP, SettableClock
from tests.web.actors import PASSPHRASE, Customer
from tests.web.conftest import Ask, purchase
from vrm.app import create_app
from vrm.consent.service import Consent
from vrm.host import SCHEMAS, Host
from vrm.settings import Settings
from vrm.thief.texts import look
from vrm.vault import copies, serverkey
from vrm.vault.moving import Credential
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

Elsewhere = Callable[[str], tuple[Consent, Vaults]]


@pytest.fixture
def elsewhere(tmp_path: Path, clock: SettableClock) -> Iterator[Elsewhere]:
    opened: list[SqliteEngine] = []

    def build(name: str) -> tuple[Consent, Vaults]:
        engine = SqliteEngine(tmp_path / name / "vrm.db")
        opened.append(engine)
        engine.install(SCHEMAS)
        key = serverkey.load(tmp_path / name / "server.key")
        vaults = Vaults(engine, key, clock=clock, limits=CHEAP)
        assert vaults.adopt() == []  # as the start of a server does
        return Consent(engine, vaults, clock), vaults

    yield build
    for one in opened:
        one.close()


def take(alice: Customer, form: str, passphrase: str = PASSPHRASE):  # type: ignore[no-untyped-def]
    page = alice.get("/me")
    assert "/me/take" in page.links()
    asked = alice.get("/me/take").form("/me/take")
    assert ("form", form) in asked.buttons
    fields = [*asked.fields, ("form", form)]
    return alice.client.post(asked.action, data={**dict(fields), "passphrase": passphrase})


def test_she_downloads_a_vault_that_opens_elsewhere(
    alice: Customer, opened: Vault, shelf: dict[str, str], elsewhere: Elsewhere
) -> None:
    answer = take(alice, "sealed")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == "attachment; filename=vault-2026-11-18.vrm"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.content_length == len(answer.data)
    consent, _ = elsewhere("there")
    for number, credential in enumerate((Credential(PASSPHRASE), Credential(code=alice.recovery_code))):
        consent, _ = elsewhere(f"there{number}")
        vault, _ = consent.moves.bring(io.BytesIO(answer.data), credential)
        assert dict(vault.records("purchases").scan()) == dict(opened.records("purchases").scan())


def test_a_download_leaves_no_file_behind(
    alice: Customer, shelf: dict[str, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {path.name for path in folder.iterdir()}
    for form in ("sealed", "json", "csv"):
        assert take(alice, form).status_code == 200
    assert list(temp.iterdir()) == []
    assert {path.name for path in folder.iterdir()} - before <= {
        "vrm.db.argon2.0.lock",
        "vrm.db.argon2.1.lock",
    }
    assert look(folder, ["A Gift Indeed"]) == []


def test_she_takes_everything_as_json(alice: Customer, opened: Vault, shelf: dict[str, str]) -> None:
    opened.records("preferences").put({"statement": {"topic": "tea"}})
    page = alice.get("/me/take")
    assert "This file is not encrypted" in page.text
    found = json.loads(take(alice, "json").data)
    assert found["vault"] == "alice"
    for name in ("purchases", "preferences", "profile"):
        records = {one.pop("id"): one for one in found["records"][name]}
        assert records == dict(opened.records(name).scan())


def test_a_spreadsheet_computes_nothing_of_what_she_takes(alice: Customer, opened: Vault) -> None:
    titles = ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", 'a, "b"; c', "a;=1+1", "plain"]
    for title in titles:
        opened.records("purchases").put(purchase(title))
    taken = take(alice, "csv").data
    assert taken.startswith(codecs.BOM_UTF8 + b'"id"'), "or Excel garbles every accent"
    text = taken.decode("utf-8-sig")
    assert all(cell.startswith('"') and cell.endswith('"') for cell in text.splitlines()[0].split(","))
    assert '"a, ""b""; c"' in text
    assert '"a;=1+1"' in text  # where semicolons part cells, this is one still
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert {row["item.title"] for row in rows} == {
        '\'=HYPERLINK("http://x")',
        "'+1",
        "'-1",
        "'@SUM(A1)",
        'a, "b"; c',
        "a;=1+1",
        "plain",
    }
    assert {row["price.total"] for row in rows} == {"12.99"}


@pytest.mark.parametrize("form", ["sealed", "json", "csv"])
def test_nothing_is_taken_without_the_passphrase(alice: Customer, shelf: dict[str, str], form: str) -> None:
    answer = take(alice, form, "not my passphrase")
    assert answer.status_code == 403
    assert b"Piranesi" not in answer.data
    assert "That is not your passphrase." in answer.text
    assert take(alice, form, "x" * 2000).status_code == 403


def test_guessing_the_passphrase_on_these_pages_is_limited(alice: Customer) -> None:
    answers = {take(alice, "json", f"guess {number}").status_code for number in range(8)}
    assert answers == {403, 429}


def test_she_deletes_her_vault_with_its_name_and_the_passphrase(
    alice: Customer, opened: Vault, shelf: dict[str, str], vaults: Vaults, engine: SqliteEngine
) -> None:
    page = alice.get("/me/delete")
    assert "/me/take" in page.links()
    assert "Nobody can bring it back" in page.text
    form = page.form("/me/delete")
    for name, passphrase, told in (
        ("bob", PASSPHRASE, "That is not the name"),
        ("", PASSPHRASE, "That is not the name"),
        ("alice", "wrong wrong wrong", "That is not your passphrase"),
    ):
        again = alice.submit(form, name=name, passphrase=passphrase)
        assert again.status == 403
        assert told in again.text
    assert len(vaults.listing()) == 1
    page = alice.submit(form, name=" Alice ", passphrase=PASSPHRASE)
    assert "Your vault is deleted." in page.text
    assert vaults.listing() == []
    assert engine.one("SELECT count(*) FROM records") == (0,)
    assert alice.get("/me").path == "/login"


def test_a_deletion_while_an_import_runs_changes_nothing(
    alice: Customer, opened: Vault, vaults: Vaults
) -> None:
    form = alice.get("/me/delete").form("/me/delete")
    with opened.records("purchases").staging():
        page = alice.submit(form, name="alice", passphrase=PASSPHRASE)
    assert page.status == 409
    assert len(vaults.listing()) == 1
    assert opened.check() == []


def test_after_a_restore_she_is_told_who_was_cut_off_until_she_says_that_she_read_it(
    alice: Customer,
    opened: Vault,
    shelf: dict[str, str],
    ask: Ask,
    folder: Path,
    tmp_path: Path,
    clock: SettableClock,
    elsewhere: Elsewhere,
) -> None:
    handle = ask()
    form = alice.get(f"/requests/{handle}").form(handle)
    alice.submit(form, ("decision", "approve"), follow=False)
    assert "restored from a copy" not in alice.get("/").text
    copies.take(folder / "vrm.db", SCHEMAS, tmp_path / "copy", clock.now())
    clock.forward(3600)
    copies.put_back(tmp_path / "copy", tmp_path / "there" / "vrm.db", SCHEMAS, clock.now())
    consent, vaults = elsewhere("there")
    settings = Settings(data_dir=tmp_path / "there", public_url="http://localhost:8600")
    app: Flask = create_app(settings, host=Host(settings, vaults.engine, vaults, consent, clock))
    there = Customer(app.test_client())
    there.log_in()
    home = there.get("/")
    assert "This vault was restored from a copy of" in home.text
    assert "they read nothing until they ask again and you agree: Corner Books" in home.text
    assert "Ended, because this vault came from a copy" in there.get("/log").text
    home = there.submit(home.form("/restored"))
    assert home.path == "/"
    assert "restored from a copy" not in home.text


def test_while_her_keys_are_renewed_nothing_is_downloaded(
    alice: Customer, opened: Vault, shelf: dict[str, str], folder: Path
) -> None:
    with opened.engine.write() as transaction:
        transaction.execute(
            "INSERT INTO rotations (vault, generation, previous, parts, part, after, done, total)"
            " VALUES (?, 2, x'00', '[\"not here\"]', '', '', 0, 1)",
            (opened.id,),
        )
    answer = take(alice, "sealed")
    assert answer.status_code == 409
    assert "Content-Disposition" not in answer.headers
