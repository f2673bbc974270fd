"""One connection to PostgreSQL: statements prepared once, rows in binary, every refusal in our own errors.

Promises: a COMMIT whose end nobody heard is an UncertainError and never a success; what the server undid for
the sake of another transaction is a StorageConflictError; no value of a row and no password stands in an
error. Refuses text that PostgreSQL cannot store. Speaks through `psycopg.pq`: a cursor of psycopg costs three
times the CPU (docs/adr/0029). Sole importer of `psycopg`.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.types.numeric import NumericBinaryLoader

from vrm.errors import SettingsError, StorageConflictError, StorageError, UncertainError, ValidationError
from vrm.vault.dialect import translated
from vrm.vault.engine import Ask, MisfitError, Result, Row

_STATEMENTS = 1000  # prepared at once; then all are forgotten and prepared as they come
_FEW = 256  # rows sent or fetched at once where all would be too many
_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
_MISFITS = (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.DatatypeMismatch)
_FAILED = pq.TransactionStatus.INERROR

# Of every session: durable whatever the server's default is, and one that hangs keeps nobody out for long.
# No statement_timeout: what takes long is meant to (a lifting, a copy).
_SESSION = b"""
SET lock_timeout = '10s'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '120s';
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')
    WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
"""
_USUAL = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "target_session_attrs": "read-write",
    "application_name": "vrm",
}
_BY_CODE = {
    "25006": ("the database can only be read: another server took its place", "try again"),
    "25P02": ("", "the transaction was undone"),
    "3D000": ("there is no such database", "create it, or name another in VRM_DATABASE_URL"),
    "42501": ("the database does not let us do that", "VRM_DATABASE_URL names a role that owns its tables"),
    "53100": ("the disk of the database is full; nothing was changed", "make room, then try again"),
    "53300": ("the database takes no more connections", "fewer workers, or a higher max_connections"),
    "55P03": ("another program keeps the database to itself; nothing was changed", "end it, then try again"),
    "XX001": ("the database is damaged", "stop the server; restore the last backup"),
    "XX002": ("an index of the database is damaged", "REINDEX it, or restore the last backup"),
}


class _Numeric(NumericBinaryLoader):
    """sum() of integers, which PostgreSQL gives as numeric."""

    def load(self, data: Any) -> Any:
        found = super().load(data)
        return int(found) if found == int(found) else float(found)


def _text(value: str) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise _no_text() from None
    if b"\0" in raw:
        raise _no_text()
    return raw


def _no_text() -> ValidationError:
    return ValidationError("a text holds a character that cannot be stored")


_pack_int = struct.Struct(">q").pack
_KINDS: dict[type, tuple[int, Callable[[Any], bytes | None]]] = {  # (PostgreSQL's number of the type, bytes)
    int: (20, _pack_int),
    bool: (20, _pack_int),
    str: (25, _text),
    bytes: (17, bytes),
    bytearray: (17, bytes),
    memoryview: (17, bytes),
    float: (701, struct.Struct(">d").pack),
    type(None): (0, lambda _: None),
}


def _kind(found: type) -> type:
    """The type that a subclass is stored as."""
    if found in _KINDS:
        return found
    for known in _KINDS:
        if issubclass(found, known):
            return known
    raise MisfitError(f"{found.__name__} cannot be stored")


class _Prepared:
    """A statement that the server knows by a name, and how its values become bytes."""

    __slots__ = ("_made", "binary", "name", "writes")

    def __init__(self, name: bytes, kinds: Sequence[type], *, writes: bool) -> None:
        self.name, self.writes = name, writes
        self.binary = (1,) * len(kinds)  # the format of each value
        self._made = [_KINDS[kind][1] for kind in kinds]

    def bound(self, values: Sequence[Any]) -> list[bytes | None]:
        try:
            return [made(value) for made, value in zip(self._made, values, strict=True)]
        except struct.error as error:
            raise MisfitError(str(error)) from None


_Asked = tuple[_Prepared, list[bytes | None]]  # with its values, as they go to the server


class Link:
    """One thread's connection and the transaction it is in."""

    def __init__(self, conninfo: str) -> None:
        self._raw = _connected(conninfo)
        self._pg = self._raw.pgconn
        self.pid = os.getpid()
        self.depth = 0
        self.writing = False
        self.doomed = False  # an inner block failed: the outer one must not commit
        self.of: set[str] = set()  # what the transaction has to itself; "": everything
        self.held: set[int] = set()  # session locks
        self._owed: list[int] = []  # session locks to give back once the failed transaction is over
        self.committed: list[Callable[[], object]] = []
        self.rolled_back: list[Callable[[], object]] = []
        self._changes = 0
        self._conflict = False
        self._warnings: list[str] = []
        self._read_only = False
        self._known: dict[tuple[str, tuple[type, ...]], _Prepared] = {}
        self._unsent: list[_Asked] = []  # go with what is asked next
        self._readable, self._both = select.poll(), select.poll()  # both: or takes more of what is sent
        self._readable.register(self._pg.socket, select.POLLIN)
        self._both.register(self._pg.socket, select.POLLIN | select.POLLOUT)
        self._cursors = count()
        self._loader = Transformer(self._raw)
        self._raw.add_notice_handler(partial(_note_warning, self._warnings))  # not of ours: no circle
        self.simple(_SESSION)

    # ---- statements -------------------------------------------------------------------------------

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Result:
        """Run one statement; StorageError where the server refuses, MisfitError where a row does not fit."""
        if len(self._known) >= _STATEMENTS and not self._unsent:
            self.simple(b"DEALLOCATE ALL")
            self._known.clear()
        prepared, values = asked = self._ready(sql, parameters)
        if self._unsent:
            return self._counted(asked, self._at_once([asked])[0])
        result = self._asked(self._pg.exec_prepared, prepared.name, values, prepared.binary, 1)
        return self._counted(asked, result)

    def send(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement whose answer nobody waits for: with the next one, or with the COMMIT.

        Where the server refuses it, that fails, and so the block.
        """
        self._unsent.append(self._ready(sql, parameters))
        self._changes += 1
        if len(self._unsent) >= _FEW:
            self._at_once()

    def ask(self, statements: Iterable[Ask]) -> Iterator[Result]:
        """Run statements in their order, all in one round trip; each counts as done when it is looked at."""
        asked = [self._ready(sql, parameters) for sql, parameters in statements]
        for one, result in zip(asked, self._at_once(asked), strict=True):
            yield self._counted(one, result)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Result:
        """Run one statement for every row, sent a few hundred at a time without waiting for each answer."""
        changed, left = 0, iter(rows)
        while few := list(islice(left, _FEW)):
            results = self._at_once([self._ready(sql, row) for row in few])
            changed += sum(result.command_tuples or 0 for result in results)
        self._changes += changed
        return Result([], changed)

    def _counted(self, asked: _Asked, result: Any) -> Result:
        count = result.command_tuples or 0
        if asked[0].writes:
            self._changes += count
        return Result(self._rows(result), count)

    def _rows(self, result: Any) -> list[Row]:
        if not result.ntuples:
            return []
        self._loader.set_pgresult(result)
        rows: list[Row] = self._loader.load_rows(0, result.ntuples, tuple)
        return rows

    def _at_once(self, asked: Sequence[_Asked] = (), *, commit: bool = False) -> list[Any]:
        """The answers to these, and to a COMMIT, which go behind what was not sent yet.

        Raises the first refusal of any: what stands behind it was not done.
        """
        sent, self._unsent = [*self._unsent, *asked], []
        count, wanted = len(sent) + commit, len(asked) + commit
        try:
            self._pg.enter_pipeline_mode()
            for prepared, values in sent:
                self._pg.send_query_prepared(prepared.name, values, prepared.binary, 1)
            if commit:
                self._pg.send_query_params(b"COMMIT", None)
            self._pg.pipeline_sync()
            results = self._answers(count)
        except psycopg.Error as error:
            raise self._refused(error) from None
        except BaseException:  # what was not heard would be taken for an answer to what comes next
            self._raw.close()
            raise
        return results[count - wanted :]

    def _answers(self, count: int) -> list[Any]:
        """What the server says to a pipeline of so many; the first refusal of any, once all are in."""
        results, refusal = [], None
        while True:
            self._wait()
            result = self._pg.get_result()
            if result is None:  # between two answers
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
            if result.status == pq.ExecStatus.FATAL_ERROR and refusal is None:
                refusal = result
            results.append(result)
            if len(results) < count:
                self._warnings.clear()  # only those of the last are looked at: it may be a COMMIT
        self._pg.exit_pipeline_mode()
        if refusal is not None:
            raise error_from_result(refusal)
        return results

    def _wait(self) -> None:
        """Until an answer is here; raises psycopg.Error where none will come.

        Other threads run meanwhile, which they could not if libpq waited itself.
        """
        while self._pg.is_busy():
            (self._both if self._pg.flush() else self._readable).poll()
            self._pg.consume_input()

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        """Every row, a few at a time, however many there are; to be used up within the block."""
        name = f"each_{next(self._cursors)}"
        self.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", parameters)
        fetch = f"FETCH {_FEW} FROM {name}".encode()
        while True:
            rows = self._rows(self._asked(self._pg.exec_params, fetch, [], None, None, 1))
            yield from rows
            if len(rows) < _FEW:
                break
        self.simple(f"CLOSE {name}".encode())

    def simple(self, sql: bytes) -> Any:
        """Run statements without values in one round trip."""
        if self._unsent:
            self._at_once()
        return self._asked(self._pg.exec_, sql)

    def _ready(self, sql: str, parameters: Sequence[Any]) -> _Asked:
        """A statement that the server knows, and the bytes of its values."""
        kinds = tuple(map(type, parameters))
        found = self._known.get((sql, kinds)) or self._prepare(sql, kinds)
        return found, found.bound(parameters)

    def _prepare(self, sql: str, kinds: tuple[type, ...]) -> _Prepared:
        stored = [_kind(kind) for kind in kinds]
        name = b"s%d" % len(self._known)
        statement, marks = translated(sql)
        if marks != len(kinds):
            raise MisfitError(f"{len(kinds)} values for {marks} marks")
        self._asked(self._pg.prepare, name, statement, [_KINDS[kind][0] for kind in stored])
        found = self._known[sql, kinds] = _Prepared(name, stored, writes=not sql.startswith("SELECT"))
        return found

    def _asked(self, ask: Callable[..., Any], *given: Any) -> Any:
        """The result, if there is one and it is no refusal."""
        try:
            result = ask(*given)
        except psycopg.Error as error:  # the connection is closed
            raise self._refused(error) from None
        if result.status not in _DONE:
            raise self._refused(error_from_result(result))
        return result

    # ---- refusals ---------------------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """Whether nothing can be asked on this connection any more."""
        return self._read_only or self._gone

    @property
    def _gone(self) -> bool:
        return self._pg.status != pq.ConnStatus.OK

    @property
    def failed(self) -> bool:
        """Whether the server undid the transaction and waits for its end."""
        return self._pg.transaction_status == _FAILED

    @property
    def changes(self) -> int:
        """How many rows were written since the connection was made; -1 where the transaction is lost."""
        return -1 if self.failed or self.lost else self._changes

    def _refused(self, error: psycopg.Error) -> Exception:
        code = error.sqlstate or ""
        if code in {"40001", "40P01"}:
            self._conflict = True
            return StorageConflictError()
        said = _said(error)
        if isinstance(error, _MISFITS):
            return MisfitError(said)
        self._read_only |= code == "25006"
        what, do = _BY_CODE.get(code, ("", ""))
        if not code or code[:2] in {"08", "57"} or self._pg.status != pq.ConnStatus.OK:
            what, do = "the database went away; nothing was changed", "try again"
        return StorageError(what, hint=f"{do} ({said})" if do else said)

    # ---- the transaction's end --------------------------------------------------------------------

    def on_commit(self, act: Callable[[], object]) -> None:
        """Run `act` once the outermost block is durable."""
        self.committed.append(act)

    def on_rollback(self, act: Callable[[], object]) -> None:
        """Run `act` if the outermost block is undone, or may be."""
        self.rolled_back.append(act)

    def begin(self, sql: bytes, *, writing: bool) -> None:
        """Begin a transaction; what fails within its first round trip has begun nothing."""
        try:
            self.simple(sql)
        except StorageError:
            self._undo()
            raise
        self.depth, self.writing = 1, writing

    def finish(self, *, commit: bool) -> None:
        """End the outermost block; the callbacks of the way it ended run afterwards."""
        writing = self.writing
        self.depth, self.writing, self.doomed = 0, False, False
        self.of.clear()
        refusal = None
        try:
            if not commit:
                self._undo()
            elif writing:
                self._commit()
            else:
                with suppress(StorageError):  # all that was asked is here
                    self.simple(b"COMMIT")
        except StorageError as error:
            refusal = error
            self._undo()
        self._give_back()
        acts = self.committed if commit and refusal is None else self.rolled_back
        self.committed, self.rolled_back = [], []
        for act in acts:
            act()
        if refusal is not None:
            raise refusal

    def _commit(self) -> None:
        conflict, self._conflict = self._conflict, False
        self._warnings.clear()
        if self.lost:
            raise StorageError("the database went away; nothing was changed", hint="try again")
        try:
            result = self._at_once(commit=True)[0] if self._unsent else self.simple(b"COMMIT")
        except StorageError:
            if self._gone:
                raise UncertainError() from None
            raise
        except MisfitError as error:  # a constraint that is looked at last
            raise StorageError(hint=str(error)) from None
        if result.command_status != b"COMMIT":  # a refusal was swallowed: all is undone, and that is no error
            raise StorageConflictError() if conflict else StorageError(hint="the transaction was undone")
        if self._warnings:  # somebody ended the wait for the standby: here it is stored, there perhaps not
            raise UncertainError()

    def _undo(self) -> None:
        self._conflict = False
        self._unsent = []
        with suppress(StorageError):
            if not self.lost and self._pg.transaction_status != pq.TransactionStatus.IDLE:
                self.simple(b"ROLLBACK")

    # ---- locks of the session ---------------------------------------------------------------------

    def try_lock(self, key: int) -> bool:
        """Take a lock that lasts until `unlock`, or until this session is gone; whether it was free."""
        if key in self.held:  # PostgreSQL would give it to the same session twice
            return False
        row = self.execute("SELECT pg_try_advisory_lock(?)", (key,)).fetchone()
        if row is None or not row[0]:
            return False
        self.held.add(key)
        return True

    def unlock(self, key: int) -> None:
        """Give a lock back, after the transaction where that has failed."""
        self.held.discard(key)
        self._owed.append(key)
        if not self.failed:
            self._give_back()

    def _give_back(self) -> None:
        with suppress(StorageError):
            while self._owed and not self.lost:
                self.execute("SELECT pg_advisory_unlock(?)", (self._owed.pop(),))

    def close(self) -> None:
        """Give back what the connection holds; in a forked child it is its parent's."""
        if self.pid == os.getpid():
            self._raw.close()

    def __del__(self) -> None:  # its thread has ended
        with suppress(AttributeError):  # there was none
            self.close()


def _note_warning(warnings: list[str], said: psycopg.errors.Diagnostic) -> None:
    if said.severity_nonlocalized == "WARNING":
        warnings.append(said.sqlstate or "")


def understood(conninfo: str) -> dict[str, Any]:
    """The parts of a connection string; SettingsError, which does not repeat it: it may hold a password."""
    try:
        return psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.Error:
        raise SettingsError(
            "VRM_DATABASE_URL: not an address of a database",
            hint="postgresql+psycopg://ROLE:PASSWORD@HOST:PORT/DATABASE; signs in a password are written %XX",
        ) from None


def _connected(conninfo: str) -> psycopg.Connection[Any]:
    given = understood(conninfo)
    try:
        raw = psycopg.connect(
            **{**_USUAL, **given, "client_encoding": "utf8"}, autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise StorageError(
            "the database cannot be reached", hint=f"VRM_DATABASE_URL names it ({_said(error)})"
        ) from None
    raw.adapters.register_loader("numeric", _Numeric)
    if raw.pgconn.parameter_status(b"server_encoding") != b"UTF8":
        raw.close()
        raise StorageError("the database does not store UTF-8", hint="make it with ENCODING 'UTF8'")
    return raw


def _said(error: psycopg.Error) -> str:
    """The server's words without its DETAIL, which names values."""
    primary = error.diag.message_primary
    return f"{primary} [{error.sqlstate}]" if primary else str(error).strip().splitlines()[0]
