"""A worker that does something to itself at a named point: `python -m tests.support.saboteur POINT HOW JOB NTH`.

JOB is the job that it waits for there, or nothing for whatever job it is; NTH is the passing at which it does it.
`command` writes it all down.
The points come in around the real parts through the composition root, so no production run can reach one.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any

from streams.app import run_worker
from streams.core.job import Status
from streams.engine.ports import Answer, ChangelogBatch, PartitionLog, Robot
from streams.engine.worker import Ports
from streams.names import OUTCOME_TOPICS, Topic
from streams.settings import WorkerSettings, load_settings
from streams.wire.records import NewRecord
from streams.wire.robot_request import RobotRequest
from streams.wire.rows import job_in
from streams.worker import running_worker

# Long enough for the group's offsets to be committed, if a record was already acknowledged.
OFFSETS_COMMITTED_SECONDS = 1.0


class Point(StrEnum):
    """Where it happens."""

    DURING_RECOVERY = "during_recovery"  # fenced the former owner and read the rows, not open yet
    BEFORE_CLAIM_COMMIT = "before_claim_commit"
    INSIDE_TRANSACTION = "inside_transaction"  # the records are at the broker, nothing is decided
    AFTER_CLAIM_COMMIT = "after_claim_commit"  # before the acknowledgement and before the POST
    BEFORE_POST = "before_post"  # after the acknowledgement
    AFTER_ANSWER = "after_answer"  # before the answer is written down
    AFTER_OUTCOME_COMMIT = "after_outcome_commit"  # before the completion is acknowledged


class How(StrEnum):
    """What happens: the end of the machine, a freeze until somebody lets it go on, an error in the code."""

    KILL = "kill"
    STOP = "stop"
    RAISE = "raise"


OF_ONE_JOB = tuple(point for point in Point if point not in (Point.DURING_RECOVERY, Point.INSIDE_TRANSACTION))


def command(point: Point, how: How = How.KILL, *, job_id: str = "", nth: int = 1) -> tuple[str, ...]:
    """Return how to start one."""
    return ("-m", "tests.support.saboteur", point, how, job_id, str(nth))


class Sabotage:
    """Counts the passings of the one point, by the one job if there is one, and strikes at the last of them."""

    def __init__(self, point: Point, how: How, job_id: str, nth: int) -> None:
        self._point = point
        self._how = how
        self._job_id = job_id
        self._left = nth

    async def passing(self, point: Point, what: object = None, job_ids: Sequence[str] = ()) -> None:
        """Strike, if this is the time; `what` is in the worker's hands just then."""
        if point is not self._point or (self._job_id and self._job_id not in job_ids):
            return
        self._left -= 1
        if self._left != 0:
            return
        if point is Point.BEFORE_CLAIM_COMMIT and self._how is How.KILL:
            await asyncio.sleep(OFFSETS_COMMITTED_SECONDS)
        if self._how is How.RAISE:
            raise RuntimeError(f"sabotaged with {what}")
        os.kill(os.getpid(), signal.SIGKILL if self._how is How.KILL else signal.SIGSTOP)


class SabotagedLog:
    """A partition's log with points around and inside its commits."""

    def __init__(self, log: PartitionLog, sabotage: Sabotage) -> None:
        self._log = log
        self._sabotage = sabotage
        producer: Any = getattr(log, "_producer")  # noqa: B009 # no part of the port, and only of the real one
        producer.commit_transaction = self._around(producer.commit_transaction)

    def _around(self, commit: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def passing() -> None:
            await self._sabotage.passing(Point.INSIDE_TRANSACTION)
            await commit()

        return passing

    async def open(self, owner: bytes | None = None) -> AsyncGenerator[ChangelogBatch, None]:
        rows = await self._log.open(owner)
        await self._sabotage.passing(Point.DURING_RECOVERY)
        return rows

    async def close(self) -> None:
        await self._log.close()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        claimed = [job_id for record in records if (job_id := _claimed(record))]
        ended = [(record.key or b"").decode() for record in records if record.topic in OUTCOME_TOPICS]
        if claimed:
            await self._sabotage.passing(Point.BEFORE_CLAIM_COMMIT, records, claimed)
        await self._log.commit(records)
        if claimed:
            await self._sabotage.passing(Point.AFTER_CLAIM_COMMIT, records, claimed)
        if ended:
            await self._sabotage.passing(Point.AFTER_OUTCOME_COMMIT, records, ended)


def _claimed(record: NewRecord) -> str | None:
    """Return the job whose claim a record is."""
    row = None if record.topic in tuple(Topic) else job_in(record.key, record.value)
    if row is None or row.status is not Status.PROCESSING or row.accepted_at is not None:
        return None
    return row.job_id


class SabotagedRobot:
    """A robot with points around the call."""

    def __init__(self, robot: Robot, sabotage: Sabotage) -> None:
        self._robot = robot
        self._sabotage = sabotage
        self.health = robot.health

    async def create_batch(self, request: RobotRequest) -> Answer:
        await self._sabotage.passing(Point.BEFORE_POST, request, [request.job_id])
        answer = await self._robot.create_batch(request)
        await self._sabotage.passing(Point.AFTER_ANSWER, request, [request.job_id])
        return answer


def main() -> None:
    """Run the worker."""
    point, how, job_id, nth = sys.argv[1:]
    sabotage = Sabotage(Point(point), How(how), job_id, int(nth))

    def sabotaged(ports: Ports) -> Ports:
        return replace(
            ports,
            log_of=lambda number: SabotagedLog(ports.log_of(number), sabotage),
            robot=SabotagedRobot(ports.robot, sabotage),
        )

    run_worker(load_settings(WorkerSettings), partial(running_worker, adapt=sabotaged))


if __name__ == "__main__":
    main()
