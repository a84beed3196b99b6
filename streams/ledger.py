"""One partition's jobs: rows, one transaction at a time, and only then acknowledgements and calls."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from streams.claims import CallSlots, Claim, PayloadCache
from streams.core.admission import Admission, robot_free_at
from streams.core.deadlines import Deadlines
from streams.core.effects import CallRobot, Ignored, IgnoreReason, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    CallFailed,
    DeadlinePassed,
    Event,
    InvalidSubmission,
    JobSubmitted,
    PayloadGone,
    RobotAccepted,
)
from streams.core.job import Job, JobKey, Status
from streams.core.transition import transition
from streams.dead_letters import dead_letter, record_size
from streams.holes import HoleCheck
from streams.intake import Intake, Rejection, fingerprint, interpret, read_submission
from streams.journal import Journal
from streams.log import (
    LogReader,
    NewRecord,
    PartitionLog,
    SourceRecord,
    TopicPartition,
    UnreadableError,
    until_readable,
)
from streams.names import DLQ_OF, SOURCE_TOPICS, DeadLetterReason, Topic, changelog_topic
from streams.outcomes import outcome_record
from streams.rows import decode_row, encode_row, row_key

# One transaction's share of a backlog: enough that its fixed cost disappears, small enough to stay under a second.
STEP_MAX_ITEMS = 500
STEP_MAX_BYTES = 8_000_000

# Completions that change nothing and that somebody should look at.
_LETTER_OF = {
    IgnoreReason.CONFLICT: Rejection(DeadLetterReason.CONFLICT, "the ids are taken by another payload"),
    IgnoreReason.UNKNOWN_JOB: Rejection(DeadLetterReason.UNKNOWN_JOB, "the workspace has no such job"),
    IgnoreReason.NOT_DISPATCHED: Rejection(DeadLetterReason.NOT_DISPATCHED, "the job has not been sent to the robot"),
    IgnoreReason.LATE_COMPLETION: Rejection(DeadLetterReason.LATE_COMPLETION, "the job had already failed"),
    IgnoreReason.DUPLICATE_MISMATCH: Rejection(
        DeadLetterReason.DUPLICATE_MISMATCH, "the job was completed with other counts"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConfig:
    """What all ledgers of a worker have in common. `max_bytes`: the largest record each topic takes."""

    app_id: str
    worker_id: str
    partitions: int
    jobs_per_workspace: int
    deadlines: Deadlines
    max_bytes: Mapping[str, int]


@dataclass(slots=True)
class _Delivered:
    record: SourceRecord
    acknowledge: Callable[[], None]


@dataclass(slots=True)
class _Draft:
    """One transaction in the making."""

    records: list[NewRecord] = field(default_factory=list)
    changed: dict[JobKey, Job] = field(default_factory=dict)
    forgotten: list[JobKey] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    facts: list[Callable[[Journal], None]] = field(default_factory=list)


class Ledger:
    """The job table of one partition. Not thread-safe; `step` is never run twice at once."""

    def __init__(
        self,
        partition: int,
        config: LedgerConfig,
        log: PartitionLog,
        reader: LogReader,
        slots: CallSlots,
        payloads: PayloadCache,
        dispatch: Callable[[Claim], None],
        journal: Journal,
    ) -> None:
        self.partition = partition
        self._config = config
        self._log = log
        self._reader = reader
        self._slots = slots
        self._payloads = payloads
        self._dispatch = dispatch
        self._journal = journal
        self._changelog = changelog_topic(config.app_id)
        self._rows: dict[JobKey, Job] = {}
        self._admission = Admission(config.jobs_per_workspace)
        self._calls: set[JobKey] = set()
        self._deadlines: list[tuple[datetime, JobKey]] = []
        self._ended: list[tuple[datetime, JobKey]] = []
        self._queue: deque[_Delivered | Event] = deque()
        self._holes = HoleCheck(partition, reader, journal)
        # The next offset of each source topic that is not yet committed here.
        self._processed: dict[str, int] = {}
        self.jobs_by_status: Counter[Status] = Counter()
        self.admitting = True

    async def open(self) -> None:
        """Fence the former owner and load the rows. Nothing else may be called before this has returned."""
        for _, value in await self._log.open():
            self._load(decode_row(value))
        pending = [job for job in self._rows.values() if job.status is Status.PENDING]
        for job in sorted(pending, key=lambda job: job.source.offset):
            self._admission.wait(job.key)
        for topic in SOURCE_TOPICS:
            offsets = await until_readable(partial(self._reader.committed_offsets, topic))
            offset = offsets[self.partition]
            self._processed[topic] = offset
            self._holes.begin(topic, offset)

    def close(self) -> None:
        """Forget everything: the partition has moved away."""
        for key in self._rows:
            self._payloads.drop(key)
        self._queue.clear()

    def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Queue a record of this partition; `acknowledge` is called once all that follows from it is committed."""
        self._queue.append(_Delivered(record, acknowledge))

    def tell(self, event: RobotAccepted | CallFailed | DeadlinePassed) -> None:
        """Queue something that the worker itself found out."""
        self._queue.append(event)

    def has_work(self, now: datetime) -> bool:
        """Whether a step would do anything."""
        return bool(self._queue) or self._has_admissible(now) or self._has_forgettable(now)

    @property
    def calls_under_way(self) -> bool:
        """Whether a call of this partition is under way here, or its answer has not been taken in yet."""
        return bool(self._calls)

    @property
    def waiting(self) -> bool:
        """Whether a job could be admitted if a call slot were free."""
        return self.admitting and self._admission.first() is not None

    @property
    def workspaces_waiting(self) -> int:
        """How many workspaces have pending jobs."""
        return self._admission.workspaces_waiting

    def processed(self, topic: str) -> int:
        """Return the offset before which every record of the source topic is committed here."""
        return self._processed[topic]

    def looked_at(self, topic: str) -> int:
        """Return how far the source topic has been looked at for records that never came; grows within a hole."""
        return self._holes.looked_at(topic)

    def jobs(self) -> list[Job]:
        """Return the rows as they stand."""
        return list(self._rows.values())

    def take_due(self, now: datetime) -> list[JobKey]:
        """Return the jobs whose deadline has come, each once per deadline. Costs nothing for those that wait."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, key = heapq.heappop(self._deadlines)
            job = self._rows.get(key)
            if job is not None and not job.ended and job.deadline == deadline:
                due.append(key)
        return due

    async def step(self, now: datetime) -> bool:
        """Run one transaction over what is queued; return False if it must be tried again later.

        Raises FencedError, LostRecordsError or a client's error; the ledger is of no use after any of them.
        """
        batch = self._take_batch()
        if not await self._holes.check([item.record for item in batch if isinstance(item, _Delivered)], now):
            self._queue.extendleft(reversed(batch))
            return False
        draft = _Draft()
        for item in batch:
            if isinstance(item, _Delivered):
                self._read(item.record, now, draft)
            else:
                self._apply(item, now, draft)
        readable = await self._admit(now, draft)
        self._forget(now, draft)
        for key, job in draft.changed.items():
            draft.records.append(NewRecord(self._changelog, self.partition, row_key(key), encode_row(job)))
        for key in draft.forgotten:
            draft.records.append(NewRecord(self._changelog, self.partition, row_key(key), None))
        if draft.records:
            try:
                await self._log.commit(draft.records)
            except BaseException:
                for _ in draft.claims:
                    self._slots.release()
                raise
        self._finish(batch, draft)
        return readable

    def _load(self, job: Job) -> None:
        self._rows[job.key] = job
        self._track(None, job)
        if job.status is Status.PROCESSING:
            self._admission.hold(job.key)
        elif job.ended:
            free_at = robot_free_at(job, self._config.deadlines)
            if free_at is not None:
                self._admission.hold(job.key)
                self._admission.release(job.key, free_at)

    def _track(self, before: Job | None, job: Job) -> None:
        if before is not None:
            self.jobs_by_status[before.status] -= 1
        self.jobs_by_status[job.status] += 1
        if job.status is Status.PROCESSING and job.deadline is not None:
            heapq.heappush(self._deadlines, (job.deadline, job.key))
        elif job.ended and job.ended_at is not None:
            heapq.heappush(self._ended, (job.ended_at, job.key))

    def _take_batch(self) -> list[_Delivered | Event]:
        batch: list[_Delivered | Event] = []
        size = 0
        while self._queue and len(batch) < STEP_MAX_ITEMS and size < STEP_MAX_BYTES:
            item = self._queue.popleft()
            if isinstance(item, _Delivered):
                size += record_size(item.record)
            batch.append(item)
        return batch

    def _read(self, record: SourceRecord, now: datetime, draft: _Draft) -> None:
        intake = interpret(record, self._config.partitions, self._config.deadlines, now)
        if intake.forward_to is not None:
            intake = self._forward(record, intake.forward_to, draft)
        rejection = intake.rejection
        if intake.event is not None:
            rejection = self._apply_record(intake.event, intake.rejection, record, now, draft)
        if rejection is not None:
            self._bury(record, rejection, draft)

    def _forward(self, record: SourceRecord, target: int, draft: _Draft) -> Intake:
        copy = NewRecord(record.topic, target, record.key, record.value, record.headers, record.timestamp)
        if record_size(copy) > self._config.max_bytes[record.topic]:
            return Intake(rejection=Rejection(DeadLetterReason.TOO_LARGE, "too large to be moved to its partition"))
        draft.records.append(copy)
        draft.facts.append(lambda journal: journal.record_forwarded(record, target))
        return Intake()

    def _bury(self, record: SourceRecord, rejection: Rejection, draft: _Draft) -> None:
        max_bytes = self._config.max_bytes[DLQ_OF[Topic(record.topic)]]
        draft.records.append(dead_letter(record, rejection.reason, rejection.message, max_bytes))
        draft.facts.append(lambda journal: journal.dead_letter(record, rejection))

    def _apply_record(
        self,
        event: JobSubmitted | InvalidSubmission | BatchCompleted,
        rejection: Rejection | None,
        record: SourceRecord,
        now: datetime,
        draft: _Draft,
    ) -> Rejection | None:
        """Apply what a record says; return why it must become a dead letter, if it must."""
        if not isinstance(event, BatchCompleted) and event.key not in self._rows:
            if self._config.deadlines.row_may_be_gone(event.submitted_at, now):
                # The job may have had its outcome long ago: a second one would be worse than a letter.
                message = "the submission is older than the table's memory"
                draft.facts.append(lambda journal: journal.submission_expired(event.key))
                return Rejection(DeadLetterReason.SUBMISSION_EXPIRED, message)
            if isinstance(event, JobSubmitted) and record.value is not None:
                self._payloads.offer(event.key, record.value)
        ignored = self._apply(event, now, draft)
        if ignored is None:
            return rejection
        if isinstance(event, BatchCompleted):
            if ignored is IgnoreReason.LATE_COMPLETION and event.key not in self._calls:
                self._admission.advance(now)
                self._admission.release(event.key, now + self._config.deadlines.workspace_pause)
            draft.facts.append(lambda journal: journal.completion_ignored(event.key, ignored))
        else:
            draft.facts.append(lambda journal: journal.submission_ignored(event.key, ignored))
        if ignored is IgnoreReason.DUPLICATE:
            # Read again: what its first reading led to is committed.
            return None
        return rejection or _LETTER_OF.get(ignored)

    def _apply(self, event: Event, now: datetime, draft: _Draft) -> IgnoreReason | None:
        """Run the transition table for one event; return why it changed nothing, if it did not."""
        key = event.key
        before = self._rows.get(key)
        job, effects = transition(before, event, now, self._config.deadlines)
        if isinstance(event, RobotAccepted | CallFailed):
            self._calls.discard(key)
        if job is not None and job is not before:
            self._rows[key] = draft.changed[key] = job
            self._place(before, job, now)
            self._track(before, job)
            draft.facts.append(lambda journal: journal.transition(event, before, job, now))
        elif job is not None and job.ended and isinstance(event, RobotAccepted | CallFailed):
            self._leave_robot(job, now)
        ignored = None
        for effect in effects:
            match effect:
                case CallRobot():
                    self._calls.add(key)
                case PublishOutcome():
                    draft.records.append(outcome_record(effect.job, self.partition, self._config.app_id))
                case Ignored():
                    ignored = effect.reason
        return ignored

    def _place(self, before: Job | None, job: Job, now: datetime) -> None:
        """Keep the lines of the workspaces in step with a changed row."""
        if job.status is Status.PENDING:
            self._admission.wait(job.key)
            return
        if before is not None and before.status is Status.PENDING:
            self._admission.take(job.key)
            self._payloads.drop(job.key)
        if before is not None and job.status is Status.PROCESSING and before.status is Status.PENDING:
            self._admission.hold(job.key)
        if job.ended:
            self._leave_robot(job, now)

    def _leave_robot(self, job: Job, now: datetime) -> None:
        """Let the workspace go on, unless the job's call is still under way here."""
        free_at = robot_free_at(job, self._config.deadlines)
        if free_at is not None and job.key not in self._calls:
            self._admission.release(job.key, free_at)
            self._admission.advance(now)

    def _has_admissible(self, now: datetime) -> bool:
        self._admission.advance(now)
        return self.waiting and self._slots.available

    async def _admit(self, now: datetime, draft: _Draft) -> bool:
        """Admit the jobs whose turn it is; return False if a payload could not be read now."""
        while self._has_admissible(now):
            key = self._admission.first()
            if key is None:
                break
            job = self._rows[key]
            if self._config.deadlines.too_old_to_call(job.submitted_at, now):
                self._apply(PayloadGone(key, "The submission became too old before its turn came"), now, draft)
                continue
            # Before anything is awaited: other partitions take slots too.
            self._slots.take()
            try:
                payload = self._payloads.get(key) or await self._read_payload(job)
            except UnreadableError:
                self._slots.release()
                return False
            if payload is None:
                self._slots.release()
                self._apply(PayloadGone(key, "The submission is no longer in its topic"), now, draft)
                continue
            self._apply(Admitted(key, self._config.worker_id), now, draft)
            draft.claims.append(Claim(self._rows[key], payload))
        return True

    async def _read_payload(self, job: Job) -> bytes | None:
        """Return the submission of a pending job from where its row says it lies, None if it is gone."""
        source = TopicPartition(job.source.topic, job.source.partition)
        # One offset is read in one go.
        records, _ = await self._reader.read(source, job.source.offset, job.source.offset + 1, limit=1)
        value = records[0].value if records else None
        if value is None:
            return None
        try:
            submission = read_submission(value)
        except ValueError:
            return None
        same = (submission.workspaceId, submission.jobId) == job.key and fingerprint(submission) == job.fingerprint
        return value if same else None

    def _has_forgettable(self, now: datetime) -> bool:
        return bool(self._ended) and now - self._ended[0][0] > self._config.deadlines.retention

    def _forget(self, now: datetime, draft: _Draft) -> None:
        """Take jobs that ended a retention ago out of the table, a bounded number at a time."""
        while len(draft.forgotten) < STEP_MAX_ITEMS and self._has_forgettable(now):
            _, key = heapq.heappop(self._ended)
            job = self._rows.pop(key)
            self.jobs_by_status[job.status] -= 1
            draft.forgotten.append(key)
            draft.changed.pop(key, None)

    def _finish(self, batch: list[_Delivered | Event], draft: _Draft) -> None:
        for item in batch:
            if isinstance(item, _Delivered):
                self._processed[item.record.topic] = item.record.offset + 1
                self._journal.record_processed(item.record.topic)
                item.acknowledge()
        for claim in draft.claims:
            self._dispatch(claim)
        for fact in draft.facts:
            fact(self._journal)
