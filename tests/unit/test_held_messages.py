"""How much the hardened consumer reads, by what its messages take until they are acknowledged."""

import asyncio
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.types import TP, Message
from faust.types.tuples import ConsumerMessage

from streams.app import build_app
from streams.faust_hardening import consumer as module
from streams.faust_hardening.consumer import MESSAGE_OVERHEAD, HardenedConsumer, HardenedConsumerThread
from streams.names import Topic
from streams.settings import WorkerSettings
from tests.unit.test_fetched_records import batch

PLACE = TP(Topic.SUBMITTED, 0)
LARGE = 100_000
FOUND = {PLACE: ["a record"]}
# Of a look that finds nothing; longer than a test takes.
PATIENCE = 60.0


class Finds:
    """A consumer's thread that finds something whenever it looks."""

    def __init__(self) -> None:
        self.looked_at: list[set[TP]] = []

    async def getmany(self, active_partitions: set[TP], _timeout: float) -> Any:
        self.looked_at.append(active_partitions)
        return FOUND


async def let_wait(_message: Message) -> None:
    """Take a message in, as Faust's conductor does, and leave it unacknowledged."""


@pytest.fixture
async def consumer(monkeypatch: pytest.MonkeyPatch) -> HardenedConsumer:
    """A consumer with room for one large message, and something to find."""
    monkeypatch.setattr(module, "HELD_MAX_BYTES", LARGE)
    settings = WorkerSettings(  # type: ignore[call-arg] # fields come by their variables' names
        ROBOT_COORDINADORA_URL="http://robot", ROBOT_CALLBACK_SECRET="s", NEXT_PUBLIC_APP_URL="http://app"
    )
    made = cast(HardenedConsumer, build_app(settings).consumer)
    made._conductor = let_wait
    made._thread = cast(Any, Finds())
    return made


def message(consumer: HardenedConsumer, offset: int = 0, size: int = LARGE, generation: int | None = None) -> Message:
    """Return a message as the consumer makes it of a record, of the generation that it is in unless another is said."""
    if generation is None:
        generation = consumer.app.consumer_generation_id
    made = ConsumerMessage(*PLACE, offset, 0.0, 0, [], None, bytes(size), None, generation_id=generation)
    made.incref()
    return made


async def hand_on(consumer: HardenedConsumer, message: Message) -> None:
    """Hand a message on as Faust does with those that it has read."""
    await consumer.wait_first(consumer.callback(message), consumer.suspend_flow.wait())


async def look(consumer: HardenedConsumer) -> "asyncio.Task[Any]":
    """Begin a look for records; return when it has ended, or waits."""
    looking = asyncio.create_task(consumer._getmany({PLACE}, PATIENCE))
    for _ in range(10):
        await asyncio.sleep(0)
    return looking


async def ended(looking: "asyncio.Task[Any]") -> Any:
    """Return what a look has found that does not wait any more."""
    return await asyncio.wait_for(looking, PATIENCE / 4)


async def test_nothing_is_read_without_room_and_an_acknowledgement_makes_room(consumer: HardenedConsumer) -> None:
    held = message(consumer)
    await hand_on(consumer, held)
    looking = await look(consumer)
    assert not looking.done()
    held.ack(consumer)
    # Whoever waited looks again.
    assert await ended(looking) == {}
    assert await consumer._getmany({PLACE}, PATIENCE) == FOUND
    assert consumer.room == LARGE


async def test_a_partition_that_takes_all_room_keeps_no_other_from_its_share(consumer: HardenedConsumer) -> None:
    """Its table may be loaded for half a minute, or nobody can read what it needs."""
    await hand_on(consumer, message(consumer))
    others = {TP(Topic.SUBMITTED, 1), TP(Topic.BATCH_COMPLETED, 1)}
    # All topics of a partition wait for one table.
    active = {PLACE, TP(Topic.BATCH_COMPLETED, PLACE.partition), *others}
    assert await consumer._getmany(active, PATIENCE) == FOUND
    assert cast(Any, consumer._thread).looked_at == [others]


