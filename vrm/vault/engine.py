"""What a database must do for a vault: transactions whose every acknowledged word is on the disk.

Promises, of each engine: a `write` block is one transaction, durable before it returns, wholly rolled back on
any exception; what is deleted can be purged. Refuses: data of a newer version, and to commit a block of which
a part failed. Engines take the same SQL ("?" marks parameters) and pass the contract tests in tests/contract;
nothing outside `sqlite.py` and its likes names a database.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from vrm.errors import DataNewerError

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]
Ask = tuple[str, Sequence[Any]]  # a statement and its values


class MisfitError(Exception):
    """Rows that do not fit the tables: no fault of the storage."""


def as_text(cell: str | bytes) -> str:
    """What stands in a column of text that was read as bytes, in case somebody wrote bytes there.

    Only SQLite lets him, and only there the cast to bytes is done.
    """
    return cell if isinstance(cell, str) else cell.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one part of the project; `version` grows with every change of them.

    `statements` make the newest shape. `steps` maps a version to what lifts data of the version before to
    it; a database lifted step by step has the same tables and columns as a new one. A copy (`vrm backup`)
    takes along no row of the tables `left_out`, and `in_copies` is done to it. A restore calls `carry`
    with what reads the database that was there: it takes over what must not be undone, and says what changed.
    """

    name: str
    version: int
    statements: tuple[str, ...]
    steps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    in_copies: tuple[str, ...] = ()
    carry: Callable[[Callable[[str], list[Row]], Transaction], list[str]] | None = None

    def since(self, found: int) -> tuple[str, ...]:
        """What brings data of version `found` (0: there is none) to this one.

        Raises KeyError where a step is missing.
        """
        if not found:
            return self.statements
        return tuple(one for version in range(found + 1, self.version + 1) for one in self.steps[version])


