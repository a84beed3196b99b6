"""A worker that is killed at a named point: `python -m tests.faults.failing_worker POINT JOB_ID`.

The points come in around the real parts through the composition root, so no production run can reach one.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial

from streams.app import run_worker
from streams.core.job import Status
from streams.engine.ports import Answer, ChangelogBatch, PartitionLog, Robot
from streams.engine.worker import Ports
from streams.names import OUTCOME_TOPICS, Topic
from streams.settings import WorkerSettings, load_settings
from streams.wire.records import NewRecord
from streams.wire.robot_request import RobotRequest
from streams.wire.rows import decode_entry
from streams.worker import running_worker

OFFSETS_COMMITTED_SECONDS = 1.0


class Point(StrEnum):
    """Where the worker dies."""

    BEFORE_CLAIM_COMMIT = "before_claim_commit"
    # Not killed but stopped, as a process that is frozen, until somebody lets it go on.
    FROZEN_BEFORE_CLAIM_COMMIT = "frozen_before_claim_commit"
    AFTER_CLAIM_COMMIT = "after_claim_commit"  # before the acknowledgement and before the POST
    BEFORE_POST = "before_post"  # after the acknowledgement
    AFTER_ANSWER = "after_answer"  # before the answer is written down
    AFTER_OUTCOME_COMMIT = "after_outcome_commit"  # before the completion is acknowledged


def die() -> None:
    """End as a crash of the machine would."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingLog:
    """A partition's log whose process dies around a commit."""

    def __init__(self, log: PartitionLog, point: Point, job_id: str) -> None:
        self._log = log
        self._point = point
        self._job_id = job_id

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        return await self._log.open()

    async def close(self) -> None:
        await self._log.close()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        claim = any(self._is_claim(record) for record in records)
        outcome = any(record.topic in OUTCOME_TOPICS and record.key == self._job_id.encode() for record in records)
        if claim and self._point is Point.BEFORE_CLAIM_COMMIT:
            # Long enough for the group's offsets to be committed, if the record was already acknowledged.
            await asyncio.sleep(OFFSETS_COMMITTED_SECONDS)
            die()
        if claim and self._point is Point.FROZEN_BEFORE_CLAIM_COMMIT:
            os.kill(os.getpid(), signal.SIGSTOP)
        await self._log.commit(records)
        if claim and self._point is Point.AFTER_CLAIM_COMMIT:
            die()
        if outcome and self._point is Point.AFTER_OUTCOME_COMMIT:
            die()

    def _is_claim(self, record: NewRecord) -> bool:
        if record.key is None or record.topic in tuple(Topic):
            return False
        _, row = decode_entry(record.key, record.value)
        if row is None or row.job_id != self._job_id:
            return False
        return row.status is Status.PROCESSING and row.accepted_at is None


class DyingRobot:
    """A robot whose caller dies around the call."""

    def __init__(self, robot: Robot, point: Point, job_id: str) -> None:
        self._robot = robot
        self._point = point
        self._job_id = job_id

    async def create_batch(self, request: RobotRequest) -> Answer:
        if request.job_id == self._job_id and self._point is Point.BEFORE_POST:
            die()
        answer = await self._robot.create_batch(request)
        if request.job_id == self._job_id and self._point is Point.AFTER_ANSWER:
            die()
        return answer


def main() -> None:
    """Run the worker."""
    point, job_id = Point(sys.argv[1]), sys.argv[2]

    def die_there(ports: Ports) -> Ports:
        return replace(
            ports,
            log_of=lambda number: DyingLog(ports.log_of(number), point, job_id),
            robot=DyingRobot(ports.robot, point, job_id),
        )

    run_worker(load_settings(WorkerSettings), partial(running_worker, adapt=die_there))


if __name__ == "__main__":
    main()
