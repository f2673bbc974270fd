"""Imports that are interrupted, killed, or run while the customer works."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.postgres import traced
from tests.vault.importers.samples import retail
from tests.vault.importing import RETAIL, bring, counts, kept
from vrm.errors import ConflictError


def test_progress_is_told_while_reading_and_storing(vault):
    told = []
    content = retail(*[{"ASIN": f"B{at}"} for at in range(2500)])
    bring(vault, (RETAIL, content), progress=lambda *step: told.append(step))
    assert told == [
        ("reading", 1000, 0),
        ("reading", 2000, 0),
        ("storing", 1000, 2500),
        ("storing", 2000, 2500),
        ("storing", 2500, 2500),
    ]


class InterruptedHereError(Exception):
    pass


def test_an_import_that_fails_half_way_leaves_nothing(vault, engine):
    def stop(step, done, total):
        if step == "storing" and done == 2000:
            assert vault.records("purchases").count() == 1  # and nothing shows meanwhile
            raise InterruptedHereError

    bring(vault, ("a.csv", retail({"ASIN": "KEEP"})))
    content = retail({"ASIN": "KEEP", "Product Name": "changed"}, *[{"ASIN": f"B{at}"} for at in range(2500)])
    with pytest.raises(InterruptedHereError):
        bring(vault, (RETAIL, content), progress=stop)
    assert [one["item"]["title"] for one in kept(vault).values()] == ["Walking boots"]
    assert engine.one("SELECT count(*) FROM records") == (1,)
    assert engine.one("SELECT count(*) FROM staged") == (0,)
    (said,) = bring(vault, (RETAIL, content))
    assert counts(said) == (2501, 2500, 1, 0, 0)


KILLED = """
    import sys
    from pathlib import Path
    from tests.conftest import CHEAP, PASSPHRASE, SettableClock
    from tests.vault.importers.samples import Pipe, retail
    from vrm.vault import serverkey
    from tests.postgres import engine_of
    from vrm.vault.intake import bring_in
    from vrm.vault.vault import Vaults

    folder = Path(sys.argv[1])
    server_key = serverkey.load(folder / "server.key")
    vaults = Vaults(engine_of(folder), server_key, clock=SettableClock(), limits=CHEAP)
    vault = vaults.unlock("alice", PASSPHRASE)

    def pause(step, done, total):
        if step == "storing" and done == 2000:
            print("half way", flush=True)
            sys.stdin.read()

    content = retail(*[{"ASIN": f"B{at}"} for at in range(2500)])
    bring_in(vault, [("Retail.OrderHistory.1.csv", Pipe(content))], pause)
"""


def test_a_killed_import_shows_nothing_and_is_swept(vault, folder, engine):
    root = Path(__file__).resolve().parents[2]
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout.readline() == "half way\n"
        with pytest.raises(ConflictError):
            bring(vault, (RETAIL, retail({})))
        running.send_signal(signal.SIGKILL)
    assert engine.one("SELECT count(*) FROM records")[0] >= 1000  # it had stored some
    assert vault.records("purchases").count() == 0
    assert list(vault.records("purchases").scan()) == []
    assert bring(vault, (RETAIL, retail({})))[0].imported == 1
    assert engine.one("SELECT count(*) FROM records") == (1,)


def test_what_she_edits_or_removes_while_an_import_runs_is_her_word(vault):
    records = vault.records("purchases")
    bring(vault, ("a.csv", retail({"ASIN": "EDITED"}, {"ASIN": "REMOVED"})))
    known = {document["item"]["asin"]: record for record, document in records.scan()}

    def meanwhile(step, done, total):
        if (step, done) == ("storing", 1000):
            records.put({**records.get(known["EDITED"]), "context": {"for": "gift"}}, known["EDITED"])
            records.remove(known["REMOVED"])

    renamed = [{"ASIN": asin, "Product Name": "New name"} for asin in ("EDITED", "REMOVED")]
    bring(vault, (RETAIL, retail(*renamed, *[{"ASIN": f"B{at}"} for at in range(1000)])), progress=meanwhile)
    edited = records.get(known["EDITED"])
    assert (edited["item"]["title"], edited["context"]) == ("New name", {"for": "gift"})
    assert not records.contains(known["REMOVED"])
    assert records.count() == 1001
    assert vault.check() == []


def test_what_she_edits_or_removes_right_before_a_line_is_taken_over_is_her_word(vault):
    records = vault.records("purchases")
    bring(vault, ("a.csv", retail({"ASIN": "EDITED"}, {"ASIN": "REMOVED"})))
    known = {document["item"]["asin"]: record for record, document in records.scan()}

    def edit(*_):
        records.put({**records.get(known["EDITED"]), "context": {"for": "gift"}}, known["EDITED"])

    def remove(*_):
        records.remove(known["REMOVED"])

    for asin, meanwhile in (("EDITED", edit), ("REMOVED", remove)):
        bring(vault, (RETAIL, retail({"ASIN": asin, "Product Name": "New name"})), progress=meanwhile)
    assert [(one["item"]["title"], one["context"]) for _, one in records.scan()] == [
        ("New name", {"for": "gift"})
    ]
    assert vault.check() == []


def test_what_she_removes_while_known_lines_are_looked_up_is_known_and_stays_away(vault, engine):
    records = vault.records("purchases")
    bring(vault, (RETAIL, retail({})))
    [(record, _)] = records.scan()
    began = []

    def meanwhile(statement):
        """Between the look for known lines and the reading of what is stored, in another thread."""
        began.append("fingerprint, record" in statement)
        if began[-2:] == [True, False]:
            with ThreadPoolExecutor() as pool:
                pool.submit(records.remove, record).result()

    with traced(engine, meanwhile):
        (said,) = bring(vault, (RETAIL, retail({"Product Name": "New name"})))
    assert counts(said) == (1, 0, 0, 1, 0)
    assert records.count() == 0
    assert vault.check() == []
