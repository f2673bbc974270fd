"""Requests that wait for the customer: previewed with her records, decided once.

A request is spent by the decision, not by looking. What is approved is what was shown: `approve` takes the
digest of the preview and refuses where rows or rules changed since. The answer goes to where she came from:
to the vendor's page by redirect, or, for a request that she opened by a link, to what the vendor polls.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vrm.clock import Clock, today
from vrm.consent import amendments, policy, showing
from vrm.consent.amendments import Amendments
from vrm.consent.asking import Asking, StoredRequest
from vrm.consent.disclosures import Disclosures
from vrm.consent.grants import DAY, Grants
from vrm.consent.periods import longer, require_period
from vrm.consent.policy import Agreement, Reserve, Verdict
from vrm.consent.polling import DECLINED, REDIRECTED, Polls
from vrm.consent.scopes import (
    ANSWERS,
    CORRECTIONS,
    NO_CHANNEL,
    Part,
    leaves_messages,
    member_of,
    source_of,
    stream_of,
    writes,
)
from vrm.consent.tokens import Tokens
from vrm.consent.vendors import Vendor, Vendors
from vrm.consent.views import GrantKeys
from vrm.errors import RequestChangedError, RequestNotFoundError, ValidationError
from vrm.vault import collecting, crypto
from vrm.vault.catalog import FOR_WHOM, STAMPED
from vrm.vault.engine import Engine, Transaction
from vrm.vault.serverkey import ServerKey
from vrm.vault.vault import Vault

DAYS = (1, 365)  # how long a grant may last, in days
_WORDS = frozenset(value for value, _ in FOR_WHOM)


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
    """A row that would leave; `leaves`: scope → exactly what the vendor would read."""

    record_id: str
    title: str
    ordered: str
    leaves: Mapping[str, bytes]
    stream: str

    @property
    def document(self) -> dict[str, Any]:
        """The same, read: only few of many rows are looked at one by one."""
        return {member_of(scope): json.loads(text) for scope, text in self.leaves.items()}


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
    """Where the browser goes next; `code` is None where the customer declined, or the vendor polls."""

    redirect_uri: str
    state: str
    code: str | None = field(repr=False)
    grant_id: str | None
    by_poll: bool = False  # nowhere: the vendor fetches the answer


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an approval makes true."""

    agreement: Agreement
    reserve: Reserve
    verdicts: dict[str, dict[bytes, Verdict]]  # stream → the vendor's id of the record → what leaves

    @property
    def count(self) -> int:
        """How many rows leave."""
        return sum(map(len, self.verdicts.values()))


