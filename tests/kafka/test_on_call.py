"""What people on call ask and do, on a real Kafka with a real worker: jobs, holds, dead letters."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from aiokafka.errors import RequestTimedOutError
from msgspec.structs import replace
from typer.testing import CliRunner

from schemas import JobCompleted, JobFailed
from streams.cli import cli
from streams.commands import show
from streams.core.job import Source, Status
from streams.dev.robot import Fate
from streams.names import Header, Topic, changelog_topic
from streams.operate import giving, redrive
from streams.operate.job_rows import NotReadError, RecordReader, no_progress, record_reader
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.rows import TableError, decision_key, encode_row, row_key
from tests.core.builders import FAILED
from tests.security.programs import run
from tests.support.builders import PASSWORD, USERNAME, completion, new_id, submission
from tests.support.scene import PARTITIONS, WAIT_SECONDS, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

Fields = dict[str, Any]
CALLBACK_URL = "https://app.example/api/webhooks/robot-callback/{workspaceId}/{jobId}"
TRUTH = "--reason=wrong-address --actor=alice --yes"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    environment = {"ROBOT_ORCHESTRATOR_CALLBACK_URL": CALLBACK_URL}
    async with Scene(kafka_bootstrap, tmp_path_factory.mktemp("on-call"), environment) as scene:
        await scene.worker()
        yield scene


@pytest.fixture(autouse=True)
def _variables(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ROBOT_", "KAFKA_", "NEXT_PUBLIC_")):
            monkeypatch.delenv(name)
    for name, value in scene.variables.items():
        monkeypatch.setenv(name, value)


async def give(line: str, stdin: str = "") -> tuple[int, str, str]:
    """Give a command; return its exit code and what it has written, which is never a secret."""
    ended = await asyncio.to_thread(CliRunner().invoke, cli, line.split(), input=stdin)
    assert PASSWORD not in ended.output
    assert USERNAME not in ended.output
    return ended.exit_code, ended.stdout, ended.stderr


async def told(line: str) -> Fields:
    """Give a command that prints one JSON object and ends well."""
    code, out, err = await give(f"{line} --json")
    assert code == 0, err
    return dict(json.loads(out))


def of(payload: Fields) -> str:
    return f"{payload['jobId']} --workspace={payload['workspaceId']}"


async def line_of(scene: Scene, count: int) -> list[Fields]:
    """Return jobs of one workspace, of which the first is at the robot for good."""
    first = submission()
    jobs = [first, *(submission(workspace_id=first["workspaceId"]) for _ in range(count - 1))]
    for job in jobs:
        await scene.submit(job, Fate.LOSE if job is first else Fate.COMPLETE)
    await scene.row(first["jobId"], lambda row: row.accepted_at is not None)
    await scene.row(jobs[-1]["jobId"])
    return jobs


async def ends_of_controls(scene: Scene) -> dict[int, int]:
    """Return where each partition of what people ask for ends."""
    async with record_reader(KafkaSettings(**cast(Any, scene.variables)), Topic.CONTROL) as reader:
        return await reader.ends(Topic.CONTROL)


# Where a job is


async def test_one_screen_says_where_a_job_is_and_who_is_before_it(scene: Scene) -> None:
    first, _, third = await line_of(scene, 3)
    shown = await told(f"jobs show {of(third)}")
    (wait,) = shown["waitingFor"]
    assert (shown["status"], wait["kind"], wait["place"], wait["behind"]) == ("pending", "workspace", 2, first["jobId"])
    row = await scene.row(first["jobId"])
    assert row.deadline is not None
    assert wait["until"].startswith(row.deadline.strftime("%Y-%m-%dT%H:%M:%S"))
    assert shown["sendAgain"] == {"verdict": "no", "because": "it is still pending"}
    # All partitions are read where the workspace is not said.
    code, screen, _ = await give(f"jobs show {first['jobId']}")
    assert code == 0
    assert "at the robot, 0 of 2 orders reported" in screen
    assert "accepted after" in screen
    assert first["orders"][0]["itemId"] in screen
    code, out, err = await give(f"jobs show {new_id()} --workspace={first['workspaceId']}")
    assert (code, out) == (3, "")
    assert "it is unknown, or was forgotten 7 days after its end" in err


async def test_of_two_jobs_with_one_id_the_workspace_must_be_said(scene: Scene) -> None:
    job = submission()
    other = submission(job_id=job["jobId"])
    for payload in (job, other):
        await scene.submit(payload)
        await scene.row(job["jobId"], lambda row: row.workspace_id == payload["workspaceId"])  # noqa: B023 # awaited
    for command in ("show", "watch"):
        code, out, err = await give(f"jobs {command} {job['jobId']}")
        assert (code, out) == (1, "")
        assert err.endswith(f"say --workspace {', '.join(sorted((job['workspaceId'], other['workspaceId'])))}\n")


async def test_jobs_are_found_by_what_their_rows_and_their_submissions_say(scene: Scene) -> None:
    first, second = await line_of(scene, 2)
    workspace = f"--workspace={first['workspaceId']}"

    async def found(options: str) -> list[str]:
        code, out, err = await give(f"jobs list {workspace} {options} --json")
        assert code == 0, err
        return [json.loads(line)["jobId"] for line in out.splitlines()]

    assert await found("") == [second["jobId"], first["jobId"]]
    assert await found("--limit=1") == [second["jobId"]]
    assert await found("--status=processing --since=1h") == [first["jobId"]]
    assert await found("--until=1h") == await found("--reason=timeout") == []
    assert await found(f"--item={first['orders'][1]['itemId']}") == [first["jobId"]]
    # Of the second one the row does not have it yet.
    assert await found(f"--item={second['orders'][0]['itemId']}") == []
    for name in ("itemId", "orderId"):
        assert await found(f"--order={second['orders'][0][name]}") == [second["jobId"]]
    code, table, _ = await give(f"jobs list {workspace}")
    assert (code, table.count(first["workspaceId"])) == (0, 2)
    for time in ("yesterday", "999999d"):
        code, out, err = await give(f"jobs list --since={time}")
        assert (code, out, err.count("\n")) == (2, "", 1)


async def test_a_job_whose_submission_is_gone_cannot_be_sent_again(scene: Scene) -> None:
    row = replace(
        FAILED,
        workspace_id=new_id(),
        job_id=new_id(),
        robot_may_have_received=False,
        source=Source(Topic.SUBMITTED, 0, 10**6),
    )
    place = {"key": row_key(row.key), "partition": partition_of(row.workspace_id, PARTITIONS)}
    await scene.producer.send_and_wait(changelog_topic(scene.app_id), encode_row(row), **place)
    again = (await told(f"jobs show {row.job_id} --workspace={row.workspace_id}"))["sendAgain"]
    assert (again["verdict"], again["because"].partition(":")[0]) == (
        "no",
        "its submission is no longer in robot.job.submitted",
    )


# Stopping


async def test_a_job_that_waits_is_cancelled_and_one_at_the_robot_is_given_up(scene: Scene) -> None:
    first, second = await line_of(scene, 2)
    assert (await give(f"jobs cancel {of(second)} {TRUTH} --dry-run"))[1] == "nothing was done\n"
    assert await told(f"jobs cancel {of(second)} {TRUTH} --dry-run") == {"given": False}
    code, out, err = await give(f"jobs cancel {of(second)} {TRUTH}")
    assert (code, out) == (0, f"cancel job {second['jobId']} of {second['workspaceId']}: done\n"), err
    outcome = await scene.outcome(second["jobId"])
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotMayHaveReceived) == ("cancelled", False)
    assert outcome.control is not None
    assert (outcome.control.actor, outcome.control.reason) == ("alice", "wrong-address")
    assert scene.posts(second["jobId"]) == 0
    shown = await told(f"jobs show {of(second)}")
    assert (shown["control"]["actor"], shown["sendAgain"]["verdict"]) == ("alice", "yes")
    # The command is a line of its own, however long it is: the beginning of one would be another command.
    screen = (await give(f"jobs show {of(second)}"))[1]
    assert screen.splitlines()[-1] == shown["sendAgain"]["command"]
    refused = await give(f"jobs cancel {of(second)} {TRUTH}")
    assert (refused[0], refused[2].endswith("is refused: it has ended\n")) == (1, True)
    refused = await give(f"jobs cancel {of(first)} {TRUTH}")
    assert (refused[0], "jobs give-up ends it without waiting" in refused[2]) == (1, True)
    assert (await give(f"jobs give-up {of(first)} {TRUTH}"))[0] == 0
    outcome = await scene.outcome(first["jobId"])
    assert isinstance(outcome, JobFailed)
    assert (outcome.reason, outcome.robotMayHaveReceived) == ("given_up", True)
    assert (await give(f"jobs cancel {new_id()} --workspace={first['workspaceId']} {TRUTH}"))[0] == 3


async def test_who_is_asked_is_told_that_it_may_still_ship(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = await line_of(scene, 1)
    command = f"jobs give-up {of(job)} --reason=portal"
    assert (await give(command))[0] == 2
    monkeypatch.setattr("streams.terminal.somebody_is_there", lambda: True)
    code, _, err = await give(command, stdin="n\n")
    assert code == 1
    assert f"It may still ship. Give up job {job['jobId']} of {job['workspaceId']}? [y/N]" in err
    assert (await scene.row(job["jobId"])).status is Status.PROCESSING


async def test_what_no_worker_has_decided_yet_has_an_exit_code_of_its_own(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = await line_of(scene, 1)
    (worker,) = (worker for worker in scene.workers if worker.running)
    assert await worker.stop() == 0
    monkeypatch.setattr(giving, "DECISION_SECONDS", 0.5)
    code, out, err = await give(f"jobs give-up {of(job)} {TRUTH}")
    assert (code, out) == (4, "")
    assert err.endswith("robot-orchestrator: given, and not decided yet, as far as could be read\n")
    shown = await told(f"jobs show {of(job)}")
    assert shown["waitingFor"][0]["words"] == "a worker: none is running"
    await scene.worker()
    assert isinstance(await scene.outcome(job["jobId"]), JobFailed)


@pytest.mark.parametrize(
    "problem", [NotReadError("a broker is away"), RequestTimedOutError(), TableError("a newer release wrote it"), None]
)
async def test_what_is_given_is_never_said_to_be_refused_because_its_decision_cannot_be_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, problem: Exception | None
) -> None:
    scan = RecordReader.scan

    async def cut(reader: RecordReader, *where: Any, starts: Any = None, **more: Any) -> dict[int, int]:
        # Before the control is published all is read from the beginning, behind it from where it was.
        if starts is None:
            return await scan(reader, *where, **more)
        if problem is None:
            await asyncio.Event().wait()
        raise problem or AssertionError

    (job,) = await line_of(scene, 1)
    with monkeypatch.context() as patched:
        patched.setattr(giving, "DECISION_SECONDS", 0.5)
        patched.setattr(RecordReader, "scan", cut)
        code, out, err = await give(f"jobs give-up {of(job)} {TRUTH}")
    assert (code, out) == (4, "")
    assert err.endswith("robot-orchestrator: given, and not decided yet, as far as could be read\n")
    outcome = await scene.outcome(job["jobId"])
    assert isinstance(outcome, JobFailed)
    assert outcome.reason == "given_up"


# Holds


async def test_who_is_held_is_not_called_until_somebody_removes_the_hold(scene: Scene) -> None:
    job = submission()
    workspace = job["workspaceId"]
    assert await told(f"holds add {workspace} {TRUTH} --dry-run") == {"given": False}
    assert (await give(f"holds add {workspace} {TRUTH}"))[:2] == (0, f"hold {workspace}: done\n")
    controls = await ends_of_controls(scene)
    code, _, err = await give(f"holds add {workspace} {TRUTH}")
    assert (code, err.endswith(f"hold {workspace} is refused: it is held already\n")) == (1, True)
    code, out, err = await give(f"holds remove {new_id()} --yes --json")
    assert (code, json.loads(out)) == (1, {"applied": 0, "refused": {"not_held": 1}, "undecided": 0})
    # Nothing of it was given.
    assert await ends_of_controls(scene) == controls
    await scene.submit(job)
    await scene.row(job["jobId"])
    shown = await told(f"jobs show {of(job)}")
    assert shown["waitingFor"][0]["kind"] == "person"
    assert shown["waitingFor"][0]["words"].startswith("alice, who holds its workspace since ")
    (held,) = (await give("holds list"))[1].splitlines()
    assert held.startswith(f"{workspace}: held by alice since ")
    assert held.endswith(": wrong-address")
    assert scene.posts(job["jobId"]) == 0
    assert (await give(f"holds remove {workspace} --yes"))[0] == 0
    assert isinstance(await scene.outcome(job["jobId"]), JobCompleted)
    assert (await give(f"holds remove {workspace} --yes"))[0] == 1


async def test_everything_is_held_in_every_partition(scene: Scene) -> None:
    assert (await give("holds add --reason=x --yes"))[0] == 2
    code, out, _ = await give(f"holds add --all {TRUTH}")
    assert (code, out) == (0, f"hold everything: done in {PARTITIONS} of {PARTITIONS} partitions\n")
    held = await told("holds list")
    assert (held["workspaceId"], held["partitions"]) == (None, PARTITIONS)
    job = submission()
    await scene.submit(job)
    await scene.row(job["jobId"])
    assert (await told(f"jobs show {of(job)}"))["waitingFor"][0]["words"].startswith("alice, who holds everything ")
    assert (await give("holds remove --all --yes"))[0] == 0
    assert isinstance(await scene.outcome(job["jobId"]), JobCompleted)
    assert (await give("holds list"))[1] == "nothing is held\n"


# Dead letters


async def test_a_letter_is_redriven_once_and_only_where_something_else_can_come_of_it(scene: Scene) -> None:
    job = submission()
    where = await scene.publish(Topic.BATCH_COMPLETED, completion(job), job["workspaceId"])
    letter = f"{where.topic}-{where.partition}-{where.offset}"
    await scene.dead_letter(Topic.BATCH_COMPLETED, where)
    code, _, err = await give(f"dlq redrive {letter} {TRUTH}")
    assert (code, err) == (1, f"robot-orchestrator: {letter} is not redriven: its job is still not there\n")
    await scene.submit(job, Fate.LOSE)
    await scene.row(job["jobId"], lambda row: row.accepted_at is not None)
    assert (await told(f"dlq show {letter}"))["redrive"] == "yes"
    shown = await told(f"jobs show {of(job)}")
    assert [one["letterId"] for one in shown["deadLetters"]] == [letter]
    assert (await give(f"dlq redrive {letter} {TRUTH} --dry-run"))[1] == "nothing was sent\n"
    # Two people at once.
    twice = await asyncio.gather(
        *(asyncio.to_thread(run, f"dlq redrive {letter} {TRUTH}", scene.variables) for _ in range(2))
    )
    assert sorted(ended.returncode for ended in twice) == [0, 1]
    assert isinstance(await scene.outcome(job["jobId"]), JobCompleted)
    code, _, err = await give(f"dlq redrive {letter} {TRUTH}")
    assert (code, f"{letter} is not redriven: it was redriven by alice at " in err) == (1, True)
    await scene.read_to_end()
    listed = [json.loads(line) for line in (await give("dlq list --reason=unknown_job --json"))[1].splitlines()]
    (own,) = (one for one in listed if one["letterId"] == letter)
    assert (own["jobStatus"], own["redriven"].startswith("by alice at ")) == ("completed", True)


async def test_what_was_redriven_says_how_often_and_a_letter_shows_no_secret(scene: Scene) -> None:
    job = submission() | {"carrier": 7}
    where = await scene.publish(Topic.SUBMITTED, job, job["workspaceId"])
    letter = f"{where.topic}-{where.partition}-{where.offset}"
    await scene.dead_letter(Topic.SUBMITTED, where)
    await scene.outcome(job["jobId"])
    payload = (await told(f"dlq show {letter}"))["payload"]
    assert payload["credentials"] == "(an object, not shown)"
    assert [order["orderId"] for order in payload["orders"]] == [order["orderId"] for order in job["orders"]]
    code, _, err = await give(f"dlq redrive {letter} {TRUTH} --after-upgrade")
    assert (code, "its ids are taken by a job that is failed" in err) == (1, True)
    # One that names no job can be sent in again, and is refused again, once more.
    where = await scene.write(Topic.SUBMITTED, b'{"jobId": 1}', 0)
    letter = f"{where.topic}-{where.partition}-{where.offset}"
    await scene.dead_letter(Topic.SUBMITTED, where)
    code, _, err = await give(f"dlq redrive {letter} {TRUTH}")
    assert (code, "but after an upgrade that takes it (--after-upgrade)" in err) == (1, True)
    assert (await give(f"dlq redrive {letter} {TRUTH} --after-upgrade"))[0] == 0

    def again() -> Any:
        wanted = (Header.DLQ_REDRIVE_COUNT.value, b"1")
        return next((one for one in scene.records[Topic.DLQ_SUBMITTED] if wanted in one.headers), None)

    assert (await scene.wait_for(again)).value == b'{"jobId": 1}'
    code, table, _ = await give("dlq list")
    assert code == 0
    assert "invalid: " in table
    assert letter in table
    assert (await give("dlq show robot.job.submitted-0-999999"))[0] == (await give("dlq show nothing"))[0] == 3


async def test_of_letters_only_the_one_that_is_shown_is_read_with_what_it_carries_and_no_other_partition(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = await scene.write(Topic.SUBMITTED, json.dumps(submission() | {"jobId": 7}).encode(), PARTITIONS - 1)
    letter = f"{where.topic}-{where.partition}-{where.offset}"
    await scene.dead_letter(Topic.SUBMITTED, where)
    settings = KafkaSettings(**cast(Any, scene.variables))
    for reason in (None, "invalid", "malformed"):
        listed = [entry[0] for entry in await redrive.read_all(settings, reason, no_progress)]
        assert {one.record.value for one in listed} <= {None}
        assert {one.headers.reason for one in listed} <= {reason} or reason is None
        assert (letter in {one.letter_id for one in listed}) == (reason != "malformed")
    scan, looked = RecordReader.scan, []

    async def noted(reader: RecordReader, topic: str, numbers: Collection[int], *more: Any, **named: Any) -> Any:
        if topic == Topic.DLQ_SUBMITTED:
            looked.append(list(numbers))
        return await scan(reader, topic, numbers, *more, **named)

    monkeypatch.setattr(RecordReader, "scan", noted)
    assert (await told(f"dlq show {letter}"))["payload"]["credentials"] == "(an object, not shown)"
    assert looked == [[PARTITIONS - 1]]
    assert (await give(f"dlq show {where.topic}-{PARTITIONS}-{where.offset}"))[0] == 3


# Taken ids


async def test_a_file_whose_ids_are_taken_is_not_submitted_again(scene: Scene, tmp_path: Any) -> None:
    job = submission()
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    assert (await give(f"submit {file}"))[:2] == (0, f"{job['jobId']}\n")
    await scene.outcome(job["jobId"])
    code, out, err = await give(f"submit {file}")
    assert (code, out) == (1, "")
    assert "has ended (completed: 2 shipped, 0 failed): it is not done again" in err
    file.write_text(json.dumps(job | {"carrier": "another"}))
    code, out, err = await give(f"submit {file}")
    assert (code, out) == (1, "")
    assert "is another one: submit these orders under a new job id" in err
    (waiting,) = await line_of(scene, 1)
    file.write_text(json.dumps(waiting))
    code, out, err = await give(f"submit {file}")
    assert (code, out) == (0, f"{waiting['jobId']}\n")
    assert "nothing changes" in err


async def test_a_job_is_watched_until_it_has_ended(scene: Scene) -> None:
    done, refused = submission(), submission()
    await scene.submit(done)
    await scene.submit(refused, Fate.REFUSE)
    for job, code in ((done, 0), (refused, 1)):
        await scene.row(job["jobId"])
        assert (await give(f"jobs watch {job['jobId']}"))[0] == code
        # What has ended is shown once.
        (again,) = (await give(f"jobs watch {job['jobId']}"))[1].splitlines()
        assert job["jobId"] in again
        (again,) = (await give(f"jobs watch {job['jobId']} --json"))[1].splitlines()
        assert json.loads(again)["jobId"] == job["jobId"]
    # Who waits for a job that nobody knows would wait for good.
    for options in ("", f" --workspace={done['workspaceId']}"):
        assert (await give(f"jobs watch {new_id()}{options}"))[:2] == (3, "")


async def test_with_json_what_is_watched_is_one_object_as_it_is_and_then_one_for_each_change(scene: Scene) -> None:
    (job,) = await line_of(scene, 1)
    command = ("-m", "streams.cli", "jobs", "watch", *of(job).split(), "--json")
    watch = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert watch.stdout is not None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            before = json.loads(await watch.stdout.readline())
            await scene.complete(job, 2, 0)
            (change,) = map(json.loads, (await watch.stdout.read()).splitlines())
            assert await watch.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            watch.kill()
    assert (before["jobId"], before["status"]) == (job["jobId"], "processing")
    assert (change["jobId"], change["status"], change["successCount"]) == (job["jobId"], "completed", 2)


async def test_all_is_checked_and_what_is_not_ok_says_what_mends_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.outcome(await scene.submit(submission()))
    code, out, err = await give("check --json")
    found = [json.loads(line) for line in out.splitlines()]
    # Other tests have job tables on the same Kafka.
    others = [line for line in found if "job tables of other applications" in line["words"]]
    assert code == int(bool(others)), out + err
    assert {line["what"] for line in found} == {
        *("connection", "topics", "ACLs", "group", "clock", "robot", "settings")
    }
    assert all(line["ok"] and line["mend"] is None for line in found if line not in others)
    monkeypatch.setenv("ROBOT_COORDINADORA_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ROBOT_ORCHESTRATOR_APP_ID", "another")
    code, out, _ = await give("check")
    assert code == 1
    lines = out.splitlines()
    assert "!!  robot: nobody answers at http://127.0.0.1:9/api/health" in lines
    (missing,) = [line for line in lines if "missing topics: another-jobs-changelog" in line]
    # Other applications are on the same Kafka.
    assert "(set ROBOT_ORCHESTRATOR_APP_ID to the application that works on these topics; " in missing
    assert "robot-orchestrator topics create --beside-others makes them" in missing


async def test_a_check_before_any_worker_has_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was written under the application's id, and there is no group: all of that is said."""
    monkeypatch.setenv("ROBOT_ORCHESTRATOR_APP_ID", new_id())
    code, _, err = await give("topics create --replication-factor 1 --beside-others")
    assert code == 0, err
    code, out, _ = await give("check --json")
    found = {line["what"]: line for line in map(json.loads, out.splitlines())}
    assert code == 1
    assert found.keys() == {"connection", "topics", "ACLs", "group", "clock", "robot", "settings"}
    assert found["group"]["words"].startswith("no worker runs, records unread: ")
    assert found["clock"]["words"].endswith("(nothing was written yet)")


