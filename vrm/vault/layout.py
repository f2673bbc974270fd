"""The tables of a vault, as this version lays them out, and what lifts older ones to that."""

from __future__ import annotations

from vrm.vault import (
    bookmarks,
    copies,
    generations,
    invitations,
    journal,
    mailbox,
    pairing,
    records,
    tools,
    ways,
)
from vrm.vault.engine import Schema

_SWEPT = (  # by what ends a session
    "CREATE INDEX sessions_expires ON sessions (expires)",
    "CREATE INDEX sessions_used ON sessions (used)",
)
SCHEMA = Schema(
    "vault",
    2,
    (
        "CREATE TABLE vaults (vault TEXT PRIMARY KEY, username TEXT NOT NULL UNIQUE,"
        " created INTEGER NOT NULL, generation INTEGER NOT NULL, log_public BLOB NOT NULL,"
        " log_mac BLOB NOT NULL, roster BLOB NOT NULL, confirmed INTEGER NOT NULL, watched INTEGER NOT NULL,"
        " mailbox_public BLOB NOT NULL DEFAULT x'', mailbox_mac BLOB NOT NULL DEFAULT x'')",
        "CREATE TABLE keyslots (vault TEXT NOT NULL, slot TEXT NOT NULL, kind TEXT NOT NULL,"
        " params BLOB NOT NULL, checked BLOB NOT NULL, public BLOB NOT NULL, public_mac BLOB NOT NULL,"
        " wrapped BLOB NOT NULL, generation INTEGER NOT NULL, created INTEGER NOT NULL,"
        " handed BLOB NOT NULL DEFAULT x'', PRIMARY KEY (vault, slot))",
        "CREATE TABLE sessions (lookup BLOB PRIMARY KEY, vault TEXT NOT NULL, wrapped BLOB NOT NULL,"
        " created INTEGER NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL)",
        "CREATE INDEX sessions_vault ON sessions (vault)",
        *_SWEPT,
        *records.TABLES,
        *journal.TABLES,
        *bookmarks.TABLES,
        *generations.TABLES,
        *copies.TABLES,
        *mailbox.TABLES,
        *invitations.TABLES,
        *ways.TABLES,
        *tools.TABLES,
        *pairing.TABLES,
    ),
    left_out=("sessions", "invitations", "tools", "pairings", "journal_marks"),
    steps={
        2: (
            *copies.TABLES,
            *bookmarks.TABLES,
            "ALTER TABLE vaults ADD COLUMN mailbox_public BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE vaults ADD COLUMN mailbox_mac BLOB NOT NULL DEFAULT x''",
            "CREATE INDEX records_fingerprint ON records (vault, fingerprint) WHERE fingerprint IS NOT NULL",
            *_SWEPT,
            *journal.STEPS,
            *mailbox.TABLES,
            "ALTER TABLE keyslots ADD COLUMN handed BLOB NOT NULL DEFAULT x''",
            *generations.TABLES,
            *invitations.TABLES,
            *ways.TABLES,
            *tools.TABLES,
            *pairing.TABLES,
        ),
    },
)
