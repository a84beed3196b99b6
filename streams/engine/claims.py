"""What stands between a committed claim and its call: the claim, the call slots, the payloads of waiting jobs."""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
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
    def rounds(self) -> Mapping[int, int]:
        """How many workspaces of each round have a job that would be claimed now if a slot were free."""


class CallSlots:
    """The calls that this worker may have in flight, shared by all its partitions.

    Where there are too few, all workspaces take turns, in whichever partition they lie. They are served in rounds, and
    within a round the partitions take turns, with some of their workspaces each. `on_offer` is called when somebody
    may take a slot.
    """

    def __init__(self, limit: int, on_offer: Callable[[], None] = lambda: None) -> None:
        self._free = limit
        self._limit = limit
        # How many a partition takes when it is its turn: a transaction costs the same for one claim as for many, and
        # while the robot answers these, another one claims as many.
        self._handful = max(1, limit // 2)
        # How many may still be taken, whatever is free; None where there is no such bound.
        self._allowed: int | None = None
        # How many have been taken since that was said.
        self._taken = 0
        self._on_offer = on_offer
        self._round = 0
        # The last round in which each partition was served, and how often; and how often all had been that waited for
        # it when somebody looked last.
        self._served: dict[Claimant, tuple[int, int]] = {}
        self._all_served = (0, 0)

    @property
    def in_flight(self) -> int:
        """How many slots are taken: claims in a transaction, waiting for their call, or in it."""
        return self._limit - self._free

    def allow(self, most: int | None) -> None:
        """Bound how many slots may be taken from now on; None for as many as are free."""
        self._allowed = most
        self._taken = 0
        self.offer()

    def round_after(self, last: int | None) -> int:
        """Return the round of a workspace that becomes ready: the present one, unless it has had its turn in it."""
        return self._round if last is None else max(self._round, last + 1)

    def enter(self, claimant: Claimant) -> None:
        """Count a partition in from now on."""
        self._served[claimant] = (0, 0)

    def leave(self, claimant: Claimant) -> None:
        """Count a partition out."""
        self._served.pop(claimant, None)

    def share(self, claimant: Claimant, rounds: Mapping[int, int]) -> int:
        """Return how many slots the partition may take now if these are its rounds."""
        return self._shares({claimant: rounds}).get(claimant, 0)

    def shares(self) -> Mapping[Claimant, int]:
        """Return how many slots each of those may take now that may take any."""
        return self._shares({}) if self._available else {}

    def take(self, claimant: Claimant) -> None:
        """Take a slot that is free, for a workspace of the partition's first round."""
        if self._available == 0:
            raise ValueError("no call slot is free")
        self._free -= 1
        if self._allowed is not None:
            self._allowed -= 1
            self._taken += 1
        number = min(claimant.rounds)
        self._round = max(self._round, number)
        self._served[claimant] = (number, self._times_served(claimant, number) + 1)

    def release(self) -> None:
        """Give a slot back, which may let a waiting job be admitted."""
        self._free += 1
        self.offer()

    def give_back(self) -> None:
        """Give a slot back for which no call was begun."""
        if self._allowed is not None and self._taken:
            self._allowed += 1
            self._taken -= 1
        self.release()

    def offer(self) -> None:
        """Say that slots may be taken, if there are any."""
        if self._available:
            self._on_offer()

    @property
    def _available(self) -> int:
        return self._free if self._allowed is None else min(self._free, self._allowed)

    def _times_served(self, claimant: Claimant, number: int) -> int:
        last, times = self._served[claimant]
        own = times if last == number else 0
        common, least = self._all_served
        # Who comes late to a round is not owed what the others have had of it.
        return max(own, least) if common == number else own

    def _shares(self, known: Mapping[Claimant, Mapping[int, int]]) -> dict[Claimant, int]:
        """Return who may take how many of the free slots, as if they were taken one after the other.

        The rounds of some claimants are `known`; the others are asked for theirs.
        """
        rounds_of = {each: known.get(each, each.rounds) for each in self._served}
        ready = {claimant: rounds for claimant, rounds in rounds_of.items() if rounds}
        self._note_served(ready)
        spare = self._available - sum(sum(rounds.values()) for rounds in ready.values())
        if spare >= 0:
            # A workspace may have places for more than one job.
            return {claimant: sum(rounds.values()) + spare for claimant, rounds in ready.items()}
        shares: Counter[Claimant] = Counter()
        for number in sorted({number for rounds in ready.values() for number in rounds}):
            wanted = Counter({claimant: rounds.get(number, 0) for claimant, rounds in ready.items()})
            left = self._available - shares.total()
            if wanted.total() > left:
                return +(shares + self._turns(number, wanted, left))
            shares += wanted
        return shares

    def _note_served(self, ready: Mapping[Claimant, Mapping[int, int]]) -> None:
        """Note how often all have been served that wait for the present round: by that, who comes later is counted."""
        if ready:
            first = min(number for rounds in ready.values() for number in rounds)
            waiting = (claimant for claimant, rounds in ready.items() if first in rounds)
            self._all_served = (first, min(self._times_served(claimant, first) for claimant in waiting))

    def _turns(self, number: int, wanted: Counter[Claimant], free: int) -> Counter[Claimant]:
        """Share what is too little for a round: whoever was served least often in it is next, with a handful."""
        turns = [(self._times_served(claimant, number), nth, claimant) for nth, claimant in enumerate(+wanted)]
        heapq.heapify(turns)
        shares: Counter[Claimant] = Counter()
        while free:
            times, nth, claimant = heapq.heappop(turns)
            taken = min(self._handful, free, wanted[claimant] - shares[claimant])
            free -= taken
            shares[claimant] += taken
            if shares[claimant] < wanted[claimant]:
                heapq.heappush(turns, (times + taken, nth, claimant))
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
