"""An event loop whose time is virtual: when nothing can run, the clock jumps to the next timer."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")


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


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an asynchronous test in a loop of its own whose time is virtual."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualTimeLoop()
        try:
            loop.run_until_complete(test(*args, **kwargs))
        finally:
            while tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks))
            loop.close()

    return run
