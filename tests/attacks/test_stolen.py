"""One test per row of "What each stolen thing opens" (docs/threat-model.md), and what defends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.actors import Customer, Thief, Vendor, canary_document, part, texts_of
from tests.attacks.conftest import Story, tell
from tests.beside import only_sqlite
from tests.conftest import PASSPHRASE
from vrm import thief as robbery
from vrm.consent import endings, policy
from vrm.consent.rows import RowCiphers
from vrm.consent.service import Consent
from vrm.errors import CodeError, TokenError
from vrm.thief.credential import Loot
from vrm.thief.robbery import Report
from vrm.thief.texts import look
from vrm.vault import crypto
from vrm.vault.catalog import CATALOG
from vrm.vault.crypto import Cipher
from vrm.vault.vault import Vaults


def leaving(story: Story) -> list[dict[str, Any]]:
    """What the preview showed, in the form in which a thief reports it."""
    return [
        {f"purchases.{name}": values for name, values in row.document.items()} for row in story.preview.rows
    ]


def rows(loot: Loot) -> list[dict[str, Any]]:
    """The rows that a credential opened, without their ids."""
    return [{name: value for name, value in row.items() if name != "id"} for row in loot.documents]


def opened(report: Report) -> list[dict[str, Any]]:
    """The same of a whole robbery."""
    assert report.token is not None
    return rows(report.token)


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)


def live_a_little(story: Story) -> None:
    """Everything that a host writes: readings, refusals, edits, a narrowing, a session, a second request."""
    story.vendor.read(story.tokens.access_token)
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    story.customer.consent.reader.refuse(access, "not granted", "purchases")
    story.customer.change(story.shared[0], "experience", rating=5)
    story.vendor.ask(part("purchases.context"))
    story.customer.vault.open_session()
    story.customer.consent.at_unlock(story.customer.vault)


# --- disk, configuration, server key, backups: no content


def test_canaries_stand_in_every_field_of_every_facet() -> None:
    for collection in CATALOG:
        document = canary_document(collection.name, 0)
        for facet in collection.facets:
            assert set(document[facet.name]) == {spec.name for spec in facet.fields}
    assert len(set(texts_of([canary_document(item.name, 0) for item in CATALOG]))) >= 40


@pytest.mark.meets("rfc9700-67")
def test_disk_with_server_key_opens_no_content(story: Story, thief: Thief) -> None:
    live_a_little(story)
    report = thief.rob(look_for=story.canaries)
    assert report.server_keys == 1
    assert report.found == []
    assert report.opened == {}
    assert report.safe


def test_disk_shows_no_scope_and_no_event(story: Story, thief: Thief) -> None:
    live_a_little(story)
    words = [
        "purchases.item",
        "purchases.order",
        "item:read",
        "ProvideProduct",
        "not granted",
        "refused",
        "st4te",
    ]
    assert thief.rob(look_for=words).found == []


def test_nothing_of_her_is_written_to_the_temp_folder(
    customer: Customer, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "tmp"
    temp.mkdir()
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(temp))
    monkeypatch.setattr("tempfile.tempdir", None)
    told = tell(customer, vendor)
    vendor.read(told.tokens.access_token)
    assert look(temp, told.canaries) == []


def test_nothing_of_her_is_logged(
    customer: Customer, vendor: Vendor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    told = tell(customer, vendor)
    vendor.read(told.tokens.access_token)
    written = caplog.text + "".join(capfd.readouterr())
    assert "anary" not in written
    assert told.tokens.access_token not in written


class Plain:
    """What hides nothing."""

    def __init__(self, _: bytes) -> None: ...

    def encrypt(self, _: bytes, text: bytes, bound: bytes) -> bytes:
        return text + bytes(16)

    def decrypt(self, _: bytes, sealed: bytes, bound: bytes) -> bytes:
        return sealed[:-16]


@only_sqlite
def test_without_sealing_the_canaries_would_be_found(
    vaults: Vaults, consent: Consent, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crypto, "AESGCM", Plain)
    Customer(vaults.create("dora", PASSPHRASE)[0], consent).put(canary_document("purchases", 0))
    found = look(thief.data, list(texts_of(canary_document("purchases", 0))))
    facets = {one.text.split("-")[2] for one in found if one.text.startswith("Canary-purchases-")}
    assert facets >= {"item", "order", "payment", "context", "recipient", "notes"}


def test_without_sealing_keys_would_be_found(
    customer: Customer, vendor: Vendor, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were keys stored as they are, the loop over every stored value would try them."""
    monkeypatch.setattr(Cipher, "wrap", lambda self, key, *parts: self.seal(b"") + key.reveal())
    monkeypatch.setattr(
        Cipher, "unwrap", lambda self, blob, *parts: type(customer.vault.keyring.root())(blob[-32:])
    )
    vendor.connect(customer, part("purchases.item"))
    assert thief.rob().opened["grant key"] >= 1


# --- a live access token: exactly the view rows of its scopes


