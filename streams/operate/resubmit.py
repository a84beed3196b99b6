"""Trying the orders of a job that has ended again, as another job that is linked to it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka.errors import KafkaError

from streams.core.controls import Action
from streams.core.job import Job, JobKey
from streams.names import changelog_topic
from streams.operate.giving import leave_note, new_control, read_on
from streams.operate.job_rows import NotReadError, record_reader
from streams.operate.resubmission import Choice, Plan, Refusal, plan_resubmission
from streams.operate.stored_job import find_job
from streams.operate.submit import InvalidSubmissionError, Submission, Submitter, parse_submission
from streams.operate.table_view import read_row
from streams.settings import KafkaSettings
from streams.wire.intake import fingerprint, read_submission
from streams.wire.payload import resubmission, submission_of
from streams.wire.placement import partition_of
from streams.wire.rows import TableError, decode_row, row_key

_AGAIN = "give the same command again"


class UnknownJobError(Exception):
    """The job table does not have the job."""


class RefusedError(Exception):
    """Nothing is sent; the text is one line that says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new job that is ready to be sent, and the job whose orders it has."""

    former: Job
    plan: Plan
    submission: Submission


async def prepare(settings: KafkaSettings, key: JobKey, choice: Choice, now: datetime) -> Prepared:
    """Return what would be sent again of a job. Raises UnknownJobError, RefusedError, and what `find_job` does."""
    stored = await find_job(settings, key)
    if stored is None:
        raise UnknownJobError
    job, value = stored.job, stored.submission or b""
    submitted = submission_of(job, value)
    plan = plan_resubmission(job, None if submitted is None else submitted.orders, choice, now)
    if isinstance(plan, Refusal):
        raise RefusedError(plan.reason)
    try:
        submission = parse_submission(resubmission(value, plan.new_job_id, job.job_id, plan.items))
    except InvalidSubmissionError as error:
        raise RefusedError(f"as another job it cannot be submitted: {error}") from None
    return Prepared(job, plan, submission)


async def note(settings: KafkaSettings, prepared: Prepared, actor: str, reason: str) -> None:
    """Leave in the control topic who sends which job again as which. Raises NotGivenError, AccessError, KafkaError."""
    former = prepared.former
    control = new_control(Action.RESUBMIT, former.workspace_id, former.job_id, actor, reason, prepared.plan.new_job_id)
    await leave_note(settings, control)


async def send(settings: KafkaSettings, prepared: Prepared) -> bool | None:
    """Publish the new job; a second time is harmless. Return whether a worker has taken it.

    False: the job has its id that somebody has sent before, with another choice of the orders. None: no worker has
    come to it yet, as far as could be read. Raises SubmitError, and what a reader does as long as nothing is published.
    """
    submission, changelog = prepared.submission, changelog_topic(settings.app_id)
    key, rows = JobKey(submission.workspace_id, submission.job_id), list[Job]()
    own = row_key(key)

    def take(message: Any) -> None:
        if message.key == own and message.value is not None:
            rows.append(decode_row(message.value))

    async with record_reader(settings, changelog) as reader:
        home, positions = partition_of(submission.workspace_id, reader.partitions), await reader.ends(changelog)
        async with Submitter(settings, _AGAIN) as submitter:
            await submitter.submit(submission)
        await read_on(reader, changelog, positions, take, lambda: [] if rows else [home])
        if not rows:
            # It may have been there before: what is a duplicate, or a conflict, writes no row.
            with suppress(NotReadError, TableError, KafkaError):
                rows += filter(None, [await read_row(settings, reader, key)])
    return rows[0].fingerprint == fingerprint(read_submission(submission.value)) if rows else None