async def test_what_a_newer_release_has_decided_is_a_finding_among_the_others(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as newer:
        place = {"key": decision_key("control-1"), "partition": 0}
        await newer.producer.send_and_wait(changelog_topic(newer.app_id), b'{"v":99}', **place)
        for name, value in newer.variables.items():
            monkeypatch.setenv(name, value)
        code, out, _ = await give("check --json")
    found = {line["what"]: line for line in map(json.loads, out.splitlines())}
    assert code == 1
    assert {"clock", "robot", "settings"} <= found.keys()
    assert (found["table"]["ok"], found["table"]["mend"]) == (False, "run the release that the workers have")


async def test_a_job_that_no_worker_has_read_yet_may_be_among_those_that_are_unread(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Scene(kafka_bootstrap, tmp_path) as idle:
        for name, value in idle.variables.items():
            monkeypatch.setenv(name, value)
        job = submission()
        code, _, err = await give(f"jobs show {of(job)}")
        assert (code, "not read yet" in err) == (3, False)
        await idle.submit(job)
        code, _, err = await give(f"jobs show {of(job)}")
        assert code == 3
        assert "up to 1 submissions are not read yet, and it may be one: do not send it again" in err
        # Nor does a list say that there is no such job.
        order_id = job["orders"][0]["orderId"]
        code, out, err = await give(f"jobs list --order={order_id}")
        assert (code, out) == (0, "no such jobs\n")
        taken, unread = err.splitlines()
        told = f"{order_id} is in job {job['jobId']} of {job['workspaceId']}, which no worker has taken yet"
        assert taken.startswith(f"robot-orchestrator: {told}")
        assert unread.startswith("robot-orchestrator: up to 1 submissions are not read yet")


async def test_a_job_that_is_taken_while_somebody_looks_for_it_is_not_said_to_be_unknown(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much is unread is asked before the table is read: afterwards it may be in neither."""
    async with Scene(kafka_bootstrap, tmp_path) as idle:
        for name, value in idle.variables.items():
            monkeypatch.setenv(name, value)
        job, loop = submission(), asyncio.get_running_loop()
        await idle.submit(job)
        find = show._find

        async def found_before_it_is_taken(*args: Any) -> Any:
            found = await find(*args)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(idle.worker(), loop))
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(idle.outcome(job["jobId"]), loop))
            return found

        monkeypatch.setattr(show, "_find", found_before_it_is_taken)
        code, _, err = await give(f"jobs show {of(job)}")
        assert code == 3
        assert "up to 1 submissions are not read yet, and it may be one: do not send it again" in err
