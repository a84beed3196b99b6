"""The bridge as production runs it, on a real Kafka that is frozen, missing or at another place."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.bridge import publisher as publishing
from streams.bridge.journal import BridgeJournal
from streams.bridge.publisher import KafkaPublisher
from streams.bridge.run import LATE_SECONDS
from streams.dev.kafka import EmbeddedKafka
from streams.dev.loopback import HOST, free_port
from streams.names import Topic
from streams.telemetry.metrics import BridgeMetrics
from streams.wire.placement import partition_of
from tests.contract.test_publisher import PARTITIONS, record, records_of, until
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, bridge_settings, create_topic, report
from tests.support.builders import CALLBACK_SECRET, NOWHERE, new_id
from tests.support.worker import freeze

HELD = "bridge_requests_held"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a Kafka of these tests' own, which they freeze."""
    with EmbeddedKafka(tmp_path_factory.mktemp("bridge-kafka")) as running:
        yield running


Start = Callable[..., BridgeProcess]


@pytest.fixture
def start(broker: EmbeddedKafka, tmp_path: Path) -> Iterator[Start]:
    """Return what starts bridges, which end with the test; their Kafka goes on."""
    started: list[BridgeProcess] = []

    def start(bootstrap_servers: str = broker.bootstrap_servers, **variables: str) -> BridgeProcess:
        bridge = BridgeProcess(bootstrap_servers, tmp_path / f"bridge-{len(started)}.log", variables)
        started.append(bridge)
        return bridge

    yield start
    os.kill(broker.pid, signal.SIGCONT)
    for bridge in started:
        bridge.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        yield client


async def ready(start: Start, **variables: str) -> BridgeProcess:
    bridge = start(**variables)
    await bridge.wait_ready()
    return bridge


async def post(client: httpx.AsyncClient, bridge: BridgeProcess, workspace_id: str, item_id: str = "item-1") -> int:
    url = bridge.callback(workspace_id, "job-17")
    return (await client.post(url, json=report(item_id), headers=HEADERS)).status_code


async def held(bridge: BridgeProcess, count: int = 1) -> None:
    """Return when a bridge holds so many reports."""
    async with asyncio.timeout(60):
        while await bridge.metric(HELD) != count:
            await asyncio.sleep(0.05)


async def items(broker: EmbeddedKafka, workspace_id: str) -> list[str]:
    return [found.itemId for found in await records_of(broker.bootstrap_servers, workspace_id)]


@pytest.fixture(autouse=True)
async def topic(broker: EmbeddedKafka) -> None:
    await create_topic(broker.bootstrap_servers, PARTITIONS)


async def test_a_report_that_is_answered_is_in_the_log_where_its_workspace_belongs(
    start: Start, client: httpx.AsyncClient, broker: EmbeddedKafka
) -> None:
    bridge = await ready(start)
    ends = await end_offsets(broker)
    for number in range(3 * PARTITIONS):
        workspace_id = f"ñ/{number}"
        assert await post(client, bridge, workspace_id) == 200
        before, ends = ends, await end_offsets(broker)
        grown = [partition for partition, end in ends.items() if end > before[partition]]
        assert grown == [partition_of(workspace_id, PARTITIONS)]
    assert await bridge.stop() == 0
    assert [line["event"] for line in bridge.log_lines()] == ["bridge_started", "bridge_stopped"]


