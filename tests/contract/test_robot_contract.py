"""The simulated robot keeps the robot service's HTTP contract, and each fate is what it says."""

import asyncio
import base64
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from streams.dev.batches import BatchCompletion, BatchRequest, Fate, FateOf, fate_table
from streams.dev.robot import BATCH_PATH, HEALTH_PATH, MAX_BODY_BYTES, RobotBehaviour, SimulatedRobot
from streams.kafka.admin import admin_client
from streams.names import Topic
from tests.support.kafka import Kafka

ROOT = Path(__file__).parents[2]
PASSWORD = 'pässword, with "quotes" and 100%'
A_LONG_TIME = 3600.0


class Bridge:
    """The callback bridge of these tests: holds each report until the test lets it go on."""

    def __init__(self) -> None:
        self.reports: asyncio.Queue[BatchCompletion] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()

    async def report(self, completion: BatchCompletion) -> None:
        self.reports.put_nowait(completion)
        await self.open.wait()


class Setup:
    """A robot with its bridge and a client; `behaves` starts another robot in its place."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.bridge = Bridge()
        self.robot = SimulatedRobot(report=self.bridge.report)

    async def behaves(self, *, fate_of: FateOf | None = None, log_path: Path | None = None, **behaviour: Any) -> None:
        await self.robot.stop()
        self.robot = SimulatedRobot(
            behaviour=RobotBehaviour(**behaviour),
            fate_of=fate_of,
            report=self.bridge.report,
            log_path=log_path,
        )
        await self.robot.start()

    async def post(self, body: object) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Callback-Secret": "s3cret"}
        return await self.client.post(self.robot.url + BATCH_PATH, content=content, headers=headers)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        setup = Setup(client)
        await setup.robot.start()
        yield setup
        await setup.robot.stop()


def batch(*cities: str, **changes: object) -> dict[str, Any]:
    orders = [
        {"itemId": str(uuid4()), "orderId": str(uuid4()), "pedidoInput": {"ciudad": city, "peso": 0.5}}
        for city in cities or ("MANIZALES (CDAS)",)
    ]
    return {
        "jobId": str(uuid4()),
        "workspaceId": str(uuid4()),
        "credentials": {"username": "demo-user", "password": PASSWORD},
        "callbackUrl": "https://app.example/api/webhooks/robot-callback",
        "callbackSecret": "s3cret",
        "orders": orders,
    } | changes


def completion_of(body: dict[str, Any], successes: int, errors: int) -> BatchCompletion:
    return BatchCompletion(body["jobId"], body["workspaceId"], successes, errors)


def is_refusal(response: httpx.Response, status: int) -> bool:
    content = response.json()
    return response.status_code == status and content["success"] is False and bool(content["error"])


async def test_a_batch_is_accepted_with_200_and_reported_when_it_has_ended(setup: Setup) -> None:
    body = batch("CALI (VALLE)", "BOGOTA (C/MARCA)")
    response = await setup.post(body)
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert response.json()["jobId"] == body["jobId"]
    assert response.json()["message"]
    assert await setup.bridge.reports.get() == completion_of(body, 2, 0)


async def test_the_same_job_again_gets_the_first_answer_and_is_not_worked_again(setup: Setup) -> None:
    body = batch()
    first = await setup.post(body)
    await setup.robot.wait_until_idle()
    again = await setup.post(body)
    await setup.robot.wait_until_idle()
    assert (again.status_code, again.json()) == (200, first.json())
    assert setup.bridge.reports.qsize() == 1
    assert [call.job_id for call in setup.robot.calls] == [body["jobId"]] * 2


async def test_the_same_job_gets_its_first_answer_also_while_its_batch_runs(setup: Setup) -> None:
    await setup.behaves(order_seconds=A_LONG_TIME)
    body = batch()
    assert (await setup.post(body)).json() == (await setup.post(body)).json()


async def test_a_restarted_robot_has_forgotten_the_job_and_works_it_again(setup: Setup) -> None:
    body = batch()
    await setup.post(body)
    await setup.behaves()
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == await setup.bridge.reports.get() == completion_of(body, 1, 0)


@pytest.mark.parametrize("field", ["jobId", "workspaceId", "credentials", "callbackUrl", "orders"])
async def test_a_missing_required_field_is_a_400(setup: Setup, field: str) -> None:
    body = batch()
    del body[field]
    assert is_refusal(await setup.post(body), 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"jobId": ""},
        {"workspaceId": 7},
        {"callbackUrl": None},
        {"credentials": {"username": "u"}},
        {"credentials": {"username": "u", "password": ""}},
        {"credentials": "u"},
        {"orders": []},
        {"orders": {}},
        {"orders": ["one"]},
    ],
)
async def test_a_required_field_that_is_empty_or_of_another_type_is_a_400(
    setup: Setup, changes: dict[str, object]
) -> None:
    assert is_refusal(await setup.post(batch(**changes)), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'"text"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_a_400_and_is_recorded(setup: Setup, body: bytes) -> None:
    assert is_refusal(await setup.post(body), 400)
    assert [(call.job_id, call.body) for call in setup.robot.calls] == [("", body)]


async def test_the_callback_secret_in_the_body_is_optional(setup: Setup) -> None:
    body = batch()
    del body["callbackSecret"]
    assert (await setup.post(body)).status_code == 200


@pytest.mark.parametrize("pedido_input", [{"ciudad": ""}, {"ciudad": None}, {}, None, []])
async def test_a_batch_in_which_every_city_is_empty_is_a_400(setup: Setup, pedido_input: object) -> None:
    order = {"itemId": "i", "orderId": "o", "pedidoInput": pedido_input}
    assert is_refusal(await setup.post(batch(orders=[order, order])), 400)


async def test_an_order_without_a_city_ends_as_an_error_of_the_batch(setup: Setup) -> None:
    body = batch("CALI (VALLE)", "", "BOGOTA (C/MARCA)")
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, 2, 1)


async def test_a_second_batch_of_a_workspace_is_a_409_until_the_first_has_ended(setup: Setup) -> None:
    setup.bridge.open.clear()
    first = batch()
    second = batch(workspaceId=first["workspaceId"])
    await setup.post(first)
    assert is_refusal(await setup.post(second), 409)
    setup.bridge.open.set()
    await setup.robot.wait_until_idle()
    assert (await setup.post(second)).status_code == 200


async def test_a_workspace_is_busy_for_a_while_after_its_last_report(setup: Setup) -> None:
    await setup.behaves(release_seconds=A_LONG_TIME)
    first = batch()
    await setup.post(first)
    await setup.bridge.reports.get()
    assert is_refusal(await setup.post(batch(workspaceId=first["workspaceId"])), 409)


async def test_batches_of_other_workspaces_run_side_by_side(setup: Setup) -> None:
    await setup.behaves(order_seconds=A_LONG_TIME)
    assert [(await setup.post(batch())).status_code for _ in range(3)] == [200, 200, 200]


async def test_health_tells_the_status_the_uptime_and_the_time(setup: Setup) -> None:
    response = await setup.client.get(setup.robot.url + HEALTH_PATH)
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert set(response.json()) == {"status", "uptime", "timestamp"}


async def test_a_body_of_five_megabytes_is_taken_and_a_larger_one_is_not(setup: Setup) -> None:
    largest = json.dumps(batch()).encode().ljust(MAX_BODY_BYTES)
    assert (await setup.post(largest)).status_code == 200
    assert is_refusal(await setup.post(largest + b" "), 413)
    assert len(setup.robot.calls) == 2


async def test_a_call_is_recorded_with_its_headers_and_its_bytes_and_no_secret_in_its_repr(
    setup: Setup,
) -> None:
    body = json.dumps(batch(jobId="job", workspaceId="workspace"), indent=3).encode()
    await setup.post(body)
    await setup.robot.wait_for_calls(1)
    (call,) = setup.robot.calls
    assert (call.job_id, call.workspace_id, call.body) == ("job", "workspace", body)
    assert call.headers["X-Callback-Secret"] == "s3cret"
    assert call.received_at.tzinfo is not None
    assert "s3cret" not in repr(call)
    assert "demo-user" not in repr(call)


async def test_the_call_log_has_one_line_for_every_post_whatever_became_of_it(setup: Setup, tmp_path: Path) -> None:
    bodies = [batch(jobId=fate.value) for fate in Fate if fate is not Fate.HANG]
    log_path = tmp_path / "calls.jsonl"
    log_path.write_text('{"job_id": "of an earlier run"}\n')
    await setup.behaves(log_path=log_path, fate_of=lambda request: Fate(request.job_id))
    for body in bodies:
        if body["jobId"] == Fate.CUT:
            with pytest.raises(httpx.RemoteProtocolError):
                await setup.post(body)
        else:
            await setup.post(body)
    text = log_path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["job_id"] for line in lines] == ["of an earlier run", *(body["jobId"] for body in bodies)]
    assert [line["body_sha256"] for line in lines[1:]] == [
        sha256(json.dumps(body).encode()).hexdigest() for body in bodies
    ]
    assert "demo-user" not in text


def always(fate: Fate) -> FateOf:
    return lambda _request: fate


@pytest.mark.parametrize(
    ("fate", "orders", "successes", "errors"),
    [
        (Fate.COMPLETE, 3, 3, 0),
        (Fate.COMPLETE_FIRST, 3, 3, 0),
        (Fate.PARTLY_FAIL, 3, 1, 2),
        (Fate.PARTLY_FAIL, 1, 0, 1),
        (Fate.ALL_FAIL, 3, 0, 3),
    ],
)
async def test_a_batch_that_is_reported_ends_with_the_counts_of_its_fate(
    setup: Setup, fate: Fate, orders: int, successes: int, errors: int
) -> None:
    await setup.behaves(fate_of=always(fate))
    body = batch(*["CALI (VALLE)"] * orders)
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, successes, errors)


async def test_complete_first_answers_only_after_its_report(setup: Setup) -> None:
    setup.bridge.open.clear()
    await setup.behaves(fate_of=always(Fate.COMPLETE_FIRST))
    answer = asyncio.create_task(setup.post(batch()))
    await setup.bridge.reports.get()
    assert not answer.done()
    setup.bridge.open.set()
    assert (await answer).status_code == 200


async def test_lose_answers_200_and_frees_the_workspace_but_never_reports(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.LOSE))
    body = batch()
    assert (await setup.post(body)).status_code == 200
    await setup.robot.wait_until_idle()
    assert setup.bridge.reports.empty()
    assert (await setup.post(batch(workspaceId=body["workspaceId"]))).status_code == 200


@pytest.mark.parametrize("status", [400, 404, 422, 503])
async def test_refuse_answers_with_the_given_status_and_works_nothing(setup: Setup, status: int) -> None:
    await setup.behaves(fate_of=always(Fate.REFUSE), refuse_status=status)
    assert is_refusal(await setup.post(batch()), status)
    assert setup.bridge.reports.empty()


async def test_crash_answers_500_with_a_page(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.CRASH_500))
    response = await setup.post(batch())
    assert (response.status_code, response.headers["Content-Type"]) == (500, "text/html; charset=utf-8")


async def test_a_client_that_follows_the_redirect_has_posted_twice(setup: Setup) -> None:
    fates = iter([Fate.REDIRECT_307, Fate.COMPLETE])
    await setup.behaves(fate_of=lambda _request: next(fates))
    response = await setup.post(batch())
    assert response.status_code == 307
    assert response.next_request is not None
    await setup.client.send(response.next_request)
    assert len(setup.robot.calls) == 2
    assert setup.robot.calls[0].body == setup.robot.calls[1].body


async def test_cut_reads_the_request_and_closes_the_connection_without_an_answer(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.CUT))
    body = batch()
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        await setup.post(body)
    assert setup.robot.calls[0].body == json.dumps(body).encode()
    assert setup.bridge.reports.empty()


async def test_hang_reads_the_request_and_never_answers(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.HANG))
    body = batch()
    answer = asyncio.create_task(setup.post(body))
    await setup.robot.wait_for_calls(1)
    # Others are served meanwhile; only the end of the robot ends the wait.
    assert (await setup.client.get(setup.robot.url + HEALTH_PATH)).status_code == 200
    assert not answer.done()
    await setup.robot.stop()
    with pytest.raises(httpx.RemoteProtocolError):
        await answer


async def test_an_answer_that_is_still_to_come_does_not_hold_up_the_end(setup: Setup) -> None:
    await setup.behaves(answer_delay_seconds=A_LONG_TIME)
    answer = asyncio.create_task(setup.post(batch()))
    await setup.robot.wait_for_calls(1)
    await setup.robot.stop()
    with pytest.raises(httpx.RemoteProtocolError):
        await answer


async def test_echo_secrets_repeats_the_request_in_every_form_that_a_leak_takes(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.ECHO_SECRETS))
    body = batch()
    response = await setup.post(body)
    assert is_refusal(response, 400)
    echo = response.json()["error"]
    encoded = base64.b64encode(PASSWORD.encode()).decode()
    assert json.loads(echo["body"]) == body
    assert echo["headers"]["X-Callback-Secret"] == "s3cret"
    assert echo["password_base64"] == encoded
    assert encoded in response.headers["X-Debug"]
    assert "demo-user" in response.headers["X-Debug"]


async def test_a_failing_report_is_raised_when_the_robot_stops() -> None:
    async def report(_completion: BatchCompletion) -> None:
        raise ConnectionError("no bridge")

    robot = SimulatedRobot(report=report)
    await robot.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(robot.url + BATCH_PATH, json=batch())
    with pytest.raises(ConnectionError, match="no bridge"):
        await robot.wait_until_idle()
    with pytest.raises(ConnectionError, match="no bridge"):
        await robot.stop()


def test_a_table_of_fates_names_jobs_and_shares_the_others_out_by_their_ids() -> None:
    def fate(job_id: str) -> Fate:
        return choose(BatchRequest(job_id, "workspace", "user", "password", []))

    choose = fate_table({"lost": "lose", "*": {"complete": 3, "hang": 1}})
    assert fate("lost") is Fate.LOSE
    fates = [fate(f"job-{number}") for number in range(200)]
    assert fates == [fate(f"job-{number}") for number in range(200)]
    assert set(fates) == {Fate.COMPLETE, Fate.HANG}
    assert fates.count(Fate.COMPLETE) > fates.count(Fate.HANG)
    with pytest.raises(ValueError, match="explode"):
        fate_table({"*": "explode"})


@contextmanager
def robot_process(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "streams.dev.robot", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


async def test_the_program_publishes_completions_keyed_by_workspace(kafka: Kafka, tmp_path: Path) -> None:
    async with admin_client(bootstrap_servers=kafka.bootstrap_servers) as admin:
        with contextlib.suppress(TopicAlreadyExistsError):
            await admin.create_topics([NewTopic(Topic.BATCH_COMPLETED, 4, 1)])
    body, refused = batch("CALI (VALLE)", ""), batch()
    log = tmp_path / "calls.jsonl"
    fates = json.dumps({refused["jobId"]: "refuse"})
    consumer = AIOKafkaConsumer(
        Topic.BATCH_COMPLETED, bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest"
    )
    options = ("--log", str(log), "--fates", fates, "--bootstrap-servers", kafka.bootstrap_servers)
    with robot_process(*options, "--refuse-status", "422") as url:
        async with consumer, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(url + BATCH_PATH, json=refused)).status_code == 422
            assert (await client.post(url + BATCH_PATH, json=body)).status_code == 200
            async for record in consumer:
                if record.key == body["workspaceId"].encode():
                    break
    assert json.loads(record.value) == {
        "jobId": body["jobId"],
        "workspaceId": body["workspaceId"],
        "successCount": 1,
        "errorCount": 1,
    }
    logged = [json.loads(line)["job_id"] for line in log.read_text().splitlines()]
    assert logged == [refused["jobId"], body["jobId"]]
