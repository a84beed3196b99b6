"""What everything in a worker has at hand: the clock, the journal, and somebody who minds what runs beside."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streams.telemetry.journal import Journal
from streams.telemetry.tracing import NO_SPANS, Tracing


def heed_cancellation() -> None:
    """Raise CancelledError if this task was cancelled and something that it called has swallowed that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class Supervisor:
    """Minds what runs beside: `crash` hears of the first failure, and ends the process."""

    def __init__(self, crash: Callable[[BaseException], None]) -> None:
        self.crash = crash
        # The event loop itself keeps no task from the garbage collector.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let something run until it ends or is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def close(self) -> None:
        """Cancel all that still runs."""
        for task in list(self._tasks):
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whatever it was, nobody does that work any more.
            self.crash(error)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a worker's parts share. `now` is aware UTC, and never steps back."""

    now: Callable[[], datetime]
    journal: Journal
    supervisor: Supervisor
    tracing: Tracing = NO_SPANS
