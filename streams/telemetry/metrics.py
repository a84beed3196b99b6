"""The metrics, each with its labels, in a registry of our own."""

from collections.abc import Iterable
from enum import StrEnum
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

from streams.core.controls import Action
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, Status
from streams.names import SOURCE_TOPICS, DeadLetterReason, ReportRefusal
from streams.version import version

_PREFIX = "robot_orchestrator"
# A call ends with its time-out, 60 s by default.
_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300)
# Jobs wait for the jobs before them, for the robot, for somebody who mends something.
_WAIT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 43_200, 86_400)
_JOB_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400)
_PUBLISH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Label values that are known only when there is something to show.
_LATER: tuple[str, ...] = ()

Metric = TypeVar("Metric", bound=MetricWrapperBase)


class SubmissionResult(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    DUPLICATE = IgnoreReason.DUPLICATE
    CONFLICT = IgnoreReason.CONFLICT
    INVALID = "invalid"
    EXPIRED = "expired"


class CompletionResult(StrEnum):
    """What became of a completion."""

    MATCHED = "matched"
    EARLY = "early"
    AMENDED = "amended"
    DUPLICATE = IgnoreReason.DUPLICATE
    DUPLICATE_MISMATCH = IgnoreReason.DUPLICATE_MISMATCH
    AGREES = IgnoreReason.AGREES
    UNKNOWN_JOB = IgnoreReason.UNKNOWN_JOB
    NOT_DISPATCHED = IgnoreReason.NOT_DISPATCHED
    LATE_COMPLETION = IgnoreReason.LATE_COMPLETION


class ReportResult(StrEnum):
    """What became of a report of an order."""

    TAKEN = "taken"
    DUPLICATE = IgnoreReason.DUPLICATE
    DUPLICATE_MISMATCH = IgnoreReason.DUPLICATE_MISMATCH
    UNKNOWN_JOB = IgnoreReason.UNKNOWN_JOB
    NOT_DISPATCHED = IgnoreReason.NOT_DISPATCHED
    UNKNOWN_ITEM = IgnoreReason.UNKNOWN_ITEM


class DispatchResult(StrEnum):
    """How a call to the robot ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class ControlResult(StrEnum):
    """What became of what somebody asked for."""

    APPLIED = "applied"
    REFUSED = "refused"


class HoldScope(StrEnum):
    """What is held."""

    WORKSPACE = "workspace"
    PARTITION = "partition"


class TransactionResult(StrEnum):
    """How a ledger's transaction ended."""

    COMMITTED = "committed"
    FAILED = "failed"
    FENCED = "fenced"


# How a report ended that a bridge took.
BRIDGE_ACCEPTED = "accepted"
_ENDED = (Status.COMPLETED, Status.FAILED)
_PUT_OFF = (FailureReason.ROBOT_REJECTED, FailureReason.ROBOT_UNREACHABLE)


class Registry:
    """A program's metrics. Label values come from closed sets, never from records.

    Each combination of them is there from the start: `increase()` does not see the first step of a series that is not.
    """

    def __init__(self, revision: str) -> None:
        # A second series for each one, of which nobody makes anything. It is a switch of the whole process.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.build_info = self._gauge("build_info", "1, with what runs here", version=_LATER, revision=_LATER)
        self.build_info.labels(version(), revision).set(1)
        self.ready = self._gauge("ready", "1 if /readyz answers 200, else 0")

    def _counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        return _begin(Counter(f"{_PREFIX}_{name}", text, tuple(labels), registry=self.registry), labels)

    def _gauge(self, name: str, text: str, **labels: Iterable[str]) -> Gauge:
        return _begin(Gauge(f"{_PREFIX}_{name}", text, tuple(labels), registry=self.registry), labels)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], **labels: Iterable[str]) -> Histogram:
        metric = Histogram(f"{_PREFIX}_{name}", text, tuple(labels), registry=self.registry, buckets=buckets)
        return _begin(metric, labels)


def _begin(metric: Metric, labels: dict[str, Iterable[str]]) -> Metric:
    """Give a metric the series of all combinations of its labels' values."""
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    return metric


