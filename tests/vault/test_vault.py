"""Ways in and what they refuse: wrong credentials, altered rows, planted slots, ended sessions."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beside import Beside, beside
from tests.conftest import CHEAP, PASSPHRASE, SettableClock
from vrm.errors import (
    BusyError,
    SessionExpiredError,
    TamperedError,
    UnlockError,
    UnvouchedError,
    UsernameTakenError,
    ValidationError,
)
from vrm.vault import crypto, keyslots, serverkey
from vrm.vault.crypto import KdfCost, KdfLimits, Key
from vrm.vault.engine import Engine
from vrm.vault.journal import Journal, Noted, body_hash
from vrm.vault.keyslots import PassphraseSlot
from vrm.vault.naming import normal_username
from vrm.vault.serverkey import ServerKey
from vrm.vault.sessions import SessionLimits
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.vault import Vault, Vaults

NEW = "a passphrase for the time after"
DOCUMENT = {"item": {"title": "Dune"}, "context": {"for": "gift"}}


@pytest.fixture
def thief(folder: Path, engine: Engine) -> Iterator[Beside]:
    """Somebody who may write the database and has no credential."""
    with beside(folder) as connection:
        yield connection


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[KdfCost]:
    """The costs of every Argon2id run; the runs themselves are the real ones."""
    counted: list[KdfCost] = []
    real = crypto.stretch

    def counting(passphrase: bytes, cost: KdfCost) -> bytes:
        counted.append(cost)
        return real(passphrase, cost)

    monkeypatch.setattr(crypto, "stretch", counting)
    return counted


def flip(thief: Beside, table: str, column: str, where: str = "1 = 1", at: int = -1) -> None:
    """Flip one bit of a blob."""
    ((blob,),) = thief.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchall()
    altered = bytearray(blob)
    altered[at] ^= 1
    thief.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (bytes(altered),))


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.name.startswith("vrm.db"))


# ---- names and passphrases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Alice", "alice"),
        ("  alice ", "alice"),
        ("ＡＬＩＣＥ", "alice"),
        ("straße", "strasse"),
        ("a.b-c_d", "a.b-c_d"),
    ],
)
def test_a_name_has_one_spelling(typed: str, stored: str) -> None:
    assert normal_username(typed) == stored
    assert normal_username(stored) == stored


@pytest.mark.parametrize(
    "typed",
    ["", "a", "-alice", "al ice", "al/ice", "a" * 41, "al\x00ice", "al\u202eice", "\ud800\ud800", "a@b"],
)
def test_what_is_no_name_is_refused(vaults: Vaults, typed: str) -> None:
    with pytest.raises(ValidationError) as caught:
        vaults.create(typed, PASSPHRASE)
    assert "username" in caught.value.fields
    with pytest.raises(UnlockError):
        vaults.unlock(typed, PASSPHRASE)
    with pytest.raises(UnlockError):
        vaults.recover(typed, keyslots.new_code(), NEW)


@pytest.mark.parametrize("passphrase", ["", "elevenchars", "x" * 1025, "ü" * 513, "\ud800 twelve characters"])
def test_what_is_no_passphrase_is_refused(vaults: Vaults, vault: Vault, passphrase: str) -> None:
    for act in (
        lambda: vaults.create("bob", passphrase),
        lambda: vault.change_passphrase(PASSPHRASE, passphrase),
        lambda: vaults.recover("alice", keyslots.new_code(), passphrase),
    ):
        with pytest.raises(ValidationError) as caught:
            act()
        assert "passphrase" in caught.value.fields
    assert [entry.username for entry in vaults.listing()] == ["alice"]


def test_a_taken_name_is_refused_in_any_spelling(vaults: Vaults, vault: Vault) -> None:
    with pytest.raises(UsernameTakenError):
        vaults.create(" ALICE", PASSPHRASE)
    assert vaults.unlock("alice", PASSPHRASE).id == vault.id


def test_passphrases_are_normalised_but_not_trimmed(vaults: Vaults) -> None:
    vaults.create("bob", " pa\u0301ssword of bob ")
    vaults.unlock("bob", " p\u00e1ssword of bob ")
    with pytest.raises(UnlockError):
        vaults.unlock("bob", "p\u00e1ssword of bob")


def test_the_host_sees_names_and_days_only(vaults: Vaults, vault: Vault, clock: SettableClock) -> None:
    assert [(entry.id, entry.username, entry.created) for entry in vaults.listing()] == [
        (vault.id, "alice", clock.now())
    ]
    assert PASSPHRASE not in repr(vaults.listing())


# ---- one Argon2id a try ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("username", "passphrase"),
    [("alice", "not her passphrase"), ("nobody", PASSPHRASE), ("no name at all", PASSPHRASE), ("", "")],
)
def test_every_failed_try_costs_one_argon2_and_looks_the_same(
    vaults: Vaults, vault: Vault, stretches: list[KdfCost], username: str, passphrase: str
) -> None:
    with pytest.raises(UnlockError) as caught:
        vaults.unlock(username, passphrase)
    assert [(cost.memory, cost.passes, cost.lanes) for cost in stretches] == [(19 * 1024, 1, 1)]
    assert (str(caught.value), caught.value.hint, caught.value.fields) == (str(UnlockError()), "", {})


def dearer(vaults: Vaults) -> Vaults:
    """The same host after its costs were raised."""
    limits = KdfLimits(memory=19 * 1024, passes=2, lanes=1)
    return Vaults(vaults.engine, vaults.server_key, clock=vaults.clock, limits=limits)


@pytest.mark.parametrize("username", ["alice", "nobody", "somebody else"])
def test_where_older_vaults_cost_less_a_name_that_is_not_there_does_too(
    vaults: Vaults, vault: Vault, stretches: list[KdfCost], username: str
) -> None:
    for _ in range(3):
        with pytest.raises(UnlockError):
            dearer(vaults).unlock(username, "a wrong passphrase")
    assert [cost.passes for cost in stretches] == [1, 1, 1]


def test_on_an_empty_host_a_try_costs_what_a_new_vault_will(vaults: Vaults, stretches: list[KdfCost]) -> None:
    with pytest.raises(UnlockError):
        dearer(vaults).unlock("nobody", "a wrong passphrase")
    assert [cost.passes for cost in stretches] == [2]


def test_the_next_log_in_raises_the_cost_and_ends_no_session(
    vaults: Vaults, vault: Vault, stretches: list[KdfCost]
) -> None:
    secret = vault.open_session()
    opened = dearer(vaults).unlock("alice", PASSPHRASE)
    assert [cost.passes for cost in stretches] == [1, 2]
    assert opened.check() == []
    assert dearer(vaults).resume(secret).check() == []
    stretches.clear()
    for username, passphrase in (("alice", "a wrong passphrase"), ("nobody", PASSPHRASE)):
        with pytest.raises(UnlockError):
            dearer(vaults).unlock(username, passphrase)
    assert vaults.unlock("alice", PASSPHRASE).check() == []  # where less is asked, it stays dear
    assert [cost.passes for cost in stretches] == [2, 2, 2]


def test_a_planted_slot_is_not_swept_away_by_a_dearer_one(
    vaults: Vaults, vault: Vault, thief: Beside
) -> None:
    slot = plant(thief, vault.id)
    thief.execute("UPDATE keyslots SET kind = 'passphrase' WHERE slot = ?", (slot,))
    opened = dearer(vaults).unlock("alice", PASSPHRASE)
    assert opened.problems() == [f"keyslot {slot} was planted or altered"]


def test_a_good_try_costs_one_argon2(vaults: Vaults, vault: Vault, stretches: list[KdfCost]) -> None:
    vaults.unlock("alice", PASSPHRASE)
    vault.check_passphrase(PASSPHRASE)
    assert len(stretches) == 2


def test_recovery_and_sessions_cost_none(vaults: Vaults, vault: Vault, stretches: list[KdfCost]) -> None:
    vaults.resume(vault.open_session())
    with pytest.raises(UnlockError):
        vaults.recover("alice", keyslots.new_code(), NEW)
    with pytest.raises(UnlockError):
        vaults.recover("nobody", keyslots.new_code(), NEW)
    assert stretches == []


def test_no_more_than_two_stretch_at_once_and_the_rest_is_told_to_wait(
    engine: SqliteEngine, server_key: ServerKey, clock: SettableClock
) -> None:
    hurried = Vaults(engine, server_key, clock=clock, limits=CHEAP, stretch_wait=0.0)
    hurried.create("alice", PASSPHRASE)
    with engine.slot("argon2", 2, 0), engine.slot("argon2", 2, 0), pytest.raises(BusyError):
        hurried.unlock("alice", PASSPHRASE)


@pytest.mark.parametrize("memory", [0, 19 * 1024 - 1, 512 * 1024 + 1, 2**32 - 1])
def test_an_edited_cost_is_refused_before_anything_runs(
    vaults: Vaults, vault: Vault, thief: Beside, stretches: list[KdfCost], memory: int
) -> None:
    params = KdfCost(memory, 1, 1, bytes(16)).encode()
    thief.execute("UPDATE keyslots SET params = ? WHERE kind = 'passphrase'", (params,))
    with pytest.raises(TamperedError):
        vaults.unlock("alice", PASSPHRASE)
    assert stretches == []


# ---- wrong credential or altered bytes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "error"),
    [
        ("checked", UnlockError),
        ("params", UnlockError),  # another salt
        ("public", TamperedError),
        ("wrapped", TamperedError),
    ],
)
@pytest.mark.parametrize("kind", ["passphrase", "recovery"])
def test_a_flipped_bit_of_a_slot(
    vaults: Vaults, thief: Beside, kind: str, column: str, error: type[Exception]
) -> None:
    vault, code = vaults.create("alice", PASSPHRASE)
    flip(thief, "keyslots", column, f"kind = '{kind}'")
    tries = {
        "passphrase": lambda: vaults.unlock("alice", PASSPHRASE),
        "recovery": lambda: vaults.recover("alice", code, NEW),
    }
    with pytest.raises(error):
        tries[kind]()
    slot = thief.execute("SELECT slot FROM keyslots WHERE kind = ?", (kind,)).fetchone()[0]
    assert vault.problems() == [f"keyslot {slot} was planted or altered"]


def test_an_altered_recovery_slot_shows_while_the_passphrase_still_opens(
    vaults: Vaults, vault: Vault, thief: Beside
) -> None:
    flip(thief, "keyslots", "wrapped", "kind = 'recovery'")
    assert "planted or altered" in vaults.unlock("alice", PASSPHRASE).problems()[0]


def test_wraps_are_not_swapped_between_vaults(vaults: Vaults, vault: Vault, thief: Beside) -> None:
    other = vaults.create("bob", PASSPHRASE)[0]
    thief.execute("UPDATE keyslots SET vault = 'x' WHERE vault = ? AND kind = 'passphrase'", (vault.id,))
    thief.execute(
        "UPDATE keyslots SET vault = ? WHERE vault = ? AND kind = 'passphrase'", (vault.id, other.id)
    )
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)


def test_a_vault_that_is_deleted_while_its_passphrase_is_stretched_opens_nothing(
    vaults: Vaults, vault: Vault, thief: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = vaults.stretching.run

    def meanwhile(passphrase: bytes, cost: KdfCost) -> bytes:
        thief.execute("DELETE FROM vaults")
        return real(passphrase, cost)

    monkeypatch.setattr(vaults.stretching, "run", meanwhile)
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)


def test_a_vault_that_vanished_between_two_looks_opens_nothing(
    vaults: Vaults, vault: Vault, thief: Beside
) -> None:
    thief.execute("DELETE FROM vaults")
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    assert not vault.recovery_confirmed


# ---- planted, cut, put back ------------------------------------------------------------------------


def plant(thief: Beside, vault: str) -> str:
    """A slot of the thief's own, with a root of his own: all he can make."""
    cost = CHEAP.fresh()
    stretched = crypto.stretch(b"the thief's passphrase", cost)
    slot = PassphraseSlot.wrap(vault, stretched, cost, Key(bytes(32)), 1)
    thief.execute(
        "INSERT INTO keyslots VALUES (?, ?, 'tool', ?, ?, ?, ?, ?, 1, 0, x'')",
        (vault, slot.slot, slot.params, slot.check, slot.public, bytes(32), slot.wrapped),
    )
    return slot.slot


