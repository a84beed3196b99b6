"""The ledgers of all partitions over a simulated log, which takes a record only as aiokafka and a topic would."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.core.deadlines import Deadlines
from streams.core.events import RobotAccepted
from streams.core.job import JobKey
from streams.dev.history import History, Post
from streams.engine.claims import CallSlots, Claim, PayloadCache
from streams.engine.ledger import Ledger, Shared
from streams.engine.ports import LogReader, PartitionLog
from streams.engine.rules import Rules
from streams.kafka.partition_log import MAX_REQUEST_BYTES
from streams.kafka.topics import topic_specs
from streams.names import SOURCE_TOPICS, Topic, changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, SourceRecord, TopicPartition
from streams.wire.robot_request import Callback, build_request
from tests.core.builders import DEADLINES
from tests.simulation.broker import SimulatedBroker, SimulatedPartitionLog, SimulatedReader, at_once
from tests.support.hostile import Hostile, encode
from tests.support.settings import settings_of

Written = NewRecord | SourceRecord | Hostile
AnyRecord = TypeVar("AnyRecord", bound=Written)

APP = "robot-orchestrator"
ROBOT_MAX_BODY_BYTES = 5_000_000
TOPICS = (*Topic, changelog_topic(APP))

# The broker's default of max.message.bytes.
DEFAULT_MAX_BYTES = 1_048_588


@cache
def max_bytes() -> dict[str, int]:
    """Return the largest batch that each topic takes as `topics create` makes it."""
    specs = topic_specs(settings_of("nowhere:9092"))
    return {spec.name: int(spec.config.get("max.message.bytes", DEFAULT_MAX_BYTES)) for spec in specs}


NOT_FOLLOWED = Callback("https://app.example/api/webhooks/robot-callback", "callback-secret")
# The robot reports to an address of each job, so that batches are followed order by order.
FOLLOWED = Callback("https://bridge.example/{workspaceId}/{jobId}", "callback-secret", per_job=True)


def rules_of(**changed: Any) -> Rules:
    """Return what a worker goes by, some of it changed."""
    rules = Rules(
        app_id=APP,
        worker_id="worker-1",
        partitions=1,
        jobs_per_workspace=1,
        call_slots=32,
        deadlines=DEADLINES,
        callback=NOT_FOLLOWED,
        max_bytes=max_bytes(),
    )
    return replace(rules, **changed)


def shared_by(rules: Rules, reader: LogReader, hand_over: Callable[[Claim], None]) -> Shared:
    """Return what the ledgers of a worker share, as a worker makes it."""
    return Shared(
        rules=rules,
        reader=reader,
        slots=CallSlots(rules.call_slots),
        payloads=PayloadCache(rules.payload_cache_bytes),
        hand_over=hand_over,
        journal=Journal(Metrics()),
    )


def batch_of(record: Written) -> bytes:
    """Return the bytes of a record in a batch of its own, as they go to a broker."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=1,
        producer_id=1,
        producer_epoch=1,
        base_sequence=0,
        batch_size=0,
    )
    builder.append(0, timestamp=0, key=record.key, value=record.value, headers=list(record.headers))
    return bytes(builder.build())


def filled(record: AnyRecord, size: int) -> AnyRecord:
    """Return a record that takes exactly so many bytes in its batch, by one more header."""

    def with_header(length: int) -> AnyRecord:
        return replace(record, headers=(*record.headers, ("h", bytes(length))))

    length = size
    while excess := len(batch_of(with_header(length))) - size:
        length -= excess
    return with_header(length)


def assert_producible(record: NewRecord, most: int) -> None:
    """Fail unless aiokafka's producer sends the record, and a topic with batches of at most `most` bytes takes it."""
    assert not (record.key is None and record.value is None), "aiokafka sends no record with neither key nor value"
    size = len(batch_of(record))
    assert size <= min(most, MAX_REQUEST_BYTES), f"{record} has {size} bytes"


class _CheckedLog:
    def __init__(self, log: PartitionLog) -> None:
        self._log = log
        self.open, self.close = log.open, log.close

    async def commit(self, records: Sequence[NewRecord]) -> None:
        for record in records:
            assert_producible(record, max_bytes()[record.topic])
        await self._log.commit(records)


class Engine:
    """Works off what is written, at one instant; each call is answered and its job completed at once."""

    def __init__(self, partitions: int, deadlines: Deadlines, now: datetime, callback: Callback = NOT_FOLLOWED) -> None:
        self._now = now
        self._partitions = partitions
        self.broker = SimulatedBroker(partitions, lambda: now)
        self.posts: list[Post] = []
        self._delivered: dict[TopicPartition, int] = defaultdict(int)
        self.ledgers: list[Ledger] = []
        self._rules = rules_of(
            worker_id="w" * 264,
            partitions=partitions,
            jobs_per_workspace=0,
            call_slots=10**9,
            deadlines=deadlines,
            callback=callback,
        )
        self._shared = shared = shared_by(self._rules, SimulatedReader(self.broker, at_once), self._call)
        for number in range(partitions):
            log = _CheckedLog(SimulatedPartitionLog(self.broker, at_once, APP, number))
            self.ledgers.append(Ledger(number, log, shared))

    def _call(self, claim: Claim) -> None:
        request = build_request(claim.payload, self._rules.callback)
        assert len(request.body) <= ROBOT_MAX_BODY_BYTES
        assert (request.workspace_id, request.job_id) == claim.job.key
        self.posts.append(Post(claim.job.key, self._now))
        self.ledgers[claim.job.source.partition].tell(RobotAccepted(claim.job.key, self._now))
        self.complete(claim.job.key, claim.job.order_count or 0, claim.job.source.partition)

    def complete(self, key: JobKey, success: int, partition: int) -> None:
        """Write a completion."""
        value = {"jobId": key.job_id, "workspaceId": key.workspace_id, "successCount": success, "errorCount": 0}
        self.broker.append(NewRecord(Topic.BATCH_COMPLETED, partition, None, encode(value)))

    async def work_off(self) -> None:
        """Work until nothing is left to do."""
        while await self._round():
            pass

    async def _round(self) -> bool:
        busy = False
        for ledger in self.ledgers:
            for topic in SOURCE_TOPICS:
                place = TopicPartition(topic, ledger.partition)
                for record in self.broker.committed(place, self._delivered[place]):
                    ledger.deliver(record, lambda: None)
                self._delivered[place] = self.broker.high_watermark(place)
            while ledger.has_work(self._now) and ledger.to_do(self._shared.slots.shares().get(ledger, 0)):
                busy = True
                assert await ledger.step(lambda: self._now)
        return busy

    async def open(self) -> None:
        """Open every ledger."""
        for ledger in self.ledgers:
            await ledger.open(self._now)

    def history(self) -> History:
        """Return what lies in the topics."""
        return History(APP, self._partitions, {topic: self.broker.topic(topic) for topic in TOPICS})
