"""The workers of a round: real processes under a supervisor that starts them again, as production has one."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

from tests.support.worker import PRODUCTION, READY_SECONDS, WorkerProcess

POLL_SECONDS = 0.1
# Longer than any drain: what has not ended by then does not end.
STOP_SECONDS = 60.0


@dataclass
class Slot:
    """A place for a worker. While `wanted`, a process that ends is started again."""

    number: int
    folder: Path
    variables: Mapping[str, str] = field(repr=False)
    wanted: bool = True
    starts: int = 0
    start_at: float = 0.0
    stopped_at: float | None = None
    process: WorkerProcess | None = field(default=None, repr=False)
    next_command: Sequence[str] = PRODUCTION
    stops_itself: bool = False

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.running

    def start(self) -> None:
        """Start a process with a log of its own, with the next command if there is a special one."""
        self.starts += 1
        command, self.next_command = self.next_command, PRODUCTION
        log = self.folder / f"worker-{self.number}-{self.starts:02d}.log"
        self.process = WorkerProcess(self.variables, log, command)
        self.stopped_at = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process, if it is there."""
        if self.process is not None and self.running:
            self.process.signal(number)

    def peak_bytes(self) -> int:
        """Return the most memory that the process has taken, 0 if it is not there."""
        return self.process.peak_bytes() if self.process is not None and self.running else 0

    async def ended(self) -> None:
        """Return when the process has ended. Raises TimeoutError if it does not."""
        async with asyncio.timeout(STOP_SECONDS):
            while self.running:
                await asyncio.sleep(POLL_SECONDS)


class Fleet:
    """Every slot, and the supervisor; use as `async with`. `exits` counts how processes ended."""

    def __init__(self, folder: Path, rng: Random, variables_of: Callable[[int], Mapping[str, str]]) -> None:
        self.slots: list[Slot] = []
        self.exits: Counter[str] = Counter()
        self.held = False
        self.sleep_seconds = 0.0
        self._folder = folder
        self._rng = rng
        self._variables_of = variables_of

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        for slot in self.slots:
            slot.signal(signal.SIGKILL)
        for slot in self.slots:
            await slot.ended()

    def add(self) -> Slot:
        """Add a worker, which the supervisor starts."""
        number = len(self.slots)
        slot = Slot(number, self._folder, self._variables_of(number))
        self.slots.append(slot)
        return slot

    def running(self) -> list[Slot]:
        """Return the workers that run and are not stopped."""
        return [slot for slot in self.slots if slot.running and slot.stopped_at is None]

    async def pick(self) -> Slot:
        """Return one of the running workers, as soon as there is one."""
        async with asyncio.timeout(READY_SECONDS):
            while not self.running():
                await asyncio.sleep(POLL_SECONDS)
        return self._rng.choice(self.running())

    async def ready(self, slot: Slot) -> bool:
        """Whether a worker says so, before long."""
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            if slot.process is not None and await slot.process.is_ready():
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def all_down(self, number: signal.Signals) -> None:
        """End every worker and start none until `release`."""
        self.held = True
        for slot in self.slots:
            slot.signal(signal.SIGCONT)
            slot.signal(number)
        for slot in self.slots:
            await slot.ended()

    async def release(self) -> None:
        """Let the supervisor start what is wanted; return when a worker is at work again."""
        self.held = False
        await self.ready(await self.pick())

    async def _supervise(self) -> None:
        while True:
            now = time.monotonic()
            for slot in self.slots:
                self._note_end(slot, now)
                self._wake(slot, now)
                if slot.process is None and slot.wanted and not self.held and now >= slot.start_at:
                    slot.start()
            await asyncio.sleep(POLL_SECONDS)

    def _note_end(self, slot: Slot, now: float) -> None:
        if slot.process is None or (code := slot.process.exit_code) is None:
            return
        names = {0: "clean", -signal.SIGKILL: "kill -9"}
        self.exits[names.get(code) or f"{code} {slot.process.last_words()[:120]}".strip()] += 1
        slot.process, slot.stopped_at, slot.stops_itself = None, None, False
        slot.start_at = now + self._rng.uniform(0.1, 2.5)

    def _wake(self, slot: Slot, now: float) -> None:
        """Let a worker that has stopped itself go on after a while."""
        if not slot.stops_itself or slot.process is None or not slot.process.is_frozen():
            return
        if slot.stopped_at is None:
            slot.stopped_at = now
        elif now - slot.stopped_at > self.sleep_seconds:
            slot.stops_itself, slot.stopped_at = False, None
            self.exits["woken"] += 1
            slot.signal(signal.SIGCONT)
