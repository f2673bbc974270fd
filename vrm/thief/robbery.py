"""The robbery from beginning to end, its report, and the command.

Promises: the copy is not touched (a private second copy is opened, so that a write-ahead log is replayed);
no check of policy stands in the way: no grant's end, no scope, no period is respected. What does not open
here does not open. The report says what was tried and what was only sampled.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vrm.clock import rfc3339
from vrm.errors import SettingsError, StorageError, TamperedError, ValidationError
from vrm.thief import exports, keys
from vrm.thief.credential import Loot, open_with
from vrm.thief.keys import Attempt, Database
from vrm.thief.taking import ending_in_order, second_copy
from vrm.thief.texts import SHORTEST, Found, long_enough, look
from vrm.vault import serverkey
from vrm.vault.crypto import Key, Probe
from vrm.vault.serverkey import ServerKey

SAMPLE = 2  # envelopes of every kind on which every key is tried; of records and rows one
_SQLITE = b"SQLite format 3\0"
_SERVER_KEY = b"vrm-server-key-"
_MOST_TOKEN = 4096  # bytes that are read of a file with a credential, which has a tenth of that
_TOKENS = re.compile(rb"vrm_(?:at|rt|ac)_[A-Za-z0-9_\-]{48}")


@dataclass
class Clear:
    """What lies open: names, times, counts, sizes. The host could read it, and so can a thief."""

    vaults: list[dict[str, Any]] = field(default_factory=list)
    vendors: list[str] = field(default_factory=list)
    connections: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Report:
    """What the thief got."""

    files: int
    size: int  # bytes
    server_keys: int
    clear: Clear = field(default_factory=Clear)
    keys: int = 0  # stored values tried as keys
    envelopes: int = 0
    tried: Counter[str] = field(default_factory=Counter)  # kind of key → attempts
    opened: Counter[str] = field(default_factory=Counter)  # kind of key → envelopes
    looked_for: int = 0
    too_short: int = 0  # texts that were not looked for: chance writes them, too
    found: list[Found] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # pipes, sockets, links to nothing
    token: Loot | None = None

    @property
    def safe(self) -> bool:
        """Whether nothing opened without a credential, and with one only what is its own."""
        return not (self.opened or self.found or (self.token and self.token.beyond))

    def json(self) -> dict[str, Any]:
        """The report for scripts; what the token opened is counted, and given as `documents`."""
        plain = replace(self, tried=Counter(), opened=Counter())  # which asdict cannot copy
        counts = {"tried": dict(self.tried), "opened": dict(self.opened)}
        return {"safe": self.safe, "sample": SAMPLE, **asdict(plain), **counts}

    def text(self) -> str:
        """The report in plain words."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        with_key = "the server key included" if self.server_keys else "without a server key"
        yield f"{self.files} files, {self.size:,} bytes, {with_key}."
        if self.left_out:
            yield f"  left out, being no files: {', '.join(self.left_out)}."
        yield "Lies open:"
        for vault in self.clear.vaults:
            counts = ", ".join(f"{count} {name}" for name, count in vault["records"].items()) or "empty"
            yield f"  vault {vault['name']} since {vault['created']}: {counts}"
        yield f"  vendors: {', '.join(self.clear.vendors) or 'none'}"
        for link in self.clear.connections:
            who = f"{link['vendor'] or 'a vendor'} and vault {link['vault']}"
            when = f"{link['state']}, from {link['created']} to {link['expires']}"
            yield f"  {who}: {when}, {link['rows']} rows, {link['reads']} readings"
        yield (
            f"Tried {self.keys:,} stored values as {len(self.tried)} kinds of key and secret:"
            f" {self.tried.total():,} attempts on {self.envelopes} envelopes"
            f" (at most {SAMPLE} of each kind in each vault)."
        )
        for kind, count in sorted(self.opened.items()):
            yield f"  OPENED with a {kind} that lay in the copy: {count}"
        if not self.opened:
            yield "  nothing opened."
        if self.looked_for:
            texts = _count(self.looked_for, "text")
            yield f"Looked for {texts} in every file, plain, hex, base64, UTF-16, compressed:"
            yield from (f"  FOUND in {one.file} ({one.form})" for one in self.found)
            if not self.found:
                yield "  none is there."
        if self.too_short:
            yield f"  not looked for: {_count(self.too_short, 'text')} of less than {SHORTEST} bytes."
        if self.token is not None:
            yield from self._of_token(self.token)

    @staticmethod
    def _of_token(loot: Loot) -> Iterator[str]:
        if not loot.kind:
            yield f"The credential opened nothing ({loot.tried:,} attempts)."
            return
        what = ", ".join(loot.scopes) or "everything"
        yield f"With the {loot.kind} credential: {len(loot.documents)} rows of {what}."
        for kind, count in sorted(loot.beyond.items()):
            yield f"  OPENED beyond that with a {kind}: {count}"
        if loot.grant and not loot.beyond:
            yield f"  nothing beyond ({loot.tried:,} attempts on all envelopes)."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def rob(copy: Path, *, token: str | None = None, look_for: Sequence[str] = ()) -> Report:
    """Try everything on a copy of a data directory, a backup, an export of a vault (or a database alone).

    Raises StorageError where there is no database, SettingsError for a server key that is none.
    """
    with second_copy(copy) as (folder, left_out):
        look_in = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        contents = {path: path.read_bytes() for path in look_in}
        found_keys = [
            _server_key(path) for path, content in contents.items() if content.startswith(_SERVER_KEY)
        ]
        texts = [text for text in look_for if long_enough(text)]
        found = look(folder, texts)
        report = Report(len(contents), sum(map(len, contents.values())), len(found_keys))
        report.looked_for, report.found, report.left_out = len(texts), found, left_out
        report.too_short = len(look_for) - len(texts)
        databases = [path for path, content in contents.items() if content.startswith(_SQLITE)]
        moved = [content for content in contents.values() if exports.is_export(content)]
        if not databases and not moved:
            raise StorageError(
                f"there is no database in {copy}",
                hint="name a copy of the data directory, or an export",
            )
        for content in moved:
            _rob_export(report, content, found_keys)
        for path in databases:
            with closing(Database(path)) as database:
                others = [content for other, content in contents.items() if other not in databases]
                _rob_database(report, database, found_keys, others)
                _try_tokens(report, database, found_keys, contents.values(), token)
    return report


