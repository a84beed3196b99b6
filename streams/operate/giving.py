"""Giving controls: each is published, and then its decision by a worker is waited for. In no group."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from pydantic import ValidationError

from schemas import explain
from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.kafka.access import AccessError, Operation
from streams.names import Topic, changelog_topic
from streams.operate.job_rows import NotReadError, RecordReader
from streams.settings import KafkaSettings
from streams.wire.control import encode_control
from streams.wire.placement import partition_of
from streams.wire.rows import DecisionEntry, TableError, decision_key, decode_entry

# A worker decides within milliseconds; during a rebalance, or while nobody has the partition, it takes longer.
DECISION_SECONDS = 15.0
LOOK_SECONDS = 0.2
# A person waits for the answer.
REQUEST_TIMEOUT_MS = 10_000

# Why a worker did nothing, in words that say what would help.
REFUSALS: Mapping[IgnoreReason, str] = {
    IgnoreReason.UNKNOWN_JOB: "there is no such job",
    IgnoreReason.AT_ROBOT: "its call may have left, and nobody can take it back: jobs give-up ends it without waiting",
    IgnoreReason.NOT_AT_ROBOT: "it still waits for its call: jobs cancel",
    IgnoreReason.ALREADY_ENDED: "it has ended",
    IgnoreReason.ALREADY_GIVEN_UP: "it was given up",
    IgnoreReason.ALREADY_HELD: "it is held already",
    IgnoreReason.NOT_HELD: "it is not held",
    IgnoreReason.TOO_OLD: "it was given so long ago that what came of it may be forgotten",
}


class NotGivenError(Exception):
    """A control was not published, or may not have been; the text is one line."""


def new_control(
    action: Action, workspace_id: str | None, job_id: str | None, actor: str, reason: str, detail: str | None = None
) -> Control:
    """Return a control that nobody has given yet."""
    return Control(
        control_id=str(uuid.uuid4()),
        action=action,
        workspace_id=workspace_id,
        job_id=job_id,
        actor=actor,
        reason=reason,
        requested_at=datetime.now(UTC),
        detail=detail,
    )


async def give(
    settings: KafkaSettings, reader: RecordReader, controls: Mapping[int, Control]
) -> dict[int, Decision | None]:
    """Publish controls, each to a partition, and return what a worker has decided of each within DECISION_SECONDS.

    None where nobody has yet, or where it could not be read. Raises NotGivenError and AccessError, and what the reader
    does as long as nothing is published.
    """
    changelog = changelog_topic(settings.app_id)
    decided: dict[int, Decision | None] = dict.fromkeys(controls)
    keys = {number: decision_key(control.control_id) for number, control in controls.items()}

    def take(message: Any) -> None:
        if message.key == keys[message.partition]:
            entry = decode_entry(message.key, message.value)
            decided[message.partition] = entry.decision if isinstance(entry, DecisionEntry) else None

    # Every decision comes behind it.
    positions = await reader.ends(changelog)
    async with control_producer(settings) as producer:
        await asyncio.gather(*(publish_control(producer, control, number) for number, control in controls.items()))
    await read_on(
        reader, changelog, positions, take, lambda: [number for number, one in decided.items() if one is None]
    )
    return decided


async def read_on(
    reader: RecordReader,
    topic: str,
    positions: Mapping[int, int],
    take: Callable[[Any], None],
    left: Callable[[], Collection[int]],
) -> None:
    """Give `take` what is written behind some positions, while partitions are `left`, for DECISION_SECONDS at most.

    A read that fails ends it without a word: what is published is published, and nobody may be told otherwise.
    """
    with suppress(TimeoutError, NotReadError, TableError, KafkaError):
        async with asyncio.timeout(DECISION_SECONDS):
            while numbers := left():
                positions = {**positions, **await reader.scan(topic, numbers, take, starts=positions)}
                if left():
                    await asyncio.sleep(LOOK_SECONDS)


async def leave_note(settings: KafkaSettings, control: Control) -> None:
    """Publish a control from which nothing follows, for whoever asks later. Raises NotGivenError, AccessError."""
    async with control_producer(settings) as producer:
        partitions = await producer.partitions_for(Topic.CONTROL)
        await publish_control(producer, control, partition_of(control.workspace_id or "", len(partitions)))


@asynccontextmanager
async def control_producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer for the control topic that repeats nothing, whatever it tries again. Raises AccessError."""
    producer = AIOKafkaProducer(
        **settings.kafka_client_options(), acks="all", enable_idempotence=True, request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await producer.start()
        yield producer
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as error:
        # Who may write to no topic at all is given no producer id.
        raise AccessError((Operation.WRITE, f"topic {Topic.CONTROL}")) from error
    finally:
        await producer.stop()


async def publish_control(producer: AIOKafkaProducer, control: Control, partition: int) -> None:
    """Publish a control to a partition, with a `control_producer`. Raises NotGivenError."""
    try:
        value = encode_control(control)
    except ValidationError as error:
        raise NotGivenError(explain(error)) from None
    key = None if control.workspace_id is None else control.workspace_id.encode()
    try:
        await producer.send_and_wait(Topic.CONTROL, value, key=key, partition=partition)
    except TopicAuthorizationFailedError:
        raise
    except KafkaError as error:
        raise NotGivenError(
            f"{Topic.CONTROL} may or may not have taken it ({str(error) or type(error).__name__}): look what became of "
            "it, then give it again, which is harmless"
        ) from error
