"""Which orders of a job may be tried again as another job."""

import dataclasses
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas import JobSubmitted
from streams.core.job import FailureReason, Job, OrderResult, OrderStatus, Status
from streams.operate.resubmission import (
    Choice,
    Group,
    Plan,
    Refusal,
    Standing,
    new_job_id_of,
    plan_resubmission,
)
from tests.core.builders import COMPLETED, ENDED_AT, FAILED, NOW, PENDING, PUT_OFF
from tests.unit.builders import payload

SUCCESS, ERROR = OrderStatus.SUCCESS, OrderStatus.ERROR
ALL_RUNNING = [PENDING, PUT_OFF, replace(FAILED, status=Status.PROCESSING)]


def submission(items: Sequence[str] = ("a", "b", "c")) -> JobSubmitted:
    orders = [{"itemId": item, "orderId": f"o-{n}", "pedidoInput": {}} for n, item in enumerate(items)]
    return JobSubmitted.model_validate(payload(orders=orders))


def error(item: str, error_type: str | None = "portal") -> OrderResult:
    return OrderResult(item, ERROR, error_type=error_type)


def success(item: str) -> OrderResult:
    return OrderResult(item, SUCCESS, "7300000001")


def unreported(item: str) -> OrderResult:
    return OrderResult(item)


def followed(*orders: OrderResult, **changes: Any) -> Job:
    """Return a job that was reported order by order, and timed out unless all are reported."""
    job = replace(FAILED, reason=FailureReason.TIMEOUT, robot_status=None, orders=orders, order_count=len(orders))
    if all(order.status is not OrderStatus.UNREPORTED for order in orders):
        count = Counter(order.status for order in orders)
        job = replace(job, status=Status.COMPLETED, reason=None, success_count=count[SUCCESS], error_count=count[ERROR])
    return replace(job, **changes)


def counted(success_count: int, error_count: int) -> Job:
    """Return a job of three orders that was completed by its counts alone."""
    return replace(COMPLETED, success_count=success_count, error_count=error_count, orders=(), order_count=3)


NEVER_HAD = replace(
    FAILED, reason=FailureReason.ROBOT_UNREACHABLE, robot_status=None, robot_may_have_received=False, orders=()
)
UNKNOWN = replace(FAILED, reason=FailureReason.DISPATCH_UNKNOWN, robot_status=None, orders=())
ANYTHING = Choice(group=Group.ALL, new_item_ids=True, may_have_shipped=True)


def decide(job: Job, choice: Choice, items: Sequence[str] = ("a", "b", "c")) -> Plan | Refusal:
    return plan_resubmission(job, submission(items).orders, choice, NOW)


def sent(job: Job, choice: Choice, items: Sequence[str] = ("a", "b", "c")) -> list[str]:
    """Return the former item ids of what is sent again."""
    plan = decide(job, choice, items)
    assert isinstance(plan, Plan), plan
    return [order.item_id for order in plan.orders]


def refused(job: Job, choice: Choice, items: Sequence[str] = ("a", "b", "c")) -> str:
    refusal = decide(job, choice, items)
    assert isinstance(refusal, Refusal), refusal
    assert "\n" not in refusal.reason
    return refusal.reason


def choose(*named: str, group: Group | None = None, **more: bool) -> Choice:
    return Choice(group=group or (None if named else Group.FAILED), named=frozenset(named), **more)


# Whatever is chosen


def test_a_submission_that_was_invalid_is_refused_before_it_is_looked_for() -> None:
    invalid = replace(NEVER_HAD, reason=FailureReason.INVALID_SUBMISSION)
    for job, reason in ((invalid, "was invalid"), (NEVER_HAD, "is no longer in robot.job.submitted")):
        refusal = plan_resubmission(job, None, ANYTHING, NOW)
        assert isinstance(refusal, Refusal)
        assert f"its submission {reason}" in refusal.reason


SECOND_FAILED = followed(success("a"), error("b"), unreported("c"))


