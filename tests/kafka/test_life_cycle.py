"""The whole life of a job on a real Kafka, with a real worker process and a real HTTP robot."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from schemas import JobCompleted, JobFailed
from streams.dev.robot import Fate, RobotBehaviour
from streams.names import Topic, changelog_topic
from streams.wire.placement import partition_of
from tests.support.builders import CALLBACK_SECRET, PASSWORD, SECRETS, USERNAME, completion, submission
from tests.support.scene import PARTITIONS, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = {
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "0.5",
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "1",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    behaviour = RobotBehaviour(refuse_status=409)
    async with Scene(kafka_bootstrap, tmp_path_factory.mktemp("scene"), SHORT, behaviour) as scene:
        await scene.worker()
        yield scene


async def test_a_submission_becomes_one_post_and_one_completed_outcome(scene: Scene) -> None:
    payload = submission()
    outcome = await scene.outcome(await scene.submit(payload))
    assert isinstance(outcome, JobCompleted)
    assert (outcome.successCount, outcome.errorCount, outcome.countsMismatch) == (2, 0, False)
    assert outcome.orderCount == 2
    assert outcome.dispatchedAt is not None
    assert outcome.submittedAt <= outcome.dispatchedAt <= outcome.endedAt
    assert scene.posts(payload["jobId"]) == 1
    assert len(await scene.outcomes_of(payload["jobId"])) == 1


async def test_the_post_is_what_the_contract_says(scene: Scene) -> None:
    payload = submission(orders=1)
    order = payload["orders"][0]
    order["unknown"] = "cut away"
    # Number forms that a float would lose.
    raw_input = '{"peso":0.50,"valor":1e3,"grande":12345678901234567890123,"ciudad":"Bogotá (D.C.)","x":[-0.0]}'
    text = json.dumps(payload, ensure_ascii=False).replace(
        json.dumps(order["pedidoInput"], ensure_ascii=False), raw_input
    )
    await scene.write(Topic.SUBMITTED, text.encode(), partition_of(payload["workspaceId"], PARTITIONS))
    await scene.outcome(payload["jobId"])
    call = next(call for call in scene.robot.calls if call.job_id == payload["jobId"])
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["X-Callback-Secret"] == CALLBACK_SECRET
    body = json.loads(call.body)
    assert body.keys() == {"workspaceId", "credentials", "callbackUrl", "callbackSecret", "jobId", "orders"}
    assert body["credentials"] == {"username": USERNAME, "password": PASSWORD}
    assert body["callbackUrl"] == "https://app.example/base/api/webhooks/robot-callback"
    assert body["callbackSecret"] == CALLBACK_SECRET
    assert body["orders"][0].keys() == {"itemId", "orderId", "pedidoInput"}
    assert f'"pedidoInput":{raw_input}'.encode() in call.body


@pytest.mark.parametrize(
    ("fate", "reason", "status", "may_have_received", "text"),
    [
        (Fate.REFUSE, "robot_rejected", 409, False, "Robot service error 409: "),
        (Fate.CRASH_500, "robot_rejected", 500, True, "Robot service error 500: "),
        (Fate.REDIRECT_307, "robot_rejected", 307, False, "Robot service error 307: "),
        (Fate.ECHO_SECRETS, "robot_rejected", 400, False, "Robot service error 400: "),
        (Fate.CUT, "dispatch_unknown", None, True, "The connection broke before the robot's answer"),
        (Fate.HANG, "dispatch_unknown", None, True, "The robot did not answer within 1 s"),
    ],
)
async def test_a_call_that_fails_fails_the_job_at_once_and_is_never_made_again(
    scene: Scene, fate: Fate, reason: str, status: int | None, may_have_received: bool, text: str
) -> None:
    job_id = await scene.submit(submission(), fate)
    outcome = await scene.outcome(job_id)
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotStatus, outcome.robotMayHaveReceived) == (reason, status, may_have_received)
    assert outcome.error.startswith(text)
    assert len(outcome.error) <= 2048
    assert not any(secret in outcome.error for secret in SECRETS)
    assert scene.posts(job_id) == 1
    assert len(await scene.outcomes_of(job_id)) == 1


async def test_a_completion_before_the_robots_answer_counts(scene: Scene) -> None:
    job_id = await scene.submit(submission(), Fate.COMPLETE_FIRST)
    outcome = await scene.outcome(job_id)
    assert isinstance(outcome, JobCompleted)
    assert scene.posts(job_id) == 1


@pytest.mark.parametrize(("fate", "counts"), [(Fate.PARTLY_FAIL, (1, 1)), (Fate.ALL_FAIL, (0, 2))])
async def test_failed_orders_are_still_a_completion(scene: Scene, fate: Fate, counts: tuple[int, int]) -> None:
    outcome = await scene.outcome(await scene.submit(submission(), fate))
    assert isinstance(outcome, JobCompleted)
    assert (outcome.successCount, outcome.errorCount) == counts


async def test_a_lost_job_times_out_and_its_late_completion_is_told_and_changes_no_outcome(scene: Scene) -> None:
    payload = submission()
    outcome = await scene.outcome(await scene.submit(payload, Fate.LOSE))
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotMayHaveReceived) == ("timeout", True)
    assert outcome.acceptedAt is not None
    # 2 orders x 0.5 s + 3 s, never early.
    assert (outcome.endedAt - outcome.acceptedAt).total_seconds() >= 4
    await scene.publish(Topic.BATCH_COMPLETED, completion(payload), payload["workspaceId"])
    amendment = await scene.amendment(payload["jobId"])
    assert (amendment.status, amendment.reason, amendment.successCount) == ("failed", "timeout", 2)
    assert len(await scene.outcomes_of(payload["jobId"])) == 1


async def test_the_same_submission_again_changes_nothing_and_another_payload_is_a_conflict(scene: Scene) -> None:
    payload = submission()
    job_id = await scene.submit(payload)
    await scene.outcome(job_id)
    await scene.submit(payload)
    await scene.submit({**payload, "credentials": {"username": "other", "password": "other"}})
    payload["orders"] = payload["orders"][:1]
    conflict = await scene.publish(Topic.SUBMITTED, payload, payload["workspaceId"])
    letter = await scene.dead_letter(Topic.SUBMITTED, conflict)
    assert dict(letter.headers)["robot.dlq.reason"] == b"conflict"
    # The workspace's next job has its turn after anything that came before it.
    await scene.outcome(await scene.submit(submission(workspace_id=payload["workspaceId"])))
    assert scene.posts(job_id) == 1
    assert len(await scene.outcomes_of(job_id)) == 1


async def test_odd_completions_change_nothing_and_say_why(scene: Scene) -> None:
    payload = submission()
    await scene.outcome(await scene.submit(payload))
    foreign = submission()["workspaceId"]
    same = completion(payload)
    await scene.publish(Topic.BATCH_COMPLETED, same, payload["workspaceId"])
    for value, reason in (
        (completion(payload, 1, 1), b"duplicate_mismatch"),
        ({**same, "workspaceId": foreign}, b"unknown_job"),
        ({**same, "jobId": "nobody"}, b"unknown_job"),
        (completion(payload, -1), b"invalid"),
    ):
        where = await scene.publish(Topic.BATCH_COMPLETED, value, value["workspaceId"])
        letter = await scene.dead_letter(Topic.BATCH_COMPLETED, where)
        assert dict(letter.headers)["robot.dlq.reason"] == reason
    letters = [json.loads(r.value) for r in scene.records[Topic.DLQ_BATCH_COMPLETED]]
    assert same not in letters
    assert len(await scene.outcomes_of(payload["jobId"])) == 1


async def test_counts_that_do_not_add_up_complete_the_job_marked(scene: Scene) -> None:
    payload = submission()
    await scene.submit(payload, Fate.LOSE)
    await scene.row(payload["jobId"], lambda row: row.accepted_at is not None)
    await scene.complete(payload, 1, 0)
    outcome = await scene.outcome(payload["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert outcome.countsMismatch


async def test_a_record_that_cannot_be_used_goes_to_its_dead_letter_topic_as_it_came(scene: Scene) -> None:
    headers = [("x", b"1"), ("x", b"2"), ("traceparent", b"00-1")]
    for value, reason in ((b"\xff\x00 not JSON", b"malformed"), (None, b"malformed"), (b"{}", b"invalid")):
        where = await scene.write(Topic.SUBMITTED, value, 1, b"\xffkey", headers=headers)
        letter = await scene.dead_letter(Topic.SUBMITTED, where)
        assert (letter.key, letter.value, letter.partition) == (b"\xffkey", value, 1)
        assert list(letter.headers[:3]) == headers
        found = dict(letter.headers)
        assert found["robot.dlq.reason"] == reason
        assert found["__streams.errors.topic"] == b"robot.job.submitted"
        assert found["__streams.errors.offset"] == str(where.offset).encode()


async def test_a_bad_submission_with_readable_ids_gets_its_outcome_too(scene: Scene) -> None:
    payload = submission()
    del payload["credentials"]
    where = await scene.publish(Topic.SUBMITTED, payload, payload["workspaceId"])
    outcome = await scene.outcome(payload["jobId"])
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotMayHaveReceived) == ("invalid_submission", False)
    assert "credentials" in outcome.error
    letter = await scene.dead_letter(Topic.SUBMITTED, where)
    assert dict(letter.headers)["robot.dlq.reason"] == b"invalid"
    assert scene.posts(payload["jobId"]) == 0


async def test_records_of_any_partitioner_reach_their_partition_unchanged(scene: Scene) -> None:
    payload = submission()
    scene.fates[payload["jobId"]] = Fate.LOSE
    home = partition_of(payload["workspaceId"], PARTITIONS)
    wrong = (home + 1) % PARTITIONS
    await scene.write(Topic.SUBMITTED, json.dumps(payload).encode(), wrong)
    row = await scene.row(payload["jobId"], lambda row: row.accepted_at is not None)
    assert row.source.partition == home
    value = json.dumps(completion(payload)).encode()
    await scene.write(Topic.BATCH_COMPLETED, value, (home + 2) % PARTITIONS, b"other key")
    assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
    assert scene.posts(payload["jobId"]) == 1


async def test_a_submission_in_an_aborted_transaction_is_never_run(scene: Scene) -> None:
    from aiokafka import AIOKafkaProducer

    aborted, after = submission(), submission()
    after["workspaceId"] = aborted["workspaceId"]
    place = partition_of(aborted["workspaceId"], PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap_servers, transactional_id="somebody")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(Topic.SUBMITTED, json.dumps(aborted).encode(), partition=place)
        await producer.abort_transaction()
    finally:
        await producer.stop()
    assert isinstance(await scene.outcome(await scene.submit(after)), JobCompleted)
    assert scene.posts(aborted["jobId"]) == 0


async def test_a_workspace_has_one_batch_at_a_time_first_in_first_out(scene: Scene) -> None:
    first = submission()
    later = [submission(workspace_id=first["workspaceId"]) for _ in range(3)]
    await scene.submit(first, Fate.LOSE)
    for payload in later:
        await scene.submit(payload)
    assert (await scene.row(later[-1]["jobId"])).status == "pending"
    # A busy workspace is nobody else's business.
    assert isinstance(await scene.outcome(await scene.submit(submission())), JobCompleted)
    assert scene.posts(later[0]["jobId"]) == 0
    for payload in later:
        assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
    ids = [payload["jobId"] for payload in (first, *later)]
    assert [call.job_id for call in scene.robot.calls if call.job_id in ids] == ids


async def test_secrets_are_in_no_topic_but_the_submitted_one_and_in_no_log(scene: Scene) -> None:
    await scene.outcome(await scene.submit(submission(), Fate.ECHO_SECRETS))
    await scene.read_to_end()
    public = [Topic.COMPLETED, Topic.FAILED, Topic.DLQ_BATCH_COMPLETED, changelog_topic(scene.app_id)]
    texts = [str((r.key, r.value, r.headers)) for topic in public for r in scene.records[topic]]
    texts += [worker.log_path.read_text() for worker in scene.workers]
    assert len(texts) > 3
    for secret in SECRETS:
        forms = {secret, json.dumps(secret)[1:-1], secret.encode().hex(), str(secret.encode())[2:-1]}
        assert not any(form in text for text in texts for form in forms)


async def test_the_probes_answer_and_the_metrics_count(scene: Scene) -> None:
    worker = scene.workers[0]
    assert await worker.get("/livez") == (200, "ok\n")
    status, text = await worker.get("/readyz?verbose")
    assert (status, text) == (200, "[+] group joined, partitions loaded\n[+] robot answers\nok\n")
    _, metrics = await worker.get("/metrics")
    assert 'robot_orchestrator_submissions_total{result="accepted"}' in metrics
    assert 'robot_orchestrator_outcomes_total{outcome="completed",reason=""}' in metrics


async def test_every_step_of_a_job_is_a_log_line(scene: Scene) -> None:
    job_id = await scene.submit(submission())
    await scene.outcome(job_id)
    expected = {"job_submitted", "job_claimed", "job_dispatched", "job_completed"}
    async with asyncio.timeout(60):
        while True:
            lines = [line for line in scene.workers[0].log_lines() if line.get("job_id") == job_id]
            if expected <= {line["event"] for line in lines}:
                break
            await asyncio.sleep(0.05)
