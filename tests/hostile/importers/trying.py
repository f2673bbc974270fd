"""A process that imports what it is told and measures itself: `python trying.py DATA_DIR`, paths on stdin.

For each path one line of JSON: what was refused and why, the most memory held meanwhile beyond what was held
before (bytes), the seconds, and how many records and staged rows there are afterwards.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from vrm.errors import VrmError
from vrm.host import open_host
from vrm.settings import Settings
from vrm.vault.intake import bring_in
from vrm.vault.vault import Vault

STATUS = Path("/proc/self/status")


def held(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def tried(vault: Vault, path: Path) -> dict[str, object]:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now
    before, begun = held("VmRSS"), time.monotonic()
    said: dict[str, object] = {"error": "", "hint": "", "rejected": []}
    try:
        with path.open("rb") as file:
            reports = bring_in(vault, [(path.name, file)])
        said["rejected"] = [one["reason"] for report in reports for one in report.as_json()["rejected"]]
    except VrmError as error:
        said |= {"error": str(error), "hint": error.hint, "slug": error.slug}
    said["peak"] = held("VmHWM") - before
    said["seconds"] = time.monotonic() - begun
    said["records"] = len(vault.records("purchases").ids())
    said["staged"] = vault.engine.one("SELECT count(*) FROM staged")[0]  # type: ignore[index]
    return said


def main(folder: str) -> None:
    host = open_host(Settings(data_dir=Path(folder)))
    vault = host.vaults.unlock("alice", sys.stdin.readline().rstrip("\n"))
    for line in sys.stdin:
        print(json.dumps(tried(vault, Path(line.rstrip("\n")))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
