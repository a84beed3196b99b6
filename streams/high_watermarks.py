"""The high watermarks of a topic, from brokers that surely are the leaders of its partitions."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest, OffsetResetStrategy

from streams.log import UnreadableError

# A broker that does not answer must not use up the time in which the others do.
REQUEST_TIMEOUT_MS = 2_000
# A read_committed client is told the last stable offset, which misses records that are in the log.
READ_UNCOMMITTED = 0


class HighWatermarks:
    """Asks who leads each partition, then the leaders for their high watermarks.

    A leader that was frozen or cut off answers with its old high watermark until it learns of its successor, and
    the client would go on asking it. So the other replicas are asked first: a successor's record is acknowledged
    when at least min.insync.replicas brokers have it, and each of those has published the change of leader in its
    metadata before it took part. Half of the other replicas, rounded up, always include one of them where
    min.insync.replicas is no less than half the replicas, as it is where `topics create` made the topic. If they
    still name the leader after a record was acknowledged, then that leader has the record below its high watermark,
    or tells us to wait.
    """

    def __init__(self, client_options: dict[str, Any]) -> None:
        self._client = AIOKafkaClient(**client_options, request_timeout_ms=REQUEST_TIMEOUT_MS)
        # The client can lose count of two requests to one broker that fail at once.
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises a KafkaError if no broker answers."""
        await self._client.bootstrap()

    async def stop(self) -> None:
        """Disconnect."""
        await self._client.close()

    async def read(self, topic: str, partitions: int) -> dict[int, int]:
        """Return the high watermark of every partition. Raises UnreadableError or a KafkaError."""
        async with self._lock:
            led: dict[int, list[int]] = defaultdict(list)
            for partition, leader in (await self._leaders(topic, partitions)).items():
                led[leader].append(partition)
            answers = await asyncio.gather(*(self._ask(node, topic, numbers) for node, numbers in led.items()))
            return {partition: end for answer in answers for partition, end in answer.items()}

    async def _leaders(self, topic: str, partitions: int) -> dict[int, int]:
        """Return the leader of every partition, as soon as enough of its other replicas name it."""
        nodes = [broker.nodeId for broker in self._client.cluster.brokers()]
        # New connections are made one after the other: not always first to a broker that is down.
        random.shuffle(nodes)
        questions = [asyncio.create_task(self._named_by(node, topic)) for node in nodes]
        votes: Counter[tuple[int, int]] = Counter()
        leaders: dict[int, int] = {}
        try:
            for question in asyncio.as_completed(questions):
                node, named = await question
                for _, partition, leader, replicas, *_ in named:
                    votes[partition, leader] += node in replicas and node != leader
                    if leader >= 0 and votes[partition, leader] >= len(replicas) // 2:
                        leaders[partition] = leader
                if len(leaders) >= partitions:
                    return {partition: leaders[partition] for partition in range(partitions)}
        finally:
            for task in questions:
                task.cancel()
        # Brokers may have come.
        self._client.force_metadata_update()
        raise UnreadableError(f"too few replicas of {topic} name a leader: {len(leaders)} of {partitions} are known")

    async def _named_by(self, node: int, topic: str) -> tuple[int, Iterable[tuple[Any, ...]]]:
        """Return a broker and what it says about the topic's partitions: nothing, if it does not answer."""
        try:
            response = await self._client.send(node, MetadataRequest([topic], allow_auto_topic_creation=False))
        except KafkaError:
            return node, ()
        return node, [partition for *_, described in response.topics for partition in described]

    async def _ask(self, node: int, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        latest = [(partition, OffsetResetStrategy.LATEST) for partition in partitions]
        response = await self._client.send(node, OffsetRequest(-1, READ_UNCOMMITTED, [(topic, latest)]))
        ends = {}
        for _, answers in response.topics:
            for partition, code, *_, offset in answers:
                if code:
                    raise for_code(code)(f"{topic}-{partition}")
                ends[partition] = offset
        return ends