def _server_key(path: Path) -> tuple[ServerKey, bytes]:
    """(subkeys, the file's own secret)."""
    path.chmod(0o600)
    return serverkey.load(path), path.read_bytes()


def _rob_database(
    report: Report, database: Database, server_keys: list[tuple[ServerKey, bytes]], others: list[bytes]
) -> None:
    _read_clear(report.clear, database, [key for key, _ in server_keys])
    values = list(keys.of_database(database))
    for content in others:
        values += keys.of_file(content)
    for server_key, _ in server_keys:
        values += keys.of_server(server_key)
    candidates = keys.distinct(values)
    attempts = list(keys.attempts(database, SAMPLE, 1))
    report.keys += len(candidates)
    report.envelopes += len(attempts)
    _try_all(report, candidates, attempts)
    for pepper in [key.pepper for key, _ in server_keys] or [b""]:
        for kind, is_secret in keys.secrets(database, pepper):
            report.tried[kind] += len(candidates)
            report.opened.update({kind: sum(map(is_secret, candidates))})
    report.opened += Counter()  # without the kinds of which none opened


def _rob_export(report: Report, content: bytes, server_keys: list[tuple[ServerKey, bytes]]) -> None:
    values = [*exports.keys_of(content), *(value for key, _ in server_keys for value in keys.of_server(key))]
    candidates, attempts = keys.distinct(values), list(exports.attempts(content))
    report.keys += len(candidates)
    report.envelopes += len(attempts)
    _try_all(report, candidates, attempts)
    report.opened += Counter()  # without the kinds of which none opened


