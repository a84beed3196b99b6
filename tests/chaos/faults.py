"""The faults: each a function that does one bad thing to a running world, and sees that it can heal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.names import SOURCE_TOPICS, Topic
from tests.chaos import disturbances
from tests.chaos.brokers import PARTITIONS, RESET_SECONDS
from tests.chaos.load import Record, drawn_submission, odd_completion, placed
from tests.chaos.plan import BRIDGE_KILLED
from tests.chaos.workers import Slot
from tests.chaos.world import World
from tests.support.saboteur import How, Point, command

Run = Callable[[World], Awaitable[None]]
STEPPING = ("-m", "tests.chaos.stepping_worker")
UNRELATED_COMPLETIONS = 20_000
RETRY_SECONDS = 0.5
# A run of 48 MB, of which a link lets 6 MB a second through: longer than any single read may take.
ABORTED_RECORD_BYTES = 4_000_000
ABORTED_RECORDS = 12
ABORTED_CHUNK_SECONDS = 0.01
ABORTED_SECONDS = 15.0
# Beside 64 MB of records and as much of payloads that wait, what is made of those in work; without a bound it is all.
LARGE_JOBS = 120
LARGE_JOB_BYTES = 4_000_000
LARGE_SECONDS = 10.0
PEAK_BYTES = 450_000_000


@dataclass(frozen=True)
class Fault:
    """A fault, whether rounds of three brokers have it too, and what it needs around the brokers.

    `proxied`: proxies between everybody. `moving`: workers that know only a bootstrap address, and not the broker's.
    """

    run: Run
    cluster: bool = True
    proxied: bool = False
    moving: bool = False

    @property
    def what(self) -> str:
        """What is done, in words."""
        return (self.run.__doc__ or "").strip().rstrip(".")


async def kill_worker(world: World) -> None:
    """Kill -9 at a random time."""
    (await world.fleet.pick()).signal(signal.SIGKILL)


async def kill_all_workers(world: World) -> None:
    """Every worker at once, as when the machine goes."""
    async with world.fleet_lock:
        await world.fleet.all_down(signal.SIGKILL)
        await world.fleet.release()


async def kill_at_point(world: World) -> None:
    """Kill -9 at a named point of the code, at a random passing."""
    await _trip(world, How.KILL)


async def stop_at_point(world: World) -> None:
    """SIGSTOP at a named point for longer than the session: the sleeper goes on from there when it wakes up."""
    world.fleet.sleep_seconds = world.plan.session_seconds + world.rng.uniform(1, 4)
    await _trip(world, How.STOP)


async def _trip(world: World, how: How) -> None:
    point = world.rng.choice(list(Point))
    nth = 1 if point is Point.DURING_RECOVERY else world.rng.randint(1, 12)
    slot = await _replace(world, *command(point, how, nth=nth))
    slot.stops_itself = how is How.STOP


async def _replace(world: World, *command: str) -> Slot:
    """Stop a worker and let the supervisor run another command in its place, once."""
    slot = await world.fleet.pick()
    slot.next_command = command
    slot.signal(signal.SIGTERM)
    await slot.ended()
    while not slot.running:
        await asyncio.sleep(RETRY_SECONDS)
    return slot


async def stop_worker(world: World) -> None:
    """SIGSTOP for longer than the session, then SIGCONT."""
    await _freeze(world, await world.fleet.pick(), world.plan.session_seconds + world.rng.uniform(1, 4))


async def pause_worker(world: World) -> None:
    """SIGSTOP for less than the session: nobody notices, and everything is late."""
    await _freeze(world, await world.fleet.pick(), world.rng.uniform(0.3, world.plan.session_seconds * 0.8))


async def _freeze(world: World, slot: Slot, seconds: float) -> None:
    process = slot.process
    slot.signal(signal.SIGSTOP)
    slot.stopped_at = asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    if slot.process is process:
        slot.signal(signal.SIGCONT)
        slot.stopped_at = None


async def worker_joins(world: World) -> None:
    """One more worker under load; where there are enough, one is replaced by a new one."""
    if world.add_worker() is None:
        await worker_leaves(world)


async def worker_leaves(world: World) -> None:
    """SIGTERM with calls in flight, and another worker in its place a while later."""
    slot = await world.fleet.pick()
    slot.wanted = False
    slot.signal(signal.SIGTERM)
    await slot.ended()
    await asyncio.sleep(world.rng.uniform(1, 4))
    slot.wanted = True


async def rolling_restart(world: World) -> None:
    """Each worker after the other, as a deployment does it."""
    for slot in list(world.fleet.slots):
        slot.signal(signal.SIGTERM)
        await slot.ended()
        while not slot.running:
            await asyncio.sleep(RETRY_SECONDS)
        await world.fleet.ready(slot)


async def broker_killed(world: World) -> None:
    """Kill -9 of a broker, and its restart: of the only one, or of one of three."""
    await _interrupt(world, gently=False)


async def broker_restarted(world: World) -> None:
    """SIGTERM of a broker, and its restart."""
    await _interrupt(world, gently=True)


async def _interrupt(world: World, *, gently: bool) -> None:
    # With three, the others must have noticed and taken over.
    seconds = world.rng.uniform(0.2, 4) if world.plan.brokers == 1 else world.rng.uniform(4, 12)
    async with world.broker_lock:
        await world.kafka.interrupt(world.rng, gently=gently, seconds=seconds)


async def broker_frozen(world: World) -> None:
    """SIGSTOP of a broker, then SIGCONT: of one of three for longer than its session, so that it wakes up replaced."""
    seconds = world.rng.uniform(0.5, 5) if world.plan.brokers == 1 else world.rng.uniform(8, 14)
    async with world.broker_lock:
        await world.kafka.freeze(world.rng, seconds=seconds)


async def disk_full(world: World) -> None:
    """A broker cannot write any more, gives up, and comes back with room on its disk."""
    async with world.broker_lock:
        await world.kafka.fill_disk(world.rng, seconds=world.rng.uniform(0.2, 4))


async def brokers_gone(world: World) -> None:
    """All brokers are gone for longer than anybody waits, and come back: nobody but the supervisor does anything."""
    async with world.broker_lock:
        await world.kafka.outage(seconds=world.plan.outage_seconds)


async def clock_steps(world: World) -> None:
    """One worker's wall clock goes back and forth by minutes from now on."""
    await _replace(world, *STEPPING)