def test_a_planted_slot_is_found(vault: Vault, thief: Beside) -> None:
    slot = plant(thief, vault.id)
    assert vault.problems() == [f"keyslot {slot} was planted or altered"]


def test_a_planted_slot_stays_found_after_changes_of_passphrase_code_and_grants(
    vaults: Vaults, vault: Vault, thief: Beside
) -> None:
    slot = plant(thief, vault.id)
    vault.change_passphrase(PASSPHRASE, NEW)
    vault.new_recovery_code(NEW)
    with vault.engine.write() as transaction:
        vault.set_roster_grants(transaction, [])
    assert vaults.unlock("alice", NEW).problems() == [f"keyslot {slot} was planted or altered"]


def test_a_removed_slot_is_missed(vault: Vault, thief: Beside) -> None:
    slot = thief.execute("SELECT slot FROM keyslots WHERE kind = 'recovery'").fetchone()[0]
    thief.execute("DELETE FROM keyslots WHERE kind = 'recovery'")
    assert vault.problems() == [f"keyslot {slot} is missing"]


def test_an_altered_or_emptied_roster_is_found(vault: Vault, thief: Beside) -> None:
    flip(thief, "vaults", "roster")
    assert "the list of keyslots and grants was altered" in vault.problems()
    thief.execute("UPDATE vaults SET roster = x''")
    assert len(vault.problems()) == 2  # neither of the slots is known


