"""What is learnt of the robot from its answers, and whom it lets be called."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from streams.engine.claims import CallSlots
from streams.engine.ports import Accepted, Answer, Health, Rejected, Unknown, Unreachable
from streams.engine.robot_watch import ASK_SECONDS, ASKS_BEFORE_A_TRIAL, START_ERROR, UPTIME_SECONDS, RobotWatch
from streams.engine.runtime import Runtime, Supervisor
from streams.names import LogEvent
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.robot_request import RobotRequest
from tests.core.builders import NOW
from tests.simulation.loop import in_virtual_time

REQUEST = RobotRequest("job-1", "workspace-1", b"{}", ())
NOBODY = Unreachable("No connection to the robot")
BUSY = Rejected(409, "Robot service error 409: busy")
BROKEN = Unknown("The connection broke")
FREE = 4
MOMENT = 0.1
RAN = timedelta(seconds=100)


class Line:
    """A partition with more workspaces than there are call slots."""

    def __init__(self) -> None:
        self.rounds = Counter({0: 100})


class Batches:
    """What a worker has at the robot, and what it is told of it."""

    def __init__(self) -> None:
        self.has_batches_at_robot = False
        self.told: list[tuple[datetime, datetime]] = []
        # Since when it has been away, each time that this is told; None: it is back.
        self.missed: list[datetime | None] = []

    def miss_robot(self, since: datetime | None) -> None:
        self.missed.append(since)

    def lose_batches(self, accepted_before: datetime, restarted_at: datetime) -> None:
        self.told.append((accepted_before, restarted_at))


class Scene:
    """A robot that gives the answers of a list, and is there or not; the clock is the loop's, from NOW on."""

    def __init__(self, answers: Sequence[Answer] = (), *, there: bool = True) -> None:
        self.there = there
        self.asked = 0
        # For how long the robot says that it has run, and how long the answer takes.
        self.uptime: timedelta | None = None
        self.trip_seconds = 0.0
        self.batches = Batches()
        self.answers = list(answers)
        # What each call waits for, if they do.
        self.held: list[asyncio.Event] = []
        self._calls = 0
        self.said: list[tuple[LogEvent, str]] = []
        self.metrics = Metrics()
        self.slots = CallSlots(FREE)
        self.line = Line()
        self.slots.enter(self.line)
        self.watch = RobotWatch(self, self.slots, self.batches, Runtime(self.now, Told(self), Supervisor(self.fail)))

    def now(self) -> datetime:
        return NOW + timedelta(seconds=asyncio.get_running_loop().time())

    def fail(self, error: BaseException) -> None:
        raise error

    async def create_batch(self, _request: RobotRequest) -> Answer:
        number = self._calls
        self._calls += 1
        if self.held:
            await self.held[number].wait()
        return self.answers[number]

    async def health(self) -> Health | None:
        self.asked += 1
        await asyncio.sleep(self.trip_seconds)
        return Health(self.uptime) if self.there else None

    async def call(self) -> tuple[Answer, bool]:
        """Make a call with a slot, as the dispatcher does."""
        self.slots.take(self.line)
        try:
            return await self.watch.create_batch(REQUEST)
        finally:
            self.slots.release()

    @property
    def share(self) -> int:
        return self.slots.share(self.line, self.line.rounds)

    @property
    def up(self) -> float | None:
        return self.metrics.registry.get_sample_value("robot_orchestrator_robot_up")


