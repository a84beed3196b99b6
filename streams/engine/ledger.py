"""One partition's jobs: rows, one transaction at a time, and only then acknowledgements and calls."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import msgspec

from streams.core.controls import NOTES, Control
from streams.core.effects import CallRobot, IgnoreReason, PublishAmendment, PublishOutcome
from streams.core.events import (
    Admitted,
    BatchCompleted,
    BatchLost,
    CallFailed,
    DeadlinePassed,
    Event,
    InvalidSubmission,
    JobSubmitted,
    OrderReported,
    PayloadGone,
    Resubmitted,
    RobotAccepted,
)
from streams.core.job import Job, JobKey, Status
from streams.core.table import Change, JobTable
from streams.engine.claims import CallSlots, Claim, PayloadCache
from streams.engine.draft import Draft
from streams.engine.holes import HoleCheck
from streams.engine.ports import LogReader, PartitionLog, UnreadableError, until_readable
from streams.engine.rules import Rules
from streams.engine.runtime import heed_cancellation
from streams.engine.submissions import Submissions
from streams.names import (
    CHANGELOG_OPENED_KEY,
    CHANGELOG_TABLE_KEY,
    DLQ_OF,
    SOURCE_TOPICS,
    DeadLetterReason,
    Topic,
    changelog_topic,
)
from streams.telemetry.facts import (
    CompletionIgnored,
    ControlDecided,
    DeadLettered,
    RecordForwarded,
    ReportIgnored,
    RowChanged,
    SubmissionExpired,
    SubmissionIgnored,
)
from streams.telemetry.journal import Journal
from streams.telemetry.tracing import NO_SPANS, Span, Tracing
from streams.wire.dead_letters import dead_letter, record_size
from streams.wire.intake import (
    Apply,
    Decide,
    Forward,
    Meaning,
    Refuse,
    RefuseAndFail,
    Rejection,
    interpret,
    key_in,
)
from streams.wire.orders import cut_to_share, item_ids
from streams.wire.outcomes import outcome_record
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord, SourceRecord, TopicPartition
from streams.wire.rows import (
    TABLE_MARK,
    DecisionEntry,
    LoadedRow,
    Owner,
    TableError,
    TableMark,
    encode_owner,
    load_entry,
)

# One transaction's share of a backlog: enough that its fixed cost disappears, small enough to stay under a second.
STEP_MAX_ITEMS = 500
STEP_MAX_BYTES = 8_000_000
# A report writes the row of its whole batch anew, some 100 bytes an order.
STEP_MAX_ORDERS = 50_000
# Payloads and secrets that must be read again, however slowly, hold a claim of the same step up for so long at most.
STEP_READ_SECONDS = 3.0
# Work on rows between two turns of the event loop. All partitions that load may come before a heartbeat does, and a row
# may have a thousand orders.
SLICE_SECONDS = 0.001
# Deadlines that are looked at in one tick; the others wait for the next one, a quarter of a second later.
DUE_AT_ONCE = 10_000
# A partition count that was raised moves half of all workspaces at least, so these tell, the oldest first.
PLACES_CHECKED = 1_000
# The broker forgets a transactional id that is not used (transactional.id.expiration.ms, a week by default), and with
# it who may write; a write of the new owner would then look like one of a foreigner.
KEEP_ALIVE = timedelta(hours=1)

# Records that change nothing and that somebody should look at.
_LETTER_OF = {
    IgnoreReason.CONFLICT: Rejection(DeadLetterReason.CONFLICT, "the ids are taken by another payload"),
    IgnoreReason.UNKNOWN_JOB: Rejection(DeadLetterReason.UNKNOWN_JOB, "the workspace has no such job"),
    IgnoreReason.NOT_DISPATCHED: Rejection(DeadLetterReason.NOT_DISPATCHED, "the robot has not taken the job"),
    IgnoreReason.LATE_COMPLETION: Rejection(DeadLetterReason.LATE_COMPLETION, "the job had already failed"),
    IgnoreReason.UNKNOWN_ITEM: Rejection(
        DeadLetterReason.UNKNOWN_ITEM, "the job has no such order, or is not followed order by order"
    ),
    IgnoreReason.DUPLICATE_MISMATCH: Rejection(DeadLetterReason.DUPLICATE_MISMATCH, "something else was told before"),
}
# Why the orders of a job cannot be tried again as another one.
_NOT_RESUBMITTED = {
    IgnoreReason.NOT_ENDED: "resubmissionOf: the job has not ended",
    IgnoreReason.ALREADY_RESUBMITTED: "resubmissionOf: the job was resubmitted as another one",
}

# What a record says.
RecordEvent = JobSubmitted | InvalidSubmission | BatchCompleted | OrderReported


class LostTableError(TableError):
    """The group has worked on the partition, and its table is not there."""


class MisplacedRowError(TableError):
    """A row lies in another partition than its workspace does by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the ledgers of a worker share. `hand_over` takes a claim that is committed to where it is called."""

    rules: Rules
    reader: LogReader
    slots: CallSlots
    payloads: PayloadCache
    hand_over: Callable[[Claim], None]
    journal: Journal
    tracing: Tracing = NO_SPANS


class _Slices:
    """Long work in slices, between which the event loop turns."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._began_at = self._time()

    def is_over(self) -> bool:
        """Whether this slice has taken long enough."""
        return self._time() - self._began_at > SLICE_SECONDS

    async def next(self) -> None:
        """Let the loop turn, and begin another one."""
        await asyncio.sleep(0)
        self._began_at = self._time()