@pytest.mark.parametrize(
    ("job", "choice", "reason"),
    [
        *((job, ANYTHING, f"it is still {job.status}") for job in ALL_RUNNING),
        (PUT_OFF, ANYTHING, "it is still pending, until 2026-01-31T13:14:00.000Z at the latest"),
        (replace(NEVER_HAD, resubmitted_as="new-1"), ANYTHING, "it was resubmitted as new-1:"),
        (NEVER_HAD, Choice(), "no order was reported as failed; the robot never had this job: --orders all"),
        (
            followed(success("a"), success("b"), unreported("c")),
            Choice(),
            "--orders unreported chooses those",
        ),
        (followed(success("a"), error("b"), error("c")), choose(group=Group.UNREPORTED), "(--orders failed"),
        (SECOND_FAILED, choose("b", "x"), "it has no such order: x"),
        # The counts speak against the errors.
        (followed(success("a"), error("b"), error("c"), success_count=3, error_count=0), Choice(), "shipped: b, c"),
        # They do not add up, or are of more orders than there are.
        *((counted(0, errors), ANYTHING, "not known") for errors in (0, 1)),
        *((counted(0, errors), choose("a", "b", new_item_ids=True), "can have failed") for errors in (0, 1)),
        (counted(2, 3), ANYTHING, "not known"),
        # All succeeded.
        (counted(3, 0), ANYTHING, "nothing is left to send"),
        (counted(3, 0), choose("a", new_item_ids=True), "these were reported as success"),
    ],
)
def test_what_is_refused_is_refused_with_its_reason(job: Job, choice: Choice, reason: str) -> None:
    assert reason in refused(job, choice)


# Where the robot never had the job


@pytest.mark.parametrize("group", [Group.ALL, Group.UNREPORTED])
def test_of_a_job_that_the_robot_never_had_all_orders_are_sent_without_more_ado(group: Group) -> None:
    assert sent(NEVER_HAD, Choice(group=group)) == ["a", "b", "c"]


def test_what_a_robot_reports_before_it_refuses_has_failed_and_was_not_sent() -> None:
    job = followed(error("a", "validation"), error("b", "timeout"), unreported("c"), robot_may_have_received=False)
    assert sent(job, Choice()) == ["a", "b"]
    assert sent(job, Choice(group=Group.UNREPORTED)) == ["c"]
    assert sent(job, Choice(group=Group.ALL)) == ["a", "b", "c"]


# Where each order is known


def test_only_what_was_reported_as_failed_is_sent_if_nothing_is_said() -> None:
    assert sent(followed(success("a"), error("b"), error("c", "validation")), Choice()) == ["b", "c"]


def test_where_all_succeeded_nothing_is_left() -> None:
    done = followed(success("a"), success("b"), success("c"))
    for group in Group:
        assert refused(done, Choice(group=group, may_have_shipped=True)).startswith("nothing is left to send")


@pytest.mark.parametrize("error_type", ["timeout", "unknown", None, "portal_timeout"])
def test_an_error_that_is_not_surely_unsent_needs_a_word(error_type: str | None) -> None:
    job = followed(success("a"), error("b"), error("c", error_type))
    assert refused(job, Choice()).endswith("--may-have-shipped: c")
    assert sent(job, Choice(may_have_shipped=True)) == ["b", "c"]
    assert sent(job, choose("c", group=Group.FAILED)) == ["b", "c"]
    assert sent(job, choose("b")) == ["b"]
    assert sent(job, choose("c")) == ["c"]


def test_an_order_that_was_not_reported_needs_a_word() -> None:
    job = followed(success("a"), error("b"), unreported("c"))
    assert sent(job, Choice()) == ["b"]
    assert refused(job, Choice(group=Group.UNREPORTED)).endswith("--may-have-shipped: c")
    assert refused(job, Choice(group=Group.ALL)).endswith("--may-have-shipped: c")
    assert sent(job, Choice(group=Group.ALL, may_have_shipped=True)) == ["b", "c"]
    assert sent(job, choose("c", group=Group.ALL)) == ["b", "c"]


