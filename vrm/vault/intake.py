"""Bringing exports into a vault: parse everything, then store it all at once.

Promises: files may come in any order, loose or in ZIPs; a line that is known already (by a keyed
fingerprint of seller, order, item and which such line it is) is never stored twice; newer facts change
the seller's facets only; nothing shows before everything is stored, and an import that was killed leaves
nothing. Refuses a file in no known format (FormatError) and one beyond the limits (ImportLimitError)
before anything is written. Rows are held in memory, never on disk: a history in plain text beside the
vault would undo the vault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vrm.errors import FormatError, ImportLimitError, RecordNotFoundError
from vrm.vault import collecting
from vrm.vault.catalog import N_
from vrm.vault.importers import documents, hints, reading, rows
from vrm.vault.importers.csvfile import UNKNOWN_FORMAT, Budget, Stream, Table
from vrm.vault.importers.documents import Document
from vrm.vault.importers.hints import Hint, Usual
from vrm.vault.importers.limits import Limits
from vrm.vault.importers.reading import Format, Source
from vrm.vault.importers.rows import Charge, Line, Refund, Rejection, Return
from vrm.vault.importers.settling import Aftermath, Known, Verdict, settle

if TYPE_CHECKING:
    from vrm.vault.records import Staging
    from vrm.vault.vault import Vault

Step = Literal["reading", "storing"]
Progress = Callable[[Step, int, int], None]  # step, rows done, rows in all (0: not known yet)
COLLECTION = "purchases"
NOTHING_HERE = N_("nothing to import")
BATCH = 1000  # documents sealed and stored in one transaction
_TICK = 1000  # rows between two reports of progress


@dataclass(slots=True)
class FileReport:
    """What became of the rows of one file."""

    file: str
    format: str
    read: int = 0
    imported: int = 0
    updated: int = 0
    duplicates: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    suggestions: int = 0

    def as_json(self) -> dict[str, Any]:
        """The shape that scripts rely on."""
        return {
            "file": self.file,
            "format": self.format,
            "read": self.read,
            "imported": self.imported,
            "updated": self.updated,
            "duplicates": self.duplicates,
            "rejected": [
                {"line": one.line, "column": one.column, "reason": one.reason} for one in self.rejected
            ],
            "suggestions": self.suggestions,
        }


@dataclass(slots=True)
class _From:
    """A row's file: its report, its format, and how a purchase says that it was learned from there."""

    report: FileReport
    format: Format
    source: str


@dataclass(slots=True)
class _Parsed:
    """The rows of all files of one import."""

    limits: Limits
    reports: list[FileReport] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    origins: list[_From] = field(default_factory=list)  # of each line
    later: list[tuple[_From, Refund | Return | Charge]] = field(default_factory=list)
    aftermath: dict[str, Aftermath] = field(default_factory=dict)  # by order number
    beside: list[str] = field(default_factory=list)  # files that are nothing without an export
    count: int = 0  # rows of any kind
    physical: int = 0  # lines of the files that were read to their end

    def after(self, origin: _From, row: Refund | Return | Charge) -> None:
        """Keep a row that speaks of an order's lines without listing them."""
        self.later.append((origin, row))
        known = self.aftermath.setdefault(row.order_number, Aftermath())
        if isinstance(row, Refund):
            known.refunds.append(row)
        elif isinstance(row, Return):
            known.returns.append(row)
        else:
            known.charges.append(row)


@collecting.seldom()
def bring_in(
    vault: Vault,
    files: Iterable[tuple[str, Stream]],
    progress: Progress | None = None,
    *,
    limits: Limits | None = None,
) -> list[FileReport]:
    """Import (name, stream) pairs into the purchases; a report for each file that was looked at.

    Raises FormatError, ImportLimitError, and ConflictError while another import of this vault runs; then
    nothing was stored.
    """
    tell = progress or (lambda _step, _done, _total: None)
    parsed = _parse(files, limits or Limits(), tell)
    with vault.records(COLLECTION).staging() as staging:
        _Store(vault, staging, parsed, tell).run()
        staging.publish(documents.with_facts_of)
    return parsed.reports


# ---- reading ---------------------------------------------------------------------------------------------


def _parse(files: Iterable[tuple[str, Stream]], limits: Limits, tell: Progress) -> _Parsed:
    parsed, budget = _Parsed(limits), Budget(limits)
    for name, stream in files:
        before = len(parsed.reports)
        with reading.unpacking(name):
            for source in reading.sources(name, stream, limits, budget):
                _take(parsed, source, tell)
        if len(parsed.reports) == before:
            raise _unknown(name)
    if parsed.beside and all(report.format == NOTHING_HERE for report in parsed.reports):
        raise _unknown(parsed.beside[-1])  # beside no export
    return parsed


def _unknown(name: str) -> FormatError:
    return FormatError(f"{UNKNOWN_FORMAT}: {name}", hint=reading.KNOWN_HINT)


