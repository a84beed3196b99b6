"""A worker that kills or stops itself when it passes a point: `python -m tests.chaos.tripping_worker POINT HOW NTH`.

Beside `tests.faults.failing_worker`, which waits for one known job: here it is the NTH passing, whatever the job.
The points come in around the real parts through the composition root, so no production run can reach one.
"""

import itertools
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
from streams.wire.rows import decode_entry
from streams.worker import running_worker


class TripPoint(StrEnum):
    """Where the worker trips."""

    DURING_RECOVERY = "during_recovery"  # fenced the former owner and read the rows, not open yet
    BEFORE_CLAIM_COMMIT = "before_claim_commit"
    INSIDE_TRANSACTION = "inside_transaction"  # the records are at the broker, nothing is decided
    AFTER_CLAIM_COMMIT = "after_claim_commit"  # before the acknowledgement and before the POST
    BEFORE_POST = "before_post"
    AFTER_ANSWER = "after_answer"  # before the answer is written down
    AFTER_OUTCOME_COMMIT = "after_outcome_commit"  # before the completion is acknowledged


HOW = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Trip:
    """Counts the passings of the one point and sends this process the signal at the last one."""

    def __init__(self, point: TripPoint, how: signal.Signals, nth: int) -> None:
        self._point = point
        self._how = how
        self._left = itertools.count(nth - 1, -1)

    def passing(self, point: TripPoint) -> None:
        if point is self._point and next(self._left) == 0:
            os.kill(os.getpid(), self._how)


class TrippingLog:
    """A partition's log with points around and inside its commits."""

    def __init__(self, log: PartitionLog, trip: Trip) -> None:
        self._log = log
        self._trip = trip
        producer: Any = getattr(log, "_producer")  # noqa: B009 # no part of the port, and only of the real one
        producer.commit_transaction = self._around(producer.commit_transaction)

    def _around(self, commit: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def passing() -> None:
            self._trip.passing(TripPoint.INSIDE_TRANSACTION)
            await commit()

        return passing

    async def open(self) -> AsyncGenerator[ChangelogBatch, None]:
        rows = await self._log.open()
        self._trip.passing(TripPoint.DURING_RECOVERY)
        return rows

    async def close(self) -> None:
        await self._log.close()

    async def commit(self, records: Sequence[NewRecord]) -> None:
        claim = any(_is_claim(record) for record in records)
        if claim:
            self._trip.passing(TripPoint.BEFORE_CLAIM_COMMIT)
        await self._log.commit(records)
        if claim:
            self._trip.passing(TripPoint.AFTER_CLAIM_COMMIT)
        if any(record.topic in OUTCOME_TOPICS for record in records):
            self._trip.passing(TripPoint.AFTER_OUTCOME_COMMIT)


def _is_claim(record: NewRecord) -> bool:
    if record.key is None or record.topic in tuple(Topic):
        return False
    _, row = decode_entry(record.key, record.value)
    return row is not None and row.status is Status.PROCESSING and row.accepted_at is None


class TrippingRobot:
    """A robot with points around the call."""

    def __init__(self, robot: Robot, trip: Trip) -> None:
        self._robot = robot
        self._trip = trip

    async def create_batch(self, request: RobotRequest) -> Answer:
        self._trip.passing(TripPoint.BEFORE_POST)
        answer = await self._robot.create_batch(request)
        self._trip.passing(TripPoint.AFTER_ANSWER)
        return answer


def main() -> None:
    """Run the worker."""
    trip = Trip(TripPoint(sys.argv[1]), HOW[sys.argv[2]], int(sys.argv[3]))

    def trip_there(ports: Ports) -> Ports:
        return replace(
            ports,
            log_of=lambda number: TrippingLog(ports.log_of(number), trip),
            robot=TrippingRobot(ports.robot, trip),
        )

    run_worker(load_settings(WorkerSettings), partial(running_worker, adapt=trip_there))


if __name__ == "__main__":
    main()
