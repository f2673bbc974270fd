"""Ways in that end while they are used: what was checked a moment ago must still hold where it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.beside import Beside, beside, only_sqlite
from tests.conftest import CHEAP, PASSPHRASE
from vrm.errors import SessionExpiredError, TamperedError, UnlockError
from vrm.vault.crypto import KdfLimits, Key
from vrm.vault.keyring import Keyring
from vrm.vault.stretching import Stretching
from vrm.vault.vault import Vault, Vaults

NEW = "a passphrase for the time after"
OTHER = "the passphrase of somebody else"


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen once, right after the next slot was stretched and before it is written."""

    def arrange(act: Callable[[], object]) -> None:
        real, acts = Stretching.slot, [act]

        def slot(self: Stretching, *given: str | Keyring) -> object:
            made = real(self, *given)  # type: ignore[arg-type]
            if acts:
                acts.pop()()
            return made

        monkeypatch.setattr(Stretching, "slot", slot)

    return arrange


@pytest.fixture
def raw(folder: Path, vaults: Vaults) -> Iterator[Beside]:
    with beside(folder) as connection:
        yield connection


def change(vaults: Vaults) -> None:
    vaults.unlock("alice", PASSPHRASE).change_passphrase(PASSPHRASE, NEW)


def require_only_new(vaults: Vaults) -> None:
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    with pytest.raises(UnlockError):
        vaults.unlock("alice", OTHER)
    assert vaults.unlock("alice", NEW).check() == []


Meanwhile = Callable[[Callable[[], object]], None]


# ---- a passphrase that was changed -----------------------------------------------------------------


def test_a_raised_cost_brings_back_no_ended_passphrase(
    vaults: Vaults, vault: Vault, meanwhile: Meanwhile
) -> None:
    limits = KdfLimits(memory=CHEAP.memory, passes=CHEAP.passes + 1, lanes=1)
    dearer = Vaults(vaults.engine, vaults.server_key, clock=vaults.clock, limits=limits)
    meanwhile(lambda: change(vaults))
    opened = dearer.unlock("alice", PASSPHRASE)
    require_only_new(vaults)
    with pytest.raises(SessionExpiredError):
        opened.open_session()


def test_two_log_ins_that_raise_the_cost_at_once_both_go_on(
    vaults: Vaults, vault: Vault, meanwhile: Meanwhile
) -> None:
    limits = KdfLimits(memory=CHEAP.memory, passes=CHEAP.passes + 1, lanes=1)
    dearer = Vaults(vaults.engine, vaults.server_key, clock=vaults.clock, limits=limits)
    meanwhile(lambda: dearer.unlock("alice", PASSPHRASE).open_session())
    opened = dearer.unlock("alice", PASSPHRASE)
    assert dearer.resume(opened.open_session()).check() == []
    assert dearer.unlock("alice", PASSPHRASE).check() == []


def test_no_session_opens_by_a_passphrase_that_was_changed_meanwhile(vaults: Vaults, vault: Vault) -> None:
    thief = vaults.unlock("alice", PASSPHRASE)  # what waits for the customer may take seconds from here
    change(vaults)
    with pytest.raises(SessionExpiredError):
        thief.open_session()
    assert vaults.engine.all("SELECT 1 FROM sessions") == []


def test_no_session_opens_with_a_root_that_was_replaced_meanwhile(vaults: Vaults, vault: Vault) -> None:
    thief = vaults.unlock("alice", PASSPHRASE)
    vaults.unlock("alice", PASSPHRASE).rotate(PASSPHRASE)
    with pytest.raises(SessionExpiredError):
        thief.open_session()


def test_whoever_changes_it_goes_on_with_a_session_of_her_own(vaults: Vaults, vault: Vault) -> None:
    vault.change_passphrase(PASSPHRASE, NEW)
    vaults.resume(vault.open_session()).rotate(NEW)
    resumed = vaults.unlock("alice", NEW)
    resumed.rotate(NEW)
    assert vaults.resume(resumed.open_session()).check() == []


@pytest.mark.parametrize(
    "act",
    [lambda thief: thief.rotate(PASSPHRASE), lambda thief: thief.change_passphrase(PASSPHRASE, OTHER)],
    ids=["rotate", "change"],
)
def test_an_ended_passphrase_sets_no_other_one(
    vaults: Vaults, vault: Vault, meanwhile: Meanwhile, act: Callable[[Vault], object]
) -> None:
    thief = vaults.unlock("alice", PASSPHRASE)
    meanwhile(lambda: change(vaults))
    with pytest.raises(SessionExpiredError):
        act(thief)
    require_only_new(vaults)


