"""The metrics, each with its labels, in a registry of our own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_PREFIX = "robot_orchestrator"
_JOB_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_PUBLISH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Registry:
    """A program's metrics. Label values come from closed sets, never from records."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = Histogram.DEFAULT_BUCKETS
    ) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=buckets)


class Metrics(Registry):
    """All metrics of a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.submissions = self._counter("submissions", "Submissions read, by what became of them", "result")
        self.dispatches = self._counter("dispatches", "Calls to the robot, by how they ended", "result")
        self.put_off = self._counter("jobs_put_off", "Calls that are to be made again, by why", "reason")
        self.robot_up = self._gauge("robot_up", "1 if the robot answered when it was last tried or asked, else 0")
        self.batches_lost = self._counter("batches_lost", "Batches that the robot had when it was started again")
        self.completions = self._counter("completions", "Completions read, by what became of them", "result")
        self.reports = self._counter("reports", "Reports of orders read, by what became of them", "result")
        self.amendments = self._counter("amendments", "Outcomes of which more became known", "outcome")
        self.controls = self._counter("controls", "What people asked for, by what became of it", "action", "result")
        self.outcomes = self._counter("outcomes", "Outcomes published", "outcome", "reason")
        self.counts_mismatches = self._counter("counts_mismatches", "Completions whose counts do not add up")
        self.dead_letters = self._counter("dead_letters", "Dead letters written", "topic", "reason")
        self.forwarded = self._counter("forwarded_records", "Records moved to their own partition", "topic")
        self.transactions = self._counter("transactions", "Ledger transactions", "result")
        self.transaction_duration = self._histogram(
            "transaction_duration_seconds", "From the first write of a transaction to its commit"
        )
        self.dispatch_duration = self._histogram("dispatch_duration_seconds", "Calls to the robot", "result")
        self.job_duration = self._histogram(
            "job_duration_seconds", "From submission to outcome", "outcome", buckets=_JOB_BUCKETS
        )
        self.deadline_delay = self._histogram("deadline_delay_seconds", "From a deadline to its decision")
        self.jobs = self._gauge("jobs", "Jobs in the table of this worker", "state")
        self.calls_in_flight = self._gauge("calls_in_flight", "Call slots taken")
        self.workspaces_waiting = self._gauge("workspaces_waiting", "Workspaces with pending jobs")
        self.deadlines_held = self._gauge(
            "deadlines_held_seconds",
            "How long passed deadlines of a partition's jobs have waited",
            "partition",
        )
        self.completions_behind = self._gauge(
            "completions_behind_seconds",
            "How long completions or reports have kept passed deadlines waiting, as an open transaction does",
            "topic",
            "partition",
        )
        self.clock_skew = self._gauge("clock_skew_seconds", "This worker's clock ahead of the broker's")
        self.last_record_processed = self._gauge(
            "last_record_processed_timestamp_seconds", "When a record was last committed", "topic"
        )


class BridgeMetrics(Registry):
    """All metrics of a callback bridge."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge_reports = self._counter("bridge_reports", "Reports of the robot, by what became of them", "result")
        self.bridge_publish = self._histogram(
            "bridge_publish_seconds", "From a report that is one to its record in the log", buckets=_PUBLISH_BUCKETS
        )
        self.bridge_requests_held = self._gauge("bridge_requests_held", "Reports that wait for Kafka")
