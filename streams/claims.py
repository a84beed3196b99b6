"""What stands between a committed claim and its call: the claim, the call slots, the payloads of waiting jobs."""

import heapq
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Protocol

from streams.core.job import Job, JobKey


@dataclass(frozen=True, slots=True)
class Claim:
    """A job whose claim is committed, with the submission's bytes. Whoever holds it owns one call slot."""

    job: Job
    payload: bytes

    def __repr__(self) -> str:
        # The payload carries credentials.
        return f"<Claim {self.job.key}>"


class Claimant(Protocol):
    """A partition's jobs, which want call slots."""

    @property
    def workspaces_ready(self) -> int:
        """How many of its workspaces have a job that would be claimed now if a slot were free."""


class CallSlots:
    """The calls that this worker may have in flight, shared by all its partitions.

    Where there are too few, every workspace gets as many as the next one, in whichever partition it lies: a partition
    has its turn as often as it has workspaces that are ready (stride scheduling). One that had nothing to call for a
    while is not owed what it did not ask for. `on_offer` is told who may take a slot now.
    """

    def __init__(self, limit: int, on_offer: Callable[[Container[Claimant]], None] = lambda _claimants: None) -> None:
        self._free = limit
        self._limit = limit
        self._on_offer = on_offer
        # How far each partition is on its round, in rounds of all workspaces; and the last one that was served.
        self._progress: dict[Claimant, float] = {}
        self._round = 0.0

    @property
    def in_flight(self) -> int:
        """How many slots are taken: claims in a transaction, waiting for their call, or in it."""
        return self._limit - self._free

    def enter(self, claimant: Claimant) -> None:
        """Count a partition in from now on."""
        self._progress[claimant] = self._round

    def leave(self, claimant: Claimant) -> None:
        """Count a partition out."""
        self._progress.pop(claimant, None)

    def share(self, claimant: Claimant) -> int:
        """Return how many slots the partition may take now."""
        return self._shares().get(claimant, 0)

    def take(self, claimant: Claimant) -> None:
        """Take a slot that is free, for a workspace that is ready."""
        if self._free == 0:
            raise ValueError("no call slot is free")
        self._free -= 1
        self._round = max(self._progress[claimant], self._round)
        self._progress[claimant] = self._round + 1 / claimant.workspaces_ready

    def release(self) -> None:
        """Give a slot back, which may let a waiting job be admitted."""
        self._free += 1
        self.offer()

    def offer(self) -> None:
        """Tell those who may take a slot."""
        if self._free and (shares := self._shares()):
            self._on_offer(shares)

    def _shares(self) -> dict[Claimant, int]:
        """Return who may take how many of the free slots, as if they were taken one after the other."""
        ready = {claimant: wanted for claimant in self._progress if (wanted := claimant.workspaces_ready)}
        spare = self._free - sum(ready.values())
        if spare >= 0:
            # A workspace may have places for more than one job.
            return {claimant: wanted + spare for claimant, wanted in ready.items()}
        turns = [(max(self._progress[claimant], self._round), nth, claimant) for nth, claimant in enumerate(ready)]
        heapq.heapify(turns)
        shares: dict[Claimant, int] = {}
        for _ in range(self._free):
            progress, nth, claimant = heapq.heappop(turns)
            shares[claimant] = shares.get(claimant, 0) + 1
            if shares[claimant] < ready[claimant]:
                heapq.heappush(turns, (progress + 1 / ready[claimant], nth, claimant))
        return shares


class PayloadCache:
    """Payloads of waiting jobs, up to a bound in bytes; what does not fit is read again from its topic."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._payloads: dict[JobKey, bytes] = {}

    def offer(self, key: JobKey, payload: bytes) -> None:
        """Keep a payload if there is room."""
        if key not in self._payloads and self._bytes + len(payload) <= self._max_bytes:
            self._payloads[key] = payload
            self._bytes += len(payload)

    def get(self, key: JobKey) -> bytes | None:
        """Return a payload that was kept."""
        return self._payloads.get(key)

    def drop(self, key: JobKey) -> None:
        """Forget a payload, if it was kept."""
        payload = self._payloads.pop(key, None)
        if payload is not None:
            self._bytes -= len(payload)