def test_a_success_is_sent_again_only_if_it_is_named_and_that_is_allowed() -> None:
    job = followed(success("a"), error("b"), unreported("c"))
    assert refused(job, choose("a")).startswith("these were reported as success")
    assert sent(job, choose("a", may_have_shipped=True)) == ["a"]
    assert sent(job, choose("a", group=Group.ALL, may_have_shipped=True)) == ["a", "b", "c"]


def test_a_report_of_an_item_id_that_two_orders_share_tells_of_neither() -> None:
    job = followed(error("a"), error("b"), success_count=1, error_count=2)
    items = ("a", "a", "b")
    assert "not known, name those to send with --order: a" in refused(job, Choice(), items)
    assert refused(job, choose("a"), items).startswith("of the 2 orders named, 1 can have failed")
    assert refused(job, choose("a", may_have_shipped=True), items).endswith("--new-item-ids")
    # Nor is one shipped because the other one was.
    nothing = {"status": Status.FAILED, "reason": FailureReason.TIMEOUT, "success_count": None, "error_count": None}
    timed_out = followed(success("a"), success("b"), order_count=3, **nothing)
    assert "not known, name those to send with --order: a" in refused(timed_out, Choice(), items)
    all_done = followed(success("a"), success("b"), order_count=3, success_count=3)
    assert refused(all_done, Choice(), items) == "nothing is left to send: every order was reported as success"
    plan = decide(job, choose("a", may_have_shipped=True, new_item_ids=True), items)
    assert isinstance(plan, Plan)
    assert len(set(plan.items.values())) == 2


# Where the orders are known by their counts alone


def test_which_of_them_failed_is_not_known_so_they_must_be_named() -> None:
    job = counted(1, 2)
    for group in Group:
        choice = Choice(group=group, new_item_ids=True, may_have_shipped=True)
        assert "not known, name those to send with --order: a, b, c" in refused(job, choice)
    assert sent(job, choose("a", "b", new_item_ids=True)) == ["a", "b"]
    assert refused(job, choose("a", "b", "c", new_item_ids=True)).startswith("of the 3 orders named, 2 can have failed")
    assert sent(job, choose("a", "b", "c", new_item_ids=True, may_have_shipped=True)) == ["a", "b", "c"]


def test_where_all_failed_it_is_known_but_not_how() -> None:
    assert refused(counted(0, 3), Choice(new_item_ids=True)).endswith("--may-have-shipped: a, b, c")
    assert sent(counted(0, 3), Choice(new_item_ids=True, may_have_shipped=True)) == ["a", "b", "c"]


def test_counts_also_tell_of_orders_whose_reports_never_came() -> None:
    orders = (unreported("a"), unreported("b"), error("c"))
    done = followed(*orders, success_count=2, error_count=1)
    assert sent(done, Choice(group=Group.ALL, may_have_shipped=True)) == ["c"]
    late = followed(*orders, success_count=0, error_count=3)
    assert sent(late, Choice(may_have_shipped=True)) == ["a", "b", "c"]
    one = followed(success("a"), unreported("b"), unreported("c"), success_count=1, error_count=2)
    assert sent(one, Choice(may_have_shipped=True)) == ["b", "c"]


# Two jobs whose reports look alike


@pytest.mark.parametrize("job", [UNKNOWN, counted(0, 3)], ids=["in doubt", "completed"])
def test_where_the_callback_does_not_tell_two_jobs_apart_new_item_ids_are_needed(job: Job) -> None:
    choice = Choice(group=Group.ALL, may_have_shipped=True)
    assert refused(job, choice).startswith("the callback address does not tell the two jobs apart")
    assert sent(job, dataclasses.replace(choice, new_item_ids=True)) == ["a", "b", "c"]


def test_of_a_job_in_doubt_that_is_not_followed_every_order_needs_a_word() -> None:
    assert refused(UNKNOWN, choose(group=Group.ALL, new_item_ids=True)).endswith("--may-have-shipped: a, b, c")
    assert sent(UNKNOWN, choose("b", new_item_ids=True)) == ["b"]