def test_a_swapped_log_key_is_found_and_nothing_is_sealed_to_it(
    vaults: Vaults, vault: Vault, thief: Beside, server_key: ServerKey
) -> None:
    foreign = crypto.public_of(crypto.random_key())
    thief.execute("UPDATE vaults SET log_public = ?", (foreign,))
    with pytest.raises(TamperedError):
        vaults.log_public(vault.id)
    assert vault.problems() == ["the log's public key was swapped"]
    # even with a voucher of the server's: the root knows better
    thief.execute("UPDATE vaults SET log_mac = ?", (server_key.vouch(vault.id, "log", foreign),))
    assert vault.problems() == ["the log's public key was swapped"]
    assert vaults.unlock("alice", PASSPHRASE).problems() == ["the log's public key was swapped"]


def test_a_swapped_mailbox_key_is_found_even_with_the_servers_word(
    vaults: Vaults, vault: Vault, thief: Beside, server_key: ServerKey
) -> None:
    foreign = crypto.public_of(crypto.random_key())
    thief.execute("UPDATE vaults SET mailbox_public = ?", (foreign,))
    assert vault.problems() == ["the mailbox's public key was swapped"]
    thief.execute("UPDATE vaults SET mailbox_mac = ?", (server_key.vouch(vault.id, "mailbox", foreign),))
    assert vaults.mailbox_public(vault.id) == foreign  # the server's word alone is not hers
    assert vault.problems() == ["the mailbox's public key was swapped"]
    assert vaults.unlock("alice", PASSPHRASE).problems() == ["the mailbox's public key was swapped"]


