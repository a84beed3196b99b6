"""A thousand hostile records on a real Kafka, good jobs in between, and records at the limits of size.

Twice as many go over the simulated log: `tests/unit/test_hostile_records.py`.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from schemas import JobCompleted
from streams.core.job import JobKey
from streams.dev.history import read_history, read_posts
from streams.dev.history_check import check
from streams.dev.kafka import EmbeddedKafka
from streams.engine.gaps import Gaps
from streams.faust_hardening.records import read_any_header_name
from streams.kafka.admin import admin_client
from streams.kafka.messages import milliseconds_of
from streams.kafka.reader import KafkaReader
from streams.names import DLQ_OF, OUTCOME_TOPICS, SOURCE_TOPICS, DeadLetterReason, Topic
from streams.wire.intake import COMPLETION_MAX_BYTES, SUBMISSION_MAX_BYTES
from streams.wire.placement import partition_of
from streams.wire.records import Headers, TopicPartition
from tests.support.account import account
from tests.support.builders import SECRETS, submission
from tests.support.engine import filled, max_bytes
from tests.support.hostile import PASSWORD, Hostile, Maker, RawName, Settled, encode, hostile_records, order
from tests.support.scene import PARTITIONS, WAIT_SECONDS, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE_RECORDS = 1_000
GOOD_JOBS = 50
# By default a broker of Kafka 4 takes no record that is dated an hour ahead; older ones, and many others, do.
ANY_TIMESTAMP = {"log.message.timestamp.after.max.ms": str(2**63 - 1)}
# Neither do the odd timestamps make new segments, nor are old ones deleted.
KEEP_EVERYTHING = {"retention.ms": "-1", "segment.ms": str(2**63 - 1)}
GZIP, ZSTD = 1, 4


class Writer:
    """Writes records as no well-behaved client would, in the order in which it is told."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, max_request_size=64_000_000, max_batch_size=500_000
        )

    async def __aenter__(self) -> "Writer":
        await self._producer.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._producer.stop()

    async def write(self, record: Hostile) -> "asyncio.Future[Any]":
        """Hand a record to the producer; the future knows where it is."""
        odd = any(isinstance(name, RawName) for name, _ in record.headers)
        if odd or (record.key is None and record.value is None):
            return await self.write_batch(record)
        delivery: asyncio.Future[Any] = await self._producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            partition=record.partition,
            headers=list(record.headers),
            timestamp_ms=_milliseconds(record),
        )
        return delivery

    async def write_batch(self, record: Hostile, codec: int = 0) -> "asyncio.Future[Any]":
        """Write a record in a batch of its own, which aiokafka looks at less closely."""
        batch = self._producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(
            magic=2,
            compression_type=codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=0,
        )
        batch._builder.append(0, _milliseconds(record), record.key, record.value, list(record.headers))
        batch._relative_offset = 1
        delivery: asyncio.Future[Any] = await self._producer.send_batch(batch, record.topic, partition=record.partition)
        return delivery


def _milliseconds(record: Hostile) -> int | None:
    if isinstance(record.timestamp, datetime):
        return milliseconds_of(record.timestamp)
    return record.timestamp


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Run a worker on a Kafka of its own: nobody else wants to read all this."""
    read_any_header_name()
    folder = tmp_path_factory.mktemp("hostile")
    with EmbeddedKafka(folder / "kafka", config=ANY_TIMESTAMP) as broker:
        async with Scene(broker.bootstrap_servers, folder) as scene:
            await _keep_everything(scene)
            await scene.worker()
            yield scene


async def _keep_everything(scene: Scene) -> None:
    async with admin_client(bootstrap_servers=scene.bootstrap_servers) as admin:
        for topic in SOURCE_TOPICS:
            configs = KEEP_EVERYTHING | {"max.message.bytes": str(max_bytes()[topic])}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writer(scene: Scene) -> AsyncIterator[Writer]:
    async with Writer(scene.bootstrap_servers) as writer:
        yield writer


class Probing:
    """Asks both probes of every worker again and again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.answers: set[tuple[str, int]] = set()

    async def __aenter__(self) -> "Probing":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for worker in self._scene.workers:
                for path in ("/livez", "/readyz"):
                    self.answers.add((path, (await worker.get(path))[0]))
            await asyncio.sleep(0.25)


async def _worked_off(scene: Scene) -> None:
    """Return when the group has committed past every record of the source topics."""
    reader = KafkaReader({"bootstrap_servers": scene.bootstrap_servers}, scene.app_id, PARTITIONS)
    await reader.start()
    try:
        async with asyncio.timeout(2 * WAIT_SECONDS):
            while await _behind(reader):
                await asyncio.sleep(0.5)
    finally:
        await reader.stop()


