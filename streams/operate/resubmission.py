"""Which orders of a job that has ended may be tried again as another job, or why none may. Pure."""

import shlex
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Status
from streams.wire.rows import row_key, utc_text

if TYPE_CHECKING:
    # Every command would take a third longer to start.
    from schemas import Order

# Any fixed namespace will do; it only has to stay the same for ever, so that the new ids do.
_NEW_IDS = uuid.UUID("0c1d6c0e-6a0f-4f43-9b7e-3f0f5f5d2c68")
# After these the robot has sent nothing. Of a time-out, or an error that it does not tell, nobody knows.
_NOT_SENT = frozenset({"validation", "portal"})
_IDS_SHOWN = 5


class Group(StrEnum):
    """Orders that are chosen together."""

    FAILED = "failed"
    UNREPORTED = "unreported"
    ALL = "all"


# In the place of item ids that a row does not have.
UNNAMED = "its orders, which the submission names"


class Standing(StrEnum):
    """What is known of an order."""

    NEVER_SENT = "never_sent"
    FAILED = "failed"
    DOUBTFUL = "doubtful"
    UNREPORTED = "unreported"
    UNCLEAR = "unclear"
    SHIPPED = "shipped"


# Of an order that is unclear nobody knows in which group it is.
_UNREPORTED = frozenset({Standing.NEVER_SENT, Standing.UNREPORTED})
_FAILED = frozenset({Standing.FAILED, Standing.DOUBTFUL})
_GROUPS = {Group.FAILED: _FAILED, Group.UNREPORTED: _UNREPORTED, Group.ALL: _FAILED | _UNREPORTED}
# What may go again without a second look.
SURELY_NOT_SHIPPED = frozenset({Standing.NEVER_SENT, Standing.FAILED})
_MAY_HAVE_SHIPPED = frozenset({Standing.DOUBTFUL, Standing.UNREPORTED, Standing.UNCLEAR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a person wants to be sent again: a group of orders, and orders by their item ids.

    `may_have_shipped`: orders may be among them that the robot has sent already.
    """

    group: Group | None = Group.FAILED
    named: frozenset[str] = frozenset()
    new_item_ids: bool = False
    may_have_shipped: bool = False


class KnownOrder(NamedTuple):
    """An order of a submission by its place in it, and what is known of it."""

    place: int
    order: "Order"
    standing: Standing
    error_type: str | None

    @property
    def item_id(self) -> str:
        """The id by which the robot reports it."""
        return self.order.itemId


@dataclass(frozen=True, slots=True)
class Plan:
    """The new job: which orders it has, the item id of each by its place, and what a person should know before."""

    new_job_id: str
    orders: tuple[KnownOrder, ...]
    items: Mapping[int, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is sent, in one line that says what would help."""

    reason: str


def resubmit_command(key: JobKey, choice: Choice) -> str:
    """Return the command line that tries a choice of a job's orders again."""
    options = ["--workspace", key.workspace_id]
    if choice.group not in (None, Group.FAILED):
        options += ["--orders", choice.group]
    for item_id in sorted(choice.named):
        options += ["--order", item_id]
    options += ["--new-item-ids"] if choice.new_item_ids else []
    # An id may look like an option.
    words = [*options, "--", key.job_id] if key.job_id.startswith("-") else [key.job_id, *options]
    return shlex.join(["robot-orchestrator", "jobs", "resubmit", *words])


def plan_resubmission(job: Job, orders: "Sequence[Order] | None", choice: Choice, now: datetime) -> Plan | Refusal:
    """Return what is sent again of a job; `orders` are those that it was submitted with, None if they are gone."""
    if (reason := _unfit(job)) is not None:
        return Refusal(reason)
    if orders is None:
        return Refusal(f"its submission is no longer in {job.source.topic}: submit the orders under a new job id")
    known = known_orders(job, orders)
    group = frozenset() if choice.group is None else _GROUPS[choice.group]
    chosen = [one for one in known if one.standing in group or one.item_id in choice.named]
    reason = _not_to_be_chosen(known, choice) or (None if chosen else _nothing(known, choice))
    reason = reason or _not_to_be_told_apart(job, choice) or _not_without_a_word(job, known, chosen, choice, now)
    if reason is not None:
        return Refusal(reason)
    new_job_id = new_job_id_of(job)
    items = {one.place: _new_item_id(new_job_id, one.place) if choice.new_item_ids else one.item_id for one in chosen}
    named = [item_id for item_id in items.values() if item_id != UNNAMED]
    if len(set(named)) < len(named):
        return Refusal("some of these orders share an item id, by which reports do not tell them apart: --new-item-ids")
    left = [one for one in known if one.place not in items and one.standing is not Standing.SHIPPED]
    return Plan(new_job_id, tuple(chosen), items, tuple(_warnings(job, chosen, left, choice, now)))


def new_job_id_of(job: Job) -> str:
    """Return the id of the job as which a job is tried again: the same whoever asks, and whatever is chosen.

    So a command that is given twice makes one job. The time of the submission tells a job from a later one of the same
    ids, which begins when the first is forgotten.
    """
    return str(uuid.uuid5(_NEW_IDS, f"{row_key(job.key).decode()}:{utc_text(job.submitted_at)}"))


def _new_item_id(new_job_id: str, place: int) -> str:
    # By the place, so that two orders that shared an id share none any more.
    return str(uuid.uuid5(_NEW_IDS, f"{new_job_id}:{place}"))


def _unfit(job: Job) -> str | None:
    if not job.ended:
        until = "" if job.deadline is None else f", until {utc_text(job.deadline)} at the latest"
        return f"it is still {job.status}{until}"
    if job.resubmitted_as is not None:
        return f"it was resubmitted as {job.resubmitted_as}: try that one again, if it has left something"
    if job.reason is FailureReason.INVALID_SUBMISSION:
        return "its submission was invalid: submit a better one under a new job id"
    return None


def known_orders(job: Job, orders: "Sequence[Order]") -> list[KnownOrder]:
    """Return what is known of each order of a job's submission."""
    reports = {report.item_id: report for report in job.orders if report.status is not OrderStatus.UNREPORTED}
    times = Counter(order.itemId for order in orders)
    rest = _rest(job, sum(order.itemId not in reports for order in orders))
    known = []
    for place, order in enumerate(orders):
        report = reports.get(order.itemId)
        standing = rest if report is None else _reported(job, report, shared=times[order.itemId] > 1)
        known.append(KnownOrder(place, order, standing, None if report is None else report.error_type))
    return known


def _reported(job: Job, report: OrderResult, *, shared: bool) -> Standing:
    if shared and job.robot_may_have_received and job.success_count != job.order_count:
        # Nobody knows which of the orders with this id it was.
        return Standing.UNCLEAR
    if report.status is OrderStatus.SUCCESS:
        return Standing.SHIPPED
    if not job.robot_may_have_received:
        return Standing.FAILED
    return Standing.FAILED if report.error_type in _NOT_SENT and not job.counts_mismatch else Standing.DOUBTFUL


def _rest(job: Job, orders: int) -> Standing:
    """Return what is known of the orders that were not reported one by one, of which there are so many."""
    if not job.robot_may_have_received:
        return Standing.NEVER_SENT
    if job.success_count is None or job.error_count is None:
        return Standing.UNREPORTED
    succeeded = job.success_count - job.reported(OrderStatus.SUCCESS)
    failed = job.error_count - job.reported(OrderStatus.ERROR)
    if succeeded <= 0 and failed >= orders:
        return Standing.DOUBTFUL
    return Standing.SHIPPED if succeeded > 0 >= failed else Standing.UNCLEAR


def _not_to_be_chosen(known: Sequence[KnownOrder], choice: Choice) -> str | None:
    """Return why there is no such choice."""
    if strange := choice.named - {one.item_id for one in known}:
        return f"it has no such order: {_listed(sorted(strange))}"
    unclear = [one.item_id for one in known if one.standing is Standing.UNCLEAR]
    if choice.group is not None and unclear:
        return f"which of these orders failed is not known, name those to send with --order: {_listed(unclear)}"
    return None


def _nothing(known: Sequence[KnownOrder], choice: Choice) -> str:
    """Return why nothing is chosen, and what could be."""
    left = {one.standing for one in known} - {Standing.SHIPPED}
    if not left:
        return "nothing is left to send: every order was reported as success"
    if choice.group is Group.UNREPORTED:
        return "nothing is left to send: every order was reported (--orders failed chooses those that failed)"
    if Standing.NEVER_SENT in left:
        return "no order was reported as failed; the robot never had this job: --orders all"
    return "no order was reported as failed: --orders unreported chooses those that were not reported"


def _not_to_be_told_apart(job: Job, choice: Choice) -> str | None:
    """Return why a late report of the job could be taken for one of the new job."""
    if job.orders or not job.robot_may_have_received or choice.new_item_ids:
        return None
    return (
        "the callback address does not tell the two jobs apart: a late report of the old job would be taken for the "
        "new one's (--new-item-ids gives the orders other ids)"
    )


def _not_without_a_word(
    job: Job, known: Sequence[KnownOrder], chosen: Sequence[KnownOrder], choice: Choice, now: datetime
) -> str | None:
    """Return what would have to be said so that orders are sent that may ship twice."""
    if choice.may_have_shipped:
        return None
    if _robot_may_be_at_it(job, now) and any(one.standing in _MAY_HAVE_SHIPPED for one in chosen):
        return (
            f"the robot may still be at it, until {utc_text(job.deadline)}: wait until then, or say --may-have-shipped"
        )
    if shipped := [one.item_id for one in chosen if one.standing is Standing.SHIPPED]:
        return f"these were reported as success, --may-have-shipped sends them once more: {_listed(shipped)}"
    unclear = sum(one.standing is Standing.UNCLEAR for one in chosen)
    failed = max(0, (job.error_count or 0) - sum(one.standing in _FAILED for one in known))
    if unclear > failed:
        return f"of the {unclear} orders named, {failed} can have failed: name no more, or say --may-have-shipped"
    may_have = [one.item_id for one in chosen if one.standing in _MAY_HAVE_SHIPPED]
    if unnamed := [item_id for item_id in may_have if item_id not in choice.named]:
        return (
            "the robot may have sent these: look at the courier's portal, then name those to send with --order, or say "
            f"--may-have-shipped: {_listed(unnamed)}"
        )
    return None


def _warnings(
    job: Job, chosen: Iterable[KnownOrder], left: Iterable[KnownOrder], choice: Choice, now: datetime
) -> Iterator[str]:
    """Yield what a person should know before the new job is sent."""
    if twice := [one.item_id for one in chosen if one.standing in _MAY_HAVE_SHIPPED | {Standing.SHIPPED}]:
        yield f"may ship a second time: {_listed(twice)}"
    if behind := [one.item_id for one in left]:
        yield f"a job can be resubmitted once, and these stay behind: {_listed(behind)}"
    if choice.new_item_ids or not job.orders:
        yield "a bridge of your own has to know the new job and its item ids first (--dry-run prints them)"
    if _robot_may_be_at_it(job, now):
        yield f"the robot may still be at the old job, until {utc_text(job.deadline)}"


def _robot_may_be_at_it(job: Job, now: datetime) -> bool:
    at_it = job.status is Status.FAILED and job.robot_may_have_received and not job.robot_is_done
    return at_it and job.robot_restarted_at is None and job.deadline is not None and job.deadline > now


def _listed(item_ids: Iterable[str]) -> str:
    each = list(dict.fromkeys(item_ids))
    more = f" and {len(each) - _IDS_SHOWN} more" if len(each) > _IDS_SHOWN else ""
    return ", ".join(each[:_IDS_SHOWN]) + more
