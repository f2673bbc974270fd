"""The vendor's side of the conversation with one vault: ask, finish, resume.

A `Vendor` belongs to one vault, because the client id and secret were given by that vault; it never
sends them, or a token, to another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock

from vrm_client.asking import Asked, Part, Question, accept, question
from vrm_client.connection import Connection, Credentials, Saved
from vrm_client.discovery import Vault, discover
from vrm_client.errors import ProtocolError
from vrm_client.events import Receiver
from vrm_client.keys import Presented, SigningKey
from vrm_client.later import GRANT_TYPE as TICKET
from vrm_client.later import Pending, pending, still_waits
from vrm_client.tokens import Tokens, parse_tokens
from vrm_client.transport import Answer, Json, Transport, require_success, with_query


class Vendor:
    """You, as registered at one vault. Safe to share between threads."""

    def __init__(
        self,
        vault: str,
        *,
        client_id: str,
        redirect_uri: str,
        client_secret: str | None = None,
        key: SigningKey | None = None,
        proof_key: SigningKey | None = None,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`vault` is its public address; `client_id` what it gave you, or the URL of your metadata document.

        You prove yourself by `client_secret` or by `key` (private_key_jwt); with neither you are a public
        client. With `proof_key` every token is bound to that key (DPoP): stolen alone it opens nothing.
        """
        self._address = vault.rstrip("/")
        self._redirect_uri = redirect_uri
        self._transport = transport or Transport()
        presented = Presented(proof_key, clock)
        self._credentials = Credentials(
            client_id, client_secret, self._transport, presented, key=key, clock=clock
        )
        self._clock = clock
        self._lock = Lock()
        self._vault: Vault | None = None

    def __repr__(self) -> str:
        return f"Vendor({self._address!r}, client_id={self._credentials.client_id!r})"

    def discover(self) -> Vault:
        """The vault's endpoints; asked for once."""
        with self._lock:
            if self._vault is None:
                self._vault = discover(self._address, self._transport)
            return self._vault

    def ask(
        self,
        parts: Sequence[Part] = (),
        *,
        scope: str = "",
        instead_of: str = "",
        in_addition_to: str = "",
    ) -> Asked:
        """A question. Send the visitor to its `url`, keep its `to_json()` in her session.

        Where the vault lets you, the question is pushed (RFC 9126): her browser carries only its number.
        `instead_of` and `in_addition_to` name a grant of hers (`Connection.grant_id`) that what she approves
        now replaces, or is added to; either way new tokens come, and those you have end.
        """
        vault = self.discover()
        asked = self._question(parts, scope, instead_of, in_addition_to)
        query = asked.parameters
        if vault.pushed_endpoint:  # what the browser carries instead of the request (RFC 9126 §4)
            uri = self._push(vault, asked).get("request_uri")
            if not isinstance(uri, str) or not uri:
                raise ProtocolError("the vault took the request and gave no request_uri for it")
            query = {"client_id": self._credentials.client_id, "request_uri": uri}
        url = with_query(vault.authorization_endpoint, query)
        return Asked(url, vault.issuer, self._redirect_uri, asked.state, asked.verifier)

    def ask_later(
        self,
        parts: Sequence[Part] = (),
        *,
        scope: str = "",
        instead_of: str = "",
        in_addition_to: str = "",
    ) -> Pending:
        """A question that she may answer later, on another device: show its `link` and `number`, and `poll`.

        For vendors whom the vault's host registered, with a secret or a key. Read the warning in
        `vrm_client.later`.
        """
        vault = self.discover()
        if not vault.pushed_endpoint:
            raise ProtocolError("this vault takes no questions that are answered later")
        asked = self._question(parts, scope, instead_of, in_addition_to)
        said = self._push(vault, asked, answer_mode="poll")
        return pending(said, issuer=vault.issuer, verifier=asked.verifier, now=self._clock())

    def poll(
        self, waiting: Pending, *, on_rotated: Callable[[Saved], None] | None = None
    ) -> Connection | Pending:
        """The connection once she said yes; until then what to poll with after its `interval`.

        DeclinedError when she shares nothing, RefusedError when it waited too long or was fetched before.
        """
        vault = self.discover()
        if waiting.issuer != vault.issuer:
            raise ProtocolError("the question was put to another vault")
        form = {"grant_type": TICKET, "ticket": waiting.ticket, "code_verifier": waiting.verifier}
        answer = self._credentials.post(vault, vault.token_endpoint, form)
        slower = still_waits(answer)
        if slower is not None:
            return replace(waiting, interval=waiting.interval + slower)
        return self.connect(self._tokens(answer), on_rotated=on_rotated)

    def _question(self, parts: Sequence[Part], scope: str, instead_of: str, in_addition_to: str) -> Question:
        if instead_of and in_addition_to:
            raise ValueError("a grant is replaced or added to, not both")
        return question(
            self._credentials.client_id,
            self._redirect_uri,
            parts=parts,
            scope=scope,
            grant_id=instead_of or in_addition_to,
            grant_management_action="replace" if instead_of else "merge" if in_addition_to else "",
            dpop_jkt=self._credentials.presented.thumbprint,
        )

    def _push(self, vault: Vault, asked: Question, **more: str) -> dict[str, Json]:
        answer = self._credentials.post(vault, vault.pushed_endpoint, {**asked.parameters, **more})
        return require_success(answer, 201).json_object()

    def _tokens(self, answer: Answer) -> Tokens:
        bound = self._credentials.presented.bound
        return parse_tokens(require_success(answer).json_object(), now=self._clock(), bound=bound)

    def finish(
        self, asked: Asked, callback_url: str, *, on_rotated: Callable[[Saved], None] | None = None
    ) -> Connection:
        """Check the callback and exchange its code. `callback_url` is the URL that was called, with query."""
        return self.connect(self.exchange(asked, accept(asked, callback_url)), on_rotated=on_rotated)

    def exchange(self, asked: Asked, code: str) -> Tokens:
        """Exchange a code that `accept` returned (RFC 6749 §4.1.3)."""
        vault = self.discover()
        if asked.issuer != vault.issuer:
            raise ProtocolError("the question was put to another vault")
        answer = self._credentials.post(
            vault,
            vault.token_endpoint,
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": asked.redirect_uri,
                "code_verifier": asked.verifier,
            },
        )
        return self._tokens(answer)

    def connect(self, tokens: Tokens, *, on_rotated: Callable[[Saved], None] | None = None) -> Connection:
        """A connection with these tokens. `on_rotated` gets what to store, each time tokens change."""
        return Connection(
            self.discover(),
            tokens,
            self._credentials,
            self._transport,
            clock=self._clock,
            on_rotated=on_rotated,
        )

    def resume(
        self, saved: Mapping[str, object], *, on_rotated: Callable[[Saved], None] | None = None
    ) -> Connection:
        """The connection that `Connection.saved()` described; refused when it belongs to another vault."""
        if saved.get("vault") != self._address:
            raise ProtocolError("these tokens belong to another vault")
        stored = saved["tokens"]
        if not isinstance(stored, Mapping):
            raise ProtocolError("this is not what saved() made")
        return self.connect(Tokens.from_json(stored), on_rotated=on_rotated)

    def receiver(self, seen: Callable[[str], bool]) -> Receiver:
        """What reads the events that this vault pushes to you; `seen` knows the `jti` of those acted on."""
        return Receiver(
            self.discover,
            self._credentials.client_id,
            seen=seen,
            transport=self._transport,
            clock=self._clock,
        )