def test_a_vault_of_before_the_mailbox_has_no_problem_and_gets_one_at_its_next_unlock(
    vaults: Vaults, vault: Vault, thief: Beside
) -> None:
    thief.execute("UPDATE vaults SET mailbox_public = x'', mailbox_mac = x''")
    thief.execute("DELETE FROM mailbox_marks")
    assert vault.problems() == []
    opened = vaults.unlock("alice", PASSPHRASE)
    assert vaults.mailbox_public(vault.id) == crypto.public_of(opened.keyring.mailbox_private())
    assert opened.problems() == []


def test_an_unknown_vault_has_no_log_key(vaults: Vaults) -> None:
    with pytest.raises(TamperedError):
        vaults.log_public("0" * 32)


def test_a_sound_vault_has_no_problems(vaults: Vaults, vault: Vault) -> None:
    record = vault.records("purchases").put(DOCUMENT)
    vault.records("purchases").remove(vault.records("purchases").put(DOCUMENT))
    vault.records("purchases").put(DOCUMENT, record)
    assert vaults.unlock("alice", PASSPHRASE).problems() == vault.check() == []


@pytest.mark.parametrize(
    "cut",
    [
        "DELETE FROM journal WHERE seq = (SELECT max(seq) FROM journal)",
        "DELETE FROM journal",
        "DELETE FROM journal_heads",
        "UPDATE journal_heads SET sealed = x'00'",
        "UPDATE journal SET sealed = (SELECT sealed FROM journal WHERE seq = 1) WHERE seq = 3",
    ],
)
def test_a_cut_journal_is_found_at_unlock(vaults: Vaults, vault: Vault, thief: Beside, cut: str) -> None:
    for _ in range(3):
        vault.records("purchases").put(DOCUMENT)
    thief.execute(cut)
    assert vaults.unlock("alice", PASSPHRASE).problems() == ["the journal was cut or altered"]
    assert "the journal's chain is broken" in vault.check()