class Result:
    """The rows of one statement, all here, and how many it changed or found."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Row], rowcount: int) -> None:
        self._rows = iter(rows)
        self.rowcount = rowcount

    def fetchone(self) -> Row | None:
        return next(self._rows, None)

    def fetchall(self) -> list[Row]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return self._rows


class Transaction(Protocol):
    """What runs inside `Engine.write` or `Engine.read`.

    `send` runs a statement whose answer nobody waits for: at the latest with the end of the block, which then
    fails where the statement does. `ask` runs several, whose answers are looked at in their order.
    """

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Any: ...

    def send(self, sql: str, parameters: Sequence[Any] = ()) -> None: ...

    def ask(self, statements: Iterable[Ask]) -> Iterator[Any]: ...

    def executemany(self, sql: str, rows: Iterator[Sequence[Any]] | Sequence[Sequence[Any]]) -> Any: ...

    def each(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]: ...

    def on_commit(self, act: Callable[[], object]) -> None: ...

    def on_rollback(self, act: Callable[[], object]) -> None: ...


class Step(NamedTuple):
    """What a piece of work does in a durable transaction, and of which vault.

    `asks` says, in the transaction, with which statements it begins: `act` is given their answers. Those of
    several steps may all be run before the first of these acts.
    """

    act: Callable[..., Any]
    of: str = ""
    asks: Callable[[], Sequence[Ask]] | None = None

    def done(self, transaction: Transaction) -> Any:
        """Do it; returns what its act does."""
        return self.act(transaction, *(transaction.ask(self.asks()) if self.asks else ()))


Work: TypeAlias = Generator[Step, Any, T]  # yields a step, and is sent what its act returned


class Engine(Protocol):
    """One database. Blocks nest: an inner block joins the outer transaction of its thread.

    `of` names the one vault that a write is about: writes of different vaults need not wait for each other.
    Without it a write is alone. `perform` does a piece of work, some of whose steps may share a transaction,
    and so the wait for the disk, with steps of other threads: what a step's act returned is sent to the work
    once that is durable, and an act that raises, which is thrown into the work, has written nothing.
    Another thread may do all of it: a work holds nothing that is of its own thread. `together` is a work of
    one step. What works that are done at the same time need alike, each finds in `shared` where another has
    put it: it is gone when they are done, and is nobody else's. Works by one credential, and so of one vault,
    say so by what they are `like`: an engine that does not do all works together does those. `alone` reads
    one state while nobody else has the data open; `count_on` comes after rows that were written with numbers
    which the database gives else.
    """

    def write(self, of: str = "") -> AbstractContextManager[Transaction]: ...

    def perform(self, work: Work[T], like: object = None) -> T: ...

    def together(self, act: Callable[[Transaction], T], of: str = "") -> T: ...

    def shared(self) -> dict[object, Any]: ...

    def read(self) -> AbstractContextManager[Transaction]: ...

    def alone(self) -> AbstractContextManager[Transaction]: ...

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None: ...

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]: ...

    def in_transaction(self) -> bool: ...

    def exclusive(self, name: str, of: str = "") -> AbstractContextManager[bool]: ...

    def slot(self, name: str, count: int, wait: float) -> AbstractContextManager[None]: ...

    def install(self, schemas: Sequence[Schema]) -> Path | None: ...

    def purge(self) -> bool: ...

    def integrity(self) -> list[str]: ...

    def tables(self) -> dict[str, tuple[str, ...]]: ...

    def count_on(self) -> None: ...

    def size(self) -> int: ...

    def close(self) -> None: ...


def carried_out(work: Work[T], do: Callable[[Step], Any]) -> T:
    """Do a work from its beginning to its end, each step by `do`."""
    try:
        step = next(work)
        while True:
            try:
                given = do(step)
            except Exception as error:  # noqa: BLE001 - the work says what it means
                step = work.throw(error)
            else:
                step = work.send(given)
    except StopIteration as end:
        result: T = end.value
        return result


def one_by_one(engine: Engine, work: Work[T]) -> T:
    """Do a work in this thread, each of its steps in a transaction that others may share."""
    return carried_out(work, lambda step: engine.together(step.done, step.of))


class _Engaged(Protocol):
    _engine: Engine


def performed(begun: Callable[Concatenate[Any, P], Work[T]]) -> Callable[Concatenate[Any, P], T]:
    """A method that does at once, with the object's own engine, what another begins as a work."""

    @wraps(begun)
    def done(self: _Engaged, /, *given: P.args, **named: P.kwargs) -> T:
        return self._engine.perform(begun(self, *given, **named))

    return done


def one_step(act: Callable[[Transaction], T], of: str = "") -> Work[T]:
    """A work that is one step."""
    result: T = yield Step(act, of)
    return result


def due(schemas: Sequence[Schema], present: Mapping[str, int]) -> list[Schema]:
    """Those that the data lacks or has older (name → version); DataNewerError where it is newer."""
    for schema in schemas:
        found = present.get(schema.name, 0)
        if found > schema.version:
            raise DataNewerError(
                hint="install that version again, or put a copy from before in its place:"
                f" docs/self-hosting.md, going back ({schema.name}: data {found},"
                f" this version {schema.version})"
            )
    return [schema for schema in schemas if present.get(schema.name, 0) < schema.version]


def lift(transaction: Transaction, schemas: Sequence[Schema], present: Mapping[str, int]) -> None:
    """Bring what is `due` to its newest shape, and note that it has it."""
    for schema in schemas:
        for statement in schema.since(present.get(schema.name, 0)):
            transaction.execute(statement)
        transaction.execute(
            "INSERT INTO schemas VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = ?",
            (schema.name, schema.version, schema.version),
        )


def by_table(columns: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Table → its columns, of (table, column) in their order."""
    found: dict[str, list[str]] = {}
    for table, column in columns:
        found.setdefault(table, []).append(column)
    return {table: tuple(names) for table, names in found.items()}