async def end_offsets(broker: EmbeddedKafka) -> dict[int, int]:
    places = [TopicPartition(Topic.ORDER_REPORTED, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers) as consumer:
        return {place.partition: end for place, end in (await consumer.end_offsets(places)).items()}


async def test_a_stop_answers_what_is_held(start: Start, client: httpx.AsyncClient, broker: EmbeddedKafka) -> None:
    bridge, workspace_id = await ready(start), new_id()
    freeze(broker.pid)
    posted = asyncio.create_task(post(client, bridge, workspace_id))
    await held(bridge)
    bridge.signal(signal.SIGTERM)
    await until(lambda: not listens(bridge))
    # Whoever is impatient loses no report either.
    bridge.signal(signal.SIGINT)
    done, _ = await asyncio.wait({posted}, timeout=LATE_SECONDS + publishing.CLOSE_SECONDS + 1)
    assert not done
    os.kill(broker.pid, signal.SIGCONT)
    assert await posted == 200
    assert await bridge.wait_ended() == 0
    assert await items(broker, workspace_id) == ["item-1"]
    assert bridge.log_lines()[-1]["event"] == "bridge_stopped"


def listens(bridge: BridgeProcess) -> bool:
    """Whether somebody can still connect."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, bridge.probe_port)) == 0


async def test_without_a_broker_it_waits_says_so_and_holds_reports(
    start: Start, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    late = EmbeddedKafka(tmp_path / "late-kafka")
    bridge, workspace_id = start(late.bootstrap_servers), new_id()
    await bridge.wait_told("waiting_for_broker")
    assert (await bridge.get("/readyz"))[0] == 503
    assert (await bridge.get("/livez"))[0] == 200
    # Nobody could create the topic before the bridge looks, so it looks at a Kafka that has it.
    bridge.freeze()
    with late:
        await create_topic(late.bootstrap_servers, PARTITIONS)
        bridge.signal(signal.SIGCONT)
        assert await post(client, bridge, workspace_id) == 200
        await bridge.wait_ready()
        assert await items(late, workspace_id) == ["item-1"]
        assert await bridge.stop() == 0


async def test_a_missing_topic_is_one_line_that_names_it(start: Start, tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "empty-kafka") as empty:
        bridge = start(empty.bootstrap_servers)
        assert await bridge.wait_ended() == 78
    last = bridge.log_lines()[-1]
    assert last["event"] == "bridge_stopped"
    assert last["exit_code"] == 78
    assert last["error"] == "missing topics: robot.order.reported (robot-orchestrator topics create makes them)"
    assert "Traceback" not in bridge.log_path.read_text()


def test_a_port_that_is_taken_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    monkeypatch.setenv("ROBOT_CALLBACK_SECRET", CALLBACK_SECRET)
    monkeypatch.setenv("ROBOT_ORCHESTRATOR_LOG_FORMAT", "json")
    command = [sys.executable, "-m", "streams.cli", "bridge"]
    with socket.create_server((HOST, 0)) as taken:
        monkeypatch.setenv("ROBOT_ORCHESTRATOR_BRIDGE_PORT", str(taken.getsockname()[1]))
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    last = json.loads(ended.stdout.splitlines()[-1])
    assert last["error"].startswith("ROBOT_ORCHESTRATOR_BRIDGE_PORT: the bridge cannot listen: ")


async def test_no_secret_and_nothing_of_a_report_is_in_its_log(
    start: Start, client: httpx.AsyncClient, broker: EmbeddedKafka
) -> None:
    bridge = await ready(start, ROBOT_CALLBACK_SECRET_PREVIOUS="former-s3cret", ROBOT_ORCHESTRATOR_LOG_LEVEL="debug")
    url = bridge.callback(new_id(), "job-17")
    said: list[Any] = [
        report(status="error", errorMessage=f"hunter2 {CALLBACK_SECRET} former-s3cret"),
        report(status="hunter2", errorMessage=CALLBACK_SECRET),
        "hunter2",
    ]
    for headers in (HEADERS, {"X-Callback-Secret": "hunter2"}):
        for body in said:
            await client.post(url, json=body, headers=headers)
    assert await bridge.stop() == 0
    assert not [word for word in ("hunter2", CALLBACK_SECRET, "former-s3cret") if word in bridge.log_path.read_text()]
    assert [line["event"] for line in bridge.log_lines()].count("report_refused") == 5


async def test_a_producer_that_can_do_no_more_is_replaced_and_what_it_had_is_sent_again(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has forgotten what the producer has numbered so far, as it does when it refuses a batch for good."""
    publisher = KafkaPublisher(bridge_settings(broker.bootstrap_servers), BridgeJournal(BridgeMetrics()))
    monkeypatch.setattr(publishing, "RETRY_SECONDS", 0.05)
    running, workspace_id = asyncio.create_task(publisher.run()), new_id()
    try:
        await publisher.publish(record(workspace_id, "before"))
        skip_a_number(publisher)
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b"):
                group.create_task(publisher.publish(record(workspace_id, name)))
        await publisher.publish(record(workspace_id, "after"))
        assert sorted(await items(broker, workspace_id)) == ["a", "after", "b", "before"]
        assert publisher.ready
    finally:
        running.cancel()
        await publisher.close()


def skip_a_number(publisher: KafkaPublisher) -> None:
    """Let the producer number its next batches so that the broker refuses them for good."""
    line: Any = vars(publisher)["_line"].result()
    manager = line.producer._txn_manager
    for number in range(PARTITIONS):
        manager.increment_sequence_number(TopicPartition(Topic.ORDER_REPORTED, number), 7)


async def test_brokers_that_come_back_at_another_place_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(publishing, "LOOK_SECONDS", 0.2)
    ports, workspace_id = (free_port(), free_port()), new_id()
    servers = ",".join(f"{HOST}:{port}" for port in ports)
    publisher = KafkaPublisher(bridge_settings(servers), BridgeJournal(BridgeMetrics()))
    async with contextlib.AsyncExitStack() as stack:
        with EmbeddedKafka(tmp_path / "kafka", port=ports[0]) as here:
            await create_topic(here.bootstrap_servers, PARTITIONS)
            running = asyncio.create_task(publisher.run())
            stack.push_async_callback(publisher.close)
            stack.callback(running.cancel)
            await publisher.publish(record(workspace_id, "before"))
        sent = asyncio.create_task(publisher.publish(record(workspace_id, "meanwhile")))
        with EmbeddedKafka(tmp_path / "kafka", port=ports[1]) as there:
            await sent
            await publisher.publish(record(workspace_id, "after"))
            assert await items(there, workspace_id) == ["before", "meanwhile", "after"]
