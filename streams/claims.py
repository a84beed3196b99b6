"""What stands between a committed claim and its call: the claim, the call slots, the payloads of waiting jobs."""

from collections.abc import Callable
from dataclasses import dataclass

from streams.core.job import Job, JobKey


@dataclass(frozen=True, slots=True)
class Claim:
    """A job whose claim is committed, with the submission's bytes. Whoever holds it owns one call slot."""

    job: Job
    payload: bytes

    def __repr__(self) -> str:
        # The payload carries credentials.
        return f"<Claim {self.job.key}>"


class CallSlots:
    """The calls that this worker may have in flight, shared by all its partitions."""

    def __init__(self, limit: int, on_release: Callable[[], None] = lambda: None) -> None:
        self._free = limit
        self._limit = limit
        self.on_release = on_release

    @property
    def in_flight(self) -> int:
        """How many slots are taken: claims in a transaction, waiting for their call, or in it."""
        return self._limit - self._free

    @property
    def available(self) -> bool:
        """Whether `take` would succeed."""
        return self._free > 0

    def take(self) -> None:
        """Take a slot that is available."""
        if self._free == 0:
            raise ValueError("no call slot is free")
        self._free -= 1

    def release(self) -> None:
        """Give a slot back, which may let a waiting job be admitted."""
        self._free += 1
        self.on_release()


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
