"""The history checker: what the topics and the robot's own log must agree on after a run, whatever happened in it.

It judges by the contract (`schemas`) and by what lies in the topics, not by what a worker says about itself, and works
on plain data (`streams.dev.history`), so that a simulated log can be checked as well. Meant for a run that has come
to rest: a job that is still under way counts as one without an outcome.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import dropwhile
from typing import Any

from pydantic import ValidationError

from schemas import BatchCompleted, JobSubmitted
from streams.core.job import FailureReason, JobKey
from streams.core.transition import BAD_REQUEST
from streams.dev.control_check import check_controls
from streams.dev.history import History, Post, copies_of, copy_in, job_key, missed_deadline, position
from streams.dev.report_check import check_reports
from streams.dev.violations import Violation, ViolationKind, name_of
from streams.names import DeadLetterReason, Topic
from streams.wire.placement import partition_of
from streams.wire.records import SourceRecord

# Reasons that tell an operator that submitting the orders again is safe.
_NEVER_SENT = (
    FailureReason.ROBOT_UNREACHABLE,
    FailureReason.NOT_DISPATCHED,
    FailureReason.INVALID_SUBMISSION,
    FailureReason.SUBMISSION_EXPIRED,
    FailureReason.CANCELLED,
)
# What the robot says of an order is written down as it came, for the worker to scrub.
_MAY_HAVE_SECRETS = (Topic.SUBMITTED, Topic.DLQ_SUBMITTED, Topic.ORDER_REPORTED, Topic.DLQ_ORDER_REPORTED)
_BASE64_MIN_LENGTH = 6
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def check(history: History, posts: Iterable[Post], secrets: Iterable[str] = ()) -> list[Violation]:
    """Return every promise that a run has broken, none if it kept them all.

    `secrets` are texts that only submissions and their dead letters may carry. A completion counts as in time by its
    record's timestamp, which is when its producer sent it, or when the broker had it with LogAppendTime.
    """
    facts = _Facts(history)
    posts = list(posts)
    return [
        *_check_posts(facts, posts),
        *_check_outcomes(facts),
        *_check_deadlines(facts),
        *_check_submissions(facts),
        *_check_completions(facts),
        *check_reports(history),
        *check_controls(history),
        *_check_secrets(history, secrets),
    ]


def _content(record: SourceRecord) -> str | None:
    """Return what tells two submissions apart, the credentials left out; None if the contract forbids it."""
    try:
        job = JobSubmitted.model_validate_json(record.value or b"")
    except ValidationError:
        return None
    return json.dumps([job.carrier, [[o.itemId, o.orderId, o.pedidoInput] for o in job.orders]], sort_keys=True)


def _counts(record: SourceRecord) -> tuple[int, int] | None:
    """Return the counts of a completion; None if the contract forbids it."""
    try:
        completion = BatchCompleted.model_validate_json(record.value or b"")
    except ValidationError:
        return None
    return completion.successCount, completion.errorCount


class _Facts:
    """A history, looked up in the ways that the checks need."""

    def __init__(self, history: History) -> None:
        self.submitted = history.of(Topic.SUBMITTED)
        self.reported = history.of(Topic.BATCH_COMPLETED)
        self.outcomes = history.outcomes()
        self.amendments = history.values(Topic.AMENDED)
        self.rows = history.rows()
        self.content = {position(record): _content(record) for record in self.submitted}
        self._partitions = history.partitions
        self.letters = {where: reason for where, (_, reason) in history.letters().items()}

    def home(self, key: JobKey) -> int:
        """Return the partition where everything about a job belongs."""
        return partition_of(key.workspace_id, self._partitions)

    @cached_property
    def _copies(self) -> set[tuple[Any, ...]]:
        return copies_of((*self.submitted, *self.reported))

    def forwarded(self, record: SourceRecord, target: int) -> bool:
        """Whether the same bytes lie in the target partition."""
        return copy_in(record, target) in self._copies

    @cached_property
    def founders(self) -> dict[JobKey, SourceRecord]:
        """The submission that made each job: the first in its own partition that had the right age."""
        turned_away = (DeadLetterReason.SUBMISSION_EXPIRED, DeadLetterReason.FUTURE_TIMESTAMP)
        founders: dict[JobKey, SourceRecord] = {}
        for record in self.submitted:
            key = job_key(record)
            if key is None or record.partition != self.home(key):
                continue
            if self.letters.get(position(record)) not in turned_away:
                founders.setdefault(key, record)
        return founders


def _check_posts(facts: _Facts, posts: Sequence[Post]) -> Iterator[Violation]:
    valid = {job_key(record) for record in facts.submitted if facts.content[position(record)] is not None}
    # Only a call that was refused before any effect, or that never left, is made again.
    posts_of: dict[JobKey, list[Post]] = defaultdict(list)
    for post in sorted(posts, key=lambda post: post.received_at):
        posts_of[post.key].append(post)
    for key, of_job in posts_of.items():
        counted = list(dropwhile(lambda post: not post.handed_over, of_job))
        if len(counted) > 1:
            count, times = len(counted), ", ".join(post.received_at.isoformat() for post in counted)
            yield Violation(ViolationKind.POSTED_TWICE, name_of(key), f"{count} POSTs, at {times}")
        if key not in valid:
            yield Violation(ViolationKind.POSTED_UNKNOWN, name_of(key), "no valid submission has its ids")
        for outcome in facts.outcomes.get(key, ()) if counted else ():
            if outcome.get("reason") in _NEVER_SENT:
                yield Violation(ViolationKind.POST_DENIED, name_of(key), outcome["reason"])


def _check_outcomes(facts: _Facts) -> Iterator[Violation]:
    submitted = {job_key(record) for record in facts.submitted}
    for key, outcomes in facts.outcomes.items():
        if len(outcomes) > 1:
            detail = ", ".join(outcome.get("reason") or outcome["status"] for outcome in outcomes)
            yield Violation(ViolationKind.SEVERAL_OUTCOMES, name_of(key), detail)
        if key not in submitted:
            yield Violation(ViolationKind.UNKNOWN_OUTCOME, name_of(key), outcomes[0]["status"])
    for key, founder in facts.founders.items():
        if key not in facts.outcomes:
            row = facts.rows.get(key)
            detail = f"{position(founder)}, {row.status if row else 'not in the table'}"
            yield Violation(ViolationKind.NO_OUTCOME, name_of(key), detail)


def _check_deadlines(facts: _Facts) -> Iterator[Violation]:
    completions: dict[JobKey | None, list[SourceRecord]] = defaultdict(list)
    for record in facts.reported:
        if _counts(record) is not None:
            completions[job_key(record)].append(record)
    for key, row in facts.rows.items():
        # A call that broke ends its job before the deadline: what comes after that is late.
        deadline = missed_deadline(row)
        if deadline is None or row.claimed_at is None:
            continue
        for record in completions[key]:
            if row.claimed_at <= record.timestamp < deadline:
                detail = f"{row.reason}, {position(record)} came {deadline - record.timestamp} before the deadline"
                yield Violation(ViolationKind.COMPLETION_IGNORED, name_of(key), detail)


def _check_submissions(facts: _Facts) -> Iterator[Violation]:
    for record in facts.submitted:
        problem = _submission_problem(facts, record)
        if problem is not None and position(record) not in facts.letters:
            yield Violation(ViolationKind.UNACCOUNTED, position(record), f"{problem}, and not dead-lettered")


def _submission_problem(facts: _Facts, record: SourceRecord) -> str | None:
    """Return why a submission should be a dead letter, None if its job is to be found."""
    key, content = job_key(record), facts.content[position(record)]
    if key is None:
        return "no job can be read from it"
    if record.partition != facts.home(key):
        return None if facts.forwarded(record, facts.home(key)) else "misplaced, not forwarded"
    if content is None:
        return "against the contract"
    row = facts.rows.get(key)
    if row is None and key not in facts.outcomes:
        return "its job is not in the table and has no outcome"
    accepted = "-".join(map(str, row.source)) if row else position(facts.founders.get(key, record))
    if facts.content.get(accepted, content) != content:
        return f"other content than {accepted}, which has its ids"
    return None


def _check_completions(facts: _Facts) -> Iterator[Violation]:
    for record in facts.reported:
        problem = _completion_problem(facts, record)
        if problem is not None and position(record) not in facts.letters:
            yield Violation(ViolationKind.UNACCOUNTED, position(record), f"{problem}, and not dead-lettered")


def _completion_problem(facts: _Facts, record: SourceRecord) -> str | None:
    """Return why a completion should be a dead letter, None if it completed its job."""
    key, counts = job_key(record), _counts(record)
    if key is None:
        return "no job can be read from it"
    if record.partition != facts.home(key):
        return None if facts.forwarded(record, facts.home(key)) else "misplaced, not forwarded"
    if counts is None:
        return "against the contract"
    known = (*facts.outcomes.get(key, ()), *facts.amendments.get(key, ()))
    if counts in [(value.get("successCount"), value.get("errorCount")) for value in known]:
        return None
    # The robot reports every order as failed before it answers that it can do nothing.
    agrees = counts[0] == 0 and any(
        outcome.get("robotStatus") == BAD_REQUEST for outcome in facts.outcomes.get(key, ())
    )
    return None if agrees else "it is not what its job ended with"


def _check_secrets(history: History, secrets: Iterable[str]) -> Iterator[Violation]:
    forms = {form for secret in secrets for form in _forms(secret)}
    for topic, records in history.records.items():
        if topic in _MAY_HAVE_SECRETS:
            continue
        for record in records:
            parts = [("key", record.key), ("value", record.value), *((f"header {n}", v) for n, v in record.headers)]
            for name, part in parts:
                if part and any(form in part for form in forms):
                    yield Violation(ViolationKind.SECRET, position(record), f"in its {name}")


def _forms(secret: str) -> set[bytes]:
    """Return a secret as it may stand in a record: plain, escaped for JSON, or in base64 at any alignment."""
    raw = secret.encode()
    # Only the characters that no neighbouring byte takes part in, and not so few that any text could have them.
    encoded = {base64.b64encode(bytes(n) + raw)[(n * 8 + 5) // 6 : (n + len(raw)) * 8 // 6] for n in range(3)}
    telling = {form for form in encoded if len(form) >= _BASE64_MIN_LENGTH}
    return {raw, json.dumps(secret)[1:-1].encode()} | telling | {form.translate(_URL_SAFE) for form in telling}
