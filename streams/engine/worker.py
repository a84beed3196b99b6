"""A whole worker above its ports: what it owns, what it calls, what it decides, and who watches over it."""

import asyncio
import contextlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime

from streams.core.job import Status
from streams.engine.barrier import ReadBarrier
from streams.engine.calls import Dispatcher
from streams.engine.claims import CallSlots, Claim, PayloadCache
from streams.engine.deadline_scan import DeadlineScan
from streams.engine.ledger import Ledger, Shared
from streams.engine.partitions import Partitions
from streams.engine.ports import LogReader, PartitionLog, Robot, UndecidedReader
from streams.engine.robot_watch import RobotWatch
from streams.engine.rules import Rules
from streams.engine.runtime import Runtime, Supervisor
from streams.engine.turns import Turns
from streams.engine.watchdog import Watchdog
from streams.names import LogEvent
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import HoldScope
from streams.telemetry.tracing import NO_SPANS, Tracing
from streams.wire.records import SourceRecord, TopicPartition

DRAIN_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """A worker's whole world. `log_of` returns the log of a partition, not opened yet; `now` is aware UTC.

    `barrier_reader` is one of its own: a completion in an open transaction keeps it waiting, and nobody else.
    """

    log_of: Callable[[int], PartitionLog]
    reader: LogReader
    barrier_reader: UndecidedReader
    robot: Robot
    now: Callable[[], datetime]
    tracing: Tracing = NO_SPANS


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What drives a worker. `hand_over` sees to it that `Worker.call` is called once with each claim that it is given.

    `is_member` says whether the group counts on this worker; `crash` ends the process. `worker_id` is also the client
    id of its member of the group, so that rows lead to who is alive.
    """

    worker_id: str
    hand_over: Callable[[Claim], None]
    is_member: Callable[[], bool]
    crash: Callable[[BaseException], None]


class Worker:
    """Takes records and assignments from its driver, which also calls `tick` several times a second."""

    def __init__(self, rules: Rules, ports: Ports, driver: Driver, journal: Journal) -> None:
        self._ports = ports
        self._driver = driver
        self._journal = journal
        self._runtime = Runtime(ports.now, journal, Supervisor(driver.crash), ports.tracing)
        self._slots = CallSlots(rules.call_slots, lambda: turns.look())
        turns = Turns(self._slots.shares)
        self.partitions = Partitions(self._make_ledger, turns, self._runtime)
        self._shared = Shared(
            rules=rules,
            reader=ports.reader,
            slots=self._slots,
            payloads=PayloadCache(rules.payload_cache_bytes),
            hand_over=driver.hand_over,
            journal=journal,
            tracing=ports.tracing,
        )
        self._scan = DeadlineScan(self.partitions, ReadBarrier(ports.barrier_reader), self._runtime)
        self._deciding: asyncio.Task[None] | None = None
        self.robot = RobotWatch(ports.robot, self._slots, self.partitions, self._runtime)
        self._dispatcher = Dispatcher(self.robot, rules, self._slots, self._scan.take_answer, self._runtime)
        self.watchdog = Watchdog(
            self._has_joined, self.partitions.open_ledgers, ports.barrier_reader, rules, self._runtime
        )
        self._watching = self._runtime.supervisor.start(self.watchdog.run())
        self._runtime.supervisor.start(self.robot.run())

    async def assign(
        self, numbers: set[int], generation: int, sources: Container[TopicPartition] | None = None
    ) -> None:
        """Take over the partitions that a generation of the group has given us, and their sources, or some of them."""
        await self.partitions.assign(numbers, generation, sources)
        self._journal.info(LogEvent.REBALANCE_COMPLETED, partitions=sorted(numbers), generation=generation)

    async def drop_records(self) -> None:
        """Forget what was delivered and is not being worked on; return when the rest is acknowledged."""
        await self.partitions.drop_records()

    async def suspend(self) -> None:
        """Be prepared to lose partitions: the group is rebalancing."""
        self._journal.info(LogEvent.REBALANCE_STARTED, partitions=self.partitions.numbers)
        await self.partitions.suspend()

    async def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Take a record; `acknowledge` is called once all that follows from it is committed."""
        self.partitions.deliver(record, acknowledge)

    def call(self, claim: Claim) -> None:
        """Begin the call of a claim."""
        self._dispatcher.start(claim)

    def tick(self) -> None:
        """Do what the passing of time asks for: deadlines, pauses that are over, figures."""
        now = self._ports.now()
        self.partitions.tick(now)
        if self._scan.collect(now) and (self._deciding is None or self._deciding.done()):
            self._deciding = self._runtime.supervisor.start(self._scan.decide())
        self._show_figures(now)

    async def drain(self, within_seconds: float) -> None:
        """Make no more claims, and wait until the calls in flight are back and written down, bounded."""
        self.partitions.stop_admitting()
        self._journal.info(LogEvent.DRAINING, calls_in_flight=self._slots.in_flight)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._slots.in_flight or self.partitions.calls_under_way:
                    self.partitions.tick(self._ports.now())
                    await asyncio.sleep(DRAIN_POLL_SECONDS)
                # No call is begun any more. Transactions of what comes in all the time go on.
                await self.partitions.finish_steps()

    async def close(self) -> None:
        """End; what is not committed is left to the next owner."""
        self._watching.cancel()
        if self._deciding is not None:
            self._deciding.cancel()
        await self.partitions.close()
        self._runtime.supervisor.close()

    def _make_ledger(self, number: int) -> Ledger:
        return Ledger(number, self._ports.log_of(number), self._shared)

    def _has_joined(self) -> bool:
        return self._driver.is_member() and (self.partitions.ready or self.partitions.has_loaded_more())

    def _show_figures(self, now: datetime) -> None:
        ledgers, metrics = self.partitions.open_ledgers(), self._journal.metrics
        for status in Status:
            metrics.jobs.labels(status.value).set(sum(ledger.jobs_by_status[status] for ledger in ledgers))
        metrics.calls_in_flight.set(self._slots.in_flight)
        metrics.workspaces_waiting.set(sum(ledger.workspaces_waiting for ledger in ledgers))
        held = [workspace_id for ledger in ledgers for workspace_id in ledger.holds]
        metrics.holds.labels(HoldScope.PARTITION).set(held.count(None))
        metrics.holds.labels(HoldScope.WORKSPACE).set(len(held) - held.count(None))
        oldest = min((at for ledger in ledgers if (at := ledger.oldest_waiting) is not None), default=now)
        metrics.oldest_waiting.set(max(0.0, (now - oldest).total_seconds()))
