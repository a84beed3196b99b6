"""An event loop whose time is virtual: when nothing can run, the clock jumps to the next timer."""

import asyncio
from typing import Any


class DeadlockError(Exception):
    """Nothing can run and no timer is set: everything waits for something that never comes."""


class _Selector:
    """Stands where the loop waits for sockets; waiting is only a step of the clock."""

    def __init__(self, loop: "VirtualTimeLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise DeadlockError
        self._loop.advance(timeout)
        return []


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """Runs coroutines in the order of their virtual time; the same program always runs the same way."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_time = 0.0
        self._selector = _Selector(self)

    def time(self) -> float:
        """Return the seconds since the start."""
        return self._virtual_time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_time += max(0.0, seconds)

    def _process_events(self, _events: list[Any]) -> None:
        """There are no sockets."""