async def _behind(reader: KafkaReader) -> bool:
    gaps = Gaps(reader)
    for topic in SOURCE_TOPICS:
        ends, committed = await reader.end_offsets(topic), await reader.committed_offsets(topic)
        for number, end in ends.items():
            if await gaps.next_record(TopicPartition(topic, number), committed[number], end) < end:
                return True
    return False


async def _settle(scene: Scene) -> Settled:
    """Run some jobs to their ends, so that there is somebody whose completions can be repeated."""
    completed, failed = [submission() for _ in range(8)], [submission() | {"orders": []} for _ in range(4)]
    for payload in (*completed, *failed):
        await scene.submit(payload)
    for payload in (*completed, *failed):
        await scene.outcome(payload["jobId"])
    keys = [JobKey(payload["workspaceId"], payload["jobId"]) for payload in (*completed, *failed)]
    return Settled([(key, 2) for key in keys[:8]], keys[8:])


async def _check(scene: Scene, written: Sequence[tuple[Hostile, str]]) -> Counter[str]:
    """Return how many records met each fate; all of them have met theirs, and no promise was broken."""
    history = await read_history({"bootstrap_servers": scene.bootstrap_servers}, scene.app_id)
    posts = read_posts(scene.folder / f"{scene.app_id}-posts.jsonl")
    fates, problems = account(written, history, posts)
    assert problems == []
    assert check(history, posts, (*SECRETS, PASSWORD)) == []
    return fates


def _position(metadata: Any) -> str:
    return f"{metadata.topic}-{metadata.partition}-{metadata.offset}"


async def _ended(scene: Scene, jobs: int) -> None:
    """Return when so many jobs have ended."""

    def look() -> bool | None:
        for worker in scene.workers:
            assert worker.running, worker.log_tail()
        return sum(len(scene.records[topic]) for topic in OUTCOME_TOPICS) >= jobs or None

    await scene.wait_for(look)


async def test_the_first_records_of_all_are_read_though_a_second_worker_joins_just_then(scene: Scene) -> None:
    """Nothing is committed yet, so aiokafka alone would not go back to what it found during the rebalance."""
    first = scene.workers[0]
    workspaces = [next(w for w in map(str, range(99)) if partition_of(w, PARTITIONS) == n) for n in range(PARTITIONS)]
    second = await scene.worker(ready=False)
    async with asyncio.timeout(WAIT_SECONDS):
        while not any(line.get("generation") == 2 for line in first.log_lines()):
            await asyncio.sleep(0.01)
    for job_id in [await scene.submit(submission(workspace_id=workspace)) for workspace in workspaces]:
        assert isinstance(await scene.outcome(job_id), JobCompleted)
    await second.wait_ready()
    assert first.running


async def test_a_thousand_hostile_records_stop_nothing_and_each_is_accounted_for(scene: Scene, writer: Writer) -> None:
    settled = await _settle(scene)
    records = hostile_records(20_261_123, HOSTILE_RECORDS, PARTITIONS, datetime.now(UTC), settled)
    good = [submission(orders=1) for _ in range(GOOD_JOBS)]
    ended = sum(len(scene.records[topic]) for topic in OUTCOME_TOPICS)
    deliveries = []
    async with Probing(scene) as probing:
        share = len(records) // GOOD_JOBS
        for number, payload in enumerate(good):
            end = None if number == GOOD_JOBS - 1 else (number + 1) * share
            deliveries += [await writer.write(record) for record in records[number * share : end]]
            home = partition_of(payload["workspaceId"], PARTITIONS)
            await writer.write(Hostile("good", Topic.SUBMITTED, home, None, encode(payload)))
        places = [_position(metadata) for metadata in await asyncio.gather(*deliveries)]
        await _ended(scene, ended + len(good) + sum(record.outcome is not None for record in records))
        await _worked_off(scene)
    fates = await _check(scene, list(zip(records, places, strict=True)))
    assert sum(fates.values()) - fates["forwarded"] == len(records) >= HOSTILE_RECORDS
    for payload in good:
        assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
        assert scene.posts(payload["jobId"]) == 1
    assert probing.answers == {("/livez", 200), ("/readyz", 200)}
    assert len(scene.workers) == 2
    for worker in scene.workers:
        assert worker.running
        lines = worker.log_lines()
        assert worker.told("dead_letter")
        assert not any(line["level"] in ("error", "critical") for line in lines)
        text = worker.log_path.read_text()
        assert not any(secret in text for secret in (*SECRETS, PASSWORD))


