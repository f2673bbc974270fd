"""What vendors must do, by `VRM_PROFILE`: one row for each profile.

`baseline` is OAuth 2.1 with RFC 9700: PKCE and exact addresses for all, sender-constrained tokens for who
wants them. `fapi2` is the FAPI 2.0 Security Profile (Final): every request is pushed (section 5.3.2.2),
every vendor is confidential and proves itself by a signed assertion (5.3.2.1), and no answer goes over plain
http, except that a vault on this machine's own loopback is one to try things with.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Profile:
    """The rules that differ; `methods` None means all that are built."""

    name: str
    pushed_only: bool
    methods: frozenset[str] | None
    plain_http: bool  # whether an answer may go to http on the vendor's own machine

    def allowed(self, methods: list[str]) -> list[str]:
        """Those of these ways of client authentication that count here."""
        return [method for method in methods if self.methods is None or method in self.methods]

    def may_answer_to(self, redirect_uri: str, public_url: str) -> bool:
        """Whether an answer may go to this address, which its vendor registered."""
        return self.plain_http or redirect_uri.startswith("https:") or urlsplit(public_url).scheme == "http"


PROFILES = {
    "baseline": Profile("baseline", pushed_only=False, methods=None, plain_http=True),
    "fapi2": Profile("fapi2", pushed_only=True, methods=frozenset({"private_key_jwt"}), plain_http=False),
}
