"""One transaction of a ledger in the making: what will be written, and what follows once it is."""

from dataclasses import dataclass, field

from streams.core.controls import Decision
from streams.core.job import Job, JobKey
from streams.engine.claims import Claim
from streams.names import changelog_topic
from streams.telemetry.facts import Fact
from streams.telemetry.tracing import Span, Tracing
from streams.wire.outcomes import amendment_record
from streams.wire.records import NewRecord
from streams.wire.rows import decision_key, encode_decision, encode_row, row_key
from streams.wire.trace_context import in_trace


@dataclass(slots=True)
class Draft:
    """`records` go as they are; of each job only its last row, and its last amendment, are written; so of decisions."""

    records: list[NewRecord] = field(default_factory=list)
    changed: dict[JobKey, Job] = field(default_factory=dict)
    forgotten: list[JobKey] = field(default_factory=list)
    decisions: dict[str, Decision | None] = field(default_factory=dict)
    amended: dict[JobKey, Job] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def publish(self, record: NewRecord, job: Job, tracing: Tracing) -> None:
        """Add what others are told of a job, as a part of its trace."""
        span = tracing.send(record, job)
        self.spans.append(span)
        self.records.append(in_trace(record, span.traceparent))

    def to_write(self, partition: int, app_id: str, tracing: Tracing) -> list[NewRecord]:
        """Return everything that goes into the transaction; to be asked for once."""
        changelog = changelog_topic(app_id)
        for job in self.amended.values():
            self.publish(amendment_record(job, partition, app_id), job, tracing)
        rows = [NewRecord(changelog, partition, row_key(key), encode_row(job)) for key, job in self.changed.items()]
        gone = [NewRecord(changelog, partition, row_key(key), None) for key in self.forgotten]
        decided = [
            NewRecord(changelog, partition, decision_key(key), None if decision is None else encode_decision(decision))
            for key, decision in self.decisions.items()
        ]
        # Who reads them in their order sees a release before the claims that it lets be made.
        return [*self.records, *decided, *rows, *gone]
