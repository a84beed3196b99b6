"""`jobs resubmit` on a real Kafka, with a real worker: one new job, linked to the old one, or a reason."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import pytest_asyncio
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from schemas import JobCompleted, JobFailed
from streams import terminal
from streams.cli import cli
from streams.core.job import Job, JobKey, OrderStatus, Source
from streams.dev.robot import Fate
from streams.names import Topic, changelog_topic
from streams.operate import giving, job_rows
from streams.operate.job_rows import NotReadError
from streams.operate.resubmission import Choice
from streams.operate.resubmit import prepare, send
from streams.operate.stored_job import find_job
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.rows import encode_row, row_key
from tests.core.builders import FAILED
from tests.support.builders import PASSWORD, USERNAME, new_id, submission
from tests.support.scene import PARTITIONS, WAIT_SECONDS, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

Fields = dict[str, Any]
CALLBACK_URL = "https://app.example/api/webhooks/robot-callback/{workspaceId}/{jobId}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    environment = {"ROBOT_ORCHESTRATOR_CALLBACK_URL": CALLBACK_URL}
    async with Scene(kafka_bootstrap, tmp_path_factory.mktemp("resubmit"), environment) as scene:
        yield scene


@pytest_asyncio.fixture(loop_scope="module")
async def working(scene: Scene) -> Scene:
    """Return the scene with a worker."""
    if not any(worker.running for worker in scene.workers):
        await scene.worker()
    return scene


async def stop_workers(scene: Scene) -> None:
    for worker in scene.workers:
        if worker.running:
            assert await worker.stop() == 0


async def resubmit(scene: Scene, payload: Fields, *options: str) -> tuple[int, str, str]:
    """Run the command for a job; return its exit code and what it has written, which is never a secret."""
    ended = await invoke(scene, payload, *options)
    return ended.exit_code, ended.stdout, ended.stderr


async def invoke(scene: Scene, payload: Fields, *options: str, answer: str | None = None) -> Result:
    command = ["jobs", "resubmit", payload["jobId"], "--workspace", payload["workspaceId"], *options]
    ended = await asyncio.to_thread(CliRunner(env=scene.variables).invoke, cli, command, answer)
    assert PASSWORD not in ended.output
    assert USERNAME not in ended.output
    return ended


async def report(scene: Scene, payload: Fields, item_id: str, **result: str) -> None:
    """Publish what the robot reports of an order, as the callback bridge should."""
    ids = {"workspaceId": payload["workspaceId"], "jobId": payload["jobId"], "itemId": item_id}
    value = ids | result | {"reportedAt": "2026-01-31T12:00:00.000Z"}
    await scene.publish(Topic.ORDER_REPORTED, value, payload["workspaceId"])


async def half_done(scene: Scene) -> Fields:
    """Return a job of two orders that has ended: the first was shipped, the second was not."""
    payload = submission()
    await scene.submit(payload, Fate.LOSE)
    # Reports of a job that the robot has not taken would be dead letters.
    await scene.row(payload["jobId"], lambda row: row.accepted_at is not None)
    first, second = (order["itemId"] for order in payload["orders"])
    await report(scene, payload, first, status="success", trackingNumber="7300000001")
    await report(scene, payload, second, status="error", errorType="portal")
    outcome = await scene.outcome(payload["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert (outcome.successCount, outcome.errorCount) == (1, 1)
    return payload


async def submitted_ends(scene: Scene) -> list[int]:
    consumer = AIOKafkaConsumer(bootstrap_servers=scene.bootstrap_servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(Topic.SUBMITTED, number) for number in range(PARTITIONS)])
        return list(ends.values())
    finally:
        await consumer.stop()


# With a worker


async def test_what_failed_is_tried_again_as_a_new_job_that_is_linked_to_the_old_one(working: Scene) -> None:
    payload = await half_done(working)
    code, out, _ = await resubmit(working, payload, "--json", "--yes")
    told = json.loads(out)
    assert (code, told["resubmissionOf"], told["workspaceId"]) == (0, payload["jobId"], payload["workspaceId"])
    assert (told["sent"], told["warnings"]) == (True, [])
    failed = payload["orders"][1]
    assert [(order["itemId"], order["orderId"], order["known"]) for order in told["orders"]] == [
        (failed["itemId"], failed["orderId"], "failed")
    ]
    outcome = await working.outcome(told["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert (outcome.resubmissionOf, outcome.orderCount) == (payload["jobId"], 1)
    (call,) = (call for call in working.robot.calls if call.job_id == told["jobId"])
    body = json.loads(call.body)
    assert body["orders"] == [failed]
    assert body["credentials"] == payload["credentials"]
    assert (await working.row(payload["jobId"], lambda row: row.resubmitted_as is not None)).resubmitted_as == told[
        "jobId"
    ]
    assert (await working.row(told["jobId"])).resubmission_of == payload["jobId"]
    again = await resubmit(working, payload, "--yes")
    assert again[0] == 1
    assert f"it was resubmitted as {told['jobId']}" in again[2]


async def test_a_job_that_the_robot_refused_is_tried_again_whole_and_people_can_read_what_is_done(
    working: Scene,
) -> None:
    payload = submission()
    assert isinstance(await working.outcome(await working.submit(payload, Fate.REFUSE)), JobFailed)
    assert (await resubmit(working, payload, "--yes"))[2].endswith("the robot never had this job: --orders all\n")
    code, out, err = await resubmit(working, payload, "--orders", "all", "--new-item-ids", "--yes")
    head, *orders, end = out.splitlines()
    assert (code, err.count("\n")) == (0, 1)
    assert head.startswith(f"job {payload['jobId']} of {payload['workspaceId']} (robot_rejected) again as ")
    new_job_id = head.removesuffix(":").rpartition(" ")[2]
    for line, order in zip(orders, payload["orders"], strict=True):
        assert line.startswith(f"  {order['itemId']} as ")
        assert line.endswith(f", order {order['orderId']}: the robot never had it")
    assert end.endswith(f"under the key {new_job_id}")
    assert isinstance(await working.outcome(new_job_id), JobCompleted)
    (call,) = (call for call in working.robot.calls if call.job_id == new_job_id)
    assert [order["itemId"] for order in json.loads(call.body)["orders"]] == [
        line.split(" as ")[1].partition(",")[0] for line in orders
    ]


# While no worker looks, so that commands come before any of them is known


async def test_a_dry_run_prints_the_plan_and_sends_nothing(working: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "DECISION_SECONDS", 0.5)
    payload = await half_done(working)
    await stop_workers(working)
    before = await submitted_ends(working)
    code, out, _ = await resubmit(working, payload, "--dry-run", "--json")
    assert (code, json.loads(out)["sent"]) == (0, False)
    code, text, _ = await resubmit(working, payload, "--dry-run")
    assert (code, text.splitlines()[-1]) == (0, "nothing was sent")
    assert json.loads(out)["jobId"] in text
    assert await submitted_ends(working) == before
    code, sent, err = await resubmit(working, payload, "--yes", "--json")
    assert (code, json.loads(sent)) == (4, json.loads(out) | {"sent": True})
    assert "sent, and no worker has taken it yet" in err
    assert sum(await submitted_ends(working)) == sum(before) + 1


async def test_of_two_choices_of_which_no_worker_knew_the_first_counts_and_the_second_hears_of_it(
    working: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = submission()
    await working.outcome(await working.submit(payload, Fate.REFUSE))
    await stop_workers(working)
    first, second = (f"--order={order['itemId']}" for order in payload["orders"])
    monkeypatch.setattr(giving, "DECISION_SECONDS", 0.5)
    assert (await resubmit(working, payload, first, "--yes"))[0] == 4
    monkeypatch.setattr(giving, "DECISION_SECONDS", WAIT_SECONDS)
    before = sum(await submitted_ends(working))
    second_command = asyncio.create_task(resubmit(working, payload, second, "--yes"))
    while sum(await submitted_ends(working)) == before:
        await asyncio.sleep(0.05)
    await working.worker()
    code, _, err = await second_command
    assert code == 1
    assert "another choice of its orders was sent before" in err


async def test_a_choice_that_is_sent_when_another_one_is_taken_already_hears_of_it_too(
    working: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What becomes of it writes no row: the one that is there tells."""
    payload = submission()
    await working.outcome(await working.submit(payload, Fate.REFUSE))
    settings, key = settings_of(working), JobKey(payload["workspaceId"], payload["jobId"])
    choices = [Choice(group=None, named=frozenset({order["itemId"]})) for order in payload["orders"]]
    first, second = [await prepare(settings, key, choice, datetime.now(UTC)) for choice in choices]
    assert await send(settings, first) is True
    monkeypatch.setattr(giving, "DECISION_SECONDS", 0.5)
    assert await send(settings, first) is True
    assert await send(settings, second) is False