@pytest.mark.meets("rfc9700-22", "rfc9700-25")
def test_live_access_token_opens_exactly_the_granted_view(story: Story, thief: Thief) -> None:
    live_a_little(story)
    report = thief.rob(story.tokens.access_token, story.canaries)
    assert in_order(opened(report)) == in_order(leaving(story))
    assert {row.record_id for row in story.preview.rows} == set(story.shared)
    assert report.token is not None
    assert report.token.beyond == {}
    assert report.safe


@pytest.mark.parametrize("reason", ["gift", "year", "category", "unsorted", "excluded"])
def test_live_access_token_opens_no_row_that_was_withheld(reason: str, story: Story, thief: Thief) -> None:
    title = story.customer.vault.records("purchases").get(story.withheld[reason])["item"]["title"]
    assert title in story.canaries
    assert title not in json.dumps(rows(thief.open(story.tokens.access_token)))


def test_live_access_token_opens_no_cut_field_and_no_reserve(story: Story, thief: Thief) -> None:
    report = thief.rob(story.tokens.access_token)
    assert all(set(row["purchases.item"]) == {"title", "brand"} for row in opened(report))
    assert all(set(row["purchases.order"]) == {"ordered"} for row in opened(report))
    told = json.dumps(report.json()["token"])
    assert story.withheld["excluded"] not in told
    assert "for_whom" not in told


def test_down_scoped_token_opens_only_its_scopes(story: Story, thief: Thief) -> None:
    narrow = story.vendor.refresh(story.tokens.refresh_token, "purchases.order:read")
    loot = thief.open(narrow.access_token)
    assert [set(row) for row in rows(loot)] == [{"purchases.order"}] * 2
    assert loot.beyond == {}


def test_a_token_for_another_server_and_the_disk_open_no_row_and_no_agreement(
    customer: Customer, vendor: Vendor, consent: Consent, thief: Thief
) -> None:
    customer.buy("Kindred")
    shelf = "https://shelf.example"
    consent.vendors.add("Shelf Service", resource_server=True, resource=shelf)
    tokens = vendor.redeem(customer.approve(vendor.ask(resource=[shelf])))
    assert tokens.audience == shelf
    loot = thief.open(tokens.access_token)
    assert not any((rows(loot), loot.agreement, loot.scopes, loot.beyond))


def test_without_the_policy_in_the_view_a_gift_would_be_opened(
    customer: Customer, vendor: Vendor, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "reserve_filter", lambda reserve: policy.Query().noop())
    told = tell(customer, vendor)
    title = customer.vault.records("purchases").get(told.withheld["gift"])["item"]["title"]
    assert title in json.dumps(rows(thief.open(told.tokens.access_token)))


