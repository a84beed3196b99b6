"""After a rebalance a worker reads on from what its group has committed, wherever its consumer stood."""

import uuid

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from streams.faust_hardening.consumer import seek_to_committed
from streams.kafka.admin import admin_client


@pytest_asyncio.fixture
async def source(kafka_bootstrap: str) -> TopicPartition:
    """Return a partition with three records."""
    topic = f"sought-{uuid.uuid4().hex[:8]}"
    async with admin_client(bootstrap_servers=kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for number in range(3):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
    return TopicPartition(topic, 0)


@pytest.mark.parametrize("committed", [None, 0, 2])
async def test_a_seek_to_the_committed_offset_takes_back_what_was_read_too_early(
    kafka_bootstrap: str, source: TopicPartition, committed: int | None
) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap,
        group_id=source.topic,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        consumer.assign([source])
        if committed is not None:
            await consumer.commit({source: committed})
        while await consumer.position(source) < 3:
            await consumer.getmany(source, timeout_ms=100)
        assert await seek_to_committed(consumer) == {source: committed}
        assert await consumer.position(source) == (committed or 0)
    finally:
        await consumer.stop()
