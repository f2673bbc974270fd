"""Whether what is stored is what was written: the tables against what is sealed under the root."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vrm.errors import TamperedError
from vrm.vault import crypto, rotation
from vrm.vault.catalog import CATALOG_BY_NAME
from vrm.vault.journal import Journal, Newest, body_hash
from vrm.vault.records import Records
from vrm.vault.roster import open_roster

if TYPE_CHECKING:
    from vrm.vault.vault import Vault

States = dict[tuple[str, str], tuple[int, str]]


def problems(vault: Vault, log_public: Callable[[str], bytes]) -> list[str]:
    """What does not fit in keyslots, journal head, keys; empty if all is well."""
    found = _slots(vault)
    if not Journal(vault.engine, vault.keyring).check_head():
        found.append("the journal was cut or altered")
    try:
        if log_public(vault.id) != crypto.public_of(vault.keyring.log_private()):
            raise TamperedError()
    except TamperedError:
        found.append("the log's public key was swapped")
    return found + rotation.problems(vault.engine, vault.keyring)


def _slots(vault: Vault) -> list[str]:
    stored = {slot.slot: slot.mark() for slot in vault.stored_slots()}
    try:
        rostered = open_roster(vault.engine, vault.keyring).slots
    except TamperedError:
        return ["the list of keyslots and grants was altered"]
    found = [
        f"keyslot {slot} was planted or altered"
        for slot, mark in stored.items()
        if rostered.get(slot) != mark
    ]
    return found + [f"keyslot {slot} is missing" for slot in rostered if slot not in stored]


def check(vault: Vault) -> list[str]:
    """`Vault.problems`, and every stored record against the journal."""
    found = vault.problems()
    newest = Newest(Journal(vault.engine, vault.keyring))
    try:
        newest.follow()
    except TamperedError:
        return [*found, "the journal's chain is broken"]
    for collection in CATALOG_BY_NAME:
        found += _collection(vault.records(collection), newest.states)
    missing = [record for (_, record), (revision, _) in newest.states.items() if revision]
    return found + [f"record {record} is missing" for record in missing]


def _collection(held: Records, states: States) -> list[str]:
    found = []
    for record, revision, body in held.stored():
        if states.pop((held.name, record), None) != (revision, body_hash(body)):
            found.append(f"record {record} is not the newest state")
            continue
        try:
            held.unseal(record, revision, body)
        except TamperedError:
            found.append(f"record {record} does not open")
    return found
