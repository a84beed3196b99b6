"""A simulated consumer group: members, sessions, generations, and offsets that only a member may commit."""

from collections.abc import Callable

from streams.wire.records import TopicPartition


class SimulatedGroup:
    """The coordinator. Eager: a change of members takes all partitions from all, then gives them out anew."""

    def __init__(self, partitions: int, session_seconds: float, time: Callable[[], float]) -> None:
        self._partitions = partitions
        self._session_seconds = session_seconds
        self._time = time
        self._last_seen: dict[str, float] = {}
        self._joined: set[str] = set()
        self._order: list[str] = []
        self._assignment: dict[str, set[int]] = {}
        self.generation = 0
        self.rebalancing = False

    def join(self, member: str) -> None:
        """Ask for a place, or, in a rebalance, say that everything has been handed back."""
        if member not in self._last_seen:
            self._order.append(member)
            self.rebalancing = True
            self._joined.clear()
        self._last_seen[member] = self._time()
        self._joined.add(member)
        self._complete()

    def leave(self, member: str) -> None:
        """Give up a place at once."""
        self._remove(member)
        self._complete()

    def heartbeat(self, member: str) -> bool:
        """Say that a member is there; return whether it must hand back its partitions and join again."""
        self._expire()
        if member not in self._last_seen:
            return True
        self._last_seen[member] = self._time()
        return self.rebalancing and member not in self._joined

    def assignment(self, member: str) -> tuple[int, set[int]] | None:
        """Return (generation, partitions) of a member once the rebalance is over."""
        self._expire()
        if self.rebalancing or member not in self._assignment:
            return None
        return self.generation, set(self._assignment[member])

    def may_commit(self, member: str, generation: int, place: TopicPartition) -> bool:
        """Whether the coordinator takes an offset of a member."""
        return generation == self.generation and place.partition in self._assignment.get(member, set())

    def _remove(self, member: str) -> None:
        if self._last_seen.pop(member, None) is not None:
            self._order.remove(member)
            self._joined.discard(member)
            self.rebalancing = True
            self._joined.clear()

    def _expire(self) -> None:
        for member in [m for m, seen in self._last_seen.items() if self._time() - seen > self._session_seconds]:
            self._remove(member)
        self._complete()

    def _complete(self) -> None:
        if self.rebalancing and self._order and set(self._order) <= self._joined:
            self.rebalancing = False
            self.generation += 1
            shares: dict[str, set[int]] = {member: set() for member in self._order}
            for number in range(self._partitions):
                shares[self._order[number % len(self._order)]].add(number)
            self._assignment = shares
            self._joined.clear()