def _sized(key: JobKey, size: int, **changes: Any) -> bytes:
    """Return a good submission of exactly so many bytes, in its one order."""
    fields = {"jobId": key.job_id, "workspaceId": key.workspace_id, **changes}
    fields |= {
        "credentials": {"username": "u", "password": PASSWORD},
        "orders": [order(pedidoInput={"ciudad": "HERE"})],
    }
    value = encode(fields)
    return value.replace(b"HERE", b"x" * (size - len(value) + 4))


def _large(now: datetime) -> list[tuple[Hostile, int]]:
    """Return records just under and just over each limit, with the codec that they are written with."""
    maker = Maker(Random(1), PARTITIONS, now, Settled([], []))
    most, over, away, headed = (maker.key() for _ in range(4))
    jobs, reports = Topic.SUBMITTED, Topic.BATCH_COMPLETED
    malformed, too_large, conflict, late, unknown = (
        frozenset({reason})
        for reason in (
            DeadLetterReason.MALFORMED,
            DeadLetterReason.TOO_LARGE,
            DeadLetterReason.CONFLICT,
            DeadLetterReason.LATE_COMPLETION,
            DeadLetterReason.UNKNOWN_JOB,
        )
    )

    def headers(size: int) -> Headers:
        return (("h", bytes(size)),)

    elsewhere = (maker.home(away) + 1) % PARTITIONS
    moved: dict[str, Any] = {"partition": elsewhere, "forward_to": maker.home(away), "headers": headers(900_000)}
    conflicting = maker.job(
        "conflict", most, value=_sized(most, SUBMISSION_MAX_BYTES, carrier="x"), headers=headers(900_000)
    )
    larger = maker.job("one byte over", over, value=_sized(over, SUBMISSION_MAX_BYTES + 1))
    completion = encode(maker.fields(reports, over))
    padded = completion[:-1] + b" " * (COMPLETION_MAX_BYTES - len(completion)) + b"}"
    plain = [
        *(filled(maker.record("fill", topic, b"bad", 0, letters=malformed), max_bytes()[topic]) for topic in DLQ_OF),
        maker.job("the largest", most, value=_sized(most, SUBMISSION_MAX_BYTES)),
        replace(conflicting, letters=conflict, job=None, outcome=None),
        replace(larger, letters=too_large, outcome="invalid_submission"),
        maker.job("the largest, misplaced", away, value=_sized(away, SUBMISSION_MAX_BYTES), **moved),
        maker.job("4 MB of headers", headed, headers=headers(4_000_000)),
        maker.record("4 MB of headers", jobs, None, 0, headers=headers(4_000_000), letters=malformed),
        maker.record("the largest completion", reports, padded, maker.home(over), letters=late | unknown),
        maker.record("one byte over", reports, padded + b" ", maker.home(over), letters=too_large),
    ]

    def compressed(
        topic: Topic, value: bytes, partition: int, size: int, letters: frozenset[DeadLetterReason]
    ) -> Hostile:
        """Return what is much smaller as a broker stores it than as it comes out of it."""
        record = maker.record("compressed", topic, value, partition, letters=letters, whole=False)
        return replace(record, headers=(*record.headers, *headers(size)))

    misplaced = _sized(away, SUBMISSION_MAX_BYTES, carrier="other")
    return [
        *((record, 0) for record in plain),
        (compressed(jobs, b"x" * SUBMISSION_MAX_BYTES, 1, 3_000_000, malformed), GZIP),
        (compressed(jobs, bytes(30_000_000), 2, 0, malformed), ZSTD),
        (compressed(reports, b"[]", 3, 4_000_000, malformed), GZIP),
        (compressed(jobs, misplaced, elsewhere, 3_000_000, too_large), GZIP),
    ]


async def test_records_at_the_limits_of_size_become_jobs_or_letters_that_kafka_takes(
    scene: Scene, writer: Writer
) -> None:
    large = _large(datetime.now(UTC))
    await scene.read_to_end()
    ended = sum(len(scene.records[topic]) for topic in OUTCOME_TOPICS)
    written = []
    for record, codec in large:
        written.append((record, _position(await (await writer.write_batch(record, codec)))))
    await _ended(scene, ended + sum(record.outcome is not None for record, _ in large))
    await _worked_off(scene)
    await _check(scene, written)
    assert all(worker.running for worker in scene.workers)


@pytest.mark.parametrize("topic", SOURCE_TOPICS)
async def test_a_broker_takes_no_record_that_is_larger_than_the_largest_of_these(writer: Writer, topic: Topic) -> None:
    record = filled(Hostile("too large", topic, 0, b"k", b"bad"), max_bytes()[topic] + 1)
    with pytest.raises(MessageSizeTooLargeError):
        await (await writer.write_batch(record))
