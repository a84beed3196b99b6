"""What the bridge's server expects of Kafka: one suite for the fake of its tests and for a real broker."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.order_reported import OrderReported
from streams.bridge.journal import BridgeJournal
from streams.bridge.publisher import KafkaPublisher
from streams.bridge.server import Publisher, UnavailableError
from streams.dev.kafka import EmbeddedKafka
from streams.names import Topic
from streams.telemetry.metrics import BridgeMetrics
from tests.support.bridge import FakePublisher, bridge_settings, create_topic
from tests.support.builders import new_id
from tests.support.worker import freeze

PARTITIONS = 4
HOLD_SECONDS = 2.0


@dataclass
class Setup:
    """A publisher, a Kafka that can go away and come back, and what it holds of a workspace."""

    publisher: Publisher
    go_away: Callable[[], None]
    come_back: Callable[[], None]
    of: Callable[[str], Awaitable[list[OrderReported]]]


@contextlib.asynccontextmanager
async def fake() -> AsyncIterator[Setup]:
    publisher = FakePublisher(HOLD_SECONDS)

    async def of(workspace_id: str) -> list[OrderReported]:
        return [record for record in publisher.log if record.workspaceId == workspace_id]

    yield Setup(publisher, publisher.go_away, publisher.come_back, of)


@contextlib.asynccontextmanager
async def real(broker: EmbeddedKafka) -> AsyncIterator[Setup]:
    await create_topic(broker.bootstrap_servers, PARTITIONS)
    settings = bridge_settings(broker.bootstrap_servers, ROBOT_ORCHESTRATOR_BRIDGE_HOLD_SECONDS=str(HOLD_SECONDS))
    publisher = KafkaPublisher(settings, BridgeJournal(BridgeMetrics()))
    running = asyncio.create_task(publisher.run())

    def come_back() -> None:
        os.kill(broker.pid, signal.SIGCONT)

    async def of(workspace_id: str) -> list[OrderReported]:
        return await records_of(broker.bootstrap_servers, workspace_id)

    try:
        await until(lambda: publisher.ready)
        yield Setup(publisher, lambda: freeze(broker.pid), come_back, of)
    finally:
        come_back()
        running.cancel()
        await publisher.close()


async def records_of(bootstrap_servers: str, workspace_id: str) -> list[OrderReported]:
    """Return a workspace's records by now, in their order, as the contract reads them."""
    places = [TopicPartition(Topic.ORDER_REPORTED, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        found = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += [record for record in batch if record.key == workspace_id.encode()]
        return [OrderReported.model_validate_json(record.value) for record in found]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a Kafka that may be frozen."""
    folder: Path = tmp_path_factory.mktemp("frozen-kafka")
    with EmbeddedKafka(folder) as running:
        yield running


@pytest.fixture(params=["fake", "real"])
async def setup(request: pytest.FixtureRequest) -> AsyncIterator[Setup]:
    made = fake() if request.param == "fake" else real(request.getfixturevalue("broker"))
    async with made as setup:
        yield setup


def record(workspace_id: str, item_id: str = "item-1") -> OrderReported:
    return OrderReported(
        workspaceId=workspace_id,
        jobId="job-17",
        itemId=item_id,
        status="success",
        trackingNumber="7300000001",
        reportedAt=datetime.now(UTC),
    )


async def test_what_was_published_is_in_the_log_once(setup: Setup) -> None:
    workspace_id = new_id()
    assert setup.publisher.ready
    await setup.publisher.publish(record(workspace_id))
    (found,) = await setup.of(workspace_id)
    assert found.itemId == "item-1"
    assert found.trackingNumber == "7300000001"


async def test_one_after_the_other_stays_so(setup: Setup) -> None:
    workspace_id = new_id()
    for number in range(20):
        await setup.publisher.publish(record(workspace_id, f"item-{number}"))
    assert [found.itemId for found in await setup.of(workspace_id)] == [f"item-{number}" for number in range(20)]


async def test_many_at_once_are_all_there(setup: Setup) -> None:
    workspace_id = new_id()
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(setup.publisher.publish(record(workspace_id, f"item-{number}")))
    assert {found.itemId for found in await setup.of(workspace_id)} == {f"item-{number}" for number in range(200)}


async def test_while_kafka_is_away_a_record_waits_and_goes_on_when_it_is_back(setup: Setup) -> None:
    workspace_id = new_id()
    setup.go_away()
    publishing = asyncio.create_task(setup.publisher.publish(record(workspace_id)))
    done, _ = await asyncio.wait({publishing}, timeout=HOLD_SECONDS / 4)
    assert not done
    assert setup.publisher.ready
    setup.come_back()
    await publishing
    assert len(await setup.of(workspace_id)) == 1
    assert setup.publisher.ready


async def test_a_record_that_is_given_up_may_be_there_later_and_until_then_it_is_not_ready(setup: Setup) -> None:
    workspace_id = new_id()
    setup.go_away()
    with pytest.raises(UnavailableError, match=f"within {HOLD_SECONDS:g} s"):
        await setup.publisher.publish(record(workspace_id))
    assert not setup.publisher.ready
    setup.come_back()
    await until(lambda: setup.publisher.ready)
    assert len(await setup.of(workspace_id)) == 1
    # And published again, as a sender would that was told so, it is there twice.
    await setup.publisher.publish(record(workspace_id))
    assert len(await setup.of(workspace_id)) == 2


async def test_a_caller_who_gives_up_takes_nobody_with_him(setup: Setup) -> None:
    workspace_id = new_id()
    setup.go_away()
    publishing = [asyncio.create_task(setup.publisher.publish(record(workspace_id, name))) for name in ("a", "b")]
    await asyncio.wait(publishing, timeout=HOLD_SECONDS / 4)
    publishing[0].cancel()
    await asyncio.wait(publishing[:1])
    setup.come_back()
    await publishing[1]
    assert "b" in {found.itemId for found in await setup.of(workspace_id)}
