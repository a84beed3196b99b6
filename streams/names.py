"""Every name that somebody outside can see, each declared once."""

import os
from collections.abc import Iterable
from enum import StrEnum

# With it every topic, group and transactional id of a process begins, so that several environments can share a cluster.
# A process has one for all its life, so it is read here, where what follows from it is declared; settings.py checks it.
TOPIC_PREFIX_VARIABLE = "ROBOT_ORCHESTRATOR_TOPIC_PREFIX"
TOPIC_PREFIX = os.environ.get(TOPIC_PREFIX_VARIABLE, "")


class Topic(StrEnum):
    """The topics; all have one partition count, and a workspace's records share a partition number."""

    SUBMITTED = f"{TOPIC_PREFIX}robot.job.submitted"
    BATCH_COMPLETED = f"{TOPIC_PREFIX}robot.job.batch_completed"
    ORDER_REPORTED = f"{TOPIC_PREFIX}robot.order.reported"
    CONTROL = f"{TOPIC_PREFIX}robot.job.control"
    COMPLETED = f"{TOPIC_PREFIX}robot.job.completed"
    FAILED = f"{TOPIC_PREFIX}robot.job.failed"
    AMENDED = f"{TOPIC_PREFIX}robot.job.amended"
    DLQ_SUBMITTED = f"{TOPIC_PREFIX}dlq.robot.job.submitted"
    DLQ_BATCH_COMPLETED = f"{TOPIC_PREFIX}dlq.robot.job.batch_completed"
    DLQ_ORDER_REPORTED = f"{TOPIC_PREFIX}dlq.robot.order.reported"
    DLQ_CONTROL = f"{TOPIC_PREFIX}dlq.robot.job.control"


# Where records come from, each with its dead-letter topic. What else differs between them is in wire/intake.py.
DLQ_OF = {
    Topic.SUBMITTED: Topic.DLQ_SUBMITTED,
    Topic.BATCH_COMPLETED: Topic.DLQ_BATCH_COMPLETED,
    Topic.ORDER_REPORTED: Topic.DLQ_ORDER_REPORTED,
    Topic.CONTROL: Topic.DLQ_CONTROL,
}
SOURCE_TOPICS = tuple(DLQ_OF)
# Where it is told what the robot has done: nothing of a job may lie there unread when its deadline is decided.
REPORT_TOPICS = (Topic.BATCH_COMPLETED, Topic.ORDER_REPORTED)
OUTCOME_TOPICS = (Topic.COMPLETED, Topic.FAILED)

# By it the job tables of other applications are known.
CHANGELOG_SUFFIX = "-jobs-changelog"


def changelog_topic(app_id: str) -> str:
    """Return the changelog topic of the job table of the application `app_id`."""
    return f"{app_id}{CHANGELOG_SUFFIX}"


def other_prefixes(topics: Iterable[str]) -> list[str]:
    """Return the prefixes of the other environments that some topics are of, in order; "" is that without one.

    An environment is known by its topic of submissions.
    """
    ours = Topic.SUBMITTED.removeprefix(TOPIC_PREFIX)
    prefixes = {name.removesuffix(ours) for name in topics if name.endswith(ours)} - {TOPIC_PREFIX}
    # Dead letters' topics end in the same way.
    return sorted(prefix for prefix in prefixes if not prefix.endswith("dlq."))


def other_changelogs(topics: Iterable[str], app_id: str) -> list[str]:
    """Return the changelog topics of other applications of this environment among some topics, in order."""
    names = set(topics)
    # Of two environments, the one's prefix may begin with the other's.
    elsewhere = tuple(one for one in other_prefixes(names) if one.startswith(TOPIC_PREFIX))
    return sorted(
        name
        for name in names
        if name.endswith(CHANGELOG_SUFFIX)
        and name.startswith(TOPIC_PREFIX)
        and not name.startswith(elsewhere)
        and name != changelog_topic(app_id)
    )


# The changelog's two keys that are neither a job's nor a control's. An owner writes the one when it opens the
# partition, with who it is, and when it has written nothing for long. The other has a value from the first opening on:
# a partition that the group has worked on, and that lacks it, has lost its table.
CHANGELOG_OPENED_KEY = b"opened"
CHANGELOG_TABLE_KEY = b"table"


def transactional_id(app_id: str, partition: int) -> str:
    """Return the transactional id whose start fences every other writer of the partition."""
    return f"{app_id}-{partition}"


def redrive_transactional_id(app_id: str) -> str:
    """Return the transactional id whose start fences every other command that sends in dead letters again."""
    return f"{app_id}-redrive"


