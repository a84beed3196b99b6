"""Reading over a line on which a single fetch takes longer than a reader waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from streams.engine.ports import Reading, UnreadableError, until_readable
from streams.kafka.admin import admin_client
from streams.kafka.reader import KafkaReader
from streams.wire.records import TopicPartition
from tests.chaos.brokers import Brokers
from tests.chaos.proxy import CHUNK_BYTES
from tests.support.scene import WAIT_SECONDS

TOPIC = "source"
PLACES = [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)]
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


async def write_aborted_runs(bootstrap_servers: str) -> int:
    """Write records that are aborted to each place, and a good one; return the offset of that."""
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(TOPIC, len(PLACES), 1)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, transactional_id="aborting")
    await producer.start()
    await producer.begin_transaction()
    for _ in range(RECORDS):
        for place in PLACES:
            await producer.send_and_wait(TOPIC, bytes(RECORD_BYTES), partition=place.partition)
    await producer.abort_transaction()
    async with producer.transaction():
        good = [await producer.send_and_wait(TOPIC, b"good", partition=place.partition) for place in PLACES]
    await producer.stop()
    assert good[0].offset == good[1].offset
    return int(good[0].offset)


async def test_what_was_on_its_way_when_a_reader_gave_up_is_not_asked_for_again(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when others have read meanwhile: here two partitions take turns, and so do two peeks."""
    good = await write_aborted_runs(brokers.bootstrap_servers)
    reader = KafkaReader({"bootstrap_servers": brokers.address(0)}, "group", len(PLACES))
    await reader.start()
    assert await until_readable(partial(reader.end_offsets, TOPIC)) == {0: good + 2, 1: good + 2}
    # All are connected before: on a busy machine a start that is given up here would leave connections open.
    for readers in (reader._decided, reader._undecided_too):
        readers._idle.append(await readers._connect())
    monkeypatch.setattr("streams.kafka.reader.READ_SECONDS", 0.1)
    monkeypatch.setattr("streams.kafka.reader.READ_TIMEOUT_SECONDS", PATIENCE_SECONDS)
    for proxy in brokers.proxies:
        proxy.delay_seconds = CHUNK_BYTES / BYTES_PER_SECOND
    for ask, expected in ((reader.read, [b"good"]), (reader.peek, [*[bytes(RECORD_BYTES)] * RECORDS, b"good"])):
        values, in_vain = await read_in_turns(ask, good + 1)
        assert list(values.values()) == [expected] * len(PLACES)
        assert in_vain > 0
    await reader.stop()


async def read_in_turns(
    ask: Callable[..., Awaitable[Reading]], end: int
) -> tuple[dict[TopicPartition, list[bytes | None]], int]:
    """Read every place up to an offset, a bit of each in turn; return what was found, and how often nothing came."""
    position = dict.fromkeys(PLACES, 0)
    values: dict[TopicPartition, list[bytes | None]] = {place: [] for place in PLACES}
    in_vain = 0
    async with asyncio.timeout(WAIT_SECONDS):
        while any(reached < end for reached in position.values()):
            for place in PLACES:
                try:
                    records, position[place] = await ask(place, position[place], end, limit=100)
                    values[place] += [record.value for record in records]
                except UnreadableError:
                    in_vain += 1
    return values, in_vain
