"""The demo, run as a user runs it, and the demo's and the sandbox's own decisions."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from schemas import JobSubmitted
from streams.core.job import FailureReason, Job, JobKey, PutOff, Source, Status, Stop
from streams.dev.batches import BatchRequest, Fate, fate_table
from streams.dev.demo_jobs import CASES, PASSWORD, example_submission
from streams.dev.sandbox import fates_of
from streams.operate.live_table import explain, line, render

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def job(status: Status, **values: Any) -> Job:
    source = Source("robot.job.submitted", 0, 0)
    known: dict[str, Any] = {"workspace_id": "w", "job_id": "j", "submitted_at": NOW, "source": source}
    return Job(status=status, fingerprint="", order_count=2, **known, **values)


@pytest.mark.timeout(300)
def test_the_demo_runs_whatever_is_exported_and_finds_everything_as_it_should_be() -> None:
    exported = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "ROBOT_COORDINADORA_URL": "http://127.0.0.1:9",
        "ROBOT_ORCHESTRATOR_APP_ID": "another",
    }
    command = [sys.executable, "-m", "streams.cli", "demo"]
    ended = subprocess.run(command, env=os.environ | exported, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""


def test_an_example_keeps_the_contract_and_its_password_out_of_sight() -> None:
    submission = JobSubmitted.model_validate_json(example_submission(JobKey("w", "j"), 3))
    assert (submission.workspaceId, submission.jobId, len(submission.orders)) == ("w", "j", 3)
    assert PASSWORD not in repr(submission)


def test_the_demos_jobs_have_ids_of_their_own() -> None:
    assert len({case.key for case in CASES}) == len({case.job_id for case in CASES}) == len(CASES)


def test_one_job_in_n_gets_a_fate() -> None:
    table = fates_of({Fate.REFUSE: 3, Fate.LOSE: 2, Fate.ALL_FAIL: 0})
    assert table == {"*": {"refuse": 2, "lose": 3, "complete": 1}}
    assert fate_table(table)(BatchRequest("j", "w", "", "", [])) in (Fate.REFUSE, Fate.LOSE, Fate.COMPLETE)


BUSY = PutOff(
    times=2,
    since=NOW,
    until=NOW + timedelta(seconds=10),
    reason=FailureReason.ROBOT_REJECTED,
    error="busy",
    robot_status=409,
)
AWAY = PutOff(times=1, since=NOW, until=NOW, reason=FailureReason.ROBOT_UNREACHABLE, error="nobody there")


def test_every_job_may_get_a_fate_and_no_more_than_that() -> None:
    assert fates_of({}) == {}
    assert fates_of({Fate.REFUSE: 1}) == {"*": {"refuse": 1, "complete": 0}}
    with pytest.raises(ValueError, match="more than every job"):
        fates_of({Fate.REFUSE: 1, Fate.LOSE: 9})


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (job(Status.PENDING), "submitted, not called yet"),
        (
            job(Status.PROCESSING, accepted_at=NOW, stop=Stop("control-1", "ana", "red\x1b[31m", NOW)),
            "given up by ana at 12:00:00 UTC (red\\x1b[31m): at the robot",
        ),
        (job(Status.PENDING, put_off=BUSY), "robot busy (409), put off 2x, again in 0:10"),
        (
            job(Status.PENDING, put_off=replace(BUSY, gives_up_at=NOW + timedelta(seconds=9))),
            "robot busy (409), put off 2x, gives up in 0:09",
        ),
        (
            job(Status.PENDING, put_off=replace(BUSY, gives_up_at=NOW + timedelta(seconds=11))),
            "robot busy (409), put off 2x, again in 0:10",
        ),
        (job(Status.PENDING, put_off=AWAY), "robot away, put off 1x, waits for its turn"),
        (job(Status.PROCESSING, deadline=NOW + timedelta(seconds=65)), "robot is being called, 1:05 left"),
        (job(Status.PROCESSING, accepted_at=NOW, deadline=NOW), "robot at work, deadline has passed"),
        (
            job(Status.PROCESSING, accepted_at=NOW, robot_restarted_at=NOW, deadline=NOW + timedelta(seconds=5)),
            "robot has restarted and lost it, 0:05 left",
        ),
        (job(Status.COMPLETED, success_count=1, error_count=1), "1 done, 1 failed"),
        (job(Status.COMPLETED, success_count=5, error_count=0), "5 done, 0 failed, which does not add up"),
        (
            job(Status.FAILED, reason=FailureReason.TIMEOUT, robot_may_have_received=True),
            "timeout, robot may have it",
        ),
        (
            job(Status.FAILED, reason=FailureReason.ROBOT_REJECTED, robot_status=409),
            "robot_rejected 409, not taken by the robot",
        ),
    ],
)
def test_a_job_says_what_it_waits_for_or_how_it_ended(row: Job, text: str) -> None:
    assert explain(row, NOW) == text
    assert line(row, NOW).endswith(f"j of w: {text}")


def shown(row: Job, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render([row], NOW, 5, width))
    return console.export_text()


def test_on_eighty_columns_there_is_room_for_what_a_job_does() -> None:
    identifier = "01234567-89ab-cdef-0123-456789abcdef"
    row = replace(job(Status.COMPLETED, success_count=1, error_count=1), job_id=identifier, workspace_id=identifier)
    narrow, wide = shown(row, 80), shown(row, 140)
    assert "01234567…" in narrow
    assert all(len(text) <= 80 for text in narrow.splitlines())
    assert identifier in wide
    assert all("1 done, 1 failed" in text for text in (narrow, wide))


def test_ids_are_shown_as_they_are_and_cannot_move_the_cursor() -> None:
    """Neither those that look like markup."""
    row = replace(job(Status.PENDING), job_id="a\r\nb\x1b[2J[red]", workspace_id="\u202ec[/]")
    for text in (shown(row, 140), line(row, NOW)):
        assert r"a\r\nb\x1b[2J[red]" in text
        assert r"\u202ec[/]" in text
