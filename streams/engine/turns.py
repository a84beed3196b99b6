"""Whose transaction is next, and how many run at once: where one would carry much, one after the other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streams.engine.claims import Claimant

# So many transactions run at once where each would carry little: it is their number then that keeps things waiting.
AT_ONCE = 16
# More than this waits in one partition only where transactions do not keep up; they fill then, each while another one
# runs. That much waits in all partitions together is no reason: of many, each may have next to nothing.
LITTLE = 8
# A transaction that takes longer is held up by something of its own: the others do not wait for it.
TURN_SECONDS = 0.1


class Taker(Protocol):
    """Who wants to write transactions."""

    @property
    def claimant(self) -> Claimant:
        """Whose call slots it would use."""

    @property
    def queued(self) -> int:
        """How much a transaction would carry without any slot."""

    def to_do(self, slots: int) -> int:
        """Return how much a transaction would carry if it had so many call slots; 0 if there is no need of one."""


@dataclass(slots=True)
class _Wait:
    granted: asyncio.Future[None]
    # Since when there is something to do.
    since: float | None = None


class Turns:
    """Gives turns to those who wait for one. `shares` tells who may take how many call slots now."""

    def __init__(self, shares: Callable[[], Mapping[Claimant, int]]) -> None:
        self._shares = shares
        self._waiting: dict[Taker, _Wait] = {}
        # Those that have a turn, and have not had it for too long.
        self._running: set[Taker] = set()
        self._looking = False

    @contextlib.asynccontextmanager
    async def turn(self, taker: Taker) -> AsyncIterator[None]:
        """Wait until there is something to do and it is the taker's turn, which is what happens inside."""
        loop = asyncio.get_running_loop()
        self._waiting[taker] = wait = _Wait(loop.create_future())
        overdue = None
        try:
            self.look()
            await wait.granted
            overdue = loop.call_later(TURN_SECONDS, self._end, taker)
            yield
        finally:
            if overdue is not None:
                overdue.cancel()
            self._waiting.pop(taker, None)
            self._end(taker)

    def look(self) -> None:
        """Give turns soon if there are any: something may have changed for those who wait."""
        # What happens in one turn of the event loop, a batch of records say, needs one look.
        if not self._looking and self._waiting and len(self._running) < AT_ONCE:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        self._looking = False
        while self._waiting and len(self._running) < AT_ONCE:
            if self._running and any(taker.queued > LITTLE for taker in self._waiting):
                return
            now, shares = asyncio.get_running_loop().time(), self._shares()
            to_do, since = {}, {}
            for taker, wait in self._waiting.items():
                # Who was cancelled has not noticed yet.
                if not wait.granted.done() and (amount := taker.to_do(shares.get(taker.claimant, 0))):
                    wait.since = now if wait.since is None else wait.since
                    to_do[taker], since[taker] = amount, wait.since
                else:
                    wait.since = None
            if not to_do or (self._running and max(to_do.values()) > LITTLE):
                return
            taker = min(since, key=since.__getitem__)
            self._running.add(taker)
            self._waiting.pop(taker).granted.set_result(None)

    def _end(self, taker: Taker) -> None:
        if taker in self._running:
            self._running.discard(taker)
            self.look()
