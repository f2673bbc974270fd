"""Backup and restore of a whole database: a copy that carries no credential, put back whole or not.

`take` writes what one moment of the running database says into a new file. Rows that open something
(sessions, tokens, requests) are never written to it, so no byte of them can be left in it; grants stand in
it as paused. `put_back` prepares a new database beside the present one and puts it in place by one rename:
killed or out of space at any step, either the old state is there or the new one, and the old database is
kept under another name, never deleted. Refuses: files that are no backup, damaged ones, newer ones, and to
work while anybody has the data open. Neither ever touches the server key.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vrm import __version__
from vrm.errors import ConflictError, DataNewerError, FormatError, StorageError
from vrm.vault import across
from vrm.vault.engine import Engine, Schema, Transaction
from vrm.vault.occupied import Occupied
from vrm.vault.refusals import refused
from vrm.vault.sqlite import SqliteEngine
from vrm.vault.wholefile import sync, whole_file

FORMAT: Final = 1  # of backups
APPLICATION: Final = 0x76726D62  # "vrmb": SQLite's application id of a backup
TABLES = (
    # from a restore (of the host or of one vault) until the customer has read the notice
    "CREATE TABLE restored (vault TEXT PRIMARY KEY, taken INTEGER NOT NULL, at INTEGER NOT NULL)",
)
_MARKER = "CREATE TABLE backup (format INTEGER NOT NULL, version TEXT NOT NULL, taken INTEGER NOT NULL)"
_SQLITE = b"SQLite format 3\0"
_HEADER = 100  # bytes of an SQLite header; its application id stands at 68
_PIECE = 1 << 20  # bytes copied at once
_STEPS = 20_000  # of SQLite's machine between two reports of progress
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was written."""

    path: Path
    size: int  # bytes
    vaults: int
    taken: int


@dataclass(frozen=True, slots=True)
class PutBack:
    """A backup that is in place; `aside` is where the database before it is kept.

    `changed` says, line by line, what that one knew otherwise; None where it could not be read.
    """

    vaults: int
    taken: int
    aside: Path | None
    changed: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """That a vault came from a copy, until the customer has read so: when it was taken, when put back."""

    taken: int
    at: int


