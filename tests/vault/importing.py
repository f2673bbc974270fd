"""Imports as the tests of several files make them."""

from __future__ import annotations

from tests.vault.importers.samples import Pipe
from vrm.vault.intake import FileReport, bring_in
from vrm.vault.vault import Vault

RETAIL, ITEMS, DIGITAL, REFUNDS = (
    "Retail.OrderHistory.1.csv",
    "Items.csv",
    "Digital Items.csv",
    "Refund Details.csv",
)


def bring(vault: Vault, *files: tuple[str, bytes], **how) -> list[FileReport]:
    return bring_in(vault, [(name, Pipe(content)) for name, content in files], **how)


def kept(vault: Vault) -> dict[str, dict]:
    """All purchases by item number (or title) and which such line."""
    found = {}
    for _, document in vault.records("purchases").scan():
        item = document["item"]
        found[f"{item.get('asin') or item.get('title')}/{document['order']['line']}"] = document
    return found


def counts(report: FileReport) -> tuple[int, int, int, int, int]:
    return report.read, report.imported, report.updated, report.duplicates, len(report.rejected)
