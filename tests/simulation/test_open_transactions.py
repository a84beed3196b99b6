"""A foreign producer leaves a transaction open: whom it keeps waiting, and whom not."""

from collections.abc import Sequence

import pytest

from streams.core.job import JobKey
from streams.engine.barrier import PEEK_MAX_JOBS
from streams.names import Topic
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord
from tests.simulation.broker import State
from tests.simulation.robots import SilentRobot
from tests.simulation.world import Plan, World, completion, submission

PARTITIONS = 3


def key_in(partition: int, job_id: str) -> JobKey:
    """Return a job of a workspace of its own that belongs in a partition."""
    workspaces = (f"workspace-{job_id}-{number}" for number in range(1_000))
    return JobKey(next(name for name in workspaces if partition_of(name, PARTITIONS) == partition), job_id)


NAMED, UNNAMED, BESIDE, AT_HOME = (
    key_in(0, "named"),
    key_in(0, "unnamed"),
    key_in(1, "beside"),
    key_in(2, "at-home"),
)


class Scene:
    """A world whose robot never reports, and a transaction with completions in partition 2."""

    def __init__(self, workers: int = 1) -> None:
        self.world = World(0, Plan(partitions=PARTITIONS))
        self.world.robot = SilentRobot(self.world)
        self._workers = workers

    def ended(self, topic: Topic) -> set[str]:
        return {record.key.decode() for record in self.world.broker.topic(topic) if record.key}

    def play(self, jobs: Sequence[JobKey], named: Sequence[JobKey], end: State) -> tuple[set[str], set[str]]:
        """Run jobs past their deadlines while the transaction is open, then end it; return who failed before that."""
        failed: list[set[str]] = []

        async def scene() -> None:
            for _ in range(self._workers):
                self.world.start_worker()
            for key in jobs:
                self.world.publish(Topic.SUBMITTED, key, submission(key, 1))
            await self.world.until(lambda: len(self.world.robot.posts) == len(jobs))
            epoch = self.world.broker.fence("foreign")
            for key in named:
                undecided = NewRecord(Topic.BATCH_COMPLETED, 2, None, completion(key, 1, 0))
                self.world.broker.produce("foreign", epoch, undecided)
            # Far beyond every deadline.
            waited_until = self.world.time() + 200
            await self.world.until(lambda: self.world.time() > waited_until)
            assert self.ended(Topic.COMPLETED) == set()
            failed.append(self.ended(Topic.FAILED))
            self.world.broker.end_transaction("foreign", epoch, end)
            await self.world.until(
                lambda: len(self.ended(Topic.FAILED)) + len(self.ended(Topic.COMPLETED)) == len(jobs)
            )
            failed.append(self.ended(Topic.FAILED))

        self.world.play(scene())
        before, after = failed
        return before, after


@pytest.mark.parametrize("workers", [1, 3])
def test_only_the_jobs_that_it_names_and_those_of_its_own_partition_wait_for_it(workers: int) -> None:
    before, after = Scene(workers).play([NAMED, UNNAMED, BESIDE, AT_HOME], [NAMED], State.COMMITTED)
    assert before == {"unnamed", "beside"}
    assert after == {"unnamed", "beside", "at-home"}


def test_what_it_names_and_takes_back_fails_then() -> None:
    assert Scene().play([NAMED], [NAMED], State.ABORTED) == (set(), {"named"})


def test_nobody_is_decided_where_it_names_too_many_to_look_through(monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker goes over so many in one reading; a few at a time they would take an hour.
    monkeypatch.setattr("tests.simulation.worker.READ_OFFSETS", PEEK_MAX_JOBS)
    others = [JobKey("somebody", f"job-{number}") for number in range(PEEK_MAX_JOBS + 1)]
    assert Scene().play([UNNAMED], others, State.ABORTED) == (set(), {"unnamed"})