# What is asked


async def test_who_sits_at_a_terminal_is_asked_and_may_say_no(working: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = await half_done(working)
    before = await submitted_ends(working)
    nobody = await invoke(working, payload)
    assert (nobody.exit_code, nobody.stdout) == (2, "")
    assert nobody.stderr == "robot-orchestrator: nobody is there to be asked: say --yes, or --dry-run\n"
    monkeypatch.setattr(terminal, "somebody_is_there", lambda: True)
    no = await invoke(working, payload, answer="n\n")
    assert no.exit_code == 1
    assert "Send 1 order again? [y/N]" in no.stderr
    assert await submitted_ends(working) == before
    yes = await invoke(working, payload, answer="y\n")
    assert yes.exit_code == 0, yes.stderr
    assert sum(await submitted_ends(working)) == sum(before) + 1


async def test_what_was_reported_while_somebody_was_asked_is_looked_at(
    working: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = await half_done(working)
    before, loop = await submitted_ends(working), asyncio.get_running_loop()
    key = JobKey(payload["workspaceId"], payload["jobId"])
    found = await find_job(settings_of(working), key)
    assert found is not None
    shipped = tuple(order._replace(status=OrderStatus.SUCCESS) for order in found.job.orders)

    def report_and_say_yes(*_args: Any, **_options: Any) -> None:
        row = write_row(working, key, replace(found.job, orders=shipped))
        asyncio.run_coroutine_threadsafe(row, loop).result()

    monkeypatch.setattr(terminal, "somebody_is_there", lambda: True)
    monkeypatch.setattr(typer, "confirm", report_and_say_yes)
    late = await invoke(working, payload)
    assert (late.exit_code, await submitted_ends(working)) == (1, before)


# What the table says


def settings_of(scene: Scene) -> KafkaSettings:
    return KafkaSettings(**cast(Any, scene.variables))


async def write_row(scene: Scene, key: JobKey, row: Job | None, producer: AIOKafkaProducer | None = None) -> None:
    await (producer or scene.producer).send_and_wait(
        changelog_topic(scene.app_id),
        None if row is None else encode_row(row),
        key=row_key(key),
        partition=partition_of(key.workspace_id, PARTITIONS),
    )


def row_of(key: JobKey, error: str = "") -> Job:
    source = Source(Topic.SUBMITTED, 0, 0)
    return replace(FAILED, workspace_id=key.workspace_id, job_id=key.job_id, error=error, source=source)


async def test_the_last_committed_row_of_a_job_is_the_one_that_counts(scene: Scene) -> None:
    key, other = JobKey(new_id(), new_id()), JobKey(new_id(), new_id())
    assert await find_job(settings_of(scene), key) is None
    for error in ("first", "last"):
        await write_row(scene, key, row_of(key, error))
    await write_row(scene, other, row_of(other, "another's"))
    async with AIOKafkaProducer(bootstrap_servers=scene.bootstrap_servers, transactional_id=new_id()) as producer:
        await producer.begin_transaction()
        await write_row(scene, key, row_of(key, "never happened"), producer)
        await producer.abort_transaction()
    found = await find_job(settings_of(scene), key)
    assert found is not None
    assert found.job.error == "last"
    await write_row(scene, key, None)
    assert await find_job(settings_of(scene), key) is None
    code, out, err = await resubmit(scene, {"jobId": key.job_id, "workspaceId": key.workspace_id}, "--yes")
    assert (code, out) == (3, "")
    assert err == (
        f"robot-orchestrator: no such job {key.job_id} of {key.workspace_id}: it is unknown, or was forgotten 7 days "
        "after its end\n"
    )


async def test_of_many_rows_few_are_read_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_rows, "BATCH_RECORDS", 2)
    key = JobKey(new_id(), new_id())
    for error in "abcde":
        await write_row(scene, key, row_of(key, error))
    found = await find_job(settings_of(scene), key)
    assert found is not None
    assert found.job.error == "e"


async def test_a_row_behind_an_open_transaction_is_waited_for_and_not_forever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = JobKey(new_id(), new_id())
    await write_row(scene, key, row_of(key, "old"))
    async with AIOKafkaProducer(bootstrap_servers=scene.bootstrap_servers, transactional_id=new_id()) as producer:
        await producer.begin_transaction()
        await write_row(scene, key, row_of(key, "new"), producer)
        with monkeypatch.context() as patched:
            patched.setattr(job_rows, "READ_SECONDS", 0.5)
            with pytest.raises(NotReadError, match="a transaction is open there"):
                await find_job(settings_of(scene), key)
        finding = asyncio.create_task(find_job(settings_of(scene), key))
        await asyncio.sleep(1)
        await producer.commit_transaction()
        found = await finding
    assert found is not None
    assert found.job.error == "new"


async def test_a_submission_that_is_gone_or_another_is_refused(scene: Scene) -> None:
    await stop_workers(scene)
    payload = submission()
    where = await scene.publish(Topic.SUBMITTED, payload, payload["workspaceId"])
    key = JobKey(payload["workspaceId"], payload["jobId"])
    source = Source(where.topic, where.partition, where.offset)
    # The row's fingerprint is of other orders.
    await write_row(scene, key, replace(row_of(key), source=source, ended_at=datetime.now(UTC)))
    found = await find_job(settings_of(scene), key)
    assert found is not None
    assert json.loads(found.submission or b"") == payload
    assert PASSWORD not in repr(found)
    code, out, err = await resubmit(scene, payload, "--orders", "all", "--yes")
    assert (code, out) == (1, "")
    assert "its submission is no longer in robot.job.submitted: submit the orders under a new job id" in err