def test_a_journal_cut_with_its_head_is_found_at_unlock(vault: Vault, thief: Beside) -> None:
    vault.records("purchases").put(DOCUMENT)
    thief.execute("DELETE FROM journal")
    thief.execute("DELETE FROM journal_heads")
    assert vault.problems() == ["the journal was cut or altered"]
    with pytest.raises(TamperedError):
        vault.records("purchases").put(DOCUMENT)


def test_a_journal_cut_in_the_middle_is_found_by_the_check(vault: Vault, thief: Beside) -> None:
    for _ in range(3):
        vault.records("purchases").put(DOCUMENT)
    thief.execute("DELETE FROM journal WHERE seq = 2")
    assert vault.problems() == []
    assert vault.check() == ["the journal's chain is broken"]


def test_an_old_envelope_put_back_is_found_by_the_check(vault: Vault, thief: Beside) -> None:
    records = vault.records("purchases")
    record = records.put(DOCUMENT)
    old = thief.execute("SELECT revision, body FROM records").fetchone()
    records.put({"item": {"title": "Emma"}}, record)
    thief.execute("UPDATE records SET body = ?", (old[1],))
    with pytest.raises(TamperedError):
        records.get(record)  # its revision is bound in
    thief.execute("UPDATE records SET revision = ?, body = ?", old)
    assert vault.check() == [f"record {record} is not the newest state"]


def test_a_removed_or_put_back_row_is_found_by_the_check(vault: Vault, thief: Beside) -> None:
    records = vault.records("purchases")
    kept, removed = records.put(DOCUMENT), records.put(DOCUMENT)
    row = thief.execute("SELECT * FROM records WHERE record = ?", (removed,)).fetchone()
    records.remove(removed)
    thief.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    thief.execute("DELETE FROM records WHERE record = ?", (kept,))
    assert sorted(vault.check()) == sorted(
        [f"record {removed} is not the newest state", f"record {kept} is missing"]
    )


def test_a_hidden_row_is_found_by_the_check(vault: Vault, thief: Beside) -> None:
    record = vault.records("purchases").put(DOCUMENT)
    thief.execute("UPDATE records SET import = 7")
    thief.execute("INSERT INTO imports VALUES (?, 7)", (vault.id,))
    assert vault.check() == [f"record {record} is missing"]


def test_a_noted_record_that_does_not_open_is_found_by_the_check(vault: Vault, engine: SqliteEngine) -> None:
    """As a fault of a writer would leave it: only who holds the root can note it."""
    sound, broken = (vault.records("purchases").put(DOCUMENT) for _ in range(2))
    noted = Noted("purchases", broken, vault.records("purchases").read(broken)[1], body_hash(b"nonsense"))
    with engine.write() as transaction:
        transaction.execute("UPDATE records SET body = ? WHERE record = ?", (b"nonsense", broken))
        Journal(engine, vault.keyring).append(transaction, [noted])
    assert vault.check() == [f"record {broken} does not open"]
    assert vault.records("purchases").get(sound)["item"] == {"title": "Dune"}


