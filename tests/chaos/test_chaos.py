"""The part of the chaos runs that every test run has: two rounds of a fixed plan, each of about 40 s."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.faults import CLUSTER, SINGLE
from tests.chaos.plan import Plan, draw
from tests.chaos.round import run_round

LOAD_SECONDS = 10.0


def plan(seed: int, *faults: tuple[float, str], followed: bool) -> Plan:
    drawn = draw(seed, SINGLE, CLUSTER, load_seconds=LOAD_SECONDS)
    return replace(
        drawn,
        brokers=1,
        workers=2,
        jobs=150,
        workspaces=100,
        backlog=False,
        session_seconds=3.0,
        patience_seconds=20.0,
        followed=followed,
        faults=faults,
        # One of a workspace and one of everything, during the faults.
        holds=[(1.0, 4.0, False), (2.5, 5.0, True)],
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "wanted",
    [
        plan(
            1, (1.0, "bridge_killed"), (3.0, "kill_worker"), (5.0, "stop_worker"), (7.0, "broker_killed"), followed=True
        ),
        plan(
            *(2, (1.0, "kafka_stalled"), (3.0, "robot_cut"), (5.0, "changelog_refused"), (7.0, "offsets_deleted")),
            followed=False,
        ),
    ],
    ids=lambda wanted: "+".join(name for _, name in wanted.faults),
)
async def test_a_round_of_mixed_faults_breaks_no_promise(wanted: Plan, tmp_path: Path) -> None:
    finished = await run_round(wanted, tmp_path)
    assert finished.done.total() == len(wanted.faults)
    assert finished.verdict.jobs > 100
    assert finished.verdict.violations == []


def test_the_same_seed_gives_the_same_plan() -> None:
    assert draw(17, SINGLE, CLUSTER) == draw(17, SINGLE, CLUSTER)
    for seed in range(2 * len(SINGLE)):
        # Every fault has its turn.
        assert SINGLE[seed % len(SINGLE)] in {name for _, name in draw(seed, SINGLE, SINGLE).faults}
