"""What the watchdog makes of a real Kafka: markers at the end, a rebalance that lasts, brokers that move."""

import asyncio
import json
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

from aiokafka import AIOKafkaProducer

from schemas import JobCompleted
from streams.dev.kafka import EmbeddedKafka
from streams.dev.loopback import HOST
from streams.dev.robot import Fate
from streams.names import Topic
from streams.wire.placement import partition_of
from tests.chaos.proxy import Proxy
from tests.kafka.watched_worker import LOOKED, command
from tests.support.builders import completion, submission
from tests.support.scene import PARTITIONS, WAIT_SECONDS, Scene
from tests.support.worker import WorkerProcess

LOOK_SECONDS = 0.2
ALIVE = "[+] event loop turns\n[+] partitions move\n[+] in the group, or joining\nok\n"


async def livez_during(worker: WorkerProcess, looks: int) -> set[tuple[int, str]]:
    """Return every answer of /livez until the watchdog has looked so often."""
    answers = set()
    enough = len(worker.told(LOOKED)) + looks
    async with asyncio.timeout(WAIT_SECONDS):
        while len(worker.told(LOOKED)) < enough:
            answers.add(await worker.get("/livez?verbose"))
            await asyncio.sleep(LOOK_SECONDS / 2)
    return answers


async def test_an_idle_worker_is_alive_whatever_lies_at_the_end_of_its_partitions(scene: Scene) -> None:
    """Markers of its own and of others, an aborted transaction, an open one."""
    worker = await scene.worker(command(look=LOOK_SECONDS, suspect_after=0.5, stuck_after=1.5))
    forwarded, completed = submission(), submission()
    home = partition_of(forwarded["workspaceId"], PARTITIONS)
    await scene.write(Topic.SUBMITTED, json.dumps(forwarded).encode(), (home + 1) % PARTITIONS)
    assert isinstance(await scene.outcome(forwarded["jobId"]), JobCompleted)
    await scene.submit(completed, Fate.LOSE)
    await scene.row(completed["jobId"], lambda row: row.accepted_at is not None)
    value = json.dumps(completion(completed)).encode()
    transactional_id = uuid.uuid4().hex
    async with AIOKafkaProducer(bootstrap_servers=scene.bootstrap_servers, transactional_id=transactional_id) as other:
        async with other.transaction():
            await other.send_and_wait(
                Topic.BATCH_COMPLETED, value, partition=partition_of(completed["workspaceId"], PARTITIONS)
            )
        assert isinstance(await scene.outcome(completed["jobId"]), JobCompleted)
        await other.begin_transaction()
        await other.send_and_wait(Topic.SUBMITTED, b"given up", partition=0)
        await other.abort_transaction()
        assert await livez_during(worker, looks=15) == {(200, ALIVE)}
        await other.begin_transaction()
        await other.send_and_wait(Topic.BATCH_COMPLETED, b"undecided", partition=1)
        # Each look that reads there takes its time.
        assert await livez_during(worker, looks=5) == {(200, ALIVE)}
        await other.commit_transaction()
    assert await livez_during(worker, looks=15) == {(200, ALIVE)}
    assert worker.running


async def test_a_rebalance_that_waits_for_a_frozen_member_ends_nobody_else(scene: Scene) -> None:
    """Its session lasts longer than a partition may stand still."""
    impatient = command(look=LOOK_SECONDS, suspect_after=0.5, stuck_after=1.5)
    scene.variables["ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS"] = "8"
    healthy = await scene.worker(impatient)
    frozen = await scene.worker()
    await healthy.wait_told("rebalance_completed", 2)
    await healthy.wait_ready()
    frozen.freeze()
    rebalances = len(healthy.told("rebalance_started"))
    joining = await scene.worker(impatient, ready=False)
    await healthy.wait_told("rebalance_started", rebalances + 1)
    # Some for each partition.
    jobs = [await scene.submit(submission()) for _ in range(20)]
    await healthy.wait_told("rebalance_completed", 3)
    await joining.wait_ready()
    for job_id in jobs:
        assert isinstance(await scene.outcome(job_id), JobCompleted)
    assert healthy.running
    assert joining.running


async def test_brokers_that_come_back_at_another_address_are_found_by_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = EmbeddedKafka(tmp_path / "kafka")
        await asyncio.to_thread(broker.start)
        stack.callback(broker.kill)
        # A bootstrap address that stays when the broker's changes.
        proxy = Proxy(broker.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        bootstrap = {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{proxy.port}"}
        async with Scene(broker.bootstrap_servers, tmp_path, bootstrap) as scene:
            """Its own clients would be lost too."""
        impatient = command(look=LOOK_SECONDS, moved_after=2)
        worker = WorkerProcess(scene.variables, tmp_path / "worker.log", impatient)
        stack.callback(worker.close)
        await worker.wait_ready()
        await asyncio.to_thread(broker.stop)
        moved = EmbeddedKafka(broker.data_dir)
        stack.callback(moved.kill)
        await asyncio.to_thread(moved.start)
        proxy.target = moved.port
        assert await worker.wait_ended() == 70
        (line,) = worker.told("worker_exit")
        assert "its brokers have other addresses now, which a restart finds" in line["error"]
        restarted = WorkerProcess(scene.variables, tmp_path / "restarted.log")
        stack.callback(restarted.close)
        await restarted.wait_ready()


async def test_brokers_that_come_back_where_they_were_are_found_without_a_restart(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        broker = EmbeddedKafka(tmp_path / "kafka")
        await asyncio.to_thread(broker.start)
        stack.callback(broker.kill)
        async with Scene(broker.bootstrap_servers, tmp_path) as scene:
            worker = await scene.worker(command(look=LOOK_SECONDS))
            await asyncio.to_thread(broker.kill)
            await worker.wait_told("waiting_for_broker")
            await asyncio.to_thread(broker.start)
            assert isinstance(await scene.outcome(await scene.submit(submission())), JobCompleted)
            assert worker.running