def test_two_records_swapped_are_found_and_do_not_open(vault: Vault, thief: Beside) -> None:
    records = vault.records("purchases")
    one, other = records.put(DOCUMENT), records.put({"item": {"title": "Emma"}})
    bodies = dict(thief.execute("SELECT record, body FROM records").fetchall())
    for record, body in ((one, bodies[other]), (other, bodies[one])):
        thief.execute("UPDATE records SET body = ? WHERE record = ?", (body, record))
        with pytest.raises(TamperedError):
            records.get(record)
    assert len(vault.check()) == 2


# ---- sessions --------------------------------------------------------------------------------------


def test_a_session_resumes_until_it_has_been_idle(vaults: Vaults, vault: Vault, clock: SettableClock) -> None:
    secret = vault.open_session()
    record = vault.records("purchases").put(DOCUMENT)
    for _ in range(4):
        clock.forward(29 * 60)
        assert vaults.resume(secret).records("purchases").get(record)["item"] == {"title": "Dune"}
    clock.forward(30 * 60)
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)


def test_a_session_ends_for_good_however_busy_it_is(
    vaults: Vaults, vault: Vault, clock: SettableClock
) -> None:
    secret = vault.open_session()
    for _ in range(12 * 3 - 1):
        clock.forward(20 * 60)
        vaults.resume(secret)
    clock.forward(20 * 60)
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)


def test_a_glance_does_not_write(vaults: Vaults, vault: Vault, thief: Beside, clock: SettableClock) -> None:
    secret, before = vault.open_session(), clock.now()
    clock.forward(59)
    vaults.resume(secret)
    assert thief.execute("SELECT used FROM sessions").fetchone() == (before,)
    clock.forward(1)
    vaults.resume(secret)
    assert thief.execute("SELECT used FROM sessions").fetchone() == (before + 60,)


def test_limits_of_sessions_are_the_hosts(
    engine: SqliteEngine, server_key: ServerKey, clock: SettableClock
) -> None:
    short = Vaults(
        engine, server_key, clock=clock, limits=CHEAP, sessions=SessionLimits(idle=10, absolute=15)
    )
    secret = short.create("alice", PASSPHRASE)[0].open_session()
    clock.forward(9)
    short.resume(secret)
    clock.forward(6)
    with pytest.raises(SessionExpiredError):
        short.resume(secret)


def test_every_session_has_a_secret_of_its_own_that_is_not_stored(
    vaults: Vaults, vault: Vault, folder: Path
) -> None:
    secrets = {vault.open_session() for _ in range(3)}
    assert len(secrets) == 3
    stored = on_disk(folder)
    for secret in secrets:
        raw = base64.urlsafe_b64decode(secret + "=")
        assert raw not in stored
        assert secret.encode() not in stored


@pytest.mark.parametrize("years", [-1, 1])
def test_a_clock_that_jumps_revives_no_session(
    vaults: Vaults, vault: Vault, clock: SettableClock, years: int
) -> None:
    secret = vault.open_session()
    clock.forward(years * 365 * 86_400)
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)


@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "ü" * 43, "A" * 44, "not base64!", "A" * 400])
def test_a_foreign_secret_is_an_ended_session(vaults: Vaults, vault: Vault, secret: str) -> None:
    vault.open_session()
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)
    vault.close_session(secret)


def test_closing_a_session_ends_that_one(vaults: Vaults, vault: Vault) -> None:
    one, other = vault.open_session(), vault.open_session()
    vault.close_session(one)
    with pytest.raises(SessionExpiredError):
        vaults.resume(one)
    vaults.resume(other)
    assert vault.close_all_sessions() == 1
    with pytest.raises(SessionExpiredError):
        vaults.resume(other)


def test_nobody_closes_the_sessions_of_another_vault(vaults: Vaults, vault: Vault) -> None:
    other = vaults.create("bob", PASSPHRASE)[0]
    secret = vault.open_session()
    other.close_session(secret)
    assert other.close_all_sessions() == 0
    vaults.resume(secret)