class Metrics(Registry):
    """All metrics of a worker."""

    def __init__(self, revision: str = "") -> None:
        super().__init__(revision)
        self._count_records()
        self._count_jobs()
        self._show_worker()

    def _count_records(self) -> None:
        self.submissions = self._counter(
            "submissions", "Submissions read, by what became of them", result=SubmissionResult
        )
        self.completions = self._counter(
            "completions", "Completions read, by what became of them", result=CompletionResult
        )
        self.reports = self._counter("reports", "Reports of orders read, by what became of them", result=ReportResult)
        self.controls = self._counter(
            "controls", "What people asked for, by what became of it", action=Action, result=ControlResult
        )
        self.dead_letters = self._counter(
            "dead_letters", "Dead letters written", topic=SOURCE_TOPICS, reason=DeadLetterReason
        )
        self.forwarded = self._counter("forwarded_records", "Records moved to their own partition", topic=SOURCE_TOPICS)
        # There when there was one: 0 would be a time long past.
        self.last_record_processed = self._gauge(
            "last_record_processed_timestamp_seconds", "When a record was last committed", topic=_LATER
        )
        self.consumer_lag = self._gauge(
            "consumer_lag", "Offsets of a source from what is done to its end", topic=_LATER, partition=_LATER
        )
        self.transactions = self._counter("transactions", "Ledger transactions", result=TransactionResult)
        self.transaction_duration = self._histogram(
            "transaction_duration_seconds",
            "From the first write of a transaction to its commit",
            Histogram.DEFAULT_BUCKETS,
        )

    def _count_jobs(self) -> None:
        self.dispatches = self._counter("dispatches", "Calls to the robot, by how they ended", result=DispatchResult)
        self.dispatch_duration = self._histogram(
            "dispatch_duration_seconds", "Calls to the robot", _CALL_BUCKETS, result=DispatchResult
        )
        self.submission_to_call = self._histogram(
            "submission_to_call_seconds", "From a submission to the first call of its job", _WAIT_BUCKETS
        )
        self.put_off = self._counter("jobs_put_off", "Calls that are to be made again, by why", reason=_PUT_OFF)
        self.batches_lost = self._counter("batches_lost", "Batches that the robot had when it was started again")
        self.amendments = self._counter("amendments", "Outcomes of which more became known", outcome=_ENDED)
        self.outcomes = self._counter("outcomes", "Outcomes published", outcome=_LATER, reason=_LATER)
        self.outcomes.labels(Status.COMPLETED, "")
        for reason in FailureReason:
            self.outcomes.labels(Status.FAILED, reason)
        self.counts_mismatches = self._counter("counts_mismatches", "Completions whose counts do not add up")
        self.job_duration = self._histogram(
            "job_duration_seconds", "From submission to outcome", _JOB_BUCKETS, outcome=_ENDED
        )
        self.deadline_delay = self._histogram(
            "deadline_delay_seconds", "From a deadline to its decision", _WAIT_BUCKETS
        )

    def _show_worker(self) -> None:
        self.robot_up = self._gauge("robot_up", "1 if the robot answered when it was last tried or asked, else 0")
        self.jobs = self._gauge("jobs", "Jobs in the table of this worker", state=Status)
        self.calls_in_flight = self._gauge("calls_in_flight", "Call slots taken")
        self.workspaces_waiting = self._gauge("workspaces_waiting", "Workspaces with pending jobs")
        self.holds = self._gauge("holds", "Workspaces and whole partitions that somebody holds", scope=HoldScope)
        self.oldest_waiting = self._gauge(
            "oldest_waiting_job_age_seconds", "How long ago the oldest pending job was submitted, 0 without any"
        )
        self.recovery_remaining = self._gauge(
            "recovery_remaining_records", "Records of the changelog that are still to be loaded", partition=_LATER
        )
        self.deadlines_held = self._gauge(
            "deadlines_held_seconds", "How long passed deadlines of a partition's jobs have waited", partition=_LATER
        )
        self.completions_behind = self._gauge(
            "completions_behind_seconds",
            "How long completions or reports have kept passed deadlines waiting, as an open transaction does",
            topic=_LATER,
            partition=_LATER,
        )
        self.clock_skew = self._gauge("clock_skew_seconds", "This worker's clock ahead of the broker's")


class BridgeMetrics(Registry):
    """All metrics of a callback bridge."""

    def __init__(self, revision: str = "") -> None:
        super().__init__(revision)
        self.bridge_reports = self._counter(
            "bridge_reports", "Reports of the robot, by what became of them", result=(BRIDGE_ACCEPTED, *ReportRefusal)
        )
        self.bridge_publish = self._histogram(
            "bridge_publish_seconds", "From a report that is one to its record in the log", _PUBLISH_BUCKETS
        )
        self.bridge_requests_held = self._gauge("bridge_requests_held", "Reports that wait for Kafka")
