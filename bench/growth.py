"""`python -m bench.growth 500 20000`: what a page of 100 costs in views of these sizes, filtered and not.

One process, no HTTP: own CPU per page, the median of rounds in which every size and list takes its turn, so
that whoever else uses the machine disturbs all alike. Of less than 400 rows no filtered page is full.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

from bench import servers
from bench.report import RESULTS
from bench.world import World
from vrm.consent.filters import Wanted

ROUNDS, PAGES = 15, 4
LISTS = {
    "unfiltered": Wanted(),
    "category": Wanted(category="music"),
    "three years": Wanted(ordered_from="2020-02-05", ordered_to="2023-02-04"),
    "category and year": Wanted(category="books", ordered_from="2021-01-01", ordered_to="2021-12-31"),
}


def cpu(act: Callable[[], object], times: int = 1) -> float:
    """Microseconds of this process."""
    begun = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - begun) / times * 1e6


def lists(world: World, size: int) -> dict[str, Callable[[], object]]:
    """The pages of a view of `size` rows; prints what posting it anew costs."""
    vault = world.vault(f"rows{size}", 2 * size)  # every other one was a gift
    tokens = world.connect(vault, scope="purchases.item:read purchases.order:read")
    consent = world.host.consent
    access, grant = (
        consent.reader.authenticate(tokens.access_token),
        consent.grants.open(vault, tokens.grant_id),
    )

    def post() -> None:
        with world.host.engine.write() as transaction:
            consent.views.post(transaction, grant)

    print(f"{size} rows: opening and posting them anew takes {cpu(post) / size:.0f} µs a row")
    return {
        name: partial(consent.reader.page, access, "purchases", limit=100, wanted=wanted)
        for name, wanted in LISTS.items()
    }


def main(sizes: Sequence[int]) -> int:
    """Measure and print; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix=".world-", dir=RESULTS.parent) as name:
        world = World(Path(name) / "vault", servers.free_port())
        with closing(world):
            made = {size: lists(world, size) for size in sizes}
            taken: dict[tuple[int, str], list[float]] = {}
            for _ in range(ROUNDS):
                for size, pages in made.items():
                    for kind, page in pages.items():
                        taken.setdefault((size, kind), []).append(cpu(page, PAGES))
    print(f"\n{'CPU µs a page of 100':22}" + "".join(f"{size:>10}" for size in sizes) + f"{'growth':>10}")
    for kind in LISTS:
        found = [median(taken[size, kind]) for size in sizes]
        print(f"{kind:22}" + "".join(f"{one:10.0f}" for one in found) + f"{found[-1] / found[0]:9.2f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main([int(text) for text in sys.argv[1:]] or [500, 20_000]))