def test_an_ended_passphrase_gets_no_recovery_code(
    vaults: Vaults, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    thief = vaults.unlock("alice", PASSPHRASE)
    real = Vault.check_passphrase

    def check(self: Vault, passphrase: str) -> None:
        real(self, passphrase)
        if self is thief:
            change(vaults)

    monkeypatch.setattr(Vault, "check_passphrase", check)
    with pytest.raises(SessionExpiredError):
        thief.new_recovery_code(PASSPHRASE)
    require_only_new(vaults)


# ---- a code that was renewed -----------------------------------------------------------------------


@pytest.mark.parametrize("rotated", [False, True])
def test_a_renewed_code_sets_no_passphrase(vaults: Vaults, meanwhile: Meanwhile, rotated: bool) -> None:
    vault, code = vaults.create("alice", PASSPHRASE)
    if rotated:
        vault.rotate(PASSPHRASE)  # the code's way in is handed the new root
    codes: list[str] = []
    meanwhile(lambda: codes.append(vaults.unlock("alice", PASSPHRASE).new_recovery_code(PASSPHRASE)))
    with pytest.raises(SessionExpiredError):
        vaults.recover("alice", code, OTHER)
    assert vaults.unlock("alice", PASSPHRASE).check() == []
    with pytest.raises(UnlockError):
        vaults.recover("alice", code, OTHER)
    assert vaults.recover("alice", codes[0], OTHER).check() == []


# ---- who proves a passphrase -----------------------------------------------------------------------


def test_an_earlier_passphrase_put_back_answers_for_nothing(
    vaults: Vaults, vault: Vault, raw: Beside
) -> None:
    """A row from an old copy opens, and is named; whoever has it and a session gets nothing anew."""
    [row] = raw.execute("SELECT * FROM keyslots WHERE kind = 'passphrase'").fetchall()
    change(vaults)
    session = vaults.resume(vaults.unlock("alice", NEW).open_session())
    raw.execute(f"INSERT INTO keyslots VALUES ({', '.join('?' * len(row))})", row)
    for act in (session.check_passphrase, session.new_recovery_code, session.rotate):
        with pytest.raises(UnlockError):
            act(PASSPHRASE)
    thief = vaults.unlock("alice", PASSPHRASE)
    with pytest.raises(SessionExpiredError):
        thief.replace_passphrase(OTHER)
    assert any("planted" in problem for problem in thief.problems())


def test_a_resumed_vault_changes_no_way_in_before_it_proved_a_passphrase(
    vaults: Vaults, vault: Vault
) -> None:
    resumed = vaults.resume(vault.open_session())
    for act in (lambda: resumed.replace_passphrase(OTHER), resumed.open_session):
        with pytest.raises(SessionExpiredError):
            act()
    resumed.check_passphrase(PASSPHRASE)
    assert vaults.resume(resumed.open_session()).check() == []


# ---- the server's word -----------------------------------------------------------------------------


def test_without_the_servers_word_a_way_in_opens_but_changes_nothing(
    vaults: Vaults, vault: Vault, raw: Beside
) -> None:
    record = vault.records("purchases").put({"item": {"title": "Dune"}})
    raw.execute("UPDATE keyslots SET public_mac = ?", (bytes(32),))
    opened = vaults.unlock("alice", PASSPHRASE)
    assert opened.records("purchases").get(record)["item"] == {"title": "Dune"}
    for act in (opened.new_recovery_code, opened.rotate):
        with pytest.raises(TamperedError):
            act(PASSPHRASE)
    assert vaults.adopt() == []  # the host says that this is how it stood
    assert vaults.unlock("alice", PASSPHRASE).new_recovery_code(PASSPHRASE)


@only_sqlite
def test_a_keyslot_of_text_keeps_nobody_out(vaults: Vaults, vault: Vault, raw: Beside) -> None:
    raw.execute("UPDATE keyslots SET public_mac = 'x', handed = '' WHERE kind = 'passphrase'")
    assert vaults.unlock("alice", PASSPHRASE).problems() == []


def test_a_root_of_ones_own_is_none_of_the_vault(vault: Vault) -> None:
    stranger = Vault(vault._vaults, Keyring(vault.id, Key(bytes(32))), "alice")
    with pytest.raises(UnlockError):
        stranger.check_passphrase(PASSPHRASE)
