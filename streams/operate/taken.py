"""Whether the ids of a submission are taken: by itself, given before, or by another one."""

from dataclasses import dataclass
from datetime import datetime

from aiokafka.errors import KafkaError

from streams.core.job import Job, JobKey
from streams.kafka.access import AccessError
from streams.kafka.topics import TopicsError
from streams.names import changelog_topic
from streams.operate.job_rows import NotReadError, record_reader
from streams.operate.standing import state_in_words
from streams.operate.submit import Submission
from streams.operate.table_view import read_row
from streams.settings import KafkaSettings
from streams.wire.intake import fingerprint, read_submission
from streams.wire.rows import TableError


@dataclass(frozen=True, slots=True)
class Taken:
    """That a job is known by these ids. `in_vain`: nothing would come of submitting it; the text says what helps."""

    text: str
    in_vain: bool


async def known_job(settings: KafkaSettings, submission: Submission) -> Job | None:
    """Return the job that has a submission's ids, None if there is none, or if this user cannot know."""
    try:
        async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
            return await read_row(settings, reader, JobKey(submission.workspace_id, submission.job_id))
    except (AccessError, TopicsError, TableError, NotReadError, KafkaError):
        # What is wrong, if anything, publishing says.
        return None


def taken_by(job: Job, submission: Submission, now: datetime) -> Taken:
    """Return what it means that a job has these ids."""
    head = f"job {job.job_id} of {job.workspace_id}"
    if fingerprint(read_submission(submission.value)) != job.fingerprint:
        return Taken(f"{head} is another one: submit these orders under a new job id", in_vain=True)
    state = state_in_words(job, now)
    if not job.ended:
        return Taken(f"{head} was submitted before ({state}): nothing changes", in_vain=False)
    return Taken(
        f"{head} has ended ({state}): it is not done again. robot-orchestrator jobs resubmit tries its orders as a new "
        "job, or submit them under a new job id",
        in_vain=True,
    )
