"""The simulated robot keeps the robot service's HTTP contract, and each fate is what it says."""

import asyncio
import base64
import contextlib
import json
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAlreadyExistsError

from streams.dev.batches import BatchCompletion, BatchRequest, Fate, fate_table
from streams.dev.robot import BATCH_PATH, HEALTH_PATH, MAX_BODY_BYTES, SimulatedRobot
from streams.kafka.admin import admin_client
from streams.names import Topic
from tests.contract.robot_setup import (
    A_LONG_TIME,
    PASSWORD,
    Setup,
    always,
    batch,
    completion_of,
    is_page,
    is_refusal,
    robot_process,
)
from tests.support.kafka import Kafka

NO_TEXTS: tuple[object, ...] = (7, 0, False, [], {})


async def test_a_batch_is_accepted_with_200_and_reported_when_it_has_ended(setup: Setup) -> None:
    body = batch("CALI (VALLE)", "BOGOTA (C/MARCA)")
    response = await setup.post(body)
    assert response.status_code == 200
    assert response.json() == {"success": True, "jobId": body["jobId"], "message": "accepted"}
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


@pytest.mark.parametrize("orders", [[None], [], [{"itemId": "i", "orderId": "o", "pedidoInput": {"ciudad": 7}}]])
async def test_the_first_answer_is_looked_up_by_the_job_alone_before_the_lock_the_workspace_and_the_orders(
    setup: Setup, orders: list[object]
) -> None:
    await setup.behaves(order_seconds=A_LONG_TIME)
    body, other = batch(), batch()
    first = await setup.post(body)
    await setup.post(other)
    for workspace_id in (body["workspaceId"], other["workspaceId"]):
        for changes in ({}, {"orders": orders}):
            again = await setup.post(body | {"workspaceId": workspace_id} | changes)
            assert (again.status_code, again.json()) == (200, first.json())


async def test_the_service_has_no_authentication_of_its_own(setup: Setup) -> None:
    assert (await setup.client.post(setup.robot.url + BATCH_PATH, json=batch())).status_code == 200


async def test_a_restarted_robot_has_forgotten_the_job_and_works_it_again(setup: Setup) -> None:
    body = batch()
    await setup.post(body)
    await setup.behaves()
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == await setup.bridge.reports.get() == completion_of(body, 1, 0)


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
async def test_json_that_is_no_object_is_a_400(setup: Setup, body: bytes) -> None:
    assert is_refusal(await setup.post(body), 400)


async def test_a_required_field_that_is_missing_empty_or_of_another_type_is_a_400(setup: Setup) -> None:
    missing = [{name: value for name, value in batch().items() if name != field} for field in batch()]
    wrong: list[dict[str, object]] = [
        {"jobId": ""},
        {"workspaceId": 7},
        {"callbackUrl": None},
        {"orders": []},
        {"orders": {}},
    ]
    wrong += [{"credentials": login} for login in ({"username": "u"}, {"username": "u", "password": ""}, "u")]
    answers = [await setup.post(body) for body in (*missing, *(batch(**change) for change in wrong))]
    # The callback secret is optional.
    accepted = [answer.status_code for answer in answers if not is_refusal(answer, 400)]
    assert accepted == [200]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_is_a_400_with_a_page_and_is_recorded(setup: Setup, body: bytes) -> None:
    assert is_page(await setup.post(body), 400)
    assert [(call.job_id, call.body) for call in setup.robot.calls] == [("", body)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", "text/plain"),
        ("Content-Type", "application/json; charset=latin-1"),
        ("Content-Encoding", "compress"),
    ],
)
async def test_a_body_that_the_parser_does_not_take_is_a_415_with_a_page_before_any_effect(
    setup: Setup, name: str, value: str
) -> None:
    body = batch("")
    assert is_page(await setup.post(body, **{name: value}), 415)
    assert setup.bridge.reports.empty()
    assert (await setup.post(batch(workspaceId=body["workspaceId"]))).status_code == 200