async def _all_down_from_work(world: World) -> None:
    """End every worker, one way or the other, once one of them has been at work: before that there is no group."""
    await world.fleet.ready(await world.fleet.pick())
    await world.fleet.all_down(world.rng.choice((signal.SIGKILL, signal.SIGTERM)))


async def offsets_deleted(world: World) -> None:
    """The group is deleted while nobody is in it: everything is read again."""
    async with world.fleet_lock:
        await _all_down_from_work(world)
        await world.kafka.delete_group(world.settings.app_id)
        await world.fleet.release()


async def offsets_to_beginning(world: World) -> None:
    """The group's offsets are set back to where the topics begin."""
    async with world.fleet_lock:
        await _all_down_from_work(world)
        async with asyncio.timeout(RESET_SECONDS):
            while not await _commit_beginning(world):
                await asyncio.sleep(RETRY_SECONDS)
        await world.fleet.release()


async def _commit_beginning(world: World) -> bool:
    """Commit the beginning for the group; whether that was possible: not while a killed member counts as there."""
    consumer = AIOKafkaConsumer(
        **world.settings.kafka_client_options(), group_id=world.settings.app_id, enable_auto_commit=False
    )
    try:
        await consumer.start()
        sources = [TopicPartition(topic, number) for topic in SOURCE_TOPICS for number in range(PARTITIONS)]
        consumer.assign(sources)
        await consumer.commit(dict(await consumer.beginning_offsets(sources)))
    except KafkaError:
        return False
    finally:
        await consumer.stop()
    return True


async def down_past_deadline(world: World) -> None:
    """All workers away until every deadline has passed, the completions behind thousands that concern nobody."""
    async with world.fleet_lock:
        await _all_down_from_work(world)
        for number in range(UNRELATED_COMPLETIONS):
            world.producers.publish(odd_completion(f"nobody-{number}", f"nowhere-{number}", number % PARTITIONS))
        # The longest batch has three orders.
        await asyncio.sleep(world.plan.base_seconds + 2)
        await world.fleet.release()


async def broker_moves(world: World) -> None:
    """The broker is gone for a while and comes back at another address; the bootstrap address leads to it as before."""
    async with world.broker_lock:
        await world.kafka.move(seconds=world.rng.uniform(0.2, 20))