def test_item_ids_stay_unless_others_are_asked_for() -> None:
    job = followed(success("a"), error("b"), error("c"))
    same, other = decide(job, Choice()), decide(job, Choice(new_item_ids=True))
    assert isinstance(same, Plan)
    assert isinstance(other, Plan)
    assert same.items == {1: "b", 2: "c"}
    assert other.items.keys() == {1, 2}
    assert len({*other.items.values(), "a", "b", "c"}) == 5
    assert all(str(uuid.UUID(item)) == item for item in other.items.values())
    # Whatever else is chosen beside it, an order gets the same one.
    one = decide(job, choose("c", new_item_ids=True))
    assert isinstance(one, Plan)
    assert one.items == {2: other.items[2]}


# Warnings


def warnings(job: Job, choice: Choice) -> list[str]:
    plan = decide(job, choice)
    assert isinstance(plan, Plan), plan
    return list(plan.warnings)


def test_nothing_is_warned_of_where_all_that_failed_is_sent_as_it_was() -> None:
    assert warnings(followed(success("a"), error("b"), error("c")), Choice()) == []


def test_what_stays_behind_and_what_may_ship_twice_is_said() -> None:
    job = followed(success("a"), error("b"), unreported("c"), deadline=ENDED_AT)
    assert warnings(job, Choice()) == ["a job can be resubmitted once, and these stay behind: c"]
    assert warnings(job, Choice(group=Group.ALL, may_have_shipped=True)) == ["may ship a second time: c"]
    again = choose("a", "b", "c", may_have_shipped=True)
    assert warnings(job, again) == ["may ship a second time: a, c"]


def test_that_the_reports_taker_must_know_the_new_ids_is_said() -> None:
    told = "a bridge of your own has to know the new job and its item ids first (--dry-run prints them)"
    assert warnings(NEVER_HAD, Choice(group=Group.ALL)) == [told]
    assert warnings(followed(success("a"), error("b"), error("c")), Choice(new_item_ids=True)) == [told]


def test_that_the_robot_may_still_be_at_it_is_said_until_the_deadline() -> None:
    choice = Choice(group=Group.ALL, may_have_shipped=True)
    later = followed(error("a"), error("b"), unreported("c"), deadline=NOW + timedelta(minutes=5))
    assert warnings(later, choice)[-1] == "the robot may still be at the old job, until 2026-01-31T13:05:00.000Z"
    for done in (
        replace(later, deadline=NOW),
        replace(later, robot_may_have_received=False),
        replace(later, orders=(error("a"), error("b"), error("c"))),
    ):
        assert not any("still be at" in warning for warning in warnings(done, choice))


def test_long_lists_are_cut() -> None:
    items = [f"i{n}" for n in range(8)]
    job = followed(*map(unreported, items))
    text = refused(job, Choice(group=Group.ALL), items)
    assert text.endswith(": i0, i1, i2, i3, i4 and 3 more")


# The new job's id


def test_the_new_id_is_made_of_the_old_job_and_of_nothing_else() -> None:
    job = followed(success("a"), error("b"), unreported("c"))
    assert str(uuid.UUID(new_job_id_of(job))) == new_job_id_of(job)
    others = [
        replace(job, job_id="job-2"),
        replace(job, workspace_id="workspace-2"),
        # The same ids once more, after they were forgotten.
        replace(job, submitted_at=job.submitted_at + timedelta(days=8)),
    ]
    assert len({new_job_id_of(one) for one in (job, *others)}) == 4
    # It never changes: a command that is given again after an upgrade makes no second job.
    assert new_job_id_of(job) == "2fccd775-771a-51f7-a198-c100bc80712e"


# Any job, any choice

