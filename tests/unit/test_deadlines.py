"""What the read barrier asks the log for, and when: races too narrow for a random world to meet them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from streams.core.events import CallFailed, DeadlinePassed, RobotAccepted
from streams.core.job import FailureReason, JobKey
from streams.engine.barrier import BehindError, ReadBarrier
from streams.engine.deadline_scan import DeadlineScan
from streams.engine.ledger import Ledger
from streams.engine.ports import OpenTransaction, Reading, UnreadableError
from streams.engine.runtime import Runtime, Supervisor
from streams.names import Topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, TopicPartition
from tests.core.builders import NOW
from tests.simulation.broker import SimulatedBroker, SimulatedReader, State, at_once
from tests.simulation.loop import in_virtual_time
from tests.unit.builders import completion

KEY = JobKey("workspace-1", "job-1")
HOME, ELSEWHERE = 0, 1
BROKE = CallFailed(KEY, FailureReason.DISPATCH_UNKNOWN, "the connection broke", robot_may_have_received=True)


class Reader(SimulatedReader):
    """Lets something happen each time that the group's offsets are about to be asked for."""

    def __init__(self, broker: SimulatedBroker, meanwhile: Callable[[], None]) -> None:
        async def io() -> None:
            await asyncio.sleep(0)

        super().__init__(broker, io)
        self._meanwhile = meanwhile

    async def committed_offsets(self, topic: str) -> dict[int, int]:
        self._meanwhile()
        return await super().committed_offsets(topic)


