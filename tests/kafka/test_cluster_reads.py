"""What the reader believes of three brokers when one of them knows less than the others."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from streams.dev.kafka import EmbeddedCluster, EmbeddedKafka
from streams.kafka_log import KafkaReader
from streams.log import UnreadableError, until_readable

PARTITIONS = 2
POLL_SECONDS = 0.2
# A leader that wakes up is in the dark for about a quarter of a second; this many questions take longer.
QUESTIONS = 300


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(tmp_path_factory.mktemp("cluster"), config={"broker.session.timeout.ms": "3000"})
    cluster.start()
    yield cluster
    cluster.kill()


@dataclass
class Place:
    """A topic of three replicas a partition, and a reader that has asked for its ends before."""

    cluster: EmbeddedCluster
    topic: str
    group: str
    reader: KafkaReader

    async def leader(self, asked: Iterable[EmbeddedKafka]) -> EmbeddedKafka | None:
        """Return the leader of partition 0 by the account of some brokers."""
        try:
            async with asyncio.timeout(5), _admin(asked) as admin:
                (topic,) = await admin.describe_topics([self.topic])
        except (KafkaError, TimeoutError):
            return None
        (leader,) = (row["leader"] for row in topic["partitions"] if row["partition"] == 0)
        return self.cluster.brokers[leader - 1] if leader > 0 else None

    async def leader_and_others(self) -> tuple[EmbeddedKafka, list[EmbeddedKafka]]:
        while (leader := await self.leader(self.cluster.brokers)) is None:
            await asyncio.sleep(POLL_SECONDS)
        return leader, [broker for broker in self.cluster.brokers if broker is not leader]

    async def ends(self) -> dict[int, int]:
        return await self.reader.end_offsets(self.topic)


def _servers(brokers: Iterable[EmbeddedKafka]) -> str:
    return ",".join(broker.bootstrap_servers for broker in brokers)


@asynccontextmanager
async def _admin(brokers: Iterable[EmbeddedKafka]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=_servers(brokers), request_timeout_ms=2_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


@pytest.fixture
async def place(cluster: EmbeddedCluster) -> AsyncIterator[Place]:
    name = uuid.uuid4().hex[:8]
    for broker in cluster.brokers:
        # One that an earlier test has frozen is out of the cluster for a moment longer.
        await asyncio.to_thread(broker.wait_until_ready, {1, 2, 3})
    async with _admin(cluster.brokers) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 3)])
    reader = KafkaReader({"bootstrap_servers": cluster.bootstrap_servers}, name, PARTITIONS)
    await reader.start()
    assert await until_readable(partial(reader.end_offsets, name)) == {0: 0, 1: 0}
    yield Place(cluster, name, name, reader)
    await reader.stop()


@contextmanager
def frozen(broker: EmbeddedKafka) -> Iterator[None]:
    """Stop a broker for the length of the block; its connections stay."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


async def write(brokers: Iterable[EmbeddedKafka], topic: str) -> int:
    """Write a record to partition 0 of a topic; return the end that its acknowledgement says there is."""
    producer = AIOKafkaProducer(bootstrap_servers=_servers(brokers), acks="all")
    await producer.start()
    try:
        end: int = (await producer.send_and_wait(topic, b"record", partition=0)).offset + 1
    finally:
        await producer.stop()
    return end


async def test_no_former_leader_is_believed_when_it_wakes_up(place: Place) -> None:
    async def ask() -> int | None:
        try:
            return (await place.ends())[0]
        except UnreadableError:
            return None

    leader, others = await place.leader_and_others()
    with frozen(leader):
        while await place.leader(others) in (None, leader):
            await asyncio.sleep(POLL_SECONDS)
        end = await write(others, place.topic)
        # A question that a frozen broker has received is the first thing that it answers.
        under_way = asyncio.create_task(ask())
        await asyncio.sleep(POLL_SECONDS)
    answers = [await under_way, *[await ask() for _ in range(QUESTIONS)]]
    assert {answer for answer in answers if answer is not None} == {end}


async def test_a_leader_needs_one_other_replica_that_names_it(place: Place) -> None:
    _, others = await place.leader_and_others()
    end = await write(place.cluster.brokers, place.topic)
    with ExitStack() as stack:
        stack.enter_context(frozen(others[0]))
        # It may have led the other partition, which is then unreadable until it has another leader.
        assert (await until_readable(place.ends))[0] == end
        stack.enter_context(frozen(others[1]))
        with pytest.raises(UnreadableError):
            await place.ends()
    assert (await until_readable(place.ends))[0] == end


async def test_only_the_coordinator_says_that_a_group_has_not_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = await write(place.cluster.brokers, place.topic)
    read = partial(place.reader.committed_offsets, place.topic)
    assert await until_readable(read) == {0: 0, 1: 0}
    member = AIOKafkaConsumer(bootstrap_servers=place.cluster.bootstrap_servers, group_id=place.group)
    await member.start()
    member.assign([KafkaTopicPartition(place.topic, 0)])
    await member.commit({KafkaTopicPartition(place.topic, 0): end})
    await member.stop()
    assert await until_readable(read) == {0: end, 1: 0}
    async with _admin(place.cluster.brokers) as admin:
        coordinator = await admin.find_coordinator(place.group)

    async def former_coordinator(_group: str) -> int:
        return coordinator % 3 + 1

    monkeypatch.setattr(AIOKafkaAdminClient, "find_coordinator", staticmethod(former_coordinator))
    with pytest.raises(UnreadableError, match=r"no answer for partitions \[0, 1\]"):
        await read()
