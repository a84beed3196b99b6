"""Waits until a round has come to rest, and judges what it has left behind."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import JobFailed
from streams.core.deadlines import Deadlines
from streams.core.job import FailureReason, JobKey
from streams.dev.history import History, HistoryError, Post, job_key, read_history, read_posts
from streams.dev.history_check import check
from streams.dev.robot import reports_log
from streams.dev.violations import ViolationKind
from streams.names import OUTCOME_TOPICS, Topic, changelog_topic
from streams.wire.placement import partition_of
from tests.chaos.brokers import PARTITIONS
from tests.chaos.load import ODD_COUNTS
from tests.chaos.world import World
from tests.support.builders import SECRETS

# What a round that has not come to rest looks like.
UNFINISHED = (ViolationKind.NO_OUTCOME, ViolationKind.UNACCOUNTED)
# A claim that was never called waits for 37 s; a workspace can have several of them one after another.
SETTLE_SECONDS = 180.0
POLL_SECONDS = 1.0
# Two processes on one machine read one clock; what is left is rounding.
CLOCK_TOLERANCE = timedelta(seconds=0.5)
_REPORTS = Topic.BATCH_COMPLETED


@dataclass
class Verdict:
    """What a round came to."""

    jobs: int
    posts: int
    # Of those that the robot did not refuse before any effect, more than one for a job.
    resent: int
    # Accepted jobs without an outcome, and failed ones of which the robot has reported the end.
    lost: int
    finished_but_failed: int
    violations: list[str]
    outcomes: Counter[str] = field(default_factory=Counter)
    rows_left: int = 0


async def settle(world: World) -> Verdict:
    """Return the verdict as soon as nothing is missing, or when nothing more can be waited for."""
    give_up = time.monotonic() + SETTLE_SECONDS
    await _every_job_ended(world, give_up)
    while True:
        try:
            history = await read_history(world.settings.kafka_client_options(), world.settings.app_id)
        except HistoryError as error:
            return Verdict(0, 0, 0, 0, 0, [str(error)])
        posts = read_posts(world.posts_file)
        found = check(history, posts, SECRETS)
        unfinished = any(violation.kind in UNFINISHED for violation in found)
        if not unfinished or time.monotonic() > give_up:
            more = (_more(history, posts, world.settings.deadlines), _lost_reports(history, world))
            violations = [*map(str, found), *chain(*more), *_secrets_in_logs(world)]
            lost = sum(violation.kind is ViolationKind.NO_OUTCOME for violation in found)
            return _verdict(history, posts, lost, violations)
        await asyncio.sleep(POLL_SECONDS)


async def _every_job_ended(world: World, give_up: float) -> None:
    """Read along until every submitted job has an outcome: cheaper than a whole history each time."""
    consumer = AIOKafkaConsumer(**world.settings.kafka_client_options(), isolation_level="read_committed")
    await consumer.start()
    try:
        sources = [TopicPartition(t, n) for t in (Topic.SUBMITTED, *OUTCOME_TOPICS) for n in range(PARTITIONS)]
        consumer.assign(sources)
        await consumer.seek_to_beginning()
        submitted, ended = set[str](), set[str]()
        while time.monotonic() < give_up:
            batches = await consumer.getmany(timeout_ms=500)
            for source, records in batches.items():
                if source.topic == Topic.SUBMITTED:
                    keys = (job_key(record) for record in records)
                    submitted |= {key.job_id for key in keys if key is not None}
                else:
                    ended |= {record.key.decode() for record in records}
            if not batches and submitted and submitted <= ended:
                return
    finally:
        await consumer.stop()


def _more(history: History, posts: list[Post], deadlines: Deadlines) -> Iterator[str]:
    """Check what the history checker leaves to those who know the run."""
    yield from _early_timeouts(history, posts, deadlines)
    reported = {(job_key(record), record.partition, _counts(record.value)) for record in history.of(_REPORTS)}
    for key, outcomes in history.outcomes().items():
        home = partition_of(key.workspace_id, history.partitions)
        counts = (outcomes[0].get("successCount"), outcomes[0].get("errorCount"))
        known = (key, home, counts) in reported or counts == _counts_of_orders(outcomes[0])
        if outcomes[0]["status"] == "completed" and not known:
            yield f"job {key.job_id}: completed, but no completion of it was ever committed"
    for key, row in history.rows().items():
        if row.reason is FailureReason.TIMEOUT and row.deadline and row.ended_at and row.ended_at < row.deadline:
            yield f"job {key.job_id}: timed out at {row.ended_at}, before its deadline {row.deadline}"


def _counts_of_orders(outcome: dict[str, Any]) -> tuple[int, int] | None:
    """Return the counts of a batch of which every order was reported."""
    statuses = [order["status"] for order in outcome["orders"] or ()]
    return None if "unreported" in statuses else (statuses.count("success"), statuses.count("error"))


def _lost_reports(history: History, world: World) -> Iterator[str]:
    """Yield each report that a bridge has answered with 200 and that is not in the log."""
    file = reports_log(world.posts_file)
    notes = [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []
    records = [json.loads(record.value or b"") for record in history.of(Topic.ORDER_REPORTED)]
    written = {(value["jobId"], value["itemId"], value["status"]) for value in records}
    for note in notes:
        report = note["report"]
        if note["answered"] == 200 and (note["job_id"], report["itemId"], report["status"]) not in written:
            yield f"job {note['job_id']}: a report of {report['itemId']} was acknowledged and is not in the log"


def _early_timeouts(history: History, posts: list[Post], deadlines: Deadlines) -> Iterator[str]:
    """Compare the robot's clock and the broker's, whatever the workers' clocks have shown."""
    posted = {post.key: post.received_at for post in posts}
    for record in history.of(Topic.FAILED):
        outcome = JobFailed.model_validate_json(record.value or b"")
        if outcome.reason == FailureReason.TIMEOUT and outcome.orderCount is not None:
            key = JobKey(outcome.workspaceId, outcome.jobId)
            earliest = posted[key] + deadlines.work(outcome.orderCount) - CLOCK_TOLERANCE
            if record.timestamp < earliest:
                yield f"job {key.job_id}: timed out {earliest - record.timestamp} too early"


def _counts(value: bytes | None) -> tuple[object, object] | None:
    try:
        fields = json.loads(value or b"")
        return fields["successCount"], fields["errorCount"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _secrets_in_logs(world: World) -> Iterator[str]:
    for file in sorted(world.folder.glob("*.log")):
        text = file.read_text(errors="replace")
        if any(secret in text for secret in SECRETS):
            yield f"{file.name}: a secret in a log"


def _verdict(history: History, posts: list[Post], lost: int, violations: list[str]) -> Verdict:
    outcomes: dict[JobKey, list[dict[str, object]]] = history.outcomes()
    kinds = Counter(str(values[0].get("reason") or values[0]["status"]) for values in outcomes.values())
    kinds["(POSTs refused as busy)"] = sum(not post.handed_over for post in posts)
    rows_left = len(history.of(changelog_topic(history.app_id)))
    failed = {key for key, values in outcomes.items() if values[0]["status"] == "failed"}
    finished = {job_key(record) for record in history.of(_REPORTS) if _counts(record.value) not in (None, ODD_COUNTS)}
    handed_over = [post.key for post in posts if post.handed_over]
    resent = len(handed_over) - len(set(handed_over))
    return Verdict(len(outcomes), len(posts), resent, lost, len(failed & finished), violations, kinds, rows_left)
