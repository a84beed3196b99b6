"""Trying the orders of a job that has ended again, as another job that is linked to it."""

from dataclasses import dataclass
from datetime import datetime

from streams.core.controls import Action
from streams.core.job import Job, JobKey
from streams.operate.giving import leave_note, new_control
from streams.operate.resubmission import Choice, Plan, Refusal, plan_resubmission
from streams.operate.stored_job import find_job
from streams.operate.submit import InvalidSubmissionError, Submission, parse_submission, publish
from streams.settings import KafkaSettings
from streams.wire.payload import resubmission, submission_of

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


def send(settings: KafkaSettings, prepared: Prepared) -> None:
    """Publish the new job; a second time is harmless. Raises SubmitError."""
    for _ in publish(settings, [prepared.submission], _AGAIN):
        pass