def _try_all(report: Report, candidates: list[bytes], attempts: list[Attempt]) -> None:
    for attempt in attempts:
        report.tried[attempt.kind] += len(candidates)
    for value in candidates:
        probe = Probe(Key(value))
        report.opened.update(attempt.kind for attempt in attempts if keys.opens(attempt, probe))


def _try_tokens(
    report: Report,
    database: Database,
    server_keys: list[tuple[ServerKey, bytes]],
    contents: Iterable[bytes],
    token: str | None,
) -> None:
    peppers = [key.pepper for key, _ in server_keys] or [b""]
    lying = {match.decode() for content in contents for match in _TOKENS.findall(content)}
    for pepper in peppers:
        for text in lying:
            if open_with(database, pepper, text).kind:
                report.opened["token"] += 1
        if token is not None and not (report.token and report.token.kind):
            report.token = open_with(database, pepper, token)


def _read_clear(clear: Clear, database: Database, server_keys: list[ServerKey]) -> None:
    names = {}
    for vault, name, created in database.rows(
        "SELECT vault, username, created FROM vaults ORDER BY username"
    ):
        names[vault] = name
        sql = "SELECT collection, count(*) FROM records WHERE vault = ? GROUP BY collection"
        clear.vaults.append(
            {"name": name, "created": rfc3339(created), "records": dict(database.rows(sql, vault))}
        )
    clear.vendors += [row[0] for row in database.rows("SELECT name FROM vendors ORDER BY name")]
    sql = (
        "SELECT grant_id, vault, state, created, expires, last_used, reads, routing,"
        " (SELECT count(*) FROM views v"
        " WHERE v.grant_id = g.grant_id AND sealed IS NOT NULL) FROM grants g ORDER BY created, grant_id"
    )
    for grant_id, vault, state, created, expires, used, reads, routing, rows in database.rows(sql):
        clear.connections.append(
            {
                "grant": grant_id,
                "vault": names.get(vault, vault),
                "vendor": _vendor(server_keys, grant_id, routing),
                "state": state,
                "created": rfc3339(created),
                "expires": rfc3339(expires),
                "last_read": None if used is None else rfc3339(used),
                "reads": reads,
                "rows": rows,
            }
        )


def _vendor(server_keys: list[ServerKey], grant_id: str, routing: bytes) -> str:
    """Whom a grant is with: the host must know it while its vault is locked, so the server key tells."""
    for key in server_keys:
        try:
            return str(json.loads(key.routing.unseal(routing, grant_id))[2])
        except TamperedError:
            continue
    return ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `vrm thief`."""
    parser.add_argument(
        "copy",
        type=Path,
        metavar="COPY",
        help="a copy of the data directory or its database, a backup, an export of a vault",
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="PATH",
        help="a stolen token, code, session secret or credential of a tool to open with",
    )
    parser.add_argument(
        "--look-for",
        action="append",
        default=[],
        metavar="TEXT",
        help="a text that must be nowhere; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _token(path: Path) -> str:
    """The credential in a file; ValidationError where it is no text."""
    with path.open("rb") as source:
        raw = source.read(_MOST_TOKEN)
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        raise ValidationError(fields={"token": ["is not UTF-8 text"]}) from None


def run(arguments: argparse.Namespace) -> int:
    """The command: 0 if nothing opened without a credential and nothing beyond one, else 1."""
    if not arguments.copy.exists():
        raise SettingsError(
            f"{arguments.copy} does not exist", hint="copy the data directory, then name the copy"
        )
    token = _token(arguments.token_file) if arguments.token_file else None
    with ending_in_order():
        report = rob(arguments.copy, token=token, look_for=arguments.look_for)
    told = json.dumps(report.json(), indent=2) if arguments.json else report.text()
    print(told)  # noqa: T201 - which knows what to do where standard output is closed
    return 0 if report.safe else 1
