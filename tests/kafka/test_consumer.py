"""A consumer of ours stops, also when its partitions have only just changed, and then nothing of it is left."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer

TURNS = range(8)


@pytest.fixture
async def consumer(kafka_bootstrap: str) -> AsyncIterator[Consumer]:
    """Return a consumer whose partitions have just changed, while a fetch waited at the broker."""
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    async with admin_client(bootstrap_servers=kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    consumer = Consumer(bootstrap_servers=kafka_bootstrap, fetch_max_wait_ms=60_000)
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    while not consumer._fetcher._in_flight:
        await asyncio.sleep(0.01)
    consumer.assign([place])
    yield consumer
    # What was cancelled has a moment to end.
    await asyncio.sleep(0.1)
    running = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr] # they have one
    assert not any(name.startswith(("AIOKafka", "Fetcher", "Consumer.")) for name in running)
    assert not any(connection.connected() for connection in consumer._client._conns.values())


async def ended(stopping: asyncio.Task[None]) -> asyncio.Task[None]:
    """Return a stop that has ended; a time-out would cancel what it waits for, and so end it."""
    done, _ = await asyncio.wait({stopping}, timeout=10)
    assert done
    return stopping


@pytest.mark.parametrize("turns", TURNS)
async def test_a_consumer_whose_partitions_have_just_changed_stops(consumer: Consumer, turns: int) -> None:
    """In one of the loop's turns after that, the fetcher waits for the end of a fetch that it has cancelled."""
    for _ in range(turns):
        await asyncio.sleep(0)
    await (await ended(asyncio.create_task(consumer.stop())))
    await consumer.stop()


@pytest.mark.parametrize("turns", TURNS[1:])
async def test_a_stop_that_is_cancelled_is_gone_through_with(consumer: Consumer, turns: int) -> None:
    stopping = asyncio.create_task(consumer.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    done = stopping.done()
    # Twice, for it may be waited for by then.
    for _ in range(2):
        stopping.cancel()
        await asyncio.sleep(0)
    assert (await ended(stopping)).cancelled() is not done
    assert consumer._closing is not None
    assert consumer._closing.done()


async def test_a_consumer_whose_fetcher_has_failed_stops(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_assignment: Any) -> Any:
        raise RuntimeError("this fetcher fails")

    monkeypatch.setattr(consumer._fetcher, "_get_actions_per_node", fail)
    await asyncio.wait({consumer._fetcher._fetch_task}, timeout=10)
    assert isinstance(consumer._fetcher._fetch_task.exception(), Exception)
    await (await ended(asyncio.create_task(consumer.stop())))
