"""What producers publish in a round: jobs, and everything that is wrong with some records."""

import asyncio
import contextlib
import json
import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.core.controls import Action
from streams.names import Topic
from streams.wire.placement import partition_of
from tests.chaos.brokers import PARTITIONS
from tests.support.builders import Fields, completion, submission

log = logging.getLogger(__name__)

# Per record, in this order of drawing; the rest is published as it should be.
DUPLICATE, CONFLICT, MISPLACED, POISON, ABORTED, ODD_COMPLETION = 0.04, 0.02, 0.08, 0.03, 0.03, 0.03
# By somebody on call, of a job that has just come.
STOPPED = 0.08
POISON_VALUES = (
    None,
    b"",
    b"not json",
    b"[1, 2]",
    b'{"jobId": 7}',
    b"\xff\xfe{\x00}\x00",
    b"[" * 5_000,
    b'{"jobId": "poor-' + b"x" * 300 + b'", "workspaceId": "w"}',
    json.dumps({"pad": "x" * 100_000}).encode(),
)
# What no robot would report.
ODD_COUNTS = (77, 77)
RETRY_SECONDS = 0.5
ABANDONED_MS = 4_000
# Beyond the time for which any transaction is held here.
HELD_MS = 40_000
LARGEST_BYTES = 6_000_000


@dataclass(frozen=True)
class Record:
    """One record to publish; `aborted`: in a transaction that its producer gives up."""

    topic: Topic
    value: bytes | None
    partition: int
    key: bytes | None
    aborted: bool = False


def drawn_submission(rng: Random, job_id: str, workspace_id: str) -> Fields:
    """Return a submission that is the same whenever the same is drawn."""
    orders = rng.randint(1, 3)
    return submission(job_id, workspace_id, orders, item_id=lambda: str(uuid.UUID(int=rng.getrandbits(128))))


class Load:
    """The records of a round, drawn from its seed. `sent` counts what was published, by kind."""

    def __init__(self, rng: Random, jobs: int, workspaces: int) -> None:
        self.sent: Counter[str] = Counter()
        self._rng = rng
        self._jobs = jobs
        self.workspaces = [f"workspace-{number}" for number in range(workspaces)]

    def records(self) -> Iterator[Record]:
        """Yield the records of every job, and those between them."""
        rng = self._rng
        published: list[Record] = []
        for number in range(self._jobs):
            workspace_id = rng.choice(self.workspaces)
            payload = drawn_submission(rng, f"job-{number}-{rng.getrandbits(32):08x}", workspace_id)
            yield from self._around(payload, workspace_id, published)

    def _around(self, payload: Fields, workspace_id: str, published: list[Record]) -> Iterator[Record]:
        rng = self._rng
        record = placed(Topic.SUBMITTED, payload, workspace_id)
        if rng.random() < MISPLACED:
            self.sent["misplaced"] += 1
            key = rng.choice((None, payload["jobId"].encode()))
            record = Record(Topic.SUBMITTED, record.value, rng.randrange(PARTITIONS), key)
        if rng.random() < ABORTED:
            self.sent["aborted"] += 1
            yield Record(record.topic, record.value, record.partition, record.key, aborted=True)
            if rng.random() < 0.5:
                # Its producer never comes back to it.
                return
        self.sent["jobs"] += 1
        yield record
        published.append(record)
        if rng.random() < DUPLICATE:
            self.sent["duplicates"] += 1
            yield rng.choice(published)
        if rng.random() < CONFLICT:
            self.sent["conflicts"] += 1
            yield placed(Topic.SUBMITTED, payload | {"orders": payload["orders"] * 2}, workspace_id)
        if rng.random() < POISON:
            self.sent["poison"] += 1
            topic = rng.choice((Topic.SUBMITTED, Topic.BATCH_COMPLETED))
            value = rng.choice(POISON_VALUES)
            # The client refuses a record with neither key nor value.
            yield Record(topic, value, rng.randrange(PARTITIONS), b"tombstone" if value is None else None)
        if rng.random() < POISON:
            self.sent["invalid"] += 1
            yield placed(Topic.SUBMITTED, payload | {"jobId": payload["jobId"] + "-bad", "orders": []}, workspace_id)
        if rng.random() < ODD_COMPLETION:
            self.sent["odd completions"] += 1
            aborted = rng.random() < 0.3
            job_id = payload["jobId"] if aborted else "unknown"
            yield odd_completion(job_id, workspace_id, rng.randrange(PARTITIONS), aborted=aborted)
        if rng.random() < STOPPED:
            action = rng.choice((Action.CANCEL, Action.GIVE_UP))
            self.sent[f"asked to {action}"] += 1
            stop = asked(f"stop-{payload['jobId']}", action, workspace_id, payload["jobId"])
            yield stop
            if rng.random() < DUPLICATE:
                yield stop


