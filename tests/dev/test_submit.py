"""What `submit` publishes, and what it refuses."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import cli
from streams.core.job import JobKey
from streams.dev.demo_jobs import PASSWORD, example_submission
from streams.dev.history import read_history
from streams.names import Topic
from streams.operate.submit import InvalidSubmissionError, parse_submission, read_lines
from streams.wire.intake import SUBMISSION_MAX_BYTES
from streams.wire.placement import partition_of
from tests.support.kafka import Kafka

VALID = example_submission(JobKey("w", "j"), 1)


def broken(**changes: Any) -> bytes:
    return example_submission(JobKey("w", "j"), 1, **changes)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"password: hunter2\norders:\n  - x\n", "it is no JSON; a job is one JSON object"),
        (b"{'password': 'hunter2'}", "it is no JSON"),
        (b"{", "its JSON is not whole; a job over several lines goes as a file, robot-orchestrator submit FILE"),
        (b'{"password": "\xff"}', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"\xef\xbb\xbf" + VALID, "it begins with a byte order mark: save it as UTF-8 without one"),
        (VALID.decode().encode("utf-16"), "it begins with a byte order mark"),
        (
            b"[" + VALID + b"]",
            "it is a JSON array and no job; several jobs go one a line to robot-orchestrator submit -",
        ),
        (VALID + b"\n" + VALID, "it holds more than one JSON value; several jobs go one a line to"),
        (VALID + b"\nhunter2", "it holds more than one JSON value"),
        (b"7", "it is JSON, but no object"),
        (b"null", "it is JSON, but no object"),
        (b"{}", "jobId: Field required"),
        (broken(orders=[]), "orders: "),
        (
            broken(orders=json.loads(VALID)["orders"] * 2),
            "orders.1.itemId: another order has it too",
        ),
        (broken(credentials={"username": "u", "passwort": "hunter2"}), "credentials.password: Field required"),
        (b" " * (SUBMISSION_MAX_BYTES + 1), "it has 4980001 bytes"),
    ],
)
def test_an_invalid_submission_is_told_by_its_field_without_its_content(value: bytes, problem: str) -> None:
    with pytest.raises(InvalidSubmissionError) as caught:
        parse_submission(value)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_submission_keeps_its_bytes_and_hides_them() -> None:
    odd = json.dumps(json.loads(VALID), indent=3).encode()
    submission = parse_submission(odd)
    assert submission.value == odd
    assert PASSWORD not in repr(submission)


def test_of_several_lines_the_valid_ones_are_taken_and_the_others_numbered() -> None:
    problems: list[str] = []
    taken = list(read_lines([VALID + b"\r\n", b"\n", b"nonsense\n", VALID], problems.append))
    assert [submission.value for submission in taken] == [VALID, VALID]
    assert [problem.split(":")[0] for problem in problems] == ["line 3"]


async def records_of(kafka: Kafka, workspace: str) -> list[tuple[int, bytes | None, bytes | None]]:
    history = await read_history({"bootstrap_servers": kafka.bootstrap_servers}, "robot-orchestrator")
    key = workspace.encode()
    return [(r.partition, r.key, r.value) for r in history.of(Topic.SUBMITTED) if r.key == key]


@pytest.fixture
def run(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Return the command line on the running Kafka."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    runner = CliRunner()
    # Other tests have made applications on this Kafka.
    create = ["topics", "create", "--beside-others", "--replication-factor", "1", "--partitions", "4"]
    created = runner.invoke(cli, create)
    assert created.exit_code == 0, created.stderr
    # A broker answers that a topic is created a moment before it knows the topic.
    assert any(runner.invoke(cli, ["topics", "check"]).exit_code == 0 for _ in range(100))
    return runner


def test_a_file_is_published_as_it_is_to_its_workspaces_partition(run: CliRunner, kafka: Kafka, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    value = example_submission(JobKey("submit-file", "j-file"), 1) + b"\n"
    file.write_bytes(value)
    result = run.invoke(cli, ["submit", str(file)])
    assert (result.exit_code, result.stdout) == (0, "j-file\n")
    ((partition, _, written),) = asyncio.run(records_of(kafka, "submit-file"))
    assert written == value
    assert partition == partition_of("submit-file", 4)


def test_an_invalid_file_is_not_published(run: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_bytes(broken(carrier=PASSWORD, orders=None))
    result = run.invoke(cli, ["submit", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"robot-orchestrator: {file}: orders: Input should be a valid array\n"


def test_lines_go_on_after_an_invalid_one(run: CliRunner) -> None:
    text = VALID + b"\n{}\n" + example_submission(JobKey("w", "k"), 1)
    result = run.invoke(cli, ["submit", "-"], input=text)
    assert (result.exit_code, result.stdout) == (1, "j\nk\n")
    assert result.stderr.startswith("robot-orchestrator: line 2: ")


def submit_lines(kafka: Kafka, value: bytes, stdout: int, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """Run `submit -` as a process, whose standard output is a file's."""
    own = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **variables}
    command = [sys.executable, "-m", "streams.cli", "submit", "-"]
    return subprocess.run(
        command, env=os.environ | own, input=value, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60
    )


def test_when_nobody_reads_the_ids_nothing_more_is_published_and_the_last_one_is_said(
    run: CliRunner, kafka: Kafka
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    lines = [example_submission(JobKey("submit-pipe", f"p-{number}"), 1) for number in range(3)]
    ended = submit_lines(kafka, b"\n".join(lines), write_end)
    os.close(write_end)
    said = "nobody reads what is printed any more, so the last job that was published is p-0"
    assert (ended.returncode, ended.stderr.decode()) == (1, f"robot-orchestrator: {said}\n")
    assert [value for *_, value in asyncio.run(records_of(kafka, "submit-pipe"))] == lines[:1]


def test_a_producer_with_a_prefix_that_nobody_else_has_is_told_so_at_once(run: CliRunner, kafka: Kafka) -> None:
    ended = submit_lines(kafka, VALID, subprocess.DEVNULL, ROBOT_ORCHESTRATOR_TOPIC_PREFIX="elsewhere.")
    missing, hint = ended.stderr.decode().splitlines()
    assert ended.returncode == 78
    assert missing.startswith("robot-orchestrator: missing topics: elsewhere.robot.job.submitted (")
    assert "such topics are there without a prefix" in hint


def test_nothing_to_submit_is_said(run: CliRunner) -> None:
    result = run.invoke(cli, ["submit", "-"], input="")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "robot-orchestrator: -: it is empty\n")