@pytest.mark.parametrize(
    "order",
    [None, *({"itemId": "i", "pedidoInput": {"ciudad": city}} for city in NO_TEXTS)],
)
async def test_a_city_that_is_no_text_or_a_null_order_is_a_500_with_stack_trace_and_paths_before_any_work(
    setup: Setup, order: object
) -> None:
    body = batch()
    # Nothing becomes of the orders before it either, not even of those that would be reported at once.
    response = await setup.post(body | {"orders": [*batch("", "CALI (VALLE)")["orders"], order]})
    assert is_page(response, 500)
    assert "TypeError: " in response.text
    assert "at createBatch (/srv/robot/dist/routes/batches.js:61:41)" in response.text
    await setup.robot.wait_until_idle()
    assert setup.bridge.reports.empty()
    # Neither is the workspace held nor the job remembered.
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, 1, 0)


async def test_a_workspace_is_busy_while_its_browser_closes_after_the_last_report(setup: Setup) -> None:
    await setup.behaves(release_seconds=1)
    first = batch()
    await setup.post(first)
    await setup.bridge.reports.get()
    assert is_refusal(await setup.post(batch(workspaceId=first["workspaceId"])), 409)
    await setup.robot.wait_until_idle()
    assert (await setup.post(batch(workspaceId=first["workspaceId"]))).status_code == 200


async def test_a_409_has_no_effect_is_not_remembered_and_reports_nothing(setup: Setup) -> None:
    setup.robot.hold("workspace")
    body = batch("", "CALI (VALLE)", workspaceId="workspace")
    no_city = batch("", workspaceId="workspace")
    for _ in range(2):
        assert is_refusal(await setup.post(body), 409)
        assert is_refusal(await setup.post(no_city), 409)
    await setup.robot.wait_until_idle()
    assert setup.bridge.reports.empty()
    setup.robot.free("workspace")
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, 1, 1)


async def test_something_else_than_a_batch_can_hold_a_workspace(setup: Setup) -> None:
    """A guide lookup, say: from outside, by an address that only the simulated robot has."""
    workspace_id = "of/another ñ process"
    url = f"{setup.robot.url}/simulated/held/{quote(workspace_id, safe='')}"
    assert (await setup.client.put(url)).status_code == 204
    assert is_refusal(await setup.post(batch(workspaceId=workspace_id)), 409)
    assert (await setup.post(batch())).status_code == 200
    assert (await setup.client.delete(url)).status_code == 204
    assert (await setup.post(batch(workspaceId=workspace_id))).status_code == 200


async def test_a_batch_keeps_its_lock_when_something_else_gives_up_its_own(setup: Setup) -> None:
    await setup.behaves(order_seconds=A_LONG_TIME)
    body = batch()
    await setup.post(body)
    setup.robot.free(body["workspaceId"])
    assert is_refusal(await setup.post(batch(workspaceId=body["workspaceId"])), 409)


async def test_batches_of_other_workspaces_run_side_by_side_without_a_limit(setup: Setup) -> None:
    await setup.behaves(order_seconds=A_LONG_TIME)
    assert [(await setup.post(batch())).status_code for _ in range(20)] == [200] * 20


async def test_health_tells_the_status_the_seconds_since_the_start_and_the_time(setup: Setup) -> None:
    async def health() -> tuple[float, datetime]:
        response = await setup.client.get(setup.robot.url + HEALTH_PATH)
        assert response.status_code == 200
        assert response.json().keys() == {"status", "uptime", "timestamp"}
        assert response.json()["status"] == "ok"
        return response.json()["uptime"], datetime.fromisoformat(response.json()["timestamp"])

    before, first_at = await health()
    await asyncio.sleep(1)
    after, second_at = await health()
    assert abs(after - before - (second_at - first_at).total_seconds()) < 0.5
    await setup.behaves()
    assert (await health())[0] < after


async def test_a_body_of_five_megabytes_is_taken_and_a_larger_one_is_not(setup: Setup) -> None:
    largest = json.dumps(batch()).encode().ljust(MAX_BODY_BYTES)
    assert (await setup.post(largest)).status_code == 200
    assert is_page(await setup.post(largest + b" "), 413)
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