def placed(topic: Topic, value: object, workspace_id: str) -> Record:
    """Return a record where it belongs."""
    data = json.dumps(value, ensure_ascii=False).encode()
    return Record(topic, data, partition_of(workspace_id, PARTITIONS), workspace_id.encode())


def asked(
    control_id: str, action: Action, workspace_id: str | None, job_id: str | None = None, partition: int = 0
) -> Record:
    """Return what somebody asks for; of everything in the partition where there is no workspace."""
    who = {"actor": "somebody", "reason": "a round of chaos", "requestedAt": "2026-01-31T12:00:00.000Z"}
    value = {"controlId": control_id, "action": action, "workspaceId": workspace_id, "jobId": job_id, **who}
    if workspace_id is not None:
        return placed(Topic.CONTROL, value, workspace_id)
    return Record(Topic.CONTROL, json.dumps(value).encode(), partition, None)


def odd_completion(job_id: str, workspace_id: str, partition: int, *, aborted: bool = False) -> Record:
    """Return a completion that no robot has sent, with counts that no robot would send."""
    value = json.dumps(completion({"jobId": job_id, "workspaceId": workspace_id}, *ODD_COUNTS)).encode()
    return Record(Topic.BATCH_COMPLETED, value, partition, None, aborted)


class Producers:
    """Publishes records until the broker has them, whatever happens to it meanwhile; use as `async with`."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._options = {"bootstrap_servers": bootstrap_servers, "acks": "all", "max_request_size": LARGEST_BYTES}
        self._sending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Producers":
        self._producer = AIOKafkaProducer(**self._options)
        await self._producer.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        sending = list(self._sending)
        for task in sending:
            task.remove_done_callback(self._ended)
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._producer.stop()

    def publish(self, record: Record) -> None:
        """Begin to publish a record."""
        task = asyncio.create_task(self._abort(record) if record.aborted else self._send(record))
        self._sending.add(task)
        task.add_done_callback(self._ended)

    async def publish_in_turn(self, record: Record) -> None:
        """Publish a record and return when the broker has it."""
        await self._send(record)

    async def flush(self) -> None:
        """Return when everything is published; raise what went wrong with it."""
        await asyncio.gather(*self._sending)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # One that failed stays, so that `flush` raises what it raised.
        if task.exception() is None:
            self._sending.discard(task)

    async def _send(self, record: Record) -> None:
        while True:
            try:
                await self._producer.send_and_wait(
                    record.topic, record.value, key=record.key, partition=record.partition
                )
            except KafkaError as error:
                # As any producer does: it may be there twice now.
                log.debug("a record is sent again: %r", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def hold_transaction(self, records: Sequence[Record], *, seconds: float, commit: bool) -> None:
        """Write records in one transaction and keep it open for a while; a broker that goes meanwhile ends it."""
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=f"producer-{uuid.uuid4().hex}",
            transaction_timeout_ms=HELD_MS,
        )
        with contextlib.suppress(KafkaError):
            try:
                await producer.start()
                await producer.begin_transaction()
                for record in records:
                    await producer.send_and_wait(record.topic, record.value, key=record.key, partition=record.partition)
                await asyncio.sleep(seconds)
                await (producer.commit_transaction() if commit else producer.abort_transaction())
            finally:
                await producer.stop()

    async def _abort(self, record: Record) -> None:
        """Write a record in a transaction, and give it up, or leave it to the broker to give it up."""
        name = f"producer-{uuid.uuid4().hex}"
        producer = AIOKafkaProducer(**self._options, transactional_id=name, transaction_timeout_ms=ABANDONED_MS)
        with contextlib.suppress(KafkaError):
            try:
                await producer.start()
                await producer.begin_transaction()
                await producer.send_and_wait(record.topic, record.value, key=record.key, partition=record.partition)
                if record.partition % 2:
                    await producer.abort_transaction()
            finally:
                await producer.stop()
