"""A process that writes until it is killed: `python -m tests.faults.writer KIND FOLDER NAME`.

It prints a line for what was acknowledged, only after it was; whoever kills it reads the lines.
"""

import os
import sys
import time
from pathlib import Path

from tests.conftest import CHEAP, PASSPHRASE
from tests.vault.writers import purchase, unlocked
from vrm.host import open_host
from vrm.settings import Settings
from vrm.vault.schemas import validate
from vrm.vault.vault import Vault


def tell(line: str) -> None:
    """One write, so that lines of several writers never mix and none is kept back."""
    os.write(1, f"{line}\n".encode())


def write(vault: Vault, name: str, pause: float = 0) -> None:
    """Insert, edit and remove for ever."""
    table = vault.table("purchases")
    for number in range(1_000_000):
        time.sleep(pause)
        record = table.insert(purchase(f"{name}-{number}"))
        tell(f"inserted {record}")
        if number % 3 == 1:
            table.update({"context": {"for": "gift"}}, doc_ids=[record])
            tell(f"edited {record}")
        if number % 3 == 2:
            tell(f"removing {record}")  # killed from here on, it may be there or not
            table.remove(doc_ids=[record])
            tell(f"removed {record}")


def bring(vault: Vault, name: str) -> None:
    """Import for ever, never published."""
    with vault.records("purchases").staging() as staging:
        for number in range(1_000_000):
            rows = [
                (f"{name}-{number}-{at}".encode(), validate("purchases", purchase(f"{name}-{number}-{at}")))
                for at in range(20)
            ]
            staging.add(rows)
            tell(f"staged {number}")


def change(vault: Vault, name: str) -> None:
    """Change the passphrase to and fro for ever."""
    passphrases = [PASSPHRASE, "a passphrase for the time after"]
    tell("ready")
    for number in range(1_000_000):
        vault.change_passphrase(passphrases[number % 2], passphrases[1 - number % 2])
        tell(f"changed {number}")


if __name__ == "__main__":
    if sys.argv[1] == "beside":  # a server, with vendors' views to keep in step
        HOST = open_host(Settings(data_dir=Path(sys.argv[2])), limits=CHEAP)
        write(HOST.vaults.unlock("alice", PASSPHRASE), sys.argv[3], pause=0.1)
    KIND = {"write": write, "bring": bring, "change": change}[sys.argv[1]]
    KIND(unlocked(Path(sys.argv[2]), PASSPHRASE), sys.argv[3])
