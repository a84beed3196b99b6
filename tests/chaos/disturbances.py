"""The faults between the processes and at the topics: what a worker meets while nobody dies."""

import asyncio
import contextlib
from collections.abc import Sequence

import aiohttp

from streams.dev.robot import HELD_PATH
from streams.names import OUTCOME_TOPICS, changelog_topic
from tests.chaos.proxy import Direction, Proxy
from tests.chaos.world import World

DIRECTIONS = ((Direction.OUT,), (Direction.BACK,), tuple(Direction))
# A transaction's markers are smaller, every record of ours is larger.
TOO_SMALL_BYTES = 120


async def robot_stalled(world: World) -> None:
    """Nothing goes to the robot, or nothing comes back, or neither: for less than the call's time-out, or more."""
    await _stall(world, world.robot_links, world.rng.uniform(0.5, 6))


async def robot_cut(world: World) -> None:
    """Every connection to the robot breaks, several times."""
    await _cut(world, world.robot_links)


async def robot_slow(world: World) -> None:
    """All that goes to the robot or comes back is late."""
    await _slow(world, world.robot_links)


async def robot_restarted(world: World) -> None:
    """The robot is killed, or stopped, and starts again without the batches that it worked on."""
    # A robot that starts needs Kafka.
    async with world.broker_lock:
        await asyncio.to_thread(world.rng.choice((world.robot.kill, world.robot.stop)))
        await asyncio.sleep(world.rng.uniform(0, 3))
        world.robot.start()
        await asyncio.to_thread(world.robot.wait_until_ready)


async def workspaces_held(world: World) -> None:
    """Something else than a batch holds many workspaces at the robot, for a while."""
    held = world.rng.sample(world.load.workspaces, max(1, len(world.load.workspaces) // 3))
    async with aiohttp.ClientSession(world.robot.url) as session:
        for method in ("PUT", "DELETE"):
            for workspace in held:
                # A robot that another fault restarts meanwhile holds nothing.
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.request(method, HELD_PATH.format(workspace_id=workspace)):
                        pass
            await asyncio.sleep(world.rng.uniform(1, 8) if method == "PUT" else 0)


async def kafka_stalled(world: World) -> None:
    """Some workers are cut off from Kafka, in one direction or both, for less than the session or more."""
    await _stall(world, world.rng.choice(world.kafka.links), world.rng.uniform(0.5, world.plan.session_seconds + 4))


async def kafka_cut(world: World) -> None:
    """Every connection of some workers to Kafka breaks, several times."""
    await _cut(world, world.rng.choice(world.kafka.links))


async def kafka_slow(world: World) -> None:
    """All that some workers tell Kafka, or hear from it, is late."""
    await _slow(world, world.rng.choice(world.kafka.links))


async def changelog_refused(world: World) -> None:
    """The broker refuses the changelog's record in every transaction, for a while."""
    await _refuse(world, changelog_topic(world.settings.app_id))


async def outcome_refused(world: World) -> None:
    """The broker refuses the outcome in transactions that it takes the row of, for a while."""
    await _refuse(world, world.rng.choice(OUTCOME_TOPICS))


async def writes_denied(world: World) -> None:
    """Nobody is allowed to write to a topic that transactions have a part in, for a while."""
    topic = world.rng.choice((changelog_topic(world.settings.app_id), *OUTCOME_TOPICS))
    async with world.broker_lock:
        await world.kafka.deny_writes(topic)
        await asyncio.sleep(world.rng.uniform(0.5, 4))
        await world.kafka.allow_writes(topic)


async def _stall(world: World, links: Sequence[Proxy], seconds: float) -> None:
    directions = world.rng.choice(DIRECTIONS)
    for proxy in links:
        proxy.hold(*directions)
    await asyncio.sleep(seconds)
    for proxy in links:
        proxy.let_through()


async def _cut(world: World, links: Sequence[Proxy]) -> None:
    for _ in range(world.rng.randint(2, 6)):
        for proxy in links:
            proxy.cut()
        await asyncio.sleep(world.rng.uniform(0, 1))


async def _slow(world: World, links: Sequence[Proxy]) -> None:
    for proxy in links:
        proxy.delay_seconds = world.rng.uniform(0.02, 0.3)
    await asyncio.sleep(world.rng.uniform(3, 8))
    for proxy in links:
        proxy.let_through()


async def _refuse(world: World, topic: str) -> None:
    async with world.broker_lock:
        await world.kafka.configure(world.settings, topic, {"max.message.bytes": str(TOO_SMALL_BYTES)})
        await asyncio.sleep(world.rng.uniform(0.5, 4))
        await world.kafka.configure(world.settings, topic, {})