class Told(Journal):
    """Keeps what is told of the robot."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.metrics)
        self._scene = scene

    def info(self, event: LogEvent, **values: Any) -> None:
        self._scene.said.append((event, values.get("error", "")))

    warning = info


@in_virtual_time
async def test_nobody_is_called_after_a_connection_that_could_not_be_made_until_somebody_answers() -> None:
    scene = Scene([NOBODY, Accepted()], there=False)
    assert await scene.call() == (NOBODY, False)
    assert (scene.share, scene.up, scene.watch.is_there) == (0, 0, False)
    await asyncio.sleep(3 * ASK_SECONDS + MOMENT)
    assert (scene.share, scene.asked) == (0, 3)
    scene.there = True
    await asyncio.sleep(ASK_SECONDS + MOMENT)
    # One first: the robot may be there and not work.
    assert (scene.share, scene.up, scene.watch.is_there) == (1, 1, True)
    # Also when there is nobody to call for long.
    since, back = scene.batches.missed
    assert (since, back) == (NOW, None)
    await scene.call()
    assert (scene.share, scene.up, scene.watch.is_there) == (FREE, 1, True)
    assert scene.said == [(LogEvent.ROBOT_AWAY, NOBODY.error), (LogEvent.ROBOT_BACK, "")]


@in_virtual_time
async def test_calls_that_were_under_way_when_the_robot_went_are_spared_whenever_they_end() -> None:
    scene = Scene([NOBODY, NOBODY, NOBODY, NOBODY])
    scene.held = [asyncio.Event() for _ in range(4)]
    calls = [asyncio.create_task(scene.watch.create_batch(REQUEST)) for _ in range(3)]
    for held, call in zip(scene.held[:2], calls, strict=False):
        await asyncio.sleep(0)
        held.set()
        await call
    await asyncio.sleep(ASK_SECONDS + MOMENT)
    # It was asked for, and answered; this one was begun before.
    scene.held[2].set()
    assert [(await call)[1] for call in calls] == [False, True, True]


@pytest.mark.parametrize("answer", [NOBODY, BROKEN])
@in_virtual_time
async def test_a_first_call_that_finds_no_robot_again_has_all_the_others_wait(answer: Answer) -> None:
    scene = Scene([NOBODY, answer, BUSY])
    await scene.call()
    await asyncio.sleep(ASK_SECONDS + MOMENT)
    assert await scene.call() == (answer, False)
    assert scene.share == 0
    await asyncio.sleep(ASK_SECONDS + MOMENT)
    await scene.call()
    assert scene.share == FREE
    assert [event for event, _ in scene.said] == 2 * [LogEvent.ROBOT_AWAY, LogEvent.ROBOT_BACK]
    assert [since is None for since in scene.batches.missed] == [False, True, False, True]


@in_virtual_time
async def test_answers_to_calls_from_before_it_went_bring_the_robot_not_back() -> None:
    scene = Scene([NOBODY, BROKEN, Accepted()], there=False)
    scene.held = [asyncio.Event() for _ in range(3)]
    calls = [asyncio.create_task(scene.watch.create_batch(REQUEST)) for _ in range(3)]
    for held, call in zip(scene.held, calls, strict=True):
        await asyncio.sleep(0)
        held.set()
        await call
    assert scene.share == 0


@in_virtual_time
async def test_a_call_that_broke_tells_nothing_of_a_robot_that_answers_when_it_is_asked() -> None:
    """And how long it has run is known at once."""
    scene = Scene([BROKEN])
    scene.uptime = RAN
    await scene.call()
    await asyncio.sleep(MOMENT)
    assert (scene.share, scene.up, scene.asked) == (FREE, 1, 1)
    assert scene.batches.told == [started(RAN, NOW)]


@in_virtual_time
async def test_a_robot_that_takes_calls_and_answers_nothing_gets_no_more() -> None:
    scene = Scene([BROKEN, BROKEN], there=False)
    await scene.watch.create_batch(REQUEST)
    await scene.watch.create_batch(REQUEST)
    await asyncio.sleep(MOMENT)
    assert (scene.share, scene.up, scene.asked) == (0, 0, 1)


@in_virtual_time
async def test_a_robot_whose_health_nobody_may_ask_for_is_tried_all_the_same_and_no_job_pays_for_it() -> None:
    scene = Scene([NOBODY, NOBODY, Accepted()], there=False)
    await scene.call()
    await asyncio.sleep(ASKS_BEFORE_A_TRIAL * ASK_SECONDS + MOMENT)
    assert scene.share == 1
    assert await scene.call() == (NOBODY, True)
    assert scene.share == 0
    await asyncio.sleep(ASKS_BEFORE_A_TRIAL * ASK_SECONDS + MOMENT)
    await scene.call()
    assert (scene.share, scene.up) == (FREE, 1)


@in_virtual_time
async def test_it_is_asked_for_once_at_a_time_however_often_it_comes_and_goes() -> None:
    scene = Scene([answer for _ in range(20) for answer in (NOBODY, Accepted())])
    for _ in range(40):
        await scene.watch.create_batch(REQUEST)
    assert len(asyncio.all_tasks()) == 2


@in_virtual_time
async def test_a_slot_that_nobody_used_to_try_the_robot_goes_to_another() -> None:
    scene = Scene([NOBODY])
    await scene.call()
    await asyncio.sleep(ASK_SECONDS + MOMENT)
    scene.slots.take(scene.line)
    assert scene.share == 0
    scene.slots.give_back()
    assert scene.share == 1


@pytest.mark.parametrize("there", [True, False])
@in_virtual_time
async def test_a_robot_that_is_not_there_at_the_start_is_known_before_the_first_call(there: bool) -> None:
    scene = Scene(there=there)
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(MOMENT)
    running.cancel()
    assert scene.share == (FREE if there else 0)
    assert scene.watch.is_there is there
    assert [event for event, _ in scene.said] == ([] if there else [LogEvent.ROBOT_AWAY])


# Whether it was started again


def started(uptime: timedelta, at: datetime) -> tuple[datetime, datetime]:
    """Return what is told of a robot that was asked at an instant."""
    return at - uptime - START_ERROR, at - uptime


@in_virtual_time
async def test_a_robot_that_has_batches_of_ours_is_asked_once_a_minute_for_how_long_it_has_run() -> None:
    scene = Scene()
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(3 * UPTIME_SECONDS + MOMENT)
    assert scene.asked == 1, "without any only at the start"
    scene.batches.has_batches_at_robot = True
    scene.uptime = RAN
    await asyncio.sleep(2 * UPTIME_SECONDS)
    assert scene.asked == 3
    running.cancel()
    asked = [NOW + timedelta(seconds=number * UPTIME_SECONDS) for number in (4, 5)]
    assert scene.batches.told == [started(RAN, at) for at in asked]


@in_virtual_time
async def test_the_start_is_told_as_the_earliest_that_it_can_have_been() -> None:
    """An answer that was long on its way says how long the robot had run when it left."""
    scene = Scene()
    scene.uptime, scene.trip_seconds = RAN, 4.0
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(10)
    running.cancel()
    assert scene.batches.told == [started(RAN, NOW)]


@in_virtual_time
async def test_a_robot_that_does_not_say_how_long_it_has_run_has_lost_nothing() -> None:
    scene = Scene()
    scene.batches.has_batches_at_robot = True
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(2 * UPTIME_SECONDS + MOMENT)
    running.cancel()
    assert (scene.asked, scene.batches.told) == (3, [])


@in_virtual_time
async def test_nobody_pays_for_a_health_that_cannot_be_read_while_calls_get_through() -> None:
    scene = Scene([Accepted()])
    scene.batches.has_batches_at_robot = True
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(MOMENT)
    scene.there = False
    await asyncio.sleep(10 * UPTIME_SECONDS)
    assert scene.asked == 11
    assert (scene.share, scene.up, scene.watch.is_there) == (FREE, 1, True)
    running.cancel()
    assert scene.said == []


@in_virtual_time
async def test_when_it_is_back_it_is_known_at_once_what_it_has_lost_and_it_is_asked_no_oftener_meanwhile() -> None:
    scene = Scene([NOBODY], there=False)
    scene.batches.has_batches_at_robot = True
    scene.uptime = timedelta(seconds=3)
    running = asyncio.create_task(scene.watch.run())
    await asyncio.sleep(2 * UPTIME_SECONDS + MOMENT)
    assert scene.asked == 1 + 2 * UPTIME_SECONDS / ASK_SECONDS
    scene.there = True
    await asyncio.sleep(ASK_SECONDS)
    running.cancel()
    back_at = NOW + timedelta(seconds=2 * UPTIME_SECONDS + ASK_SECONDS)
    assert scene.batches.told == [started(timedelta(seconds=3), back_at)]