def test_a_prolonged_or_moved_session_is_tampering(vaults: Vaults, vault: Vault, thief: Beside) -> None:
    secret = vault.open_session()
    thief.execute("UPDATE sessions SET expires = expires + 86400")
    with pytest.raises(TamperedError):
        vaults.resume(secret)
    thief.execute("UPDATE sessions SET expires = expires - 86400")
    other = vaults.create("bob", PASSPHRASE)[0]
    thief.execute("UPDATE sessions SET vault = ?", (other.id,))
    with pytest.raises(TamperedError):
        vaults.resume(secret)


def test_the_sweep_deletes_ended_sessions_only(vaults: Vaults, vault: Vault, clock: SettableClock) -> None:
    vault.open_session()
    clock.forward(20 * 60)
    fresh = vault.open_session()
    clock.forward(10 * 60)
    assert vaults.sweep() == 1
    vaults.resume(fresh)
    clock.forward(13 * 3600)
    assert vaults.sweep() == 1


# ---- changing the ways in --------------------------------------------------------------------------


def slot_bytes(thief: Beside, kind: str) -> list[bytes]:
    rows = thief.execute("SELECT params, checked, public, wrapped FROM keyslots WHERE kind = ?", (kind,))
    return [piece for row in rows for piece in row]


def test_a_new_passphrase_replaces_the_old_one_and_ends_sessions(
    vaults: Vaults, vault: Vault, thief: Beside, folder: Path
) -> None:
    record = vault.records("purchases").put(DOCUMENT)
    secret = vault.open_session()
    old = slot_bytes(thief, "passphrase") + [row[0] for row in thief.execute("SELECT wrapped FROM sessions")]
    thief.close()
    vault.change_passphrase(PASSPHRASE, NEW)
    with pytest.raises(UnlockError):
        vaults.unlock("alice", PASSPHRASE)
    with pytest.raises(SessionExpiredError):
        vaults.resume(secret)
    opened = vaults.unlock("alice", NEW)
    assert opened.records("purchases").get(record)["item"] == {"title": "Dune"}
    assert opened.check() == []
    stored = on_disk(folder)
    assert [piece for piece in old if piece in stored] == []


def test_the_old_passphrase_is_asked_for(vaults: Vaults, vault: Vault) -> None:
    for act in (vault.check_passphrase, vault.new_recovery_code):
        with pytest.raises(UnlockError):
            act("not her passphrase")
    with pytest.raises(UnlockError):
        vault.change_passphrase("not her passphrase", NEW)
    vaults.unlock("alice", PASSPHRASE)


def test_the_recovery_code_opens_sets_a_passphrase_and_stays_good(vaults: Vaults, thief: Beside) -> None:
    vault, code = vaults.create("alice", PASSPHRASE)
    record = vault.records("purchases").put(DOCUMENT)
    secret = vault.open_session()
    opened = vaults.recover("Alice", code.lower().replace("-", " "), NEW)
    assert opened.records("purchases").get(record)["context"] == {"for": "gift"}
    for act in (lambda: vaults.unlock("alice", PASSPHRASE), lambda: vaults.resume(secret)):
        with pytest.raises((UnlockError, SessionExpiredError)):
            act()
    vaults.unlock("alice", NEW)
    vaults.recover("alice", code, PASSPHRASE)
    assert opened.check() == []


@pytest.mark.parametrize("typed", ["", "XXXX", "0" * 33])
def test_a_wrong_or_mistyped_code_is_a_wrong_credential(vaults: Vaults, vault: Vault, typed: str) -> None:
    with pytest.raises(UnlockError):
        vaults.recover("alice", typed, NEW)
    vaults.unlock("alice", PASSPHRASE)


def test_a_new_recovery_code_replaces_the_old_one(vaults: Vaults, thief: Beside, folder: Path) -> None:
    vault, code = vaults.create("alice", PASSPHRASE)
    assert vault.confirm_recovery_code(code)
    assert vault.recovery_confirmed
    old = slot_bytes(thief, "recovery")
    thief.close()
    fresh = vault.new_recovery_code(PASSPHRASE)
    assert not vault.recovery_confirmed
    assert not vault.confirm_recovery_code(code)
    assert not vault.confirm_recovery_code("mistyped")
    with pytest.raises(UnlockError):
        vaults.recover("alice", code, NEW)
    stored = on_disk(folder)
    assert [piece for piece in old if piece in stored] == []
    assert vault.confirm_recovery_code(fresh)
    assert vault.problems() == []


