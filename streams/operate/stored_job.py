"""A job as Kafka has it: its row, and the submission that the row says where to find."""

from dataclasses import dataclass, field

from streams.core.job import Job, JobKey
from streams.names import Topic, changelog_topic
from streams.operate.job_rows import record_reader
from streams.operate.table_view import read_row
from streams.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A job's row, and the bytes where its submission was, which carry credentials; None if nothing is there."""

    job: Job
    submission: bytes | None = field(repr=False)


async def find_job(settings: KafkaSettings, key: JobKey) -> StoredJob | None:
    """Return a job as it is now, None if the table does not have it.

    Raises AccessError, TopicsError, NotReadError, a KafkaError, and UnreadableRowError for a newer release's row.
    """
    changelog = changelog_topic(settings.app_id)
    async with record_reader(settings, changelog, Topic.SUBMITTED) as reader:
        job = await read_row(settings, reader, key)
        if job is None:
            return None
        record = await reader.record(job.source)
        return StoredJob(job, None if record is None else record.value)