async def test_the_call_log_has_one_line_for_every_post_with_the_status_of_its_answer(
    setup: Setup, tmp_path: Path
) -> None:
    bodies = [batch(jobId=fate.value) for fate in Fate if fate is not Fate.HANG]
    log_path = tmp_path / "calls.jsonl"
    log_path.write_text('{"job_id": "of an earlier run"}\n')
    await setup.behaves(log_path=log_path, fate_of=lambda request: Fate(request.job_id))
    statuses: list[int | None] = []
    for body in bodies:
        if body["jobId"] == Fate.CUT:
            with pytest.raises(httpx.RemoteProtocolError):
                await setup.post(body)
            statuses.append(None)
        else:
            statuses.append((await setup.post(body)).status_code)
    text = log_path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["job_id"] for line in lines] == ["of an earlier run", *(body["jobId"] for body in bodies)]
    assert [line["status"] for line in lines[1:]] == [call.status for call in setup.robot.calls] == statuses
    assert {None, 200, 307, 400, 409, 429, 500} == set(statuses)
    assert [line["body_sha256"] for line in lines[1:]] == [
        sha256(json.dumps(body).encode()).hexdigest() for body in bodies
    ]
    assert "demo-user" not in text


async def test_the_call_log_has_the_status_while_the_answer_is_still_to_come(setup: Setup, tmp_path: Path) -> None:
    """Who looks at the log while a call is in flight finds it, as before."""
    log_path = tmp_path / "calls.jsonl"
    await setup.behaves(log_path=log_path, answer_delay_seconds=A_LONG_TIME)
    waiting = asyncio.create_task(setup.post(batch()))
    await setup.robot.wait_for_calls(1)
    await setup.post(b"no JSON")
    assert [json.loads(line)["status"] for line in log_path.read_text().splitlines()] == [200, 400]
    assert not waiting.done()
    await setup.robot.stop()
    with pytest.raises(httpx.RemoteProtocolError):
        await waiting


@pytest.mark.parametrize(
    ("fate", "orders", "successes", "errors"),
    [
        (Fate.COMPLETE, 3, 3, 0),
        (Fate.COMPLETE, 50, 50, 0),
        (Fate.COMPLETE_FIRST, 3, 3, 0),
        (Fate.PARTLY_FAIL, 3, 1, 2),
        (Fate.PARTLY_FAIL, 1, 0, 1),
        (Fate.ALL_FAIL, 3, 0, 3),
        (Fate.LOGIN_FAILS, 3, 0, 3),
    ],
)
async def test_a_batch_that_is_reported_ends_with_the_counts_of_its_fate(
    setup: Setup, fate: Fate, orders: int, successes: int, errors: int
) -> None:
    await setup.behaves(fate_of=always(fate))
    body = batch(*["CALI (VALLE)"] * orders)
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, successes, errors)
    await setup.robot.wait_until_idle()
    assert setup.bridge.reports.empty()


@pytest.mark.parametrize(
    ("fate", "successes"), [(Fate.COMPLETE, 3), (Fate.PARTLY_FAIL, 2), (Fate.ALL_FAIL, 0), (Fate.LOGIN_FAILS, 0)]
)
async def test_an_order_without_a_city_is_one_of_those_that_a_fate_lets_fail(
    setup: Setup, fate: Fate, successes: int
) -> None:
    await setup.behaves(fate_of=always(fate))
    body = batch("CALI (VALLE)", "", "CALI (VALLE)", "CALI (VALLE)")
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, successes, 4 - successes)


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
    assert is_page(await setup.post(batch()), 500)


async def test_busy_409_turns_the_first_posts_of_each_job_away_and_then_accepts_it(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.BUSY_409), busy_attempts=2)
    for body in (batch(), batch()):
        assert is_refusal(await setup.post(body), 409)
        assert is_refusal(await setup.post(body), 409)
        assert setup.bridge.reports.empty()
        assert (await setup.post(body)).status_code == 200
        assert await setup.bridge.reports.get() == completion_of(body, 1, 0)
        assert (await setup.post(body)).status_code == 200
    assert [call.status for call in setup.robot.calls] == [409, 409, 200, 200] * 2


async def test_limit_429_tells_when_to_come_again(setup: Setup) -> None:
    await setup.behaves(fate_of=always(Fate.LIMIT_429), busy_attempts=1, retry_after_seconds=7)
    body = batch()
    response = await setup.post(body)
    assert is_refusal(response, 429)
    assert response.headers["Retry-After"] == "7"
    assert setup.bridge.reports.empty()
    assert (await setup.post(body)).status_code == 200
    assert await setup.bridge.reports.get() == completion_of(body, 1, 0)


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
    with robot_process(*options, "--refuse-status", "422") as (url, _):
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