def test_codes_are_stored_nowhere_and_never_repeat(vaults: Vaults, folder: Path) -> None:
    _, code = vaults.create("alice", PASSPHRASE)
    stored = on_disk(folder)
    for spelling in (code, code.replace("-", ""), code.lower()):
        assert spelling.encode() not in stored
    assert keyslots.code_bytes(code) not in stored
    assert len({keyslots.new_code() for _ in range(100)}) == 100


# ---- the server key --------------------------------------------------------------------------------


def test_a_lost_server_key_costs_sessions_and_no_record(
    engine: SqliteEngine, vault: Vault, folder: Path, clock: SettableClock
) -> None:
    record = vault.records("purchases").put(DOCUMENT)
    secret = vault.open_session()
    (folder / "server.key").unlink()
    later = Vaults(engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
    with pytest.raises(SessionExpiredError):
        later.resume(secret)
    with pytest.raises(UnvouchedError):
        later.log_public(vault.id)  # nobody has vouched for it yet
    assert later.adopt() == []
    with pytest.raises(TamperedError):
        later.log_public(vault.id)  # not before she has been here
    opened = later.unlock("alice", PASSPHRASE)
    assert opened.records("purchases").get(record)["item"] == {"title": "Dune"}
    assert opened.check() == []
    assert later.log_public(vault.id) == crypto.public_of(opened.keyring.log_private())


def test_a_new_server_key_vouches_for_no_planted_slot(
    engine: SqliteEngine, vault: Vault, folder: Path, clock: SettableClock, thief: Beside
) -> None:
    slot = plant(thief, vault.id)
    (folder / "server.key").unlink()
    key = serverkey.load(folder / "server.key")
    later = Vaults(engine, key, clock=clock, limits=CHEAP)
    assert later.adopt() == []
    later.unlock("alice", PASSPHRASE)
    vouched = {
        name: mac == key.vouch(vault.id, name, public)
        for name, public, mac in thief.execute("SELECT slot, public, public_mac FROM keyslots")
    }
    assert vouched.pop(slot) is False
    assert set(vouched.values()) == {True}


def test_with_an_altered_roster_a_new_server_key_vouches_for_no_slot(
    engine: SqliteEngine, vault: Vault, folder: Path, clock: SettableClock, thief: Beside
) -> None:
    before = thief.execute("SELECT slot, public_mac FROM keyslots").fetchall()
    flip(thief, "vaults", "roster")
    (folder / "server.key").unlink()
    later = Vaults(engine, serverkey.load(folder / "server.key"), clock=clock, limits=CHEAP)
    assert later.adopt() == []
    assert later.unlock("alice", PASSPHRASE).problems() == ["the list of keyslots and grants was altered"]
    assert thief.execute("SELECT slot, public_mac FROM keyslots").fetchall() == before


# ---- what shows ------------------------------------------------------------------------------------


def test_a_vault_shows_its_id_and_nothing_else(vault: Vault) -> None:
    assert repr(vault) == f"<Vault {vault.id}>"
    assert repr(vault.keyring) == "<Keyring>"
    assert vault.keyring.root().reveal().hex() not in repr(vars(vault))


def test_a_collection_that_is_not_in_the_catalog_is_our_own_mistake(vault: Vault) -> None:
    with pytest.raises(KeyError):
        vault.records("sessions")


def test_new_passphrases_cost_what_production_says_unless_told_otherwise(
    engine: SqliteEngine, server_key: ServerKey, clock: SettableClock, thief: Beside
) -> None:
    Vaults(engine, server_key, clock=clock).create("alice", PASSPHRASE)
    (params,) = thief.execute("SELECT params FROM keyslots WHERE kind = 'passphrase'").fetchone()
    cost, floor = KdfCost.decode(params), KdfLimits()
    assert (cost.memory, cost.passes, cost.lanes) == (floor.memory, floor.passes, floor.lanes)
    assert floor.memory == 64 * 1024