def _take(parsed: _Parsed, source: Source, tell: Progress) -> None:
    """Read one file; of those in a ZIP, pass over the many that concern other things."""
    if source.beside:
        parsed.beside.append(source.name)
    if source.sibling or source.beside:
        parsed.reports.append(FileReport(source.name, NOTHING_HERE))
        return
    try:
        table = Table(source.name, source.stream, parsed.limits)
    except FormatError:
        if not source.inside:
            raise
        table = None
    format = reading.recognise(table) if table else None
    if table is not None and format is not None:
        report = FileReport(source.name, format.name)
        parsed.reports.append(report)
        _read(parsed, _From(report, format, documents.source(format.name)), table, tell)
    elif not source.inside:
        raise _unknown(source.name)
    elif source.promising:
        parsed.reports.append(
            FileReport(source.name, NOTHING_HERE, read=1, rejected=[Rejection(1, "", rows.UNREADABLE)])
        )


def _read(parsed: _Parsed, origin: _From, table: Table, tell: Progress) -> None:
    report, limits = origin.report, parsed.limits
    for row in origin.format.rows(table):
        parsed.count += 1
        report.read += 1
        if parsed.count % _TICK == 0:
            tell("reading", parsed.count, 0)
        if parsed.count > limits.lines:
            raise ImportLimitError(f"more than {limits.lines} rows", hint="import the files one by one")
        if isinstance(row, Line):
            parsed.lines.append(row)
            parsed.origins.append(origin)
        elif isinstance(row, Rejection):
            report.rejected.append(row)
            if len(report.rejected) > limits.rejections:
                raise ImportLimitError(f"{report.file}: hardly a row can be read", hint=row.reason)
        else:
            parsed.after(origin, row)
    parsed.physical += table.lines_read
    if parsed.physical > limits.physical_lines:
        raise ImportLimitError(f"more than {limits.physical_lines} lines", hint="import the files one by one")


# ---- storing ---------------------------------------------------------------------------------------------