def take(
    database: Path,
    schemas: Sequence[Schema],
    target: Path,
    now: int,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Taken:
    """Write a backup of a database, which others may use meanwhile, to `target` (0600, whole or not there).

    Its tables must have the newest shape. ConflictError where `target` exists and `force` is not given.
    """
    with whole_file(target, force=force) as part, _sqlite_errors(part):
        _make_empty(part, schemas)
        _copy_rows(database, part, schemas, progress)
        vaults = _finish_copy(part, schemas, now)
    with suppress(OSError):  # a note for `vrm doctor`; the backup is good without it
        _note_of(database).write_text(f"{now}\n", encoding="ascii")
        _note_of(database).chmod(0o600)
    return Taken(target, target.stat().st_size, vaults, now)


def take_of_server(
    engine: Engine,
    schemas: Sequence[Schema],
    target: Path,
    now: int,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Taken:
    """The same of a database that is no file: the same kind of backup, which fits either engine."""
    with whole_file(target, force=force) as part, _sqlite_errors(part):
        _make_empty(part, schemas)
        left_out = {"schemas", *(table for schema in schemas for table in schema.left_out)}
        with engine.read() as rows, closing(_connect(part)) as raw:
            raw.execute("PRAGMA journal_mode=OFF").close()
            raw.execute("PRAGMA synchronous=OFF")
            raw.execute("BEGIN")
            tables = {table: names for table, names in engine.tables().items() if table not in left_out}
            across.copy_rows(rows, raw, tables, progress)
            raw.execute("COMMIT")
        vaults = _finish_copy(part, schemas, now)
    return Taken(target, target.stat().st_size, vaults, now)


def last_taken(database: Path) -> int | None:
    """When the last backup of this database was finished, in seconds; None where none is known."""
    try:
        return int(_note_of(database).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _note_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.last-backup")


@contextmanager
def _sqlite_errors(written: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise refused(error, disk=written) from error


def _connect(path: Path) -> sqlite3.Connection:
    raw = sqlite3.connect(path, isolation_level=None)
    for pragma in ("secure_delete=ON", "temp_store=MEMORY", "trusted_schema=OFF", "busy_timeout=10000"):
        raw.execute(f"PRAGMA {pragma}").close()
    return raw


def _make_empty(part: Path, schemas: Sequence[Schema]) -> None:
    with closing(_connect(part)) as raw:
        raw.execute("PRAGMA journal_mode=OFF").close()
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("CREATE TABLE schemas (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        raw.executemany("INSERT INTO schemas VALUES (?, ?)", [(one.name, one.version) for one in schemas])
        for statement in _statements(schemas, "CREATE TABLE"):
            raw.execute(statement)


def _statements(schemas: Sequence[Schema], kind: str) -> list[str]:
    return [
        statement
        for schema in schemas
        for statement in schema.statements
        if statement.startswith("CREATE TABLE") == (kind == "CREATE TABLE")
    ]


def _copy_rows(database: Path, part: Path, schemas: Sequence[Schema], progress: Progress | None) -> None:
    """Copy every row that may travel, as one read transaction sees them; writers are not held up."""
    left_out = {"schemas", *(table for schema in schemas for table in schema.left_out)}
    with closing(_connect(database)) as raw:
        raw.execute("ATTACH ? AS copy", (os.fsencode(part),))  # a name may be any bytes
        raw.execute("PRAGMA copy.journal_mode=OFF").close()
        raw.execute("PRAGMA copy.synchronous=OFF")
        if progress is not None:
            _report(raw, database, part, progress)
        raw.execute("BEGIN")
        tables = raw.execute("SELECT name FROM copy.sqlite_schema WHERE type = 'table'").fetchall()
        for (table,) in tables:
            if table not in left_out:
                names = raw.execute("SELECT name FROM pragma_table_info(?, 'copy')", (table,)).fetchall()
                columns = ", ".join(name for (name,) in names)
                raw.execute(f"INSERT INTO copy.{table} ({columns}) SELECT {columns} FROM main.{table}")
        raw.execute("COMMIT")


def _report(raw: sqlite3.Connection, database: Path, part: Path, progress: Progress) -> None:
    total = database.stat().st_size

    def tell() -> int:
        progress("copying", min(part.stat().st_size, total), total)
        return 0

    raw.set_progress_handler(tell, _STEPS)


def _finish_copy(part: Path, schemas: Sequence[Schema], now: int) -> int:
    """Indexes, what is done to copies, and the marker; returns how many vaults there are."""
    with closing(_connect(part)) as raw:
        raw.execute("PRAGMA journal_mode=OFF").close()
        raw.execute("PRAGMA synchronous=OFF")
        raw.execute("BEGIN")
        for statement in [*_statements(schemas, "CREATE INDEX"), *_in_copies(schemas), _MARKER]:
            raw.execute(statement)
        raw.execute("INSERT INTO backup VALUES (?, ?, ?)", (FORMAT, __version__, now))
        raw.execute("COMMIT")
        raw.execute(f"PRAGMA application_id={APPLICATION}")
        return int(raw.execute("SELECT count(*) FROM vaults").fetchone()[0])


def _in_copies(schemas: Sequence[Schema]) -> list[str]:
    return [statement for schema in schemas for statement in schema.in_copies]


def require_backup(file: Path) -> None:
    """FormatError for a file that does not begin as a backup does; nothing of it is parsed."""
    with file.open("rb") as source:
        head = source.read(_HEADER)
    if not head.startswith(_SQLITE) or int.from_bytes(head[68:72], "big") != APPLICATION:
        raise FormatError(f"{file} is not a backup of vrm", hint="name a file that `vrm backup` wrote")


def put_back(
    file: Path,
    database: Path,
    schemas: Sequence[Schema],
    now: int,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> PutBack:
    """Make a backup the database; with `force`, one that is there already is kept aside.

    Raises FormatError, DataNewerError, StorageError for files that cannot be used, ConflictError where a
    database is in the way or in use.
    """
    require_backup(file)
    folder = database.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if database.exists() and not force:
        raise ConflictError(
            f"there is a database already: {database}", hint="--force keeps it under another name"
        )
    with Occupied(database, alone=True), _sqlite_errors(database), _workplace(folder) as work:
        fresh = work / database.name
        _copy_file(file, fresh, progress)
        taken = _read_marker(fresh, schemas)
        if database.exists():
            _bring_in_log(database)
        vaults, changed = _prepare(fresh, database, schemas, taken, now)
        aside = _keep_aside(database, now) if database.exists() else None
        _drop_logs(database)
        fresh.replace(database)
        sync(folder)
    return PutBack(vaults, taken, aside, changed)


def put_back_to_server(
    file: Path,
    engine: Engine,
    folder: Path,
    schemas: Sequence[Schema],
    now: int,
    *,
    progress: Progress | None = None,
) -> PutBack:
    """Fill an empty database that is no file with a backup, made ready in `folder`.

    Raises what `put_back` does, and ConflictError where anything is in the database.
    """
    require_backup(file)
    if engine.tables():
        raise ConflictError(
            "there is something in this database already",
            hint="make an empty one (createdb) and name it in VRM_DATABASE_URL; this one stays as it is",
        )
    with _workplace(folder) as work, _sqlite_errors(work):
        fresh = work / "vrm.db"
        _copy_file(file, fresh, progress)
        taken = _read_marker(fresh, schemas)
        vaults, _ = _prepare(fresh, work / "none", schemas, taken, now)
        source = SqliteEngine(fresh)
        try:
            across.move(source, engine, schemas, progress)
        finally:
            source.close()
    return PutBack(vaults, taken, None)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    work = folder / "restoring"
    shutil.rmtree(work, ignore_errors=True)  # of a restore that was killed: never the only copy
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _copy_file(file: Path, fresh: Path, progress: Progress | None) -> None:
    total, done = file.stat().st_size, 0
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with file.open("rb") as source, os.fdopen(descriptor, "wb") as out:
        while piece := source.read(_PIECE):
            out.write(piece)
            done += len(piece)
            if progress is not None:
                progress("restoring", done, total)


def _read_marker(fresh: Path, schemas: Sequence[Schema]) -> int:
    """When the backup was taken; refuses what is damaged, newer, or brings more than tables and indexes."""
    try:
        with closing(_connect(fresh)) as raw:
            if raw.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
                raise StorageError("the backup is damaged", hint="use another copy")
            kinds = raw.execute("SELECT DISTINCT type FROM sqlite_schema").fetchall()
            (found,) = raw.execute("SELECT format, version, taken FROM backup").fetchall()
            versions = dict(raw.execute("SELECT name, version FROM schemas").fetchall())
    except (sqlite3.Error, ValueError):
        raise StorageError("the backup is damaged", hint="use another copy") from None
    if not {kind for (kind,) in kinds} <= {"table", "index"} or not isinstance(found[2], int):
        raise StorageError("the backup holds what vrm did not write", hint="use another copy")
    known = {schema.name: schema.version for schema in schemas}
    if found[0] != FORMAT or any(version > known.get(name, 0) for name, version in versions.items()):
        raise DataNewerError(hint=f"it was written by vrm {found[1]}; this is {__version__}")
    return int(found[2])


def _prepare(
    fresh: Path, former: Path, schemas: Sequence[Schema], taken: int, now: int
) -> tuple[int, tuple[str, ...] | None]:
    """Lift to this version, drop what no copy may hold (should it be planted), carry over, give notice."""
    engine = SqliteEngine(fresh)
    try:
        engine.install(schemas)
        with engine.write() as transaction:
            for table in [table for schema in schemas for table in schema.left_out]:
                transaction.execute(f"DELETE FROM {table}")
            for statement in _in_copies(schemas):
                transaction.execute(statement)
            changed = _carried(former, schemas, transaction)
            transaction.execute("DROP TABLE backup")
            transaction.execute("DELETE FROM restored")
            transaction.execute("INSERT INTO restored SELECT vault, ?, ? FROM vaults", (taken, now))
        engine.one("PRAGMA application_id=0")
        row = engine.one("SELECT count(*) FROM vaults")
        engine.purge()
    finally:
        engine.close()
    with closing(_connect(fresh)) as raw:
        raw.execute("PRAGMA journal_mode=DELETE").close()  # so that the file alone is everything
    sync(fresh)
    return int(row[0]) if row else 0, changed


def _carried(former: Path, schemas: Sequence[Schema], transaction: Transaction) -> tuple[str, ...] | None:
    """What each part takes over from the database that was there; None where that cannot be read."""
    if not former.exists():
        return ()
    if (
        len(_files(former)) > 1
    ):  # a log that could not be brought in: what the file says alone is not the state
        return None
    try:
        with closing(sqlite3.connect(f"{former.resolve().as_uri()}?mode=ro", uri=True)) as raw:
            read = raw.execute
            told = [one.carry(lambda sql: read(sql).fetchall(), transaction) for one in schemas if one.carry]
    except sqlite3.Error:
        return None
    return tuple(line for lines in told for line in lines)


def _keep_aside(database: Path, now: int) -> Path:
    """Give the present database a second name in a folder of its own, complete and closed."""
    for old in database.parent.glob("before-restore-*"):  # a restore that was killed before it replaced
        with suppress(OSError):
            if (old / database.name).samefile(database):
                (old / database.name).unlink()
                old.rmdir()
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = database.with_name(f"before-restore-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = database.with_name(f"before-restore-{stamp}-{number}")
    aside.mkdir(mode=0o700)
    for path in _files(database):
        _second_name(path, aside / path.name)
    sync(aside)
    sync(database.parent)
    return aside


def _bring_in_log(database: Path) -> None:
    if _has_log(database):
        with suppress(sqlite3.Error), closing(_connect(database)) as raw:
            raw.execute("PRAGMA journal_mode=DELETE").close()  # brings the write-ahead log into the file


def _has_log(database: Path) -> bool:
    """Whether SQLite takes the log beside it for the database's own: any other one it would delete."""
    with database.open("rb") as source:
        head = source.read(_HEADER)
    return head.startswith(_SQLITE) and head[18:20] == b"\2\2"


def _files(database: Path) -> list[Path]:
    """The database and, where it could not be closed (it is damaged), its logs."""
    names = ("", "-wal", "-journal")
    paths = [database.with_name(database.name + ending) for ending in names]
    return [path for path in paths if path.exists()]


def _second_name(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # a file system without links
        shutil.copyfile(path, other)
        other.chmod(0o600)
        sync(other)


def _drop_logs(database: Path) -> None:
    """No log of another database may lie beside a new one: SQLite would write it into it."""
    for ending in ("-wal", "-shm", "-journal"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def restored(engine: Engine, vault: str) -> Restored | None:
    """Whether this vault came from a copy and the customer was not told yet."""
    row = engine.one("SELECT taken, at FROM restored WHERE vault = ?", (vault,))
    return Restored(*row) if row else None


def was_told(engine: Engine, vault: str) -> None:
    """The customer has read the notice."""
    with engine.write() as transaction:
        transaction.execute("DELETE FROM restored WHERE vault = ?", (vault,))
