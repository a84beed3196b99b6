"""What a worker goes by: values that are the same for all its partitions, from its settings and its topics."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from streams.core.deadlines import Deadlines
from streams.wire.robot_request import Callback

# Payloads of waiting jobs held in memory; past it they are read again from their topic.
PAYLOAD_CACHE_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogLimits:
    """How often the watchdog looks, and for how long it lets something be. Tests take less."""

    look: timedelta = timedelta(seconds=5)
    # /livez turns before the process ends, so that a supervisor that asks it sees why.
    suspect_after: timedelta = timedelta(seconds=15)
    stuck_after: timedelta = timedelta(seconds=40)
    # A rebalance may wait for the slowest member, which has at least 30 s, and a frozen one must time out before; then
    # the table is loaded, which takes about half a minute for a million rows.
    outside_suspect_after: timedelta = timedelta(minutes=2)
    outside_after: timedelta = timedelta(minutes=5)
    # A client whose broker is back where it was finds it within seconds.
    moved_after: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a worker goes by. `max_bytes`: the largest record that each topic takes."""

    app_id: str
    worker_id: str
    partitions: int
    jobs_per_workspace: int
    call_slots: int
    deadlines: Deadlines
    callback: Callback
    max_bytes: Mapping[str, int]
    payload_cache_bytes: int = PAYLOAD_CACHE_BYTES
    # How long a member that has frozen keeps the group waiting: the others are outside it for so much longer.
    session_timeout: timedelta = timedelta(0)
    watchdog: WatchdogLimits = WatchdogLimits()