class _Store:
    """One import on its way into the staging area."""

    def __init__(self, vault: Vault, staging: Staging, parsed: _Parsed, tell: Progress) -> None:
        self._records = vault.records(COLLECTION)
        self._fingerprint = vault.keyring.fingerprint
        self._staging = staging
        self._parsed = parsed
        self._tell = tell
        # Exports spell one address differently, so what is usual is counted for each kind of export.
        self._usual: defaultdict[str, Usual] = defaultdict(Usual)
        self._stored: defaultdict[str, list[str]] = defaultdict(list)  # by order number
        self._touched: set[str] = set()  # orders of which something changed that other files told
        self._ids: list[str] = []  # of the new records, the least last
        self._fresh: list[tuple[bytes, Document]] = []
        self._newer: list[tuple[str, int, Document]] = []
        self._done = self._total = 0

    def run(self) -> None:
        known = self._staging.known()
        prints, again = self._distinct(known)
        verdicts = self._settle(prints.values())
        self._total = len(prints)
        self._look_at_stored()
        fresh = sorted(fingerprint for fingerprint in prints if fingerprint not in known)
        self._ids = sorted(self._records.new_ids(len(fresh)), reverse=True)
        for fingerprint in fresh:  # in an order that tells nothing of the export's
            at = prints[fingerprint]
            self._add(fingerprint, at, again.get(at, ()), verdicts.get(at))
        for fingerprint, at in prints.items():
            if fingerprint in known:
                self._update(known[fingerprint], (at, *again.get(at, ())), verdicts.get(at))
        self._settle_stored({self._parsed.lines[at].order_number for at in prints.values()})
        self._flush(0)
        self._report_aftermath()

    def _look_at_stored(self) -> None:
        """Count where every purchase of the vault went, and find those that refunds may mean."""
        for record, document in self._records.scan(("order", "recipient")):
            recipient, order = document["recipient"], document["order"]
            self._usual[order.get("learned_from", "")].count(
                recipient.get("name", ""), recipient.get("address", ""), order.get("ordered", "")
            )
            number = order.get("order_number", "")
            if number in self._parsed.aftermath:
                self._stored[number].append(record)

    def _distinct(self, known: Mapping[bytes, str]) -> tuple[dict[bytes, int], dict[int, list[int]]]:
        """Each line's first place by fingerprint, and where other files of this import repeat it."""
        prints: dict[bytes, int] = {}
        again: defaultdict[int, list[int]] = defaultdict(list)
        parsed, fingerprint_of = self._parsed, self._fingerprint
        for at, (origin, line) in enumerate(zip(parsed.origins, parsed.lines, strict=True)):
            fingerprint = fingerprint_of(*line.fingerprint)
            first = prints.setdefault(fingerprint, at)
            if first != at:
                again[first].append(at)
                origin.report.duplicates += 1
            elif fingerprint not in known:
                usual = self._usual[origin.source]
                usual.count(line.recipient_name, line.recipient_address, line.ordered)
        return prints, again

    def _settle(self, places: Iterable[int]) -> dict[int, Verdict]:
        """Verdicts on the lines of this import whose orders other files speak of."""
        orders: defaultdict[str, list[int]] = defaultdict(list)
        for at in places:
            order = self._parsed.lines[at].order_number
            if order in self._parsed.aftermath:
                orders[order].append(at)
        found: dict[int, Verdict] = {}
        for order, members in orders.items():
            lines = [self._parsed.lines[at] for at in members]
            known = [Known(line.item_key, line.total, line.status) for line in lines]
            found.update(zip(members, settle(known, self._parsed.aftermath[order]), strict=True))
        return found

    def _facts(self, at: int, verdict: Verdict | None) -> Document:
        facts = documents.document(self._parsed.lines[at], self._parsed.origins[at].source)
        return documents.merge(facts, _told(verdict)) if verdict else facts

    def _add(self, fingerprint: bytes, at: int, again: Sequence[int], verdict: Verdict | None) -> None:
        self._tick()
        origin, line = self._parsed.origins[at], self._parsed.lines[at]
        document = self._facts(at, verdict)
        hint = self._usual[origin.source].hint(line)
        for other in again:
            newest = self._parsed.origins[other].format.newest
            document = documents.merge(document, self._facts(other, verdict), newest=newest)
            hint = hint or hints.evidence(self._parsed.lines[other])
        if hint and document["order"].get("status") != "cancelled":
            document["notes"] = _suggestion(hint)
            origin.report.suggestions += 1
        if verdict and any(verdict):
            self._touched.add(line.order_number)
        origin.report.imported += 1
        self._fresh.append((fingerprint, document))
        self._flush(BATCH - 1)

    def _update(self, record: str, places: Sequence[int], verdict: Verdict | None) -> None:
        self._tick()
        report, line = self._parsed.origins[places[0]].report, self._parsed.lines[places[0]]
        try:
            current, revision = self._records.read(record)
        except RecordNotFoundError:  # she removed it while the import ran
            report.duplicates += 1
            return
        document: Document = current
        for at in places:
            newest = self._parsed.origins[at].format.newest
            document = documents.merge(document, self._facts(at, verdict), newest=newest)
        hint = hints.evidence(line)
        if hint and not document["context"].get("for") and not document["notes"].get("suggested_for"):
            document["notes"] = {**document["notes"], **_suggestion(hint)}
            report.suggestions += 1
        if document == current:
            report.duplicates += 1
            return
        if document["order"].get("status") != current["order"].get("status"):
            self._touched.add(line.order_number)
        report.updated += 1
        self._newer.append((record, revision, document))
        self._flush(BATCH - 1)

    def _tick(self) -> None:
        self._done += 1
        if self._done % _TICK == 0 or self._done == self._total:
            self._tell("storing", self._done, self._total)

    def _flush(self, most: int) -> None:
        if len(self._fresh) > most:
            self._staging.add(self._fresh, [self._ids.pop() for _ in self._fresh])
            self._fresh = []
        if len(self._newer) > most:
            self._staging.replace(self._newer)
            self._newer = []

    def _settle_stored(self, here: AbstractSet[str]) -> None:
        """Refunds and returns of purchases that an earlier import brought."""
        for order, records in self._stored.items():
            if order in here:
                continue
            members = list(self._present(records))
            known = [_known(document) for _, document, _ in members]
            verdicts = settle(known, self._parsed.aftermath[order])
            for (record, current, revision), verdict in zip(members, verdicts, strict=True):
                document = documents.merge(current, _told(verdict))
                if document != current:
                    self._touched.add(order)
                    self._newer.append((record, revision, document))
            self._flush(BATCH - 1)

    def _present(self, records: Iterable[str]) -> Iterator[tuple[str, Document, int]]:
        for record in records:
            with suppress(RecordNotFoundError):  # she removed it while the import ran
                yield (record, *self._records.read(record))

    def _report_aftermath(self) -> None:
        """Whether each row of those files changed something, was known, or meant nothing here."""
        here = {line.order_number for line in self._parsed.lines}
        for origin, row in self._parsed.later:
            if row.order_number in self._touched:
                origin.report.updated += 1
            elif row.order_number in here or row.order_number in self._stored:
                origin.report.duplicates += 1
            else:
                origin.report.rejected.append(Rejection(row.line_no, "Order ID", rows.NO_PURCHASE))


def _told(verdict: Verdict) -> Document:
    told: Document = {"order": {}, "price": {}}
    if verdict.status:
        told["order"]["status"] = verdict.status
    if verdict.total:
        told["price"] = {"total": verdict.total}
        if verdict.currency:
            told["price"]["currency"] = verdict.currency
    return told


def _known(document: Document) -> Known:
    item, order = document["item"], document["order"]
    key = item.get("asin") or item.get("title", "").casefold()
    return Known(key, document["price"].get("total", ""), order.get("status", ""))


def _suggestion(hint: Hint) -> dict[str, Any]:
    return {"suggested_for": hint.for_whom, "suggested_because": hint.because}
