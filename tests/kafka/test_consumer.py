"""A consumer of ours stops, also when its partitions have only just changed."""

import asyncio
import uuid

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer


@pytest.mark.parametrize("turns", range(6))
async def test_a_consumer_whose_partitions_have_just_changed_stops(kafka_bootstrap: str, turns: int) -> None:
    """In one of the loop's turns after that, the fetcher waits for the end of a fetch that it has cancelled."""
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    async with admin_client(bootstrap_servers=kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    # A fetch that finds nothing waits at the broker.
    consumer = Consumer(bootstrap_servers=kafka_bootstrap, fetch_max_wait_ms=60_000)
    await consumer.start()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    while not consumer._fetcher._in_flight:
        await asyncio.sleep(0.01)
    consumer.assign([place])
    for _ in range(turns):
        await asyncio.sleep(0)
    # A time-out would cancel what it waits for, and so end it.
    stopped, _ = await asyncio.wait({asyncio.create_task(consumer.stop())}, timeout=10)
    assert stopped
