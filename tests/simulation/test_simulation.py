"""Many small worlds, each from a seed: nothing is sent twice, lost, ended twice or failed after it was completed.

A failure names its seed; `python -m tests.simulation SEED` runs that world again.
"""

import logging
import os

import pytest

from tests.simulation.mutations import MUTATIONS, Mutation
from tests.simulation.world import kinds_of, problems_of

# Raise it for a longer search: SIMULATION_SEEDS=20000 pytest tests/simulation
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "100"))
# So many are one test, so that several processes can share them.
SHARE = 25
# By then each mutation had shown itself, with room to spare.
SEEDS_TO_FIND_A_MUTATION = 2000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    # Mutated engines die in tasks that nobody waits for; that is the point.
    caplog.set_level(logging.CRITICAL, "asyncio")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_no_world_breaks_a_guarantee(first: int) -> None:
    seeds = range(first, min(first + SHARE, SEEDS))
    broken = {seed: found for seed in seeds if (found := problems_of(seed))}
    assert broken == {}


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mutation", "expected", "shown_before"), MUTATIONS, ids=[mutation.__name__ for mutation, *_ in MUTATIONS]
)
def test_a_mechanism_that_is_taken_away_is_missed(
    mutation: Mutation, expected: set[str], shown_before: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the very promises that rest on it: any other violation may be the mutation's own clumsiness."""
    mutation(monkeypatch)
    missing = set(expected)
    for seed in dict.fromkeys((*shown_before, *range(SEEDS_TO_FIND_A_MUTATION))):
        missing -= kinds_of(seed)
        if not missing:
            break
    assert missing == set()


def test_a_seed_always_runs_the_same_way() -> None:
    assert problems_of(5) == problems_of(5)
