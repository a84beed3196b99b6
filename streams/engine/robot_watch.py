"""Whether the robot is there: while it is not nobody is called, and when it is back one job goes first."""

import asyncio
from enum import Enum, auto

from streams.engine.claims import CallSlots
from streams.engine.ports import Accepted, Answer, Rejected, Robot, Unknown, Unreachable
from streams.engine.runtime import Runtime
from streams.wire.robot_request import RobotRequest

# How often a robot that is away is asked for.
ASK_SECONDS = 5.0


class _State(Enum):
    THERE = auto()
    # Nobody is called; it is asked for.
    AWAY = auto()
    # It has answered when it was asked for: one call is made.
    TRIED = auto()


class RobotWatch:
    """Makes calls, and learns from them. It lets jobs have call slots only as far as there is a robot."""

    def __init__(self, robot: Robot, slots: CallSlots, runtime: Runtime) -> None:
        self._robot = robot
        self._slots = slots
        self._runtime = runtime
        self._state = _State.THERE
        # Taken for granted until a call or the first look tells otherwise.
        runtime.journal.metrics.robot_up.set(1)

    @property
    def is_there(self) -> bool:
        """Whether the robot answered when it was last tried."""
        return self._state is _State.THERE

    async def look_once(self) -> None:
        """Ask whether it is there before the first call is made."""
        if not await self._robot.is_there():
            self._go_away("nobody answers at its address")

    async def create_batch(self, request: RobotRequest) -> tuple[Answer, bool]:
        """Make a call; return its answer, and whether it was known by then that there is no robot."""
        answer = await self._robot.create_batch(request)
        known = self._state is _State.AWAY
        match answer:
            case Accepted() | Rejected():
                self._come_back()
            case Unreachable(error):
                self._go_away(error)
            case Unknown(error) if self._state is _State.TRIED:
                # A call that broke tells of no robot, and the next one would break like it.
                self._go_away(error)
        return answer, known

    def not_called(self) -> None:
        """Take note of a slot that was taken for a call which was not made: another may try."""
        if self._state is _State.TRIED:
            self._slots.allow(1)

    def _go_away(self, error: str) -> None:
        if self._state is _State.AWAY:
            return
        if self._state is _State.THERE:
            self._runtime.journal.robot_away(error)
        self._state = _State.AWAY
        self._slots.allow(0)
        self._runtime.supervisor.start(self._ask_for_it())

    def _come_back(self) -> None:
        if self._state is not _State.THERE:
            self._state = _State.THERE
            self._runtime.journal.robot_back()
            self._slots.allow(None)

    async def _ask_for_it(self) -> None:
        while self._state is _State.AWAY:
            await asyncio.sleep(ASK_SECONDS)
            if await self._robot.is_there():
                break
        # A call that was under way may have been answered meanwhile.
        if self._state is _State.AWAY:
            self._state = _State.TRIED
            self._slots.allow(1)
