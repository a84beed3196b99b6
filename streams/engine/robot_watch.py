"""Whether the robot is there: while it is not nobody is called, and when it is back one job goes first.

Also whether it was started again: a batch lives in its memory, and is lost with it.
"""

import asyncio
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

from streams.engine.claims import CallSlots
from streams.engine.ports import Accepted, Answer, Rejected, Robot, Unknown, Unreachable
from streams.engine.runtime import Runtime
from streams.wire.robot_request import RobotRequest

# How often a robot that is away is asked for.
ASK_SECONDS = 5.0
# So often in vain, and one call is made all the same.
ASKS_BEFORE_A_TRIAL = 12
# How often a robot that has batches of ours is asked for how long it has run.
UPTIME_SECONDS = 60.0
# By how much its start and an acceptance may be measured wrongly: an uptime in whole seconds, clocks that run apart.
START_ERROR = timedelta(seconds=2)


class Batches(Protocol):
    """What this worker's partitions know of the batches that the robot has accepted."""

    @property
    def has_batches_at_robot(self) -> bool:
        """Whether there is one that has not ended, and is not known to be lost."""

    def miss_robot(self, since: datetime | None) -> None:
        """Take note since when the robot has been away; None when it is back."""

    def lose_batches(self, accepted_before: datetime, restarted_at: datetime) -> None:
        """Take note that those that were accepted before an instant are lost, by a start of the robot."""


class _State(Enum):
    THERE = auto()
    # Nobody is called; it is asked for.
    AWAY = auto()
    # It has answered when it was asked for: one call is made.
    TRIED = auto()


class RobotWatch:
    """Makes calls, and learns from them. It lets jobs have call slots only as far as there is a robot."""

    def __init__(self, robot: Robot, slots: CallSlots, batches: Batches, runtime: Runtime) -> None:
        self._robot = robot
        self._slots = slots
        self._batches = batches
        self._runtime = runtime
        self._state = _State.THERE
        # How often it has gone: the answers to calls that were begun before tell nothing of it as it is now.
        self._departures = 0
        self._asking = self._looking = False
        # Taken for granted until a call or the first look tells otherwise.
        runtime.journal.metrics.robot_up.set(1)

    @property
    def is_there(self) -> bool:
        """Whether the robot answered when it was last tried or asked."""
        return self._state is not _State.AWAY

    async def run(self) -> None:
        """Look whether it is there, and then ask now and then whether it was started again.

        That nobody answers then changes nothing: whether there is a robot is for calls to tell.
        """
        await self._look()
        while True:
            await asyncio.sleep(UPTIME_SECONDS)
            # One that is away is asked for anyway.
            if self.is_there and self._batches.has_batches_at_robot:
                await self._ask()

    async def _look(self) -> None:
        """Ask whether it is there: before the first call is made, or because one has broken."""
        if self._looking or self._state is not _State.THERE:
            return
        self._looking = True
        there = await self._ask()
        self._looking = False
        if not there and self._state is _State.THERE:
            self._go_away("nobody answers at its address")

    async def create_batch(self, request: RobotRequest) -> tuple[Answer, bool]:
        """Make a call; return its answer, and whether it was known by then that there is no robot."""
        departures, away = self._departures, self._state is _State.AWAY
        answer = await self._robot.create_batch(request)
        known = away or departures != self._departures
        match answer:
            case Accepted() | Rejected() if departures == self._departures:
                self._come_back()
            case Unreachable(error):
                self._go_away(error)
            case Unknown(error) if self._state is _State.TRIED:
                # A call that broke tells of no robot, and the next one would break like it.
                self._go_away(error)
            case Unknown() if self._state is _State.THERE:
                # It may be gone, or hang.
                self._runtime.supervisor.start(self._look())
        return answer, known

    async def _ask(self) -> bool:
        """Return whether anybody answers at its address; what was lost by its last start, the partitions are told."""
        asked_at = self._runtime.now()
        health = await self._robot.health()
        if health is not None and health.uptime is not None:
            # The earliest that it can be: the answer was on its way for some time.
            started_at = asked_at - health.uptime
            self._batches.lose_batches(started_at - START_ERROR, started_at)
        return health is not None

    def _go_away(self, error: str) -> None:
        if self._state is _State.AWAY:
            return
        self._batches.miss_robot(self._runtime.now())
        self._state = _State.AWAY
        self._departures += 1
        self._runtime.journal.robot_away(error)
        self._slots.allow(0)
        if not self._asking:
            self._asking = True
            self._runtime.supervisor.start(self._ask_for_it())

    def _come_back(self) -> None:
        if self._state is _State.AWAY:
            self._tell_back()
        if self._state is not _State.THERE:
            self._state = _State.THERE
            self._slots.allow(None)

    def _tell_back(self) -> None:
        self._runtime.journal.robot_back()
        self._batches.miss_robot(None)

    async def _ask_for_it(self) -> None:
        asked = 0
        while self._state is _State.AWAY:
            await asyncio.sleep(ASK_SECONDS)
            if await self._ask():
                break
            asked += 1
            if asked % ASKS_BEFORE_A_TRIAL == 0:
                # Its health may be kept from us where calls are not. Nothing is lost by a call that does not leave.
                self._slots.allow(1)
        self._asking = False
        # A call that was under way may have been answered meanwhile.
        if self._state is _State.AWAY:
            self._state = _State.TRIED
            self._tell_back()
            self._slots.allow(1)