class Requests(Asking):
    """Requests of all vendors, and what the customer decides about them."""

    def __init__(
        self,
        engine: Engine,
        server_key: ServerKey,
        vendors: Vendors,
        polls: Polls,
        grants: Grants,
        tokens: Tokens,
        earlier: Amendments,
        log: Disclosures,
        clock: Clock,
        *,
        life: int = 3600,
    ) -> None:
        super().__init__(engine, server_key, vendors, polls, clock, life)
        self._grants = grants
        self._tokens = tokens
        self._amendments = earlier
        self._log = log

    def asked(self, vault: Vault, handle: str) -> StoredRequest:
        """The waiting request as this customer decides it: with the grant that it wants to change.

        GrantNotFoundError where that one is not hers, not this vendor's, or has ended.
        """
        return self._amendments.read(vault, self.open(handle))

    @collecting.seldom()
    def preview(self, vault: Vault, handle: str, choices: Choices) -> Preview:
        """What would leave under these choices; ValidationError for choices that cannot be."""
        request = self.asked(vault, handle)
        digest, agreement, reserve = self._limits(vault, request, choices)
        rows: list[PreviewRow] = []
        answers: list[dict[str, Any]] = []
        withheld: Counter[str] = Counter()
        sellers: Counter[str] = Counter()
        for stream, record, document, verdict in self._decided(vault, agreement, reserve, showing.NAMED_BY):
            if stream == CORRECTIONS and document.get("order", {}).get("seller"):
                sellers[document["order"]["seller"]] += 1
            if not verdict.scopes:
                withheld[verdict.reason] += stream != CORRECTIONS
            elif stream in ANSWERS:
                answers += [json.loads(text) for text in verdict.scopes.values()]
            else:
                rows.append(_row(stream, record, document, verdict))
        return Preview(
            request.vendor,
            showing.in_order(rows),
            {reason: count for reason, count in withheld.items() if count},
            _parts(request, choices),
            answers,
            dict(sellers.most_common()),
            agreement.expires,
            digest,
        )

    @collecting.seldom()
    def approve(self, vault: Vault, handle: str, choices: Choices, digest: str, number: str = "") -> Decision:
        """Make grant, view and code (or the answer that its vendor polls for) in one transaction.

        RequestChangedError where the vault or the rules changed since the preview with that digest. A request
        that was opened by its link needs its `number`, which the vendor shows to who asked: ValidationError.
        """
        request = self.asked(vault, handle)
        if request.by_link and "".join(number.split()) != str(request.number):
            raise ValidationError(fields={"number": ["is not the number of this request"]})
        plan = self._plan(vault, request, choices, digest)
        with self._engine.write(of=vault.id) as transaction:
            # What an import shows after the approval would not count as new to this grant.
            vault.records(STAMPED).require_no_import()
            self.spend(transaction, request)
            if self._digest(vault, request, choices) != digest:
                raise RequestChangedError()
            vendor = self._vendors.get(request.vendor.client_id)
            if vendor.blocked:  # since the request was opened, a moment ago
                raise RequestNotFoundError()
            self._log.seal_first_heads(vault)
            vault.prepare_mailbox()
            replaces = self._amendments.same(vault, request)
            planned = (plan.agreement, plan.reserve, plan.verdicts)
            keys = self._grants.make(transaction, vault, vendor, *planned, replaces)
            code = self._deliver(transaction, request, keys, vendor)
            self._log.note(
                transaction,
                vault.id,
                "granted",
                grant_id=keys.grant_id,
                client_id=vendor.client_id,
                vendor_name=vendor.name,
                scopes=plan.agreement.scopes,
                count=plan.count,
            )
        if replaces:
            self._engine.purge()
        return Decision(request.redirect_uri, request.state, code, keys.grant_id, request.by_link)

    def _deliver(
        self, transaction: Transaction, request: StoredRequest, keys: GrantKeys, vendor: Vendor
    ) -> str | None:
        """To where she came from: a code by redirect, or the answer for which the vendor polls; never both.

        Who came by a link may have got it from somebody else, and then a redirect would end in her browser at
        the vendor, not in theirs. Who came by redirect must not answer a poll for the same reason: only the
        browser in which the vendor began can bring the code to it.
        """
        if request.by_link and request.poll is not None:
            self._polls.answer(transaction, request.poll, keys, request.code_challenge)
            return None
        if request.poll is not None:
            self._polls.settle(transaction, request.poll, REDIRECTED)
        return self._tokens.issue_code(
            transaction,
            keys,
            vendor,
            request.redirect_uri,
            request.code_challenge,
            str(request.extras.get("jkt", "")),
        )

    def decline(self, vault: Vault, handle: str) -> Decision:
        """Share nothing; the vendor is told only that."""
        request = self.open(handle)
        with self._engine.write(of=vault.id) as transaction:
            self.spend(transaction, request)
            if request.poll is not None:
                self._polls.settle(transaction, request.poll, DECLINED)
            self._log.note(
                transaction,
                vault.id,
                "declined",
                client_id=request.vendor.client_id,
                vendor_name=request.vendor.name,
            )
        return Decision(request.redirect_uri, request.state, None, None, request.by_link)

    def _digest(self, vault: Vault, request: StoredRequest, choices: Choices) -> str:
        """Changes with the vault's records and with every choice that changes which rows leave unseen.

        Taking rows out, ticking an extra and a nearer end are the customer's acts on the page itself.
        """
        streams = {stream_of(part["datatypes"][0]) for part in request.parts if not writes(part)}
        rules: list[Any] = [sorted(_sellers(request, choices))] if CORRECTIONS in streams else []
        if "purchases" in streams:
            rules += [sorted(choices.for_whom), choices.unsorted, choices.period]
        day = today(self._clock).isoformat()
        position = vault.position()
        if request.earlier is not None:
            rules.append(request.earlier.state)
        text = json.dumps([request.handle, vault.id, position, day, rules])
        return crypto.digest(text.encode()).hex()[:32]

    def _limits(
        self, vault: Vault, request: StoredRequest, choices: Choices
    ) -> tuple[str, Agreement, Reserve]:
        """The digest of what is there to be shown, and what is agreed and kept back under these choices."""
        _check(choices)
        digest = self._digest(vault, request, choices)
        agreement, sellers = self._agreement(request, choices), _sellers(request, choices)
        name = request.vendor.name
        reserve = Reserve(choices.for_whom, choices.unsorted, choices.exclude, sellers, vendor_name=name)
        return digest, agreement, reserve

    def _plan(self, vault: Vault, request: StoredRequest, choices: Choices, shown: str) -> _Plan:
        """RequestChangedError where something else would be shown now than what was `shown`."""
        digest, agreement, reserve = self._limits(vault, request, choices)
        if not crypto.equal(digest.encode(), shown.encode("utf-8", "replace")):
            raise RequestChangedError()
        just_in: set[str] = set()  # in the second of the approval: there, not new
        verdicts: dict[str, dict[bytes, Verdict]] = {stream: {} for stream in agreement.streams}
        item_of = {
            stream: vault.keyring.pairwise_ids(agreement.vendor, stream) for stream in agreement.streams
        }
        for stream, record, document, verdict in self._decided(vault, agreement, reserve):
            if document.get("notes", {}).get("arrived", 0) >= agreement.created:
                just_in.add(record)
            if verdict.scopes:
                verdicts[stream][item_of[stream](record)] = verdict
        later = replace(reserve, fresh=choices.fresh, admitted=frozenset(just_in))
        return _Plan(agreement, later, verdicts)

    def _decided(
        self, vault: Vault, agreement: Agreement, reserve: Reserve, named_by: Collection[str] = ()
    ) -> Iterator[tuple[str, str, policy.Document, Verdict]]:
        """`named_by`: facets by which the page calls the rows; where no row is shown, they stay shut."""
        rules = policy.Rules(agreement, reserve, today(self._clock))
        for collection in dict.fromkeys(source_of(stream) for stream in agreement.streams):
            streams = [stream for stream in agreement.streams if source_of(stream) == collection]
            for record, document in vault.records(collection).scan(rules.facets(collection).union(named_by)):
                for stream in streams:
                    yield stream, record, document, rules.decide(stream, record, document)

    def _agreement(self, request: StoredRequest, choices: Choices) -> Agreement:
        parts = []
        for index, part in enumerate(request.parts):
            if part["necessity"] == "optional" and str(index) not in choices.optional:
                continue
            parts.append(with_shorter_period(part, choices.period))
        if not any(map(leaves_messages, parts)):  # she did not tick it: nothing comes by her inbox
            parts = [_without_channel(part) for part in parts]
        now = self._clock.now()
        vendor = request.vendor
        agreed = Agreement(vendor.client_id, vendor.name, tuple(parts), now, now + choices.days * DAY)
        return amendments.in_line(agreed, request)


def _without_channel(part: Part) -> Part:
    return {**part, "response_channel": NO_CHANNEL} if "response_channel" in part else part


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


def with_shorter_period(part: Part, period: str) -> Part:
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


def _row(stream: str, record: str, document: policy.Document, verdict: Verdict) -> PreviewRow:
    return PreviewRow(record, *showing.name_of(document), verdict.scopes, stream)
