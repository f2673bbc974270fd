"""Requests that wait for the customer: stored sealed, previewed with her records, decided once.

A request is sealed under a key of its own handle, so only who holds the handle (the browser that came
from the vendor) can show it. It is spent by the decision, not by looking. What is approved is what was
shown: `approve` takes the digest of the preview and refuses where rows or rules changed since. Anybody may
submit, so only so many requests wait at once.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vrm.clock import Clock, today
from vrm.consent import policy
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import DAY, Grants
from vrm.consent.periods import longer, require_period
from vrm.consent.policy import Agreement, Reserve, Verdict
from vrm.consent.scopes import ANSWERS, CORRECTIONS, Part, member_of, source_of, stream_of, writes
from vrm.consent.tokens import Tokens, read_token, write_token
from vrm.consent.vendors import Vendor, Vendors
from vrm.errors import (
    BusyError,
    RequestChangedError,
    RequestNotFoundError,
    TamperedError,
    ValidationError,
    VendorNotFoundError,
)
from vrm.vault import crypto
from vrm.vault.catalog import FOR_WHOM, STAMPED
from vrm.vault.crypto import Cipher, Key, Purpose
from vrm.vault.engine import Engine, Transaction
from vrm.vault.journal import Journal
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault

TABLES = (
    "CREATE TABLE requests (lookup BLOB PRIMARY KEY, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
    " spent INTEGER NOT NULL, sealed BLOB NOT NULL, vendor_tag BLOB NOT NULL)",
    "CREATE INDEX requests_expires ON requests (expires)",
    "CREATE INDEX requests_waiting ON requests (spent, vendor_tag, expires)",
)
WAITING_OF_ONE = 1000  # requests of one vendor that wait at once
WAITING_OF_ALL = 5000  # of all vendors: a request may have 16 KiB
DAYS = (1, 365)  # how long a grant may last, in days
_WORDS = frozenset(value for value, _ in FOR_WHOM)


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """What a vendor asks for, as it waits. `handle` opens it and is shown to nobody but the browser."""

    handle: str = field(repr=False)
    number: int
    vendor: Vendor
    parts: tuple[Part, ...]
    redirect_uri: str
    state: str
    code_challenge: str = field(repr=False)
    created: int
    expires: int
    extras: Mapping[str, Any] = field(default_factory=dict)  # what OAuth's extensions said beside


@dataclass(frozen=True, slots=True)
class Choices:
    """How the customer narrows a request before she approves it."""

    optional: frozenset[str] = frozenset()  # indexes of the optional parts she ticked
    for_whom: frozenset[str] = frozenset({"self"})
    unsorted: bool = False
    exclude: frozenset[str] = frozenset()  # record ids
    period: str = ""  # such as P2Y; empty: as asked
    days: int = 90
    sellers: tuple[str, ...] | None = None  # for corrections: whose orders are this shop's, by her word
    fresh: str = policy.ASK  # what happens to purchases that come in later: ASK or LATER


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row that would leave: `document` is exactly what the vendor would read."""

    record_id: str
    title: str
    ordered: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartView:
    """A part of the request on the consent page."""

    index: str
    part: Part
    necessity: str
    ticked: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What would leave under these choices, and what stays."""

    vendor: Vendor
    rows: list[PreviewRow]
    withheld: dict[str, int]
    parts: list[PartView]
    answers: list[dict[str, Any]]
    sellers: dict[str, int]  # for corrections: seller → number of purchases
    expires: int
    digest: str

    @property
    def count(self) -> int:
        """How many rows would leave."""
        return len(self.rows) + len(self.answers)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the browser goes next; `code` is None where the customer declined."""

    redirect_uri: str
    state: str
    code: str | None = field(repr=False)
    grant_id: str | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A preview and what is needed to make it true."""

    preview: Preview
    agreement: Agreement
    reserve: Reserve
    verdicts: dict[str, dict[bytes, Verdict]]


class Requests:
    """Requests of all vendors."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        vendors: Vendors,
        grants: Grants,
        tokens: Tokens,
        log: Disclosures,
        clock: Clock,
        *,
        life: int = 3600,
    ) -> None:
        self._engine = engine
        self._server_key = server_key
        self._pepper = server_key.pepper
        self._vendors = vendors
        self._grants = grants
        self._tokens = tokens
        self._log = log
        self._clock = clock
        self._life = life

    def submit(
        self,
        vendor: Vendor,
        parts: list[Part],
        *,
        redirect_uri: str,
        state: str,
        code_challenge: str,
        extras: Mapping[str, Any] | None = None,
    ) -> StoredRequest:
        """Store a checked request under a new handle; BusyError where too many wait already.

        `extras`, sealed with it: `jkt` (the key that tokens are bound to), `resource` (RFC 8707), `action`
        and `grant_id` (what becomes of an earlier grant).
        """
        raw, now = crypto.random_bytes(32), self._clock.now()
        lookup, key = self._split(raw)
        number = 1000 + secrets.randbelow(9000)
        values = [
            number,
            vendor.client_id,
            parts,
            redirect_uri,
            state,
            code_challenge,
            now,
            dict(extras or {}),
        ]
        expires = now + self._life
        sealed = self._cipher(key, lookup, expires).seal(json.dumps(values).encode())
        with self._engine.write() as transaction:
            tag = self._server_key.vendor_tag("", vendor.client_id)
            self._require_room(tag, now)
            transaction.execute(
                "INSERT INTO requests VALUES (?, ?, ?, 0, ?, ?)", (lookup, now, expires, sealed, tag)
            )
        return self.open(write_token("request", raw))

    def _require_room(self, tag: bytes, now: int) -> None:
        waiting = "SELECT count(*) FROM requests WHERE spent = 0 AND expires > ?"
        [of_all] = self._engine.one(waiting, (now,)) or (0,)
        [of_one] = self._engine.one(waiting + " AND vendor_tag = ?", (now, tag)) or (0,)
        if of_all >= WAITING_OF_ALL or of_one >= WAITING_OF_ONE:
            raise BusyError()

    def open(self, handle: str) -> StoredRequest:
        """The waiting request; RequestNotFoundError for an unknown, decided or expired one."""
        raw = read_token("request", handle)
        if raw is None:
            raise RequestNotFoundError()
        lookup, key = self._split(raw)
        row = self._engine.one("SELECT expires, spent, sealed FROM requests WHERE lookup = ?", (lookup,))
        if row is None or row[1] or self._clock.now() >= row[0]:
            raise RequestNotFoundError()
        try:
            values = json.loads(self._cipher(key, lookup, row[0]).unseal(row[2]))
            vendor = self._vendors.get(values[1])
        except (TamperedError, VendorNotFoundError):
            raise RequestNotFoundError() from None
        if vendor.blocked:
            raise RequestNotFoundError()
        number, _, parts, redirect_uri, state, challenge, created, *more = values
        extras = more[0] if more else {}  # one that was stored before there were any
        return StoredRequest(
            handle, number, vendor, tuple(parts), redirect_uri, state, challenge, created, row[0], extras
        )

    def preview(self, vault: Vault, handle: str, choices: Choices) -> Preview:
        """What would leave under these choices; ValidationError for choices that cannot be."""
        return self._plan(vault, self.open(handle), choices).preview

    def approve(self, vault: Vault, handle: str, choices: Choices, digest: str) -> Decision:
        """Make grant, view and code in one transaction.

        RequestChangedError where the vault or the rules changed since the preview with that digest.
        """
        request = self.open(handle)
        plan = self._plan(vault, request, choices)
        if not crypto.equal(plan.preview.digest.encode(), digest.encode("utf-8", "replace")):
            raise RequestChangedError()
        with self._engine.write() as transaction:
            # What an import shows after the approval would not count as new to this grant.
            vault.records(STAMPED).require_no_import()
            self._spend(transaction, request)
            if self._digest(vault, request, choices) != digest:
                raise RequestChangedError()
            vendor = self._vendors.get(request.vendor.client_id)
            if vendor.blocked:  # since the request was opened, a moment ago
                raise RequestNotFoundError()
            self._log.seal_first_heads(vault)
            vault.prepare_mailbox()
            keys = self._grants.make(transaction, vault, vendor, plan.agreement, plan.reserve, plan.verdicts)
            code = self._tokens.issue_code(
                transaction, keys, vendor, request.redirect_uri, request.code_challenge
            )
            self._log.note(
                transaction,
                vault.id,
                "granted",
                grant_id=keys.grant_id,
                client_id=vendor.client_id,
                vendor_name=vendor.name,
                scopes=plan.agreement.scopes,
                count=plan.preview.count,
            )
        return Decision(request.redirect_uri, request.state, code, keys.grant_id)

    def decline(self, vault: Vault, handle: str) -> Decision:
        """Share nothing; the vendor is told only that."""
        request = self.open(handle)
        with self._engine.write() as transaction:
            self._spend(transaction, request)
            self._log.note(
                transaction,
                vault.id,
                "declined",
                client_id=request.vendor.client_id,
                vendor_name=request.vendor.name,
            )
        return Decision(request.redirect_uri, request.state, None, None)

    def _split(self, raw: bytes) -> tuple[bytes, Key]:
        return crypto.split_secret(raw, self._pepper, Purpose.REQUEST)

    @staticmethod
    def _cipher(key: Key, lookup: bytes, expires: int) -> Cipher:
        return Cipher(key, Purpose.REQUEST_BODY, lookup, expires)

    def _spend(self, transaction: Transaction, request: StoredRequest) -> None:
        raw = read_token("request", request.handle)
        if raw is None:
            raise RequestNotFoundError()
        cursor = transaction.execute(
            "UPDATE requests SET spent = 1 WHERE lookup = ? AND spent = 0 AND expires > ?",
            (self._split(raw)[0], self._clock.now()),
        )
        if cursor.rowcount != 1:
            raise RequestNotFoundError()

    def _digest(self, vault: Vault, request: StoredRequest, choices: Choices) -> str:
        """Changes with the vault's records and with every choice that changes which rows leave unseen.

        Taking rows out, ticking an extra and a nearer end are the customer's acts on the page itself.
        """
        streams = {stream_of(part["datatypes"][0]) for part in request.parts if not writes(part)}
        rules: list[Any] = [sorted(_sellers(request, choices))] if CORRECTIONS in streams else []
        if "purchases" in streams:
            rules += [sorted(choices.for_whom), choices.unsorted, choices.period]
        day = today(self._clock).isoformat()
        position = Journal(self._engine, vault.keyring).position()
        text = json.dumps([request.handle, vault.id, position, day, rules])
        return crypto.digest(text.encode()).hex()[:32]

    def _plan(self, vault: Vault, request: StoredRequest, choices: Choices) -> _Plan:
        _check(choices)
        digest = self._digest(vault, request, choices)
        agreement = self._agreement(request, choices)
        sellers_of = _sellers(request, choices)
        name = request.vendor.name
        reserve = Reserve(choices.for_whom, choices.unsorted, choices.exclude, sellers_of, vendor_name=name)
        just_in: set[str] = set()  # in the second of the approval: there, not new
        rows: list[PreviewRow] = []
        answers: list[dict[str, Any]] = []
        withheld: Counter[str] = Counter()
        sellers: Counter[str] = Counter()
        verdicts: dict[str, dict[bytes, Verdict]] = {stream: {} for stream in agreement.streams}
        for stream, record, document, verdict in self._decided(vault, agreement, reserve):
            if stream == CORRECTIONS and document.get("order", {}).get("seller"):
                sellers[document["order"]["seller"]] += 1
            if document.get("notes", {}).get("arrived", 0) >= agreement.created:
                just_in.add(record)
            if not verdict.scopes:
                withheld[verdict.reason] += stream != CORRECTIONS
                continue
            verdicts[stream][vault.keyring.pairwise(request.vendor.client_id, stream, record)] = verdict
            if stream in ANSWERS:
                answers += [json.loads(text) for text in verdict.scopes.values()]
            else:
                rows.append(_row(record, document, verdict))
        rows.sort(key=lambda row: (row.ordered, row.title), reverse=True)
        preview = Preview(
            request.vendor,
            rows,
            {reason: count for reason, count in withheld.items() if count},
            _parts(request, choices),
            answers,
            dict(sellers.most_common()),
            agreement.expires,
            digest,
        )
        later = replace(reserve, fresh=choices.fresh, admitted=frozenset(just_in))
        return _Plan(preview, agreement, later, verdicts)

    def _decided(
        self, vault: Vault, agreement: Agreement, reserve: Reserve
    ) -> Iterator[tuple[str, str, policy.Document, Verdict]]:
        day = today(self._clock)
        for collection in dict.fromkeys(source_of(stream) for stream in agreement.streams):
            streams = [stream for stream in agreement.streams if source_of(stream) == collection]
            for record, document in vault.records(collection).scan():
                for stream in streams:
                    yield (
                        stream,
                        record,
                        document,
                        policy.decide(stream, record, document, agreement, reserve, day),
                    )

    def _agreement(self, request: StoredRequest, choices: Choices) -> Agreement:
        parts = []
        for index, part in enumerate(request.parts):
            if part["necessity"] == "optional" and str(index) not in choices.optional:
                continue
            parts.append(_with_shorter_period(part, choices.period))
        now = self._clock.now()
        vendor = request.vendor
        return Agreement(vendor.client_id, vendor.name, tuple(parts), now, now + choices.days * DAY)


