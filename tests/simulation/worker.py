"""A simulated worker: the production engine above the port, driven as Faust drives it, on a host that can fail."""

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from streams.engine.claims import Claim
from streams.engine.ports import Answer, Health, PartitionLog
from streams.engine.rules import Rules
from streams.engine.worker import Driver, Ports, Worker
from streams.names import SOURCE_TOPICS
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import SourceRecord, TopicPartition
from streams.wire.robot_request import RobotRequest
from tests.simulation.broker import SimulatedPartitionLog, SimulatedReader
from tests.support.engine import FOLLOWED, NOT_FOLLOWED

if TYPE_CHECKING:
    from tests.simulation.world import World

TICK_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
POLL_SECONDS = 0.05
PAYLOAD_CACHE_BYTES = 2_000
# Few enough that most looks for a gap take several reads.
READ_OFFSETS = 3


class QuietJournal(Journal):
    """Counts, but writes no lines."""

    def info(self, *_args: Any, **_values: Any) -> None:
        """Write nothing."""

    debug = warning = info


class Host:
    """What a worker runs on: it can die, or stand still, between any two steps that anybody else could notice."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.was_paused = False
        self._running = asyncio.Event()
        self._running.set()

    async def io(self) -> None:
        """Make a trip over the network."""
        await asyncio.sleep(self.world.latency())
        await self._end_if_dead()
        while not self._running.is_set():
            await self._running.wait()
            await self._end_if_dead()

    async def _end_if_dead(self) -> None:
        if self.dead:
            never = asyncio.get_running_loop().create_future()
            # Held, or the garbage collector would wake up what waits for it.
            self.world.graveyard.append(never)
            await never

    def die(self) -> None:
        """Do nothing any more that the world could see."""
        self.dead = True

    def pause(self) -> None:
        """Stand still, as a stopped process does."""
        self.was_paused = True
        self._running.clear()

    def resume(self) -> None:
        """Go on as if nothing had been."""
        self._running.set()


class SimulatedRobotClient:
    """The robot as a worker sees it: the request travels, and the answer may be cut off by the host's death."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def create_batch(self, request: RobotRequest) -> Answer:
        await self._host.io()
        answer = await self._host.world.robot.receive(request, self._host)
        await self._host.io()
        return answer

    async def health(self) -> Health | None:
        await self._host.io()
        return self._host.world.robot.health()