async def transaction_held(world: World) -> None:
    """A foreign producer keeps a transaction with completions open for longer than the jobs' deadlines, and ends it."""
    await world.producers.hold_transaction(
        [odd_completion(f"held-{number}", "nowhere", number % PARTITIONS) for number in range(world.rng.randint(1, 5))],
        seconds=world.rng.uniform(5, 20),
        commit=world.rng.random() < 0.5,
    )


async def large_submissions(world: World) -> None:
    """Jobs of megabytes come all at once, more than a worker may hold in memory."""
    for number in range(LARGE_JOBS):
        payload = drawn_submission(world.rng, f"large-{number}-{world.rng.getrandbits(32):08x}", f"large-{number % 8}")
        payload["orders"][0]["pedidoInput"]["referencia"] = "x" * LARGE_JOB_BYTES
        world.producers.publish(placed(Topic.SUBMITTED, payload, payload["workspaceId"]))
    await asyncio.sleep(LARGE_SECONDS)
    for slot in world.fleet.running():
        peak = slot.peak_bytes()
        if peak > PEAK_BYTES:
            world.problems.append(f"worker {slot.number} took {peak} bytes")


async def aborted_run(world: World) -> None:
    """A producer gives tens of megabytes up in a source topic, while all that the workers hear from Kafka is slow."""
    links = [proxy for link in world.kafka.links for proxy in link]
    for proxy in links:
        proxy.delay_seconds = ABORTED_CHUNK_SECONDS
    value = b"{" + b" " * ABORTED_RECORD_BYTES
    records = [Record(Topic.SUBMITTED, value, world.rng.randrange(PARTITIONS), b"given-up")] * ABORTED_RECORDS
    try:
        await world.producers.hold_transaction(records, seconds=0, commit=False)
        await asyncio.sleep(ABORTED_SECONDS)
    finally:
        for proxy in links:
            proxy.let_through()


async def bridge_killed(world: World) -> None:
    """Kill -9 of a bridge, between whatever it was told and its answer, and another one in its place."""
    bridge = world.rng.choice(world.bridges)
    bridge.kill()
    await asyncio.sleep(world.rng.uniform(0, 2))
    bridge.start()


ALL = {
    "kill_worker": Fault(kill_worker),
    "kill_at_point": Fault(kill_at_point),
    "stop_worker": Fault(stop_worker),
    "stop_at_point": Fault(stop_at_point),
    "pause_worker": Fault(pause_worker, cluster=False),
    "kill_all_workers": Fault(kill_all_workers),
    "worker_joins": Fault(worker_joins),
    "worker_leaves": Fault(worker_leaves),
    "rolling_restart": Fault(rolling_restart, cluster=False),
    "broker_killed": Fault(broker_killed),
    "broker_restarted": Fault(broker_restarted),
    "broker_frozen": Fault(broker_frozen),
    "offsets_deleted": Fault(offsets_deleted),
    "offsets_to_beginning": Fault(offsets_to_beginning),
    "down_past_deadline": Fault(down_past_deadline),
    "broker_moves": Fault(broker_moves, cluster=False, moving=True),
    "transaction_held": Fault(transaction_held),
    "aborted_run": Fault(aborted_run, proxied=True),
    "large_submissions": Fault(large_submissions, cluster=False),
    "disk_full": Fault(disk_full),
    "brokers_gone": Fault(brokers_gone, cluster=False),
    "clock_steps": Fault(clock_steps),
    "robot_stalled": Fault(disturbances.robot_stalled, cluster=False, proxied=True),
    "robot_cut": Fault(disturbances.robot_cut, cluster=False, proxied=True),
    "robot_slow": Fault(disturbances.robot_slow, cluster=False, proxied=True),
    BRIDGE_KILLED: Fault(bridge_killed),
    "robot_restarted": Fault(disturbances.robot_restarted),
    "workspaces_held": Fault(disturbances.workspaces_held),
    "kafka_stalled": Fault(disturbances.kafka_stalled, proxied=True),
    "kafka_cut": Fault(disturbances.kafka_cut, proxied=True),
    "kafka_slow": Fault(disturbances.kafka_slow, proxied=True),
    "changelog_refused": Fault(disturbances.changelog_refused),
    "outcome_refused": Fault(disturbances.outcome_refused),
    "writes_denied": Fault(disturbances.writes_denied, cluster=False),
}
SINGLE = list(ALL)
CLUSTER = [name for name, fault in ALL.items() if fault.cluster]
