"""A PostgreSQL of three members whose primary is killed under load: all that was acknowledged is there.

Minutes of etcd and Patroni, so only with VRM_TEST_LONG=1; `python -m bench.cluster.ha` is the same by hand.
"""

import os

import pytest

from bench.cluster import backup, ha, rolling, stage

LONG = os.environ.get("VRM_TEST_LONG") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LONG, reason="minutes of a cluster: VRM_TEST_LONG=1 runs it"),
]


def wanted(*tools: str) -> None:
    if packages := stage.missing(*tools):
        remedy = f"not here: sudo apt-get install {' '.join(packages)}"
        if os.environ.get("VRM_TEST_STRICT") == "1":
            pytest.fail(remedy)
        pytest.skip(remedy)


@pytest.mark.parametrize(
    "served", [pytest.param(False, id="psycopg"), pytest.param(True, id="two nodes of vrm")]
)
def test_a_primary_killed_under_load_loses_nothing_that_was_acknowledged(served: bool) -> None:
    wanted("initdb", "etcd", "patroni")
    rounds, told = ha.trial(4, 2.0, served=served)
    assert told["lost_on"] == {"member0": 0, "member1": 0, "member2": 0}
    assert told["writes"] > 100
    assert told.get("faults", 0) == 0
    assert all(one.was != one.now for one in rounds), "somebody else leads after each kill"
    assert max(one.reads_away for one in rounds) < 60


def test_nodes_that_are_replaced_one_after_the_other_lose_nothing() -> None:
    wanted("initdb")
    found = rolling.trial(1)
    assert (found["lost"], found["faults"]) == (0, 0)
    assert found["statuses"].keys() == {200, 303}


def test_going_back_to_a_moment_ends_every_permission() -> None:
    wanted("initdb")
    found = backup.trial()
    assert list(found["there"].values()) == [True, True, False]
    assert found["grants after vrm restore"] == ["paused"]
    assert (found["tokens"], found["ok"]) == (0, True)