class SimulatedWorker:
    """A member of the group. `run` lasts until it is stopped or its host dies."""

    def __init__(self, world: "World", name: str, concurrency: int) -> None:
        self.host = Host(world, name)
        self._world = world
        rules = Rules(
            app_id=world.app_id,
            worker_id=name,
            partitions=world.broker.partitions,
            jobs_per_workspace=world.jobs_per_workspace,
            call_slots=concurrency,
            deadlines=world.deadlines,
            callback=FOLLOWED if world.plan.followed else NOT_FOLLOWED,
            max_bytes=world.max_bytes,
            payload_cache_bytes=PAYLOAD_CACHE_BYTES,
        )
        reader = SimulatedReader(world.broker, self.host.io, READ_OFFSETS)
        ports = Ports(
            log_of=self._log_of,
            reader=reader,
            barrier_reader=reader,
            robot=SimulatedRobotClient(self.host),
            now=world.now,
            tracing=world.tracing,
        )
        driver = Driver(worker_id=name, hand_over=self._call, is_member=lambda: True, crash=self._crash)
        self.metrics = Metrics()
        self.worker = Worker(rules, ports, driver, QuietJournal(self.metrics))
        self._generation = -1
        self._fetchers: list[asyncio.Task[None]] = []
        self._unacknowledged: dict[TopicPartition, set[int]] = {}
        self._acknowledged: set[TopicPartition] = set()
        self._position: dict[TopicPartition, int] = {}
        self._forgotten: dict[TopicPartition, set[int]] = defaultdict(set)
        self._stopping = False
        self._forgetting = False
        self.stopped = False
        self.crashed_by: BaseException | None = None

    @property
    def gone(self) -> bool:
        """Whether it is no more."""
        return self.stopped or self.host.dead

    def _crash(self, reason: BaseException) -> None:
        self.crashed_by = self.crashed_by or reason
        self.host.die()

    def _log_of(self, number: int) -> PartitionLog:
        world = self._world
        return world.make_log(SimulatedPartitionLog(world.broker, self.host.io, world.app_id, number))

    def _call(self, claim: Claim) -> None:
        self.worker.call(claim)

    def stop(self) -> None:
        """Ask for a clean end, as SIGTERM does."""
        self._stopping = True

    async def run(self) -> None:
        """Be a worker."""
        loops = [asyncio.create_task(loop()) for loop in (self._tick_loop, self._commit_loop)]
        try:
            await self._rebalance()
            while not self.gone:
                await asyncio.sleep(HEARTBEAT_SECONDS * self._world.jitter())
                await self.host.io()
                if self._stopping:
                    await self._leave()
                elif self._world.group.heartbeat(self.host.name):
                    await self._rebalance()
        finally:
            for loop in loops + self._fetchers:
                loop.cancel()

    async def _rebalance(self) -> None:
        """Hand everything back, join, and begin anew with what is given out."""
        await self._hand_back()
        await self.worker.suspend()
        group, name = self._world.group, self.host.name
        group.join(name)
        while (given := group.assignment(name)) is None:
            await asyncio.sleep(POLL_SECONDS)
            await self.host.io()
            if group.heartbeat(name):
                group.join(name)
        self._generation, numbers = given
        await self.worker.assign(set(numbers), self._generation)
        self._unacknowledged.clear()
        self._acknowledged.clear()
        self._forgotten.clear()
        self._position.clear()
        places = [TopicPartition(topic, number) for topic in SOURCE_TOPICS for number in sorted(numbers)]
        for place in places:
            self._unacknowledged[place] = set()
            self._position[place] = self._world.broker.committed_offsets.get(place, 0)
        self._fetchers = [asyncio.create_task(self._fetch(place)) for place in places]

    async def _hand_back(self) -> None:
        """Stop reading, let the ledgers finish what they have begun, commit."""
        for fetcher in self._fetchers:
            fetcher.cancel()
        self._fetchers = []
        await self.worker.drop_records()
        await self._commit_offsets()

    async def _leave(self) -> None:
        await self.worker.drain(self._world.drain_seconds)
        await self.host.io()
        await self._hand_back()
        self._world.group.leave(self.host.name)
        await self.worker.close()
        self.stopped = True

    async def _fetch(self, place: TopicPartition) -> None:
        while True:
            await asyncio.sleep(self._world.latency())
            await self.host.io()
            records = self._world.broker.committed(place, self._position[place])
            if not records:
                await self._world.broker.change(place)
            for record in records[: self._world.rng.randint(1, 20)]:
                if self._forgetting:
                    self._position[place] = record.offset + 1
                    self._forgotten[place].add(record.offset)
                else:
                    await self._deliver(place, record)
            self._forgetting = self._forgetting and not records

    def forget_what_comes(self) -> None:
        """Fetch the next records and drop them, as a client library with a race in it does."""
        self._forgetting = True

    async def _deliver(self, place: TopicPartition, record: SourceRecord) -> None:
        unacknowledged = self._unacknowledged[place]
        unacknowledged.add(record.offset)
        self._position[place] = record.offset + 1

        def acknowledge() -> None:
            unacknowledged.discard(record.offset)
            self._acknowledged.add(place)
            # The client takes what was forgotten before for a gap of the log.
            self._forgotten[place] = {offset for offset in self._forgotten[place] if offset > record.offset}

        await self.worker.deliver(record, acknowledge)

    async def _commit_loop(self) -> None:
        while not self.gone:
            await asyncio.sleep(TICK_SECONDS)
            await self._commit_offsets()

    async def _commit_offsets(self) -> None:
        await self.host.io()
        for place, position in self._position.items():
            offset = min({*self._unacknowledged.get(place, ()), *self._forgotten[place]}, default=position)
            # What nothing was acknowledged of is not committed, even where markers lie before the first record.
            if place in self._acknowledged and self._world.group.may_commit(self.host.name, self._generation, place):
                self._world.broker.committed_offsets[place] = offset

    async def _tick_loop(self) -> None:
        while not self.gone:
            await asyncio.sleep(TICK_SECONDS)
            await self.host.io()
            self.worker.tick()