@dataclass(slots=True)
class _Delivered:
    record: SourceRecord
    acknowledge: Callable[[], None]
    # Known once a step has begun with it.
    meaning: Meaning | None = None


def _key_of(item: _Delivered | Event) -> JobKey | None:
    """Return the job whose row is written anew for what is queued, None if that is none, or none that is known."""
    if not isinstance(item, _Delivered):
        return item.key
    match item.meaning:
        case Apply(JobSubmitted(key, resubmission_of=str(former))):
            # Its own row is new, and small.
            return JobKey(key.workspace_id, former)
        case Apply(event):
            return event.key
        case Decide(control):
            return control.job
    return None


class Ledger:
    """The job table of one partition. Not thread-safe; `step` is never run twice at once."""

    def __init__(self, partition: int, log: PartitionLog, shared: Shared) -> None:
        self.partition = partition
        self._log = log
        self._rules = rules = shared.rules
        self._reader = shared.reader
        self._slots = shared.slots
        self._submissions = Submissions(shared.reader, shared.payloads, rules.callback)
        self._hand_over = shared.hand_over
        self._journal = shared.journal
        self._tracing = shared.tracing
        self._changelog = changelog_topic(rules.app_id)
        self._table = JobTable(rules.deadlines, rules.jobs_per_workspace, shared.slots.round_after)
        self._queue: deque[_Delivered | Event] = deque()
        self._holes = HoleCheck(partition, shared.reader, shared.journal)
        # The next offset of each source topic that is not yet committed here.
        self._processed: dict[str, int] = {}
        self.admitting = True
        # Since when this worker has missed the robot; None while it is there.
        self.robot_away_since: datetime | None = None
        self._owner = Owner(rules.worker_id, datetime.min.replace(tzinfo=UTC))
        # The source topics of this partition that are read elsewhere for now, by whom nothing comes of them.
        self.lacks: set[str] = set()
        # How many records of the changelog have been read by `open` so far.
        self.records_loaded = 0
        # After a step that the log could not serve, and until one that it could, others may have the call slots.
        self._stands_back = False
        self._wrote_at = datetime.min.replace(tzinfo=UTC)
        # Whether something is to be written that only the passing of time asks for.
        self._has_upkeep = False

    async def open(self, now: datetime) -> None:
        """Fence the former owner and load the rows. Nothing else may be called before this has returned.

        Lets the event loop turn all the while. Raises TableError if this is not the table that the group worked with.
        """
        marked = False
        self._owner = Owner(self._rules.worker_id, now, self.robot_away_since)
        try:
            batches = await self._log.open(encode_owner(self._owner))
            async with aclosing(batches):
                async for batch in batches:
                    marked |= await self._take_in(batch)
                    # A batch that had been fetched already came without a turn of the loop.
                    await asyncio.sleep(0)
            self._check_places()
        except TableError as error:
            raise type(error)(f"{self._changelog}-{self.partition}: {error}") from None
        # What follows may wait for brokers for long.
        heed_cancellation()
        slices = _Slices()
        for _ in self._table.index(now):
            if slices.is_over():
                await slices.next()
        for topic in SOURCE_TOPICS:
            offsets = await until_readable(partial(self._reader.committed_offsets, topic))
            offset = offsets[self.partition]
            self._processed[topic] = offset
            self._holes.begin(topic, offset)
        if not marked:
            await self._mark(empty=not self._table.jobs_by_status.total())
        self._wrote_at = now
        self._slots.enter(self)

    async def _mark(self, *, empty: bool) -> None:
        """Write down that the partition has a table from now on. Raises LostTableError if it should have had one.

        One with rows is of a release that wrote no mark.
        """
        for topic in SOURCE_TOPICS:
            source = TopicPartition(topic, self.partition)
            if empty and await until_readable(partial(self._reader.has_committed, source)):
                raise LostTableError(
                    f"{self._changelog}-{self.partition} has no table, but the group has worked on {topic}: the "
                    "changelog was deleted or made anew, and the jobs in it are lost (or it is of a release before "
                    "0.2, and none is left). If that cannot be undone: robot-orchestrator topics adopt"
                )
        await self._log.commit([NewRecord(self._changelog, self.partition, CHANGELOG_TABLE_KEY, TABLE_MARK)])

    async def _take_in(self, batch: Sequence[tuple[bytes, bytes | None]]) -> bool:
        """Take in records of the changelog; return whether the mark of a table is among them."""
        marked = False
        slices = _Slices()
        for raw_key, value in batch:
            match load_entry(raw_key, value):
                case LoadedRow() as row:
                    self._table.load(row.key, row.values)
                case DecisionEntry(control_id, decision):
                    self._table.load_decision(control_id, decision)
                case TableMark():
                    marked = True
            self.records_loaded += 1
            if slices.is_over():
                await slices.next()
        return marked

    def _check_places(self) -> None:
        for key in islice(self._table.keys(), PLACES_CHECKED):
            place = partition_of(key.workspace_id, self._rules.partitions)
            if place != self.partition:
                raise MisplacedRowError(
                    f"workspace {key.workspace_id} belongs to partition {place} of {self._rules.partitions}: the "
                    "partition count was changed, so jobs would be looked for in the wrong place and called twice. "
                    "Use topics with the former count"
                )

    async def close(self) -> None:
        """Forget everything, and write no more: the partition has moved away."""
        self._slots.leave(self)
        for key in self._table.pending():
            self._submissions.drop_payload(key)
        self._queue.clear()
        await self._log.close()

    def deliver(self, record: SourceRecord, acknowledge: Callable[[], None]) -> None:
        """Queue a record of this partition; `acknowledge` is called once all that follows from it is committed."""
        self._queue.append(_Delivered(record, acknowledge))

    def tell(self, event: RobotAccepted | CallFailed | BatchLost | DeadlinePassed) -> None:
        """Queue something that the worker itself found out."""
        self._queue.append(event)

    def drop_records(self) -> None:
        """Forget the records that are queued: they are not acknowledged, and come again. Not while a step is run."""
        self._queue = deque(item for item in self._queue if not isinstance(item, _Delivered))
        self._holes.begin_anew()

    def has_work(self, now: datetime) -> bool:
        """Whether a step would do anything, if there were call slots for it. Notes what has become due by now."""
        self._has_upkeep = self._table.forgettable(now) or self._has_to_show_itself(now)
        return self._may_admit(now) or bool(self._queue) or self._has_upkeep

    @property
    def queued(self) -> int:
        """How many records and events wait to be worked on."""
        return len(self._queue)

    def to_do(self, slots: int) -> int:
        """Return how much a step would do with so many call slots, as far as is known since `has_work` was asked."""
        if self._stands_back and self.admitting:
            slots = self._slots.share(self, self._table.rounds)
        return len(self._queue) + slots or int(self._has_upkeep)

    def _has_to_show_itself(self, now: datetime) -> bool:
        """Whether it must be written down who has the partition, or that the robot went or came back."""
        return now - self._wrote_at > KEEP_ALIVE or self._owner.robot_away_since != self.robot_away_since

    @property
    def jobs_by_status(self) -> Counter[Status]:
        """How many jobs there are of each status."""
        return self._table.jobs_by_status

    @property
    def calls_under_way(self) -> bool:
        """Whether a call of this partition is under way here, or its answer has not been taken in yet."""
        return self._table.calls_under_way

    @property
    def has_batches_at_robot(self) -> bool:
        """Whether the robot has accepted a batch that has not ended, and is not known to be lost."""
        return self._table.has_batches_at_robot

    def accepted_before(self, instant: datetime) -> list[JobKey]:
        """Return the jobs of such batches that were accepted before an instant."""
        return self._table.accepted_before(instant)

    @property
    def rounds(self) -> Mapping[int, int]:
        """How many workspaces of each round have a job that would be claimed now if a call slot were free."""
        return {} if self._stands_back or not self.admitting else self._table.rounds

    @property
    def workspaces_waiting(self) -> int:
        """How many workspaces have pending jobs."""
        return self._table.workspaces_waiting

    @property
    def holds(self) -> Collection[str | None]:
        """The workspaces that somebody holds; None for the whole partition."""
        return self._table.holds.keys()

    @property
    def oldest_waiting(self) -> datetime | None:
        """When the oldest pending job was submitted, to a second, None without any."""
        return self._table.oldest_waiting

    def processed(self, topic: str) -> int:
        """Return the offset before which every record of the source topic is committed here."""
        return self._processed[topic]

    def looked_at(self, topic: str) -> int:
        """Return how far the source topic has been looked at for records that never came; grows within a hole."""
        return self._holes.looked_at(topic)

    def jobs(self) -> list[Job]:
        """Return the rows as they stand."""
        return list(self._table.rows())

    def deadline_of(self, key: JobKey) -> datetime | None:
        """Return until when a job has time, None if there is no such job or it waits for its turn."""
        job = self._table.get(key)
        return None if job is None else job.decide_at

    def has_job(self, key: JobKey) -> bool:
        """Whether a job is in the table."""
        return self._table.get(key) is not None

    def follows(self, key: JobKey) -> bool:
        """Whether a job's batch is followed order by order."""
        job = self._table.get(key)
        return job is not None and bool(job.orders)

    def pause(self, busy: CallFailed, now: datetime) -> None:
        """Call nobody of a workspace that the robot is busy with, before it is decided what becomes of the job."""
        self._table.pause(busy, now)

    def take_due(self, now: datetime) -> list[JobKey]:
        """Return jobs whose deadline has come, each once per deadline. Costs nothing for those that wait."""
        return self._table.due(now, DUE_AT_ONCE)

    async def step(self, clock: Callable[[], datetime]) -> bool:
        """Run one transaction over what is queued; return False if it must be tried again later.

        Raises FencedError, LostRecordsError or a client's error; the ledger is of no use after any of them.
        """
        batch = self._take_batch()
        understood = await self._understand(batch, clock)
        self._queue.extendleft(reversed(batch[understood:]))
        readable, batch = understood == len(batch), batch[:understood]
        records = [item.record for item in batch if isinstance(item, _Delivered)]
        if not (batch or readable) or not await self._holes.check(records, clock()):
            self._queue.extendleft(reversed(batch))
            self._stands_back = True
            return False
        now = clock()
        draft = Draft()
        for item in batch:
            if not isinstance(item, _Delivered):
                self._apply(item, now, draft)
            elif item.meaning is not None:
                self._read(item.record, item.meaning, now, draft)
        payloads, readable = await self._read_payloads(clock)
        now = clock()
        self._stands_back = False
        self._admit(payloads, now, draft)
        self._stands_back = not readable
        self._forget(now, draft)
        to_write = draft.to_write(self.partition, self._rules.app_id, self._tracing)
        if self._has_to_show_itself(now):
            self._owner = replace(self._owner, robot_away_since=self.robot_away_since)
            value = encode_owner(self._owner)
            to_write.append(NewRecord(self._changelog, self.partition, CHANGELOG_OPENED_KEY, value))
        if to_write:
            try:
                await self._log.commit(to_write)
                self._wrote_at = now
            except BaseException:
                for _ in draft.claims:
                    self._slots.give_back()
                raise
        self._finish(batch, draft)
        # What was not taken of our share, others may have.
        self._slots.offer()
        return readable

    def _take_batch(self) -> list[_Delivered | Event]:
        batch: list[_Delivered | Event] = []
        size = 0
        while self._queue and len(batch) < STEP_MAX_ITEMS and size < STEP_MAX_BYTES:
            item = self._queue.popleft()
            if isinstance(item, _Delivered):
                size += record_size(item.record)
            batch.append(item)
        return batch

    async def _understand(self, batch: Sequence[_Delivered | Event], clock: Callable[[], datetime]) -> int:
        """Find out what records mean, reports without secrets; return how many of the batch can be worked on now.

        Bounded in time, and in the orders whose rows are written anew.
        """
        now = clock()
        give_up = now + timedelta(seconds=STEP_READ_SECONDS)
        rows: set[JobKey] = set()
        orders = 0
        for nth, item in enumerate(batch):
            if isinstance(item, _Delivered):
                item.meaning = interpret(item.record, self._rules.partitions, self._rules.deadlines, now)
            key = _key_of(item)
            job = None if key is None else self._table.get(key)
            if job is None:
                continue
            if job.key not in rows:
                rows.add(job.key)
                orders += len(job.orders)
                if nth and orders > STEP_MAX_ORDERS:
                    return nth
            if not isinstance(item, _Delivered):
                continue
            match item.meaning:
                case Apply(OrderReported(key, order)):
                    if nth and clock() > give_up:
                        return nth
                    if any(known.item_id == order.item_id for known in job.orders):
                        try:
                            order = await self._submissions.scrubbed(job, order)
                        except UnreadableError:
                            return nth
                    item.meaning = Apply(OrderReported(key, cut_to_share(order, job.orders)))
        return len(batch)

    def _read(self, record: SourceRecord, meaning: Meaning, now: datetime, draft: Draft) -> None:
        rejection: Rejection | None
        match meaning:
            case Apply(event):
                rejection = self._apply_record(event, None, record, now, draft)
            case RefuseAndFail(failure, because):
                rejection = self._apply_record(failure, because, record, now, draft)
            case Decide(control):
                rejection = self._decide(control, record, now, draft)
            case Forward(target):
                rejection = self._forward(record, target, draft)
            case Refuse(rejection):
                pass
        if rejection is not None:
            self._bury(record, rejection, draft)

    def _forward(self, record: SourceRecord, target: int, draft: Draft) -> Rejection | None:
        """Copy a record to its partition; return why it must become a dead letter instead, if it must."""
        copy = NewRecord(record.topic, target, record.key, record.value, record.headers, record.timestamp)
        if record_size(copy) > self._rules.max_bytes[record.topic]:
            return Rejection(DeadLetterReason.TOO_LARGE, "too large to be moved to its partition")
        draft.records.append(copy)
        draft.facts.append(RecordForwarded(record, target))
        return None

    def _bury(self, record: SourceRecord, rejection: Rejection, draft: Draft) -> None:
        max_bytes = self._rules.max_bytes[DLQ_OF[Topic(record.topic)]]
        draft.records.append(dead_letter(record, rejection.reason, rejection.message, max_bytes))
        draft.facts.append(DeadLettered(record, rejection, key_in(record.value)))

    def _apply_record(
        self,
        event: RecordEvent,
        rejection: Rejection | None,
        record: SourceRecord,
        now: datetime,
        draft: Draft,
    ) -> Rejection | None:
        """Apply what a record says; return why it must become a dead letter, if it must."""
        if not isinstance(event, BatchCompleted | OrderReported) and self._table.get(event.key) is None:
            if self._rules.deadlines.row_may_be_gone(event.submitted_at, now):
                # The job may have had its outcome long ago: a second one would be worse than a letter.
                message = "the submission is older than the table's memory"
                draft.facts.append(SubmissionExpired(event.key))
                return Rejection(DeadLetterReason.SUBMISSION_EXPIRED, message)
            if isinstance(event, JobSubmitted):
                if (refusal := self._resubmit(event, now, draft)) is not None:
                    event, rejection = refusal
                elif record.value is not None:
                    self._submissions.offer(event.key, record.value)
        event, span = self._begin_span(event, record)
        ignored = self._apply(event, now, draft).ignored
        if ignored is None:
            draft.spans.append(span)
            return rejection
        if isinstance(event, OrderReported):
            draft.facts.append(ReportIgnored(event.key, ignored))
        elif isinstance(event, BatchCompleted):
            draft.facts.append(CompletionIgnored(event.key, ignored))
        else:
            draft.facts.append(SubmissionIgnored(event.key, ignored))
        if ignored is IgnoreReason.DUPLICATE:
            # Read again: what its first reading led to is committed.
            return None
        return rejection or _LETTER_OF.get(ignored)

    def _begin_span(self, event: RecordEvent, record: SourceRecord) -> tuple[RecordEvent, Span]:
        """Begin to take in a record, in the trace of its job; what follows for a new job is a part of this span."""
        if isinstance(event, BatchCompleted | OrderReported):
            job = self._table.get(event.key)
            return event, self._tracing.process(record, event.key, None if job is None else job.traceparent)
        span = self._tracing.process(record, event.key, event.traceparent)
        return msgspec.structs.replace(event, traceparent=span.traceparent), span

    def _resubmit(self, event: JobSubmitted, now: datetime, draft: Draft) -> tuple[InvalidSubmission, Rejection] | None:
        """Note with a job that its orders are tried again; return why they must not be, if they must not."""
        if event.resubmission_of is None:
            return None
        former = JobKey(event.key.workspace_id, event.resubmission_of)
        ignored = self._apply(Resubmitted(former, event.key.job_id), now, draft).ignored
        why = None if ignored is None else _NOT_RESUBMITTED.get(ignored)
        if why is None:
            return None
        invalid = InvalidSubmission(event.key, event.submitted_at, event.source, why, event.traceparent)
        return invalid, Rejection(DeadLetterReason.INVALID, why)

    def _decide(self, control: Control, record: SourceRecord, now: datetime, draft: Draft) -> Rejection | None:
        """Do what somebody asks for, once, and draft what came of it; return why it is a dead letter, if it must be."""
        known = self._table.decision(control.control_id)
        if known is not None and known.control != control:
            return _LETTER_OF[IgnoreReason.CONFLICT]
        if control.action not in NOTES and self._rules.deadlines.row_may_be_gone(record.timestamp, now):
            # What came of it may be forgotten.
            ruling = self._table.refuse(control, IgnoreReason.TOO_OLD, now)
        else:
            ruling = self._table.decide(control, now)
        draft.decisions |= {one.control.control_id: one for one in ruling.written}
        if ruling.change is not None:
            self._draft(ruling.change, now, draft)
        draft.facts.append(ControlDecided(ruling.decision, repeated=ruling.repeated))
        return None

    def _apply(self, event: Event, now: datetime, draft: Draft) -> Change:
        """Let an event change the table, and draft what must be written for it."""
        change = self._table.apply(event, now)
        self._draft(change, now, draft)
        return change

    def _draft(self, change: Change, now: datetime, draft: Draft) -> None:
        event = change.event
        if (row := change.row) is not None:
            draft.changed[event.key] = row
            if row.status is not Status.PENDING:
                self._submissions.drop_payload(event.key)
            if PublishOutcome() in change.effects:
                draft.publish(outcome_record(row, self.partition, self._rules.app_id), row, self._tracing)
            if PublishAmendment() in change.effects:
                draft.amended[event.key] = row
            draft.facts.append(RowChanged(event, change.before, row, now))

    def _may_admit(self, now: datetime) -> bool:
        """Whether a job would be claimed if there were a call slot for it."""
        return self.admitting and self._table.ready(now)

    def _own_share(self, now: datetime) -> int:
        """Return how many call slots are ours, also while we stand back."""
        return self._slots.share(self, self._table.rounds) if self._may_admit(now) else 0

    async def _read_payloads(self, clock: Callable[[], datetime]) -> tuple[dict[JobKey, bytes | None], bool]:
        """Return the payloads that the next claims need, None for one that is gone, and whether all could be read.

        Bounded in bytes and in time: what is missing is left to the next step.
        """
        now = clock()
        payloads: dict[JobKey, bytes | None] = {}
        give_up = now + timedelta(seconds=STEP_READ_SECONDS)
        size = 0
        for job in self._table.next_in_line(self._own_share(now)):
            key = job.key
            if self._rules.deadlines.too_old_to_call(job.submitted_at, now):
                continue
            payload = self._submissions.kept(key)
            if payload is None:
                if clock() > give_up or size >= STEP_MAX_BYTES:
                    break
                try:
                    payload = await self._submissions.read(job)
                except UnreadableError:
                    return payloads, False
                if payload is not None:
                    size += len(payload)
                    # Others may have taken the slots meanwhile.
                    self._submissions.offer(key, payload)
            payloads[key] = payload
        return payloads, True

    def _admit(self, payloads: Mapping[JobKey, bytes | None], now: datetime, draft: Draft) -> None:
        """Claim the jobs whose turn it is, as far as there are call slots and payloads.

        Nothing is awaited between the look at the slots and the claims: other partitions take slots too.
        """
        share = self._own_share(now)
        for _ in range(STEP_MAX_ITEMS):
            job = self._table.next() if len(draft.claims) < share and self._table.ready(now) else None
            if job is None:
                return
            key = job.key
            if self._rules.deadlines.too_old_to_call(job.submitted_at, now):
                self._apply(PayloadGone(key, "The submission became too old before its turn came"), now, draft)
                continue
            if key not in payloads:
                return
            payload = payloads[key]
            if payload is None:
                self._apply(PayloadGone(key, "The submission is no longer in its topic"), now, draft)
                continue
            self._slots.take(self)
            # Of a callback that names no job, nobody could tell whose order it reports.
            items = item_ids(payload) if self._rules.callback.per_job else ()
            change = self._apply(Admitted(key, self._rules.worker_id, items), now, draft)
            if change.after is not None and CallRobot() in change.effects:
                draft.claims.append(Claim(change.after, payload))
                if items:
                    self._submissions.keep_secrets(key, payload)

    def _forget(self, now: datetime, draft: Draft) -> None:
        """Take jobs that ended a retention ago out of the table, a bounded number at a time."""
        draft.forgotten = self._table.forget(now, STEP_MAX_ITEMS)
        for key in draft.forgotten:
            draft.changed.pop(key, None)
        draft.decisions |= dict.fromkeys(self._table.forget_decisions(now, STEP_MAX_ITEMS))

    def _is_at_robot(self, key: JobKey) -> bool:
        job = self._table.get(key)
        return job is not None and job.status is Status.PROCESSING

    def _finish(self, batch: list[_Delivered | Event], draft: Draft) -> None:
        for item in batch:
            if isinstance(item, _Delivered):
                self._processed[item.record.topic] = item.record.offset + 1
                self._journal.record_processed(item.record.topic)
                item.acknowledge()
        self._submissions.drop_secrets(draft.changed, self._is_at_robot)
        for claim in draft.claims:
            self._hand_over(claim)
        for span in draft.spans:
            span.end()
        for fact in draft.facts:
            self._journal.tell(fact)
