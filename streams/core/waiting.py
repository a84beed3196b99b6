"""Since when the oldest of many waiting jobs waits, at a price that does not grow with their number."""

import heapq
import math
from collections import Counter
from datetime import UTC, datetime


class Waiting:
    """Counts waiting jobs by the second in which they were submitted, rounded up.

    A second is in the heap as long as it has a count, so that it is never there twice; one without jobs goes when it
    has become the oldest.
    """

    def __init__(self) -> None:
        self._jobs: Counter[int] = Counter()
        self._seconds: list[int] = []

    def add(self, submitted_at: datetime) -> None:
        """Count a job in."""
        second = math.ceil(submitted_at.timestamp())
        if second in self._jobs:
            self._jobs[second] += 1
        else:
            heapq.heappush(self._seconds, second)
            self._jobs[second] = 1

    def remove(self, submitted_at: datetime) -> None:
        """Count a job out that was counted in."""
        self._jobs[math.ceil(submitted_at.timestamp())] -= 1

    @property
    def oldest(self) -> datetime | None:
        """The second of the oldest job, None without any."""
        while self._seconds and not self._jobs[self._seconds[0]]:
            del self._jobs[heapq.heappop(self._seconds)]
        return datetime.fromtimestamp(self._seconds[0], UTC) if self._seconds else None
