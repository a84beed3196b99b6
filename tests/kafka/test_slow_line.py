"""Reading over a line on which a single fetch takes longer than a reader waits."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from streams.kafka_admin import admin_client
from streams.kafka_log import KafkaReader
from streams.log import TopicPartition, UnreadableError, until_readable
from tests.chaos.brokers import Brokers
from tests.chaos.proxy import CHUNK_BYTES

PLACE = TopicPartition("source", 0)
RECORDS, RECORD_BYTES = 30, 100_000
# A fetch brings up to a million bytes, so it takes a second.
BYTES_PER_SECOND = 1_000_000
PATIENCE_SECONDS = 0.3


@pytest.fixture
async def brokers(tmp_path: Path) -> AsyncIterator[Brokers]:
    brokers = Brokers(tmp_path, 1, proxied=True, moving=False)
    await brokers.start()
    yield brokers
    await brokers.stop()


async def write_aborted_run(bootstrap_servers: str) -> int:
    """Write records that are aborted, and a good one; return the offset of that."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(PLACE.topic, 1, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, transactional_id="aborting")
    await producer.start()
    await producer.begin_transaction()
    for _ in range(RECORDS):
        await producer.send_and_wait(PLACE.topic, bytes(RECORD_BYTES), partition=PLACE.partition)
    await producer.abort_transaction()
    async with producer.transaction():
        good = await producer.send_and_wait(PLACE.topic, b"good", partition=PLACE.partition)
    await producer.stop()
    return int(good.offset)


async def test_what_was_on_its_way_when_a_reader_gave_up_is_not_asked_for_again(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = await write_aborted_run(brokers.bootstrap_servers)
    reader = KafkaReader({"bootstrap_servers": brokers.address(0)}, "group", 1)
    await reader.start()
    assert await until_readable(partial(reader.end_offsets, PLACE.topic)) == {0: good + 2}
    monkeypatch.setattr("streams.log.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("streams.kafka_log.READ_SECONDS", 0.1)
    monkeypatch.setattr("streams.kafka_log.READ_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    for proxy in brokers.proxies:
        proxy.delay_seconds = CHUNK_BYTES / BYTES_PER_SECOND
    with pytest.raises(UnreadableError):
        await reader.read(PLACE, 0, good + 1, limit=1)
    position, readings = 0, 0
    while position <= good:
        records, position = await until_readable(partial(reader.read, PLACE, position, good + 1, limit=1))
        readings += 1
    assert [(record.offset, record.value) for record in records] == [(good, b"good")]
    assert readings > 1
    await reader.stop()
