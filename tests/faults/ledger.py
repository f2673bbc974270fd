"""What must be there after a fault: the acts that `tests.faults.life` told, against a data folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.life import opened
from vrm.errors import CodeError, SessionExpiredError, TokenError, UnlockError
from vrm.host import Host
from vrm.vault.vault import Vault


class Ledger:
    """Line by line what was acknowledged; `differences` says what a folder lacks or has too much."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.passphrases: list[str] = []  # any of these may open; one while no change is under way
        self.records: dict[str, str] = {}  # record → title
        self.removed: set[str] = set()
        self.live: dict[str, tuple[str, str]] = {}  # grant → access, refresh; empty before the code is spent
        self.excluded: dict[str, set[str]] = {}
        self.codes: dict[str, str] = {}
        self.spent: dict[str, str] = {}  # grant → a refresh token that was spent
        self.revoked: dict[str, tuple[str, str]] = {}
        self.sessions: set[str] = set()
        self.ended: set[str] = set()
        self.logged = 0
        self.trying: tuple[str, str] = ("", "")

    def take(self, line: bytes) -> None:
        """One line of the life."""
        said = json.loads(line)
        if "trying" in said:
            self.trying = (said["trying"], said.get("about", ""))
            if said["trying"] == "change":
                self.passphrases.append(said["about"])
            return
        self.trying = ("", "")
        self.acknowledged += 1
        getattr(self, "_" + said.pop("done").replace(" ", "_"))(**said)

    def _create(self, passphrase: str) -> None:
        self.passphrases = [passphrase]

    def _put(self, record: str, title: str) -> None:
        self.records[record] = title

    _edit = _put

    def _remove(self, record: str) -> None:
        del self.records[record]
        self.removed.add(record)

    def _grant(self, grant: str, code: str) -> None:
        self.live[grant], self.codes[grant] = ("", ""), code
        self.logged += 1

    def _redeem(self, grant: str, access: str, refresh: str) -> None:
        self.live[grant] = (access, refresh)
        self.logged += 1

    def _refresh(self, grant: str, access: str, refresh: str) -> None:
        self.spent[grant] = self.live[grant][1]
        self._redeem(grant, access, refresh)

    def _read(self) -> None:
        self.logged += 1

    def _narrow(self, grant: str, record: str) -> None:
        self.excluded.setdefault(grant, set()).add(record)
        self.logged += 1

    def _revoke(self, grant: str) -> None:
        self.revoked[grant] = self.live.pop(grant)
        self.logged += 1

    def _log_in(self, session: str) -> None:
        self.sessions.add(session)

    def _log_out(self, session: str) -> None:
        self.sessions.discard(session)
        self.ended.add(session)

    def _change(self, passphrase: str) -> None:
        self.passphrases = [passphrase]
        self.ended |= self.sessions
        self.sessions = set()

    def differences(self, folder: Path) -> list[str]:
        """What is not as acknowledged; opens the folder as the program does, which must not fail."""
        host = opened(folder)
        try:
            return [*host.engine.integrity(), *(self._all(host) if self.acknowledged else [])]
        finally:
            host.engine.close()

    def _all(self, host: Host) -> Iterable[str]:
        vault = self._unlock(host)
        if vault is None:
            return ["no passphrase opens the vault"]
        grants = host.consent.grants
        found = [*host.consent.vendors.problems(), *vault.check(), *grants.problems(vault)]
        found += [*host.consent.log.problems(vault), *grants.differences(vault)]
        found += self._records_of(vault) + self._sessions_of(host)
        if host.consent.log.count(vault) < self.logged:
            found.append("an entry of the log is lost")
        return found + self._grants_of(host, vault)

    def _unlock(self, host: Host) -> Vault | None:
        opening = []
        for passphrase in self.passphrases:
            try:
                opening.append(host.vaults.unlock("alice", passphrase))
            except UnlockError:
                continue
        return opening[0] if len(opening) == 1 else None

    def _records_of(self, vault: Vault) -> list[str]:
        act, about = self.trying
        titles = {record: one["item"]["title"] for record, one in vault.records("purchases").scan()}
        found = [f"record {record} is back" for record in self.removed & titles.keys()]
        for record, title in self.records.items():
            if record == about:
                if act != "remove" and record not in titles:
                    found.append(f"record {record} is lost in an edit")
            elif titles.get(record) != title:
                found.append(f"record {record} says {titles.get(record)}, acknowledged was {title}")
        strangers = titles.keys() - self.records.keys() - self.removed
        if len(strangers) > (act == "put"):
            found.append(f"{len(strangers)} records that nobody wrote")
        return found

    def _sessions_of(self, host: Host) -> list[str]:
        act, about = self.trying
        running = set()
        for secret in self.sessions | self.ended:
            try:
                host.vaults.resume(secret)
            except SessionExpiredError:
                continue
            running.add(secret)
        lost = self.sessions - running - {about} if act != "change" else set()
        return ["a session is lost"] * len(lost) + ["an ended session is back"] * len(running & self.ended)

    def _grants_of(self, host: Host, vault: Vault) -> list[str]:
        consent, (act, about), found = host.consent, self.trying, []
        listed = {one.id: one for one in consent.grants.listing(vault)}
        for grant, (access, _) in self.live.items():
            one = listed.get(grant)
            if grant == about and act == "revoke":
                continue
            if one is None or one.state != "live":
                found.append(f"grant {grant} is lost")
            elif not self.excluded.get(grant, set()) <= one.reserve.exclude:
                found.append(f"grant {grant} is wider than she left it")
            elif access and not _opens(consent, access):
                found.append(f"the access token of {grant} is lost")
        for grant, (access, refresh) in list(self.revoked.items())[-3:]:
            if listed[grant].state != "revoked" or _opens(consent, access) or _refreshes(host, refresh):
                found.append(f"grant {grant} is back")
        strangers = listed.keys() - self.live.keys() - self.revoked.keys()
        if len(strangers) > (act == "grant"):
            found.append("a grant that nobody made")
        return found + self._spent_ones(host, vault)

    def _spent_ones(self, host: Host, vault: Vault) -> list[str]:
        """At last, because whoever tries a spent code or token ends the grant."""
        found = []
        for grant in list(self.live)[:1]:
            access, _ = self.live[grant]
            if self.trying[1] == grant or not access:
                continue
            if _redeems(host, self.codes[grant]):
                found.append(f"the code of {grant} is good again")
        return found


def _opens(consent: Any, access: str) -> bool:
    try:
        return bool(access) and bool(
            consent.reader.page(consent.reader.authenticate(access), "purchases") or 1
        )
    except TokenError:
        return False


def _refreshes(host: Host, refresh: str) -> bool:
    vendor = host.consent.vendors.listing()[0]
    try:
        return bool(refresh) and bool(host.consent.tokens.refresh(refresh, vendor))
    except CodeError:
        return False


def _redeems(host: Host, code: str) -> bool:
    vendor = host.consent.vendors.listing()[0]
    try:
        return bool(host.consent.tokens.redeem(code, vendor, vendor.redirect_uris[0], "x" * 43))
    except CodeError:
        return False