# The Faust agent that makes the calls; the others have the names of their source topics.
DISPATCH_AGENT = "dispatch"


class DeadLetterReason(StrEnum):
    """Why a record is in a dead-letter topic (header `robot.dlq.reason`); the list may grow."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    FUTURE_TIMESTAMP = "future_timestamp"
    SUBMISSION_EXPIRED = "submission_expired"
    CONFLICT = "conflict"
    UNKNOWN_JOB = "unknown_job"
    NOT_DISPATCHED = "not_dispatched"
    LATE_COMPLETION = "late_completion"
    UNKNOWN_ITEM = "unknown_item"
    DUPLICATE_MISMATCH = "duplicate_mismatch"


class ReportRefusal(StrEnum):
    """Why a bridge did not take a report: its answer, its log line and its metric say so."""

    UNAUTHORIZED = "unauthorized"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


class Header(StrEnum):
    """Record headers that we write."""

    ERROR_TOPIC = "__streams.errors.topic"
    ERROR_PARTITION = "__streams.errors.partition"
    ERROR_OFFSET = "__streams.errors.offset"
    ERROR_EXCEPTION = "__streams.errors.exception"
    ERROR_MESSAGE = "__streams.errors.message"
    ERROR_STACKTRACE = "__streams.errors.stacktrace"
    ORIGINAL_TOPIC = "kafka_dlt-original-topic"
    DLQ_REASON = "robot.dlq.reason"
    DLQ_ID = "robot.dlq.id"
    DLQ_REDRIVE_COUNT = "robot.dlq.redrive.count"
    CE_SPECVERSION = "ce_specversion"
    CE_ID = "ce_id"
    CE_SOURCE = "ce_source"
    CE_TYPE = "ce_type"
    CE_TIME = "ce_time"
    CE_SUBJECT = "ce_subject"
    CE_PARTITIONKEY = "ce_partitionkey"
    CE_TRACEPARENT = "ce_traceparent"
    CONTENT_TYPE = "content-type"


# By this header a source record, the POST and a report say which trace they are part of (W3C Trace Context).
TRACEPARENT = "traceparent"


class LogEvent(StrEnum):
    """The `event` of the log lines that describe a job's life, the worker's, the bridge's and the console's."""

    JOB_SUBMITTED = "job_submitted"
    SUBMISSION_IGNORED = "submission_ignored"
    JOB_CLAIMED = "job_claimed"
    JOB_DISPATCHED = "job_dispatched"
    JOB_ACCEPTED = "job_accepted"
    BATCH_LOST = "batch_lost"
    JOB_PUT_OFF = "job_put_off"
    JOB_COMPLETED = "job_completed"
    JOB_FAILED = "job_failed"
    JOB_AMENDED = "job_amended"
    JOB_RESUBMITTED = "job_resubmitted"
    CONTROL_APPLIED = "control_applied"
    CONTROL_REFUSED = "control_refused"
    COMPLETION_IGNORED = "completion_ignored"
    ORDER_REPORTED = "order_reported"
    REPORT_IGNORED = "report_ignored"
    DEAD_LETTER = "dead_letter"
    RECORD_FORWARDED = "record_forwarded"
    PARTITION_OPENED = "partition_opened"
    PARTITION_CLOSED = "partition_closed"
    REBALANCE_STARTED = "rebalance_started"
    REBALANCE_COMPLETED = "rebalance_completed"
    READING_HOLE = "reading_hole"
    DEADLINES_HELD = "deadlines_held"
    CLOCK_SKEW = "clock_skew"
    ROBOT_AWAY = "robot_away"
    ROBOT_BACK = "robot_back"
    WORKER_STARTED = "worker_started"
    DRAINING = "draining"
    WAITING_FOR_BROKER = "waiting_for_broker"
    TOPICS_WARNING = "topics_warning"
    SETTINGS_WARNING = "settings_warning"
    WORKER_STOPPED = "worker_stopped"
    WORKER_EXIT = "worker_exit"
    BRIDGE_STARTED = "bridge_started"
    PRODUCER_REPLACED = "producer_replaced"
    REPORT_REFUSED = "report_refused"
    BRIDGE_STOPPED = "bridge_stopped"
    CONSOLE_STARTED = "console_started"
    CONSOLE_BEGINS_ANEW = "console_begins_anew"
    CONSOLE_CAUGHT_UP = "console_caught_up"
    CONSOLE_ASKED = "console_asked"
    CONSOLE_STOPPED = "console_stopped"