async def test_small_messages_are_held_together_and_count_more_than_their_bytes(consumer: HardenedConsumer) -> None:
    held = [message(consumer, offset, size=1) for offset in range(LARGE // MESSAGE_OVERHEAD)]
    for each in held[1:]:
        await hand_on(consumer, each)
    assert consumer.room > 0
    await hand_on(consumer, held[0])
    assert consumer.room <= 0


async def test_no_message_is_taken_off_twice(consumer: HardenedConsumer) -> None:
    held = message(consumer)
    await hand_on(consumer, held)
    consumer.ack(held)
    consumer.ack(held)
    assert consumer.room == LARGE


async def test_after_a_rebalance_nothing_of_before_is_held(consumer: HardenedConsumer) -> None:
    held = message(consumer)
    await hand_on(consumer, held)
    consumer.resume_flow()
    assert consumer.room == LARGE
    held.ack(consumer)
    assert consumer.room == LARGE


async def test_a_message_of_an_earlier_generation_takes_no_room(consumer: HardenedConsumer) -> None:
    """Its stream drops it, so nobody would ever acknowledge it."""
    consumer.app.consumer_generation_id = 2
    await hand_on(consumer, message(consumer, generation=1))
    assert consumer.room == LARGE


async def test_the_suspension_of_the_flow_does_not_wait_for_room(consumer: HardenedConsumer) -> None:
    await hand_on(consumer, message(consumer))
    looking = await look(consumer)
    consumer.stop_flow()
    assert await ended(looking) == {}
    assert cast(Finds, consumer._thread).looked_at == []


def fetched(**counts: int) -> Any:
    """Return an aiokafka consumer that has fetched that many large records of each topic, each in a batch of its own.

    Only what a look for fetched records uses of it is there.
    """
    places = [TopicPartition(topic, 0) for topic in counts]
    subscription = SubscriptionState()
    subscription.assign_from_user(places)
    assignment = subscription.subscription.assignment
    records = OrderedDict()
    for place in places:
        data = b"".join(batch((("h", bytes(LARGE)),), base_offset=n, codec=1) for n in range(counts[place.topic]))
        unpacked = PartitionRecords(place, MemoryRecords(data), [], 0, None, None, True, READ_COMMITTED)
        assignment.state_value(place).reset_to(0)
        records[place] = FetchResult(place, assignment=assignment, partition_records=unpacked, backoff=0)
    fetcher = object.__new__(Fetcher)
    fetcher._records, fetcher._subscriptions, fetcher._closed = records, subscription, False
    fetcher._wait_consume_future, fetcher._fetch_waiters = None, set()
    return SimpleNamespace(_fetcher=fetcher, _closed=False)


async def offsets_found(source: Any, room: int) -> dict[str, list[int]]:
    """Return the offsets, by topic, that a look finds with this much room."""
    thread = object.__new__(HardenedConsumerThread)
    thread.consumer = cast(Any, SimpleNamespace(flow_active=True, room=room))
    found = await thread._fetch_records(source, cast(Any, None), timeout=0)
    return {tp.topic: [record.offset for record in records] for tp, records in found.items()}


@pytest.mark.parametrize("largest", [LARGE, module.RECORD_MAX_BYTES])
async def test_a_look_takes_what_there_is_room_for_and_the_next_one_goes_on(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_MAX_BYTES", largest)
    source = fetched(submitted=5)
    assert await offsets_found(source, 3 * LARGE) == {"submitted": [0, 1, 2]}
    assert await offsets_found(source, 9 * LARGE) == {"submitted": [3, 4]}
    assert await offsets_found(source, LARGE) == {}


async def test_a_record_that_is_larger_than_all_room_is_read() -> None:
    assert await offsets_found(fetched(submitted=2), 1) == {"submitted": [0]}


async def test_partitions_take_turns_however_much_one_of_them_has() -> None:
    source = fetched(submitted=50, completed=2)
    assert await offsets_found(source, 1) == {"submitted": [0]}
    assert await offsets_found(source, 1) == {"completed": [0]}
    assert await offsets_found(source, 3 * LARGE) == {"submitted": [1, 2], "completed": [1]}
