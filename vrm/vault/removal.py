"""The end of a vault: every row of it, in every table, in one transaction.

Which tables hold rows of a vault is asked of the database itself, so that no table can be forgotten: each
with a column `vault`, and each with a column `grant_id`, by the grants of the vault. Copies that were taken
before still hold it; nobody but who keeps them can delete it there.
"""

from __future__ import annotations

from vrm.errors import ConflictError
from vrm.vault.engine import Engine

_OF_VAULT = "vault = ?"
_OF_GRANTS = "grant_id IN (SELECT grant_id FROM grants WHERE vault = ?)"


def delete(engine: Engine, vault: str) -> dict[str, int]:
    """Delete a vault; table → how many rows there were. ConflictError while an import writes to it.

    What vendors hold of it, opens nothing from the commit on.
    """
    with engine.exclusive("import", of=vault) as mine:
        if not mine:
            raise ConflictError("an import into this vault is running", hint="wait until it has finished")
        tables = engine.tables()
        of_grants = [name for name, columns in tables.items() if "grant_id" in columns and name != "grants"]
        of_vault = [name for name, columns in tables.items() if "vault" in columns and name not in of_grants]
        deleted = {}
        with engine.write() as transaction:
            for names, where in ((of_grants, _OF_GRANTS), (of_vault, _OF_VAULT)):
                for name in names:
                    cursor = transaction.execute(f"DELETE FROM {name} WHERE {where}", (vault,))
                    deleted[name] = int(cursor.rowcount)
    with engine.exclusive("rotation", of=vault):  # what a killed one left beside the data goes, too
        engine.purge()
    return {name: count for name, count in deleted.items() if count}