items_of = st.lists(st.sampled_from("abcd"), min_size=1, max_size=5)
results = st.builds(
    OrderResult,
    st.sampled_from("abcd"),
    st.sampled_from(OrderStatus),
    st.none(),
    st.sampled_from(["validation", "portal", "timeout", "unknown", None]),
)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[Job, list[str]]:
    """Return a row as it could be, or worse, and the item ids of its submission."""
    items = draw(items_of)
    counts = draw(st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5)))
    reported = {result.item_id: result for result in draw(st.lists(results, max_size=4))}
    each = tuple(reported.get(item, OrderResult(item)) for item in dict.fromkeys(items))
    job = replace(
        draw(st.sampled_from([*ALL_RUNNING, COMPLETED, FAILED, NEVER_HAD])),
        orders=draw(st.sampled_from([each, ()])),
        order_count=len(items),
        robot_may_have_received=draw(st.booleans()),
        resubmitted_as=draw(st.sampled_from([None, None, None, "new"])),
    )
    if job.status is Status.COMPLETED:
        job = replace(job, robot_may_have_received=True)
    if job.status is Status.COMPLETED or (job.ended and counts and job.robot_may_have_received):
        success_count, error_count = counts or (0, len(items))
        job = replace(job, success_count=success_count, error_count=error_count)
    return job, items


choices = st.builds(
    Choice,
    group=st.none() | st.sampled_from(Group),
    named=st.frozensets(st.sampled_from("abcd"), max_size=3),
    new_item_ids=st.booleans(),
    may_have_shipped=st.booleans(),
)


@given(jobs(), choices)
def test_no_success_is_sent_again_unless_it_is_named_and_that_is_allowed(
    row: tuple[Job, list[str]], choice: Choice
) -> None:
    job, items = row
    plan = decide(job, choice, items)
    if not isinstance(plan, Plan):
        return
    again = [order.item_id for order in plan.orders]
    reported = {order.item_id for order in job.orders if order.status is SUCCESS}
    assert reported & set(again) <= choice.named
    if not choice.may_have_shipped:
        assert not reported & set(again)
        # Nor one of those that only the counts tell of, where these can be right.
        if job.success_count is not None and job.error_count is not None and not job.counts_mismatch:
            assert len(again) <= job.error_count


@given(jobs(), choices)
def test_what_the_robot_may_have_sent_needs_to_be_named_or_allowed(row: tuple[Job, list[str]], choice: Choice) -> None:
    job, items = row
    plan = decide(job, choice, items)
    if not isinstance(plan, Plan) or choice.may_have_shipped:
        return
    sure = {
        order.item_id for order in job.orders if order.status is ERROR and order.error_type in ("validation", "portal")
    }
    for order in plan.orders:
        if job.robot_may_have_received:
            assert order.item_id in sure | choice.named


@given(jobs(), choices)
def test_a_plan_is_of_an_ended_job_and_has_orders_of_it_each_once_in_their_order(
    row: tuple[Job, list[str]], choice: Choice
) -> None:
    job, items = row
    plan = decide(job, choice, items)
    if isinstance(plan, Refusal):
        assert plan.reason
        return
    assert job.ended
    assert job.resubmitted_as is None
    places = [order.place for order in plan.orders]
    assert places == sorted(set(places)) != []
    assert list(plan.items) == places
    assert [items[place] for place in places] == [order.item_id for order in plan.orders]
    assert choice.named <= {order.item_id for order in plan.orders}
    assert choice.new_item_ids or job.orders or not job.robot_may_have_received
    if job.robot_may_have_received:
        assert Standing.NEVER_SENT not in {order.standing for order in plan.orders}


@given(jobs(), choices, choices)
def test_one_job_is_never_resubmitted_under_two_ids(row: tuple[Job, list[str]], one: Choice, other: Choice) -> None:
    job, items = row
    plans = [decide(job, choice, items) for choice in (one, other)]
    assert len({plan.new_job_id for plan in plans if isinstance(plan, Plan)}) <= 1


def test_what_the_robot_may_still_ship_is_not_sent_again_before_the_deadline_though_it_is_named() -> None:
    job = followed(success("a"), error("b"), unreported("c"), deadline=NOW + timedelta(minutes=5))
    reason = "the robot may still be at it, until 2026-01-31T13:05:00.000Z: wait until then, or say --may-have-shipped"
    assert refused(job, choose("c")) == reason
    assert sent(job, choose("b")) == ["b"], "of that one it is known that it failed"
    assert sent(job, choose("c", may_have_shipped=True)) == ["c"]
    assert sent(replace(job, deadline=NOW), choose("c")) == ["c"]
