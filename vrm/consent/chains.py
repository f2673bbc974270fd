"""What of grants, tokens and logs can be checked without a key; for the rest see `vrm.vault.chains`."""

from __future__ import annotations

from vrm.consent.endings import STATES
from vrm.vault.engine import Engine


def problems(engine: Engine) -> list[str]:
    """What does not fit, in all vaults; empty if all is well."""
    with engine.read():
        return _logs(engine) + _grants(engine)


def paused(engine: Engine) -> int:
    """How many grants of a restored copy wait for their customers' next unlock, to end there."""
    row = engine.one("SELECT count(*) FROM grants WHERE state = 'paused'")
    return int(row[0]) if row else 0


def _logs(engine: Engine) -> list[str]:
    found = [
        f"entries are missing in the log (segment {bytes(segment).hex()[:8]})"
        for segment, count, first, last in engine.all(
            "SELECT segment, count(*), min(seq), max(seq) FROM log_entries GROUP BY vault, segment"
        )
        if first != 1 or last != count
    ]
    found += [
        f"a part of the log has lost its key (segment {bytes(segment).hex()[:8]})"
        for (segment,) in engine.all(
            "SELECT DISTINCT segment FROM log_entries e WHERE NOT EXISTS"
            " (SELECT 1 FROM log_segments s WHERE s.vault = e.vault AND s.segment = e.segment)"
        )
    ]
    return found


def _grants(engine: Engine) -> list[str]:
    marks = ", ".join("?" * len(STATES))
    found = [
        f"grant {grant_id} is in no state that there is"
        for (grant_id,) in engine.all(f"SELECT grant_id FROM grants WHERE state NOT IN ({marks})", STATES)
    ]
    for what, sql in (
        ("rows of a view", "SELECT 1 FROM views x WHERE x.grant_id = g.grant_id"),
        ("a credential", "SELECT 1 FROM tokens x WHERE x.grant_id = g.grant_id AND x.wrapped IS NOT NULL"),
    ):
        found += [
            f"grant {grant_id} has ended and still has {what}"
            for (grant_id,) in engine.all(
                f"SELECT grant_id FROM grants g WHERE state != 'live' AND EXISTS ({sql}) ORDER BY grant_id"
            )
        ]
    row = engine.one(
        "SELECT count(*) FROM tokens WHERE wrapped IS NOT NULL"
        " AND grant_id NOT IN (SELECT grant_id FROM grants)"
    )
    return found + ([f"{row[0]} credentials of no grant"] if row and row[0] else [])