@dataclass(eq=False)
class Scene:
    """A job whose call broke in partition 0, of which `applied` offsets are applied; `meanwhile` happens once."""

    meanwhile: Callable[["Scene"], None] = lambda _scene: None
    applied: int = 0
    partition: int = HOME
    now: datetime = NOW
    deadline: datetime = NOW + timedelta(minutes=1)
    followed: bool = False
    opened: bool = True
    known: bool = True
    numbers: list[int] = field(default_factory=lambda: [HOME])
    reported: list[Any] = field(default_factory=list)
    decided: list[Any] = field(default_factory=list)
    paused_by: list[CallFailed] = field(default_factory=list)
    due: list[JobKey] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = SimulatedBroker(2, lambda: NOW)
        runtime = Runtime(lambda: self.now, Journal(Metrics()), Supervisor(self.reported.append))
        self.scan = DeadlineScan(self, ReadBarrier(Reader(self.broker, self._happen)), runtime)

    def open_ledgers(self) -> list[Ledger]:
        return [cast(Ledger, self)] if self.opened else []

    def report(self, _number: int, event: Any) -> None:
        self.reported.append(event)

    def decide(self, _ledger: Ledger, event: Any) -> None:
        self.decided.append(event)

    def _happen(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda _scene: None
        meanwhile(self)

    def processed(self, _topic: str) -> int:
        return self.applied

    def deadline_of(self, _key: JobKey) -> datetime:
        return self.deadline

    def follows(self, _key: JobKey) -> bool:
        return self.followed

    def has_job(self, _key: JobKey) -> bool:
        return self.known

    def pause(self, busy: CallFailed, _now: datetime) -> None:
        self.paused_by.append(busy)

    def take_due(self, _now: object) -> list[JobKey]:
        due, self.due = self.due, []
        return due

    def write(self, partition: int) -> None:
        self.broker.append(NewRecord(Topic.BATCH_COMPLETED, partition, None, completion()))

    def forward(self) -> None:
        self.write(HOME)
        self.broker.committed_offsets[TopicPartition(Topic.BATCH_COMPLETED, ELSEWHERE)] = 1


async def still_waits(work: Awaitable[None]) -> "asyncio.Future[None]":
    """Return work that has not come to an end by itself."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=0.5)
    assert not done
    return task


@in_virtual_time
async def test_what_was_forwarded_since_the_ends_were_read_is_waited_for() -> None:
    scene = Scene(meanwhile=Scene.forward)
    scene.write(ELSEWHERE)
    scene.scan.take_answer(HOME, BROKE)
    deciding = await still_waits(scene.scan.decide())
    assert scene.decided == []
    scene.applied = 1
    await deciding
    assert scene.decided == [BROKE]


@in_virtual_time
async def test_a_call_that_broke_fails_its_job_only_behind_what_lies_in_the_log() -> None:
    scene = Scene()
    scene.write(HOME)
    scene.scan.take_answer(HOME, BROKE)
    deciding = await still_waits(scene.scan.decide())
    assert (scene.reported, scene.decided) == ([], [])
    scene.applied = 1
    await deciding
    assert (scene.reported, scene.decided) == ([], [BROKE])


@in_virtual_time
async def test_a_broken_call_that_is_held_past_its_job_s_deadline_looks_at_the_log_again() -> None:
    """A completion that came before the deadline counts, also one that came after the call was seen to fail."""
    scene = Scene()
    scene.write(HOME)
    scene.scan.take_answer(HOME, BROKE)
    deciding = await still_waits(scene.scan.decide())
    scene.write(HOME)
    scene.now = scene.deadline
    scene.applied = 1
    await still_waits(deciding)
    assert scene.decided == []
    scene.applied = 2
    await deciding
    assert scene.decided == [BROKE]


async def test_a_partition_whose_transactions_nobody_can_describe_is_read_all_the_same() -> None:
    class Reticent(SimulatedReader):
        refusals = 1

        async def open_transactions(self, place: TopicPartition) -> list[OpenTransaction]:
            raise UnreadableError(str(place))

        async def read(self, place: TopicPartition, start: int, end: int, limit: int) -> Reading:
            if self.refusals:
                self.refusals -= 1
                raise UnreadableError(str(place))
            return await super().read(place, start, end, limit)

    broker = SimulatedBroker(1, lambda: NOW)
    broker.append(NewRecord(Topic.BATCH_COMPLETED, HOME, None, None), State.MARKER)
    barrier, ledger = ReadBarrier(Reticent(broker, at_once)), cast(Ledger, Scene())
    ends = await barrier.ends()
    with pytest.raises(BehindError, match=f"{Topic.BATCH_COMPLETED}-{HOME}"):
        await barrier.check_applied(ledger, ends)
    await barrier.check_applied(ledger, ends)


async def test_an_answer_that_cannot_have_been_reported_yet_does_not_wait() -> None:
    scene = Scene()
    refused = CallFailed(KEY, FailureReason.ROBOT_REJECTED, "no", robot_may_have_received=False)
    for answer in (RobotAccepted(KEY, NOW), refused):
        scene.scan.take_answer(HOME, answer)
    assert scene.reported == [RobotAccepted(KEY, NOW), refused]
    assert not scene.scan.collect(NOW)


@in_virtual_time
async def test_a_refusal_of_a_batch_that_is_followed_waits_for_what_was_reported_of_it() -> None:
    """A robot that can do nothing reports every order and answers 400; and a report belies a 409."""
    scene = Scene(followed=True)
    for refused in (CallFailed(KEY, FailureReason.ROBOT_REJECTED, "no", False, status) for status in (400, 409)):
        scene.broker.append(NewRecord(Topic.ORDER_REPORTED, HOME, None, b"{}"))
        scene.scan.take_answer(HOME, refused)
        assert scene.reported == []
        assert scene.scan.collect(NOW)
        waits = await still_waits(scene.scan.decide())
        assert scene.decided == []
        scene.applied += 1
        await waits
        assert scene.decided.pop() == refused


async def test_a_failure_waits_until_its_partition_is_loaded_and_then_for_what_was_reported() -> None:
    """Before, nobody can say whether its job is followed; an acceptance changes no outcome."""
    refused = CallFailed(KEY, FailureReason.ROBOT_REJECTED, "no", False, 409, may_be_repeated=True)
    for followed in (True, False):
        scene = Scene(followed=followed, opened=False)
        for answer in (RobotAccepted(KEY, NOW), refused):
            scene.scan.take_answer(HOME, answer)
        assert not scene.scan.collect(NOW)
        assert scene.reported == [RobotAccepted(KEY, NOW)]
        scene.opened = True
        assert scene.scan.collect(NOW) == followed
        await scene.scan.decide()
        assert (scene.reported[1:], scene.decided) == (([], [refused]) if followed else ([refused], []))


async def test_a_failure_of_a_partition_that_has_moved_away_is_lost() -> None:
    scene = Scene(followed=True, opened=False)
    scene.scan.take_answer(HOME, BROKE)
    scene.numbers = []
    assert not scene.scan.collect(NOW)
    scene.numbers, scene.opened = [HOME], True
    assert not scene.scan.collect(NOW)


@pytest.mark.parametrize(("status", "paused"), [(409, True), (429, True), (400, False)])
async def test_the_workspace_of_a_robot_that_is_busy_waits_at_once(status: int, paused: bool) -> None:
    """Whatever becomes of the job behind the barrier, its neighbours would be refused too."""
    scene = Scene(followed=True)
    refused = CallFailed(KEY, FailureReason.ROBOT_REJECTED, "no", False, status)
    scene.scan.take_answer(HOME, refused)
    assert scene.paused_by == ([refused] if paused else [])
    assert scene.reported == []


@in_virtual_time
async def test_what_the_robot_said_comes_before_a_deadline_that_passed_meanwhile() -> None:
    """Else a job whose call never left would end as one that the robot may have."""
    away = CallFailed(KEY, FailureReason.ROBOT_UNREACHABLE, "no connection", robot_may_have_received=False)
    scene = Scene(followed=True)
    scene.write(HOME)
    scene.scan.take_answer(HOME, away)
    deciding = await still_waits(scene.scan.decide())
    scene.now = scene.deadline
    scene.due = [KEY]
    scene.scan.collect(scene.now)
    scene.applied = 1
    await deciding
    assert scene.decided == [away, DeadlinePassed(KEY)]


@in_virtual_time
async def test_a_job_that_is_forgotten_meanwhile_has_nothing_decided() -> None:
    scene = Scene(known=False)
    scene.scan.take_answer(HOME, BROKE)
    await scene.scan.decide()
    assert scene.decided == []