def _sellers(request: StoredRequest, choices: Choices) -> frozenset[str]:
    """Her word, be it that none is; where she was not asked, the host's; never the vendor's."""
    asked = any(CORRECTIONS in part["datatypes"] for part in request.parts)
    said = choices.sellers if asked else None
    return frozenset(request.vendor.sells_as if said is None else said)


def _check(choices: Choices) -> None:
    if not choices.for_whom <= _WORDS:
        raise ValidationError(fields={"for_whom": ["is not one of the choices"]})
    if choices.fresh not in policy.FRESH:
        raise ValidationError(fields={"fresh": ["is not one of the choices"]})
    if not DAYS[0] <= choices.days <= DAYS[1]:
        raise ValidationError(fields={"days": [f"must be from {DAYS[0]} to {DAYS[1]}"]})
    if choices.period:
        require_period(choices.period)


def _with_shorter_period(part: Part, period: str) -> Part:
    """The customer's period where it reaches less far back than what was asked for."""
    if not period or writes(part) or stream_of(part["datatypes"][0]) != "purchases":
        return part
    if "period" in part and longer(period, part["period"]):
        return part
    return {**part, "period": period}


def _parts(request: StoredRequest, choices: Choices) -> list[PartView]:
    return [
        PartView(
            str(index),
            part,
            part["necessity"],
            part["necessity"] == "required" or str(index) in choices.optional,
        )
        for index, part in enumerate(request.parts)
    ]


def _row(record: str, document: policy.Document, verdict: Verdict) -> PreviewRow:
    leaves = {member_of(scope): json.loads(text) for scope, text in verdict.scopes.items()}
    item, statement = document.get("item", {}), document.get("statement", {})
    title = item.get("title") or statement.get("topic") or ""
    return PreviewRow(record, title, document.get("order", {}).get("ordered", ""), leaves)
