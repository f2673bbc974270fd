"""What of the tables can be checked without a key: that nothing is missing in a row of numbers, that every
row belongs to something, that ways in are such as could have been written here.

Finds what was cut out, lost or left behind; who rewrites a chain from end to end is found with the
passphrase only (`vrm.vault.checking`).
"""

from __future__ import annotations

from vrm.errors import TamperedError
from vrm.vault.crypto import KdfCost
from vrm.vault.engine import Engine
from vrm.vault.keyslots import PassphraseSlot

_FLEETING = {
    "sessions",
    "tools",
    "pairings",
}  # rows that a deletion under way can leave, and that end by themselves


def problems(engine: Engine) -> list[str]:
    """What does not fit, in all vaults; empty if all is well."""
    with engine.read():
        found = _ways_in(engine) + _journals(engine) + _strays(engine)
        if "backup" in engine.tables():
            found.append(
                "this is a backup put in place by hand: `vrm restore` takes it in, and says so to her"
            )
    return found


def _ways_in(engine: Engine) -> list[str]:
    found = [
        f"vault {name} has no passphrase"
        for (name,) in engine.all(
            "SELECT username FROM vaults v WHERE NOT EXISTS"
            " (SELECT 1 FROM keyslots k WHERE k.vault = v.vault AND k.kind = ?) ORDER BY username",
            (PassphraseSlot.kind,),
        )
    ]
    for slot, params in engine.all(
        "SELECT slot, params FROM keyslots WHERE kind = ?", (PassphraseSlot.kind,)
    ):
        try:
            KdfCost.decode(params)
        except TamperedError:
            found.append(f"keyslot {slot} has costs out of bounds")
    return found


def _journals(engine: Engine) -> list[str]:
    rows = engine.all(
        "SELECT v.username, v.generation, count(j.seq), min(j.seq), max(j.seq),"
        " EXISTS (SELECT 1 FROM journal_heads h WHERE h.vault = v.vault)"
        " FROM vaults v LEFT JOIN journal j ON j.vault = v.vault GROUP BY v.vault ORDER BY v.username"
    )
    found = []
    for name, generation, count, first, last, head in rows:
        # a rotation writes the chain anew and counts on, so only that of the first root begins with 1
        if count and (last - first + 1 != count or (generation == 1 and first != 1)):
            found.append(f"entries are missing in the journal of vault {name}")
        if not head:
            found.append(f"the journal of vault {name} has no head")
    return found


def _strays(engine: Engine) -> list[str]:
    found = []
    for table, columns in engine.tables().items():
        if "vault" in columns and table not in _FLEETING:
            row = engine.one(f"SELECT count(*) FROM {table} WHERE vault NOT IN (SELECT vault FROM vaults)")
            if row and row[0]:
                found.append(f"table {table} has {row[0]} rows of a vault that is not there")
    return found
