"""Processes that write one vault at once; each is told the folder and the passphrase."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.conftest import CHEAP, SettableClock
from tests.postgres import engine_of
from vrm.vault import serverkey
from vrm.vault.tables import where
from vrm.vault.vault import Vault, Vaults


def unlocked(folder: Path, passphrase: str) -> Vault:
    """Alice's vault, opened anew by this process."""
    engine = engine_of(folder)
    key = serverkey.load(folder / "server.key")
    vaults = Vaults(engine, key, clock=SettableClock(), limits=CHEAP)
    assert vaults.adopt() == []  # as the start of a host does where the key is new
    return vaults.unlock("alice", passphrase)


def purchase(title: str, **context: Any) -> dict[str, Any]:
    return {"item": {"title": title}, "order": {"seller": "shop.test"}, "context": context}


def insert_and_edit(folder: Path, passphrase: str, number: int, threads: int, each: int) -> None:
    """Every thread inserts `each` purchases, edits every one, and removes every fifth."""
    vault = unlocked(folder, passphrase)

    def run(thread: int) -> None:
        table = vault.table("purchases")
        for at in range(each):
            title = f"{number}-{thread}-{at}"
            record = table.insert(purchase(title))
            table.update({"context": {"for": "gift"}}, doc_ids=[record])
            if at % 5 == 4:
                table.remove(where("item")["title"] == title)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))
    vault.engine.close()