def test_without_cutting_every_field_would_be_opened(
    customer: Customer, vendor: Vendor, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = policy._cut
    monkeypatch.setattr(policy, "_cut", lambda values, names: cut(values, None))
    told = tell(customer, vendor)
    assert "asin" in json.dumps(rows(thief.open(told.tokens.access_token)))


# --- a refresh token or a code: that grant's view and agreement


def test_refresh_token_opens_that_grants_view_and_agreement_only(story: Story, thief: Thief) -> None:
    other = Vendor.register(story.customer.consent, "Toy Shop")
    other.connect(story.customer, part("purchases.price"))
    report = thief.rob(story.tokens.refresh_token)
    assert in_order(opened(report)) == in_order(leaving(story))
    assert report.token is not None
    assert report.token.agreement is not None
    assert report.token.agreement["vendor_name"] == "Corner Books"
    assert report.token.beyond == {}
    assert "Toy Shop" not in json.dumps(report.json()["token"])


def test_code_opens_that_grants_view_and_agreement_only(
    customer: Customer, vendor: Vendor, thief: Thief
) -> None:
    customer.buy("Kindred")
    customer.buy("Model Railway Almanac", "gift")
    code = customer.approve(vendor.ask())
    report = thief.rob(code)
    assert [row["purchases.item"]["title"] for row in opened(report)] == ["Kindred"]
    assert report.token is not None
    assert report.token.beyond == {}
    assert report.safe


def test_spent_code_and_spent_refresh_token_open_nothing(story: Story, thief: Thief, clock: Any) -> None:
    story.vendor.refresh(story.tokens.refresh_token)
    clock.forward(21)  # until then a lost answer can be fetched again
    story.customer.consent.sweep()
    for credential in (story.code, story.tokens.refresh_token):
        loot = thief.open(credential)
        assert (loot.kind, loot.documents, loot.beyond) == ("", [], {})


# --- without the server key: nothing


@pytest.mark.parametrize("kind", ["access", "refresh", "session"])
def test_copy_without_server_key_and_any_token_opens_nothing(kind: str, story: Story, thief: Thief) -> None:
    session = story.customer.vault.open_session()
    secret = session if kind == "session" else getattr(story.tokens, f"{kind}_token")
    report = thief.rob(secret, key=False)
    assert report.token is not None
    assert (report.token.kind, report.token.documents, report.token.beyond) == ("", [], {})
    assert report.safe


def test_without_the_pepper_a_copy_alone_would_open(
    customer: Customer, vendor: Vendor, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customer.consent.tokens, "_pepper", b"")
    customer.buy("Kindred")
    tokens = vendor.connect(customer)
    report = thief.rob(tokens.access_token, key=False)
    assert report.token is not None
    assert len(report.token.documents) == 1


def test_copy_with_another_server_key_opens_nothing(story: Story, thief: Thief, tmp_path: Path) -> None:
    from vrm.vault import serverkey

    copy = thief.copy()
    (copy / "server.key").unlink()
    serverkey.load(copy / "server.key")
    report = robbery.rob(copy, token=story.tokens.access_token)
    assert report.token is not None
    assert report.token.documents == []


# --- revoked


@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_revoked_token_and_a_new_disk_open_nothing(kind: str, story: Story, thief: Thief) -> None:
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    report = thief.rob(getattr(story.tokens, f"{kind}_token"), story.canaries)
    assert report.token is not None
    assert (report.token.kind, report.token.documents, report.token.beyond) == ("", [], {})
    assert report.clear.connections[0]["rows"] == 0
    assert report.safe


def test_old_copy_and_a_revoked_token_open_what_could_be_read_on_that_day(story: Story, thief: Thief) -> None:
    copy = thief.copy()
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    report = robbery.rob(copy, token=story.tokens.access_token)
    assert in_order(opened(report)) == in_order(leaving(story))
    assert report.token is not None
    assert report.token.beyond == {}


def test_without_deleting_at_the_end_a_revoked_token_would_open(
    story: Story, thief: Thief, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_say_so(transaction: Any, grant_id: str, state: str, now: int) -> bool:
        transaction.execute(
            "UPDATE grants SET state = ?, ended = ? WHERE grant_id = ?", (state, now, grant_id)
        )
        return True

    monkeypatch.setattr(endings, "end", only_say_so)
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    assert in_order(rows(thief.open(story.tokens.access_token))) == in_order(leaving(story))


# --- a session, the passphrase, the recovery code: everything


def test_live_session_opens_everything(story: Story, thief: Thief) -> None:
    loot = thief.open(story.customer.vault.open_session())
    everything = json.dumps(loot.documents, ensure_ascii=False)
    assert (loot.kind, len(loot.documents)) == ("session", 9)
    assert [text for text in story.canaries if text not in everything] == []


def test_closed_session_opens_nothing(story: Story, thief: Thief) -> None:
    secret = story.customer.vault.open_session()
    story.customer.vault.close_session(secret)
    loot = thief.open(secret)
    assert (loot.kind, loot.documents) == ("", [])


def test_passphrase_and_recovery_code_open_everything(vaults: Vaults, consent: Consent) -> None:
    vault, code = vaults.create("carol", PASSPHRASE)
    record = vault.records("purchases").put(canary_document("purchases", 1))
    assert vaults.unlock("carol", PASSPHRASE).records("purchases").get(record) == vault.records(
        "purchases"
    ).get(record)
    again = vaults.recover("carol", code, "an entirely new passphrase")
    assert again.records("purchases").get(record) == vault.records("purchases").get(record)


# --- a token alone, while the server runs


def test_token_alone_reads_its_view_while_it_lives(story: Story) -> None:
    rows = story.vendor.read(story.tokens.access_token)
    read = [{name: value for name, value in row.items() if name not in ("id", "updated_at")} for row in rows]
    assert in_order(read) == in_order([row.document for row in story.preview.rows])


def test_token_alone_reads_nothing_after_its_end(story: Story, clock: Any) -> None:
    clock.forward(901)
    with pytest.raises(TokenError):
        story.vendor.read(story.tokens.access_token)
    story.customer.consent.grants.revoke(story.customer.vault, story.tokens.grant_id)
    with pytest.raises(CodeError):
        story.vendor.refresh(story.tokens.refresh_token)


def test_preview_is_byte_for_byte_what_is_read(story: Story) -> None:
    shown = sorted(
        json.dumps(row.document, ensure_ascii=False, separators=(",", ":")) for row in story.preview.rows
    )
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    page, _ = story.customer.consent.reader.page(access, "purchases")
    read = sorted("{" + text.decode().split('Z",', 1)[1] for text in page)
    assert read == shown


# --- memory of the running server: not defended, and the threat model says so


def test_threat_model_says_that_memory_is_not_defended() -> None:
    said = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text()
    assert "Python cannot wipe memory" in said


def test_keys_do_not_show_where_an_error_would_print_them(story: Story) -> None:
    access = story.customer.consent.reader.authenticate(story.tokens.access_token)
    grant = story.customer.consent.grants.open(story.customer.vault, story.tokens.grant_id)
    ciphers = RowCiphers(access.grant_id, access.common, access.keys)
    shown = repr([access, grant.keys, story.customer.vault, story.tokens, ciphers, access.keys])
    for key in (access.common, *access.keys.values(), grant.keys.key, grant.keys.common):
        assert key.reveal().hex() not in shown
        assert repr(key.reveal())[2:-1] not in shown
    assert story.tokens.access_token not in shown


def test_a_copy_of_the_copy_is_as_safe(story: Story, thief: Thief) -> None:
    shutil.make_archive(str(thief.data / "backup"), "zip", thief.copy())
    report = thief.rob(look_for=story.canaries)
    assert report.found == []
    assert report.safe
