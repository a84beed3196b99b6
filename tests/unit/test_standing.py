"""Where a job stands, in words."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import faust
import pytest
from hypothesis import example, given
from msgspec.structs import replace

from streams.core.controls import Action, Control, Decision
from streams.core.deadlines import FIRST_BACK_OFF
from streams.core.job import FailureReason, Job, JobKey, PutOff, Source, Stop
from streams.operate.resubmission import Choice, Group, Plan, Refusal, plan_resubmission, resubmit_command
from streams.operate.standing import (
    Around,
    Hold,
    SendAgain,
    Verdict,
    Wait,
    WaitKind,
    clock,
    holds_in_force,
    orders_of_row,
    send_again,
    state_in_words,
    waiting_for,
)
from streams.operate.table_view import known_workers
from streams.wire.rows import Owner
from tests.core.builders import (
    ACCEPTED,
    ACCEPTED_AT,
    CALLED,
    CLAIM_DEADLINE,
    COMPLETED,
    DEADLINES,
    FAILED,
    LOST,
    PENDING,
    SUBMITTED_AT,
)
from tests.unit.test_resubmission import (
    NEVER_HAD,
    counted,
    error,
    followed,
    jobs,
    submission,
    success,
    unreported,
)

# The robot is at ACCEPTED, and has been for a minute.
NOW = ACCEPTED_AT + timedelta(minutes=1)


def numbered(job: Job, number: int, **changes: Any) -> Job:
    """Return a job as the n-th of its workspace."""
    return replace(job, job_id=f"S{number}", source=Source("robot.job.submitted", 3, 40 + number), **changes)


S1, S2, S3, S4 = numbered(ACCEPTED, 1), *(numbered(PENDING, number) for number in (2, 3, 4))
OTHERS = replace(PENDING, workspace_id="workspace-2")
BUSY = PutOff(
    times=3,
    since=SUBMITTED_AT,
    until=NOW + timedelta(seconds=20),
    reason=FailureReason.ROBOT_REJECTED,
    error="Robot service error 409: busy",
    robot_status=409,
)
DEADLINE_PASSED = NOW + timedelta(hours=1)
STOP = Stop("control-1", "alice", "wrong prices", SUBMITTED_AT)
HOLD = Hold(workspace_id=PENDING.workspace_id, actor="alice", reason="wrong prices", since=SUBMITTED_AT)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (PENDING, "submitted, not called yet"),
        (replace(PENDING, put_off=BUSY), "put off 3 times since 12:00:00 UTC: the robot was busy (409)"),
        (
            replace(PENDING, put_off=replace(BUSY, times=1, robot_status=None)),
            "put off once since 12:00:00 UTC: the robot was not there",
        ),
        (CALLED, "claimed for its call, not answered yet, 0 of 2 orders reported"),
        (replace(ACCEPTED, orders=()), "at the robot"),
        (ACCEPTED, "at the robot, 0 of 2 orders reported"),
        (LOST, "lost by the robot, which was started again at 12:00:42 UTC, 0 of 2 orders reported"),
        (replace(COMPLETED, error_count=0), "completed: 1 shipped, 0 failed, which does not add up"),
        (FAILED, "failed (robot_rejected): the robot may have it, 0 of 2 orders reported"),
        (NEVER_HAD, "failed (robot_unreachable): the robot does not have it"),
        (
            replace(NEVER_HAD, reason=FailureReason.CANCELLED, stop=STOP),
            "cancelled by alice at 12:00:00 UTC (wrong prices): failed (cancelled): the robot does not have it",
        ),
        (
            replace(ACCEPTED, orders=(), stop=STOP),
            "given up by alice at 12:00:00 UTC (wrong prices): at the robot",
        ),
    ],
)
def test_a_state_in_words(job: Job, words: str) -> None:
    assert state_in_words(job, NOW) == words


def test_an_instant_of_another_day_says_so() -> None:
    assert clock(SUBMITTED_AT, NOW + timedelta(days=1)) == "2026-01-31 12:00:00 UTC"


def waits(job: Job, workspace: Collection[Job] = (), now: datetime = NOW, **around: Any) -> list[Wait]:
    return list(waiting_for(job, Around(deadlines=DEADLINES, workspace=workspace or [job], **around), now))


def line(words: str, place: int, behind: str, until: datetime | None = None) -> list[Wait]:
    return [Wait(kind=WaitKind.WORKSPACE, words=words, until=until, place=place, behind=behind)]


@pytest.mark.parametrize(
    ("job", "workspace", "expected"),
    [
        (
            S4,
            [S4, S3, S2, S1],
            line("third behind S1, which is at the robot, until 12:06:12 UTC at the latest", 3, "S1", S1.deadline),
        ),
        (
            S2,
            [numbered(CALLED, 1), S2],
            line(
                "first behind S1, whose call is not answered yet, until 12:07:40 UTC at the latest",
                1,
                "S1",
                CLAIM_DEADLINE,
            ),
        ),
        (S3, [S2, S3], line("second in its workspace's line, behind S2, which is next", 2, "S2")),
        (
            S2,
            [numbered(COMPLETED, 1, ended_at=NOW), S2],
            line(
                "first behind S1, which is completed: the next one is called at 12:01:17 UTC",
                1,
                "S1",
                NOW + DEADLINES.workspace_pause,
            ),
        ),
        (
            S2,
            [numbered(FAILED, 1), S2],
            line(
                "first behind S1, which has failed: the robot may be at it until 12:07:45 UTC",
                1,
                "S1",
                CLAIM_DEADLINE + DEADLINES.workspace_pause,
            ),
        ),
        # What has surely not run, or is over, keeps nobody waiting.
        (S2, [numbered(NEVER_HAD, 1, ended_at=NOW), numbered(COMPLETED, 0, ended_at=SUBMITTED_AT), S2], []),
        (numbered(PENDING, 13), [S1, *(numbered(PENDING, n) for n in range(2, 14))], None),
    ],
)
def test_a_job_s_place_in_its_workspace_s_line(job: Job, workspace: list[Job], expected: list[Wait] | None) -> None:
    found = [wait for wait in waits(job, workspace) if wait.kind is not WaitKind.CALL_SLOT]
    if expected is None:
        assert found[0].words.startswith("number 12 behind S1")
    else:
        assert found == expected


class CountedRows(list[Job]):
    """Rows that know how often they were gone through."""

    def __init__(self, rows: Iterable[Job]) -> None:
        super().__init__(rows)
        self.times = 0

    def __iter__(self) -> Iterator[Job]:
        self.times += 1
        return super().__iter__()


def test_the_rows_of_a_workspace_are_gone_through_as_often_for_many_jobs_as_for_one() -> None:
    pending = [numbered(PENDING, number) for number in range(1, 30)]
    ended = [numbered(COMPLETED, -number, ended_at=NOW - timedelta(minutes=number)) for number in range(30)]
    times = set()
    for asked in (pending[:1], pending):
        rows = CountedRows([*ended, *pending])
        around = Around(deadlines=DEADLINES, workspace=rows)
        for place, job in enumerate(asked, 1):
            (wait,) = waiting_for(job, around, NOW)
            assert (wait.place, wait.behind) == (place, ended[0].job_id)
        # Of the same rows later, when the last of these that have ended has left: nobody waits but for the next one.
        assert [wait.behind for wait in waiting_for(pending[1], around, NOW + timedelta(minutes=1))] == ["S1"]
        times.add(rows.times)
    assert len(times) == 1


def test_what_is_past_its_deadline_does_not_promise_one() -> None:
    late = ACCEPTED.deadline
    assert late is not None
    assert waits(S2, [S1, S2], now=late)[0].words == "first behind S1, whose deadline of 12:06:12 UTC has passed"
    assert waits(S1, now=late)[0].words.endswith("has passed, and it is decided when all reports are read")
    stopped = waits(replace(S1, orders=(), stop=STOP))
    assert stopped[0].words == "its completion; it is given up, and it is decided when all reports are read"


def test_only_holds_that_nobody_has_released_are_in_force() -> None:
    control = Control(
        control_id="control-1",
        action=Action.HOLD,
        workspace_id=HOLD.workspace_id,
        job_id=None,
        actor=HOLD.actor,
        reason=HOLD.reason,
        requested_at=SUBMITTED_AT,
    )
    held = Decision(control, HOLD.since, in_force=True)
    assert holds_in_force([held, dataclasses.replace(held, in_force=False)]) == [HOLD]


@pytest.mark.parametrize(
    ("places", "kind"), [(0, WaitKind.CALL_SLOT), (2, WaitKind.CALL_SLOT), (1, WaitKind.WORKSPACE)]
)
def test_with_more_places_a_job_of_the_workspace_waits_for_nobody_of_it(places: int, kind: WaitKind) -> None:
    assert [wait.kind for wait in waits(S2, [S1, S2], jobs_per_workspace=places)] == [kind]


def test_what_a_person_can_do_something_about_is_said_first() -> None:
    everything = dataclasses.replace(HOLD, workspace_id=None, actor="bob")
    elsewhere = dataclasses.replace(HOLD, workspace_id="workspace-2")
    owner = Owner("worker-1", SUBMITTED_AT, robot_away_since=SUBMITTED_AT)
    first = replace(S2, put_off=BUSY)
    found = waits(S3, [S1, first, S3], holds=[HOLD, everything, elsewhere], owner=owner, workers=["worker-2"])
    assert [wait.words for wait in found] == [
        "alice, who holds its workspace since 12:00:00 UTC: wrong prices",
        "bob, who holds everything since 12:00:00 UTC: wrong prices",
        "a worker: worker-1 had its partition, and is gone",
        "the robot, which has not been there since 12:00:00 UTC",
        "the robot: it was busy (409), and is called again at 12:01:32 UTC",
        "second behind S1, which is at the robot, until 12:06:12 UTC at the latest",
    ]


def test_a_workspace_whose_last_job_the_robot_refused_waits_for_the_robot() -> None:
    refused = numbered(NEVER_HAD, 1, reason=FailureReason.ROBOT_REJECTED, robot_status=409, ended_at=NOW)
    (wait,) = waits(S2, [refused, S2])
    assert (wait.kind, wait.since, wait.until) == (WaitKind.ROBOT_BUSY, NOW, NOW + FIRST_BACK_OFF)


@pytest.mark.parametrize(
    ("member", "known"),
    [(f"faust-{faust.__version__}", False), ("faust-worker-1-91a74811", True), ("faust-1.2-91a74811", True)],
)
def test_a_worker_of_an_older_release_is_known_by_the_name_that_faust_gives_it(member: str, known: bool) -> None:
    members = frozenset({"vm-91a74811", member})
    assert known_workers(members) == (members if known else None)


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (None, None),
        ([CALLED.claimed_by], None),
        ([], "a worker: none is running"),
        (["worker-2"], "nobody: worker-1, which was to call it, is gone; a completion or its deadline decides it"),
    ],
)
def test_a_claim_whose_worker_is_gone_is_said_to_be_nobody_s(workers: list[str] | None, words: str | None) -> None:
    found = [wait.words for wait in waits(CALLED, workers=workers)]
    assert found[-1] == "the robot's answer to its call, until 12:07:40 UTC at the latest"
    assert found[:-1] == ([] if words is None else [words])


def test_what_is_at_the_robot_waits_for_its_reports_and_what_has_ended_for_nothing() -> None:
    half = replace(ACCEPTED, orders=(success("a"), unreported("b")))
    assert waits(half)[0].words == "the robot's report of 1 of 2 orders, until 12:06:12 UTC at the latest"
    assert waits(replace(ACCEPTED, orders=()))[0].words.startswith("its completion, until ")
    assert waits(COMPLETED) == waits(FAILED) == []


# Whether it may be sent again


def verdict(job: Job, now: datetime = DEADLINE_PASSED) -> SendAgain:
    return send_again(job, orders_of_row(job), now)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            NEVER_HAD,
            SendAgain(Verdict.YES, "2 of 2 orders never reached the robot", choice=Choice(group=Group.UNREPORTED)),
        ),
        (
            followed(success("a"), error("b"), error("c", "timeout"), unreported("d")),
            SendAgain(
                Verdict.ORDERS,
                "1 of 4 orders failed before they were sent to the courier; 1 reported as success; 2 may have "
                "shipped: look at the courier's portal",
                ("b",),
                Choice(group=None, named=frozenset("b")),
            ),
        ),
        (
            followed(success("a"), error("b"), error("c")),
            SendAgain(
                Verdict.ORDERS,
                "2 of 3 orders failed before they were sent to the courier; 1 reported as success",
                ("b", "c"),
                Choice(group=Group.FAILED),
            ),
        ),
        (
            followed(success("a"), success("b")),
            SendAgain(Verdict.NO, "nothing is left to send: every order was reported as success"),
        ),
        (
            counted(1, 2),
            SendAgain(
                Verdict.NO,
                "which of these orders failed is not known, name those to send with --order: its orders, which the "
                "submission names",
            ),
        ),
        (
            replace(NEVER_HAD, resubmitted_as="new-1"),
            SendAgain(Verdict.NO, "it was resubmitted as new-1: try that one again, if it has left something"),
        ),
        (ACCEPTED, SendAgain(Verdict.NO, "it is still processing, until 2026-01-31T12:06:12.000Z at the latest")),
    ],
)
def test_the_verdict_by_the_row_alone(job: Job, expected: SendAgain) -> None:
    command = None if expected.choice is None else resubmit_command(job.key, expected.choice)
    assert verdict(job) == dataclasses.replace(expected, command=command)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice(group=Group.FAILED), ""),
        (Choice(group=Group.UNREPORTED), " --orders unreported"),
        (
            Choice(group=None, named=frozenset({"b", "a c"}), new_item_ids=True),
            " --order 'a c' --order b --new-item-ids",
        ),
    ],
)
def test_what_may_be_sent_again_is_said_as_a_command_line(choice: Choice, words: str) -> None:
    command = resubmit_command(JobKey("shop 5", "job-1"), choice)
    assert command == f"robot-orchestrator jobs resubmit job-1 --workspace 'shop 5'{words}"
    command = resubmit_command(JobKey("shop 5", "-1"), choice)
    assert command == f"robot-orchestrator jobs resubmit --workspace 'shop 5'{words} -- -1"


def test_a_job_whose_submission_is_gone_cannot_be_sent_again_by_us() -> None:
    gone = send_again(NEVER_HAD, None, NOW)
    assert (gone.verdict, gone.because.partition(":")[0]) == (
        Verdict.NO,
        "its submission is no longer in robot.job.submitted",
    )


@given(jobs())
def test_the_verdict_is_what_resubmit_lets_go_without_a_further_word(row: tuple[Job, list[str]]) -> None:
    job, items = row
    orders = submission(items).orders
    told = send_again(job, orders, NOW)
    if told.choice is None:
        assert told.verdict is Verdict.NO
        for group in Group:
            plan = plan_resubmission(job, orders, Choice(group=group, new_item_ids=True), NOW)
            assert isinstance(plan, Refusal)
        return
    plan = plan_resubmission(job, orders, told.choice, NOW)
    assert isinstance(plan, Plan)
    assert not [warning for warning in plan.warnings if "second time" in warning]
    assert {order.item_id for order in plan.orders} == set(told.orders or items)
    assert (told.verdict is Verdict.YES) == (len(plan.orders) == len(items))
    assert not told.choice.may_have_shipped


@example((replace(COMPLETED, orders=(error("a"),), order_count=2, success_count=0, error_count=2), ["a", "a"]))
@given(jobs())
def test_the_row_never_lets_more_go_than_the_submission(row: tuple[Job, list[str]]) -> None:
    job, items = row
    by_row, by_submission = send_again(job, orders_of_row(job), NOW), send_again(job, submission(items).orders, NOW)
    if by_row.verdict is not Verdict.NO:
        assert by_submission.verdict is not Verdict.NO
        assert set(by_row.orders or items) <= set(by_submission.orders or items)
