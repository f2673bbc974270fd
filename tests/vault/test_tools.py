"""The customer's own programs: let in by a code and her passphrase, for a while, one credential each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import PASSPHRASE, SettableClock
from tests.postgres import IN_ORDER
from vrm.errors import (
    BusyError,
    PairingError,
    SessionExpiredError,
    TamperedError,
    UnlockError,
)
from vrm.vault import crypto, pairing, tools
from vrm.vault.crypto import Key
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

ADDRESS = "192.0.2.7"


@pytest.fixture
def let_in(vaults: Vaults, vault: Vault, clock: SettableClock) -> bytes:
    """The secret of a tool that she approved and that fetched it."""
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    return vaults.pairings.poll(begun.device).secret


def rows(engine: SqliteEngine, table: str) -> int:
    return int(engine.one(f"SELECT count(*) FROM {table}")[0])  # type: ignore[index]


def test_an_approved_program_opens_the_vault(vaults: Vaults, vault: Vault, let_in: bytes) -> None:
    record = vault.records("preferences").put({"statement": {"topic": "tea"}})
    opened = vaults.resume_tool(let_in)
    assert opened.username == "alice"
    assert opened.records("preferences").get(record)["statement"]["topic"] == "tea"


def test_it_is_listed_with_its_address_and_last_use(
    vaults: Vaults, vault: Vault, let_in: bytes, clock: SettableClock
) -> None:
    clock.forward(61)
    vaults.resume_tool(let_in)
    (tool,) = vaults.tools.listing(vault.keyring)
    assert (tool.address, tool.created, tool.used) == (ADDRESS, clock.now() - 61, clock.now())
    assert tool.id == vaults.tools.id_of(let_in)
    assert tool.expires == tool.created + tools.LIFE


def test_uses_within_a_minute_are_noted_once(
    vaults: Vaults, vault: Vault, let_in: bytes, clock: SettableClock
) -> None:
    clock.forward(59)
    vaults.resume_tool(let_in)
    assert vaults.tools.listing(vault.keyring)[0].used == clock.now() - 59


def test_a_tool_whose_note_was_altered_can_be_disconnected(
    vaults: Vaults, vault: Vault, let_in: bytes, engine: SqliteEngine
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE tools SET note = x'00'")
    (tool,) = vaults.tools.listing(vault.keyring)
    assert tool.address == ""
    assert vaults.tools.close(vault.id, tool.id)


def test_another_secret_opens_nothing(vaults: Vaults, let_in: bytes) -> None:
    with pytest.raises(SessionExpiredError):
        vaults.resume_tool(bytes(32))


@pytest.mark.parametrize("seconds", [tools.LIFE, -tools.LIFE - 1])
def test_a_tool_ends_after_half_a_day_however_the_clock_is_set(
    vaults: Vaults, let_in: bytes, clock: SettableClock, seconds: int
) -> None:
    clock.forward(seconds)
    with pytest.raises(SessionExpiredError):
        vaults.resume_tool(let_in)


def test_nobody_prolongs_a_tool_in_the_table(
    vaults: Vaults, let_in: bytes, engine: SqliteEngine, clock: SettableClock
) -> None:
    with engine.write() as transaction:
        transaction.execute("UPDATE tools SET expires = expires + 86400")
    clock.forward(tools.LIFE)
    with pytest.raises(TamperedError):
        vaults.resume_tool(let_in)


ENDINGS: dict[str, Callable[[Vaults, Vault], object]] = {
    "disconnect": lambda vaults, vault: vaults.tools.close(
        vault.id, vaults.tools.listing(vault.keyring)[0].id
    ),
    "logout everywhere": lambda vaults, vault: vault.close_all_sessions(),
    "passphrase": lambda vaults, vault: vault.change_passphrase(PASSPHRASE, "another long passphrase"),
    "new keys": lambda vaults, vault: vault.rotate(PASSPHRASE),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ends_a_tool_deletes_its_wrap(
    vaults: Vaults, vault: Vault, let_in: bytes, engine: SqliteEngine, ending: str
) -> None:
    ENDINGS[ending](vaults, vault)
    assert rows(engine, "tools") == 0
    with pytest.raises(SessionExpiredError):
        vaults.resume_tool(let_in)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_ends_tools_ends_one_that_was_not_fetched_yet(
    vaults: Vaults, vault: Vault, engine: SqliteEngine, ending: str
) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    ENDINGS[ending](vaults, vault)
    try:
        assert vaults.pairings.poll(begun.device).outcome == pairing.DECLINED
    except PairingError:
        assert ending != "disconnect"
    assert rows(engine, "tools") == 0


def test_a_row_put_back_after_new_keys_opens_nothing(
    vaults: Vaults, vault: Vault, let_in: bytes, engine: SqliteEngine
) -> None:
    kept = engine.all("SELECT * FROM tools")
    vault.rotate(PASSPHRASE)
    with engine.write() as transaction:
        transaction.executemany("INSERT INTO tools VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
    with pytest.raises(SessionExpiredError):
        vaults.resume_tool(let_in)


@pytest.mark.parametrize("name", ["", "nonsense", "00" * 32])
def test_what_is_no_tool_cannot_be_disconnected(vaults: Vaults, vault: Vault, name: str) -> None:
    assert not vaults.tools.close(vault.id, name)


def test_a_tool_of_another_vault_stays(vaults: Vaults, vault: Vault, let_in: bytes) -> None:
    assert not vaults.tools.close("0" * 32, vaults.tools.id_of(let_in))
    assert vaults.resume_tool(let_in)


# ---- codes -----------------------------------------------------------------------------------------


def test_a_user_code_has_eight_letters_that_make_no_words() -> None:
    codes = {pairing._new_code() for _ in range(200)}
    assert len(codes) == 200
    assert all(len(code) == 8 and set(code) <= set("BCDFGHJKLMNPQRSTVWXZ") for code in codes)
    assert pairing.shown("BCDFGHJK") == "BCDF-GHJK"


def test_letters_of_codes_are_alike_likely() -> None:
    found = Counter("".join(pairing._new_code() for _ in range(2000)))
    assert set(found) == set(pairing.LETTERS)
    assert max(found.values()) < 1.5 * min(found.values())  # 800 of each, six times their deviation


def test_a_code_may_be_typed_in_any_case_with_blanks_and_dashes(vaults: Vaults) -> None:
    code = vaults.pairings.begin(ADDRESS).user_code
    assert vaults.pairings.find(f" {code[:4].lower()} - {code[4:]} ").user_code == code


@pytest.mark.parametrize("typed", ["", "BCDF", "BCDFGHJA", "BCDF-GHJK", "ẞ" * 8, "B" * 9, "B" * 9000])
def test_a_wrong_code_finds_no_program(vaults: Vaults, typed: str) -> None:
    vaults.pairings.begin(ADDRESS)
    with pytest.raises(PairingError):
        vaults.pairings.find(typed)


def test_she_sees_when_and_from_where_it_was_asked(vaults: Vaults, clock: SettableClock) -> None:
    found = vaults.pairings.find(vaults.pairings.begin(ADDRESS).user_code)
    assert (found.address, found.created, found.expires) == (ADDRESS, clock.now(), clock.now() + 600)


def test_no_more_than_a_few_programs_wait_at_once(vaults: Vaults, clock: SettableClock) -> None:
    for _ in range(pairing.MOST_WAITING):
        vaults.pairings.begin(ADDRESS)
    with pytest.raises(BusyError):
        vaults.pairings.begin(ADDRESS)
    clock.forward(pairing.LIFE)
    assert vaults.pairings.begin(ADDRESS)


def test_a_wrong_passphrase_lets_nothing_in(vaults: Vaults, vault: Vault, engine: SqliteEngine) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    with pytest.raises(UnlockError):
        vaults.pairings.approve(vault, begun.user_code, "not the passphrase at all")
    assert rows(engine, "tools") == 0
    assert vaults.pairings.poll(begun.device).outcome == pairing.WAITING


def test_a_code_is_answered_once(vaults: Vaults, vault: Vault, engine: SqliteEngine) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    for answer in (
        lambda: vaults.pairings.approve(vault, begun.user_code, PASSPHRASE),
        lambda: vaults.pairings.decline(vault, begun.user_code),
    ):
        with pytest.raises(PairingError):
            answer()
    assert rows(engine, "tools") == 1


def test_a_code_that_ends_while_she_answers_lets_nothing_in(
    vaults: Vaults, vault: Vault, engine: SqliteEngine, clock: SettableClock
) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    clock.at += pairing.LIFE - 2
    clock.pace = 1
    with pytest.raises(PairingError):
        vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    assert rows(engine, "tools") == 0
    assert vaults.pairings.poll(begun.device).outcome == pairing.EXPIRED


def test_a_declined_program_is_told_so_each_time(vaults: Vaults, vault: Vault, engine: SqliteEngine) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.decline(vault, begun.user_code.lower())
    assert [vaults.pairings.poll(begun.device).outcome for _ in range(2)] == [pairing.DECLINED] * 2
    assert rows(engine, "tools") == 0


def test_an_ended_code_cannot_be_answered(vaults: Vaults, vault: Vault, clock: SettableClock) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    clock.forward(pairing.LIFE)
    with pytest.raises(PairingError):
        vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    assert vaults.pairings.poll(begun.device).outcome == pairing.EXPIRED


# ---- polling ---------------------------------------------------------------------------------------


def test_who_polls_too_soon_is_slowed_down(vaults: Vaults, clock: SettableClock) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    told = []
    for seconds in (0, 4, 5, 10, 14, 15):
        clock.forward(seconds)
        told.append(vaults.pairings.poll(begun.device).outcome)
    assert told == ["waiting", "slow", "slow", "slow", "slow", "slow"]
    clock.forward(30)
    assert vaults.pairings.poll(begun.device).outcome == "waiting"


def test_an_answer_is_handed_out_once(vaults: Vaults, vault: Vault, let_in: bytes) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    assert vaults.pairings.poll(begun.device).secret
    with pytest.raises(PairingError):
        vaults.pairings.poll(begun.device)


def test_an_unknown_device_code_is_told_nothing(vaults: Vaults) -> None:
    with pytest.raises(PairingError):
        vaults.pairings.poll(bytes(32))


def test_an_answer_that_nobody_fetched_ends_with_its_code(
    vaults: Vaults, vault: Vault, engine: SqliteEngine, clock: SettableClock
) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    clock.forward(pairing.LIFE)
    vaults.sweep()
    assert rows(engine, "tools") == 0
    assert engine.one("SELECT answer FROM pairings") == (None,)
    assert vaults.pairings.poll(begun.device).outcome == pairing.EXPIRED
    clock.forward(pairing.FORGET)
    vaults.sweep()
    assert rows(engine, "pairings") == 0


def test_the_sweep_leaves_a_tool_that_is_in_use(vaults: Vaults, let_in: bytes, clock: SettableClock) -> None:
    clock.forward(pairing.LIFE + 1)
    vaults.sweep()
    assert vaults.resume_tool(let_in)


# ---- who writes to the database --------------------------------------------------------------------


def test_a_key_planted_for_another_program_is_not_sealed_to(
    vaults: Vaults, vault: Vault, engine: SqliteEngine
) -> None:
    victim, thief = vaults.pairings.begin(ADDRESS), vaults.pairings.begin("203.0.113.9")
    with engine.write() as transaction:  # her code now leads to the thief's row
        (tag,) = engine.one(f"SELECT tag FROM pairings ORDER BY {IN_ORDER}")  # type: ignore[misc]
        transaction.execute("DELETE FROM pairings WHERE tag = ?", (tag,))
        transaction.execute("UPDATE pairings SET tag = ?", (tag,))
    with pytest.raises(PairingError):
        vaults.pairings.approve(vault, victim.user_code, PASSPHRASE)
    assert vaults.pairings.poll(thief.device).outcome == pairing.WAITING
    assert rows(engine, "tools") == 0


def test_a_code_prolonged_in_the_table_is_not_answered(
    vaults: Vaults, vault: Vault, engine: SqliteEngine
) -> None:
    begun = vaults.pairings.begin(ADDRESS)
    with engine.write() as transaction:
        transaction.execute("UPDATE pairings SET expires = expires + 86400")
    with pytest.raises(PairingError):
        vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)


def test_an_answer_moved_to_another_program_does_not_open(
    vaults: Vaults, vault: Vault, engine: SqliteEngine
) -> None:
    begun, thief = vaults.pairings.begin(ADDRESS), vaults.pairings.begin("203.0.113.9")
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    with engine.write() as transaction:
        (answer,) = engine.one("SELECT answer FROM pairings WHERE state = 'approved'")  # type: ignore[misc]
        transaction.execute(
            "UPDATE pairings SET state = 'approved', answer = ?, vault = ? WHERE state = 'waiting'",
            (answer, vault.id),
        )
    with pytest.raises(PairingError):
        vaults.pairings.poll(thief.device)


def test_database_server_key_and_user_code_together_open_nothing(
    vaults: Vaults, vault: Vault, engine: SqliteEngine
) -> None:
    """Whatever of that is tried as a key: only the device code makes the one that opens."""
    begun = vaults.pairings.begin(ADDRESS)
    vaults.pairings.approve(vault, begun.user_code, PASSPHRASE)
    row = engine.one("SELECT lookup, tag, expires, sealed, answer FROM pairings")
    assert row is not None
    lookup, tag, expires, sealed, answer = row
    server = vaults.server_key
    told = server.pairings.unseal(sealed, lookup, tag, expires)
    assert begun.device not in told
    stuff = [lookup, crypto.digest(tag), crypto.digest(begun.user_code.encode()), server.pepper]
    stuff += [crypto.split_secret(one, server.pepper, crypto.Purpose.PAIRING)[1].reveal() for one in stuff]
    for one in stuff:
        with pytest.raises(PairingError):
            pairing._opened(Key(one), answer, lookup, vault.id, expires)
