"""A PostgreSQL server, as one of its roles sees it: does it keep what it acknowledges, and who can listen."""

from __future__ import annotations

from collections.abc import Iterator

from vrm.doctor.findings import Finding, fail, ok, warn
from vrm.vault.engine import Engine

OLDEST = 13  # that is looked after, and tried


def examine(engine: Engine) -> Iterator[Finding]:
    """StorageError where it cannot be asked."""
    yield version(_asked(engine, "SELECT current_setting('server_version')"))
    yield durable(
        fsync=_asked(engine, "SELECT current_setting('fsync')"),
        pages=_asked(engine, "SELECT current_setting('full_page_writes')"),
    )
    yield line(
        _asked(
            engine,
            "SELECT CASE WHEN inet_client_addr() IS NULL THEN 'socket' WHEN ssl THEN 'tls'"
            " WHEN inet_client_addr() << '127.0.0.0/8' OR inet_client_addr() = '::1' THEN 'loopback'"
            " ELSE 'open' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        )
    )
    yield role(_asked(engine, "SELECT current_setting('is_superuser')"))
    yield ok("backup", "not known here: vrm backup, or the server's own (docs/self-hosting.md, PostgreSQL)")


def _asked(engine: Engine, sql: str) -> str:
    row = engine.one(sql)
    return str(row[0]) if row else ""


def version(told: str) -> Finding:
    """Of a version that is tested."""
    if not told[:2].isdigit() or int(told[:2]) < OLDEST:
        return fail("database server", f"PostgreSQL {told}", f"upgrade it to {OLDEST} or newer")
    return ok("database server", f"PostgreSQL {told}")


def durable(*, fsync: str, pages: str) -> Finding:
    """Whether an acknowledged word survives a loss of power; that it is waited for, each session demands."""
    off = [name for name, value in (("fsync", fsync), ("full_page_writes", pages)) if value != "on"]
    if off:
        do = f"turn on {' and '.join(off)} in postgresql.conf"
        return fail("durable writes", "the server acknowledges what a loss of power takes away", do)
    return ok("durable writes", "on the server's disk before they are acknowledged")


def line(kind: str) -> Finding:
    """Whether others in the network can read along, or answer in the server's place."""
    if kind == "open":
        do = "add ?sslmode=verify-full&sslrootcert=FILE to VRM_DATABASE_URL, and hostssl to pg_hba.conf"
        return warn("database line", "goes over the network as it is: names, times and sizes can be read", do)
    return ok("database line", {"socket": "a socket", "tls": "encrypted"}.get(kind, "within this machine"))


def role(superuser: str) -> Finding:
    """Least is enough."""
    if superuser == "on":
        do = "CREATE ROLE vrm LOGIN, and let it own the database"
        return warn("database role", "a superuser: whoever has it, has the whole server", do)
    return ok("database role", "no superuser")
