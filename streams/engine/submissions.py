"""What a partition's jobs were submitted as: the payloads that are sent, and the secrets in them.

Both lie in the submitted topic alone, where a job's row says; what is kept here only spares reading it again.
"""

from collections.abc import Callable

from schemas.order_reported import ERROR_MESSAGE_MAX_LENGTH
from streams.core.job import Job, JobKey, OrderResult
from streams.engine.claims import PayloadCache
from streams.engine.ports import LogReader
from streams.wire.payload import submission_of
from streams.wire.records import TopicPartition
from streams.wire.robot_request import Callback, secrets_of
from streams.wire.scrub import MASK, longest_form, scrub

# Of words that were cut, so much of the end is left out: half of what there can be.
CUT_OFF = ERROR_MESSAGE_MAX_LENGTH // 2


class Submissions:
    """The submissions of one partition's jobs. `payloads` is shared by all partitions of a worker."""

    def __init__(self, reader: LogReader, payloads: PayloadCache, callback: Callback) -> None:
        self._reader = reader
        self._payloads = payloads
        self._callback = callback
        # Of jobs at the robot, whose reports are to be scrubbed.
        self._secrets: dict[JobKey, tuple[str, ...]] = {}

    def offer(self, key: JobKey, payload: bytes) -> None:
        """Keep a payload if there is room."""
        self._payloads.offer(key, payload)

    def kept(self, key: JobKey) -> bytes | None:
        """Return a payload that was kept."""
        return self._payloads.get(key)

    def drop_payload(self, key: JobKey) -> None:
        """Forget a payload, if it was kept."""
        self._payloads.drop(key)

    async def read(self, job: Job) -> bytes | None:
        """Return a job's submission from where its row says it lies, None if it is gone. Raises UnreadableError."""
        source = TopicPartition(job.source.topic, job.source.partition)
        # One offset is read in one go.
        records, _ = await self._reader.read(source, job.source.offset, job.source.offset + 1, limit=1)
        value = records[0].value if records else None
        return value if value is not None and submission_of(job, value) is not None else None

    def keep_secrets(self, key: JobKey, payload: bytes) -> None:
        """Note the secrets of a submission, until they are dropped."""
        self._secrets[key] = secrets_of(payload, self._callback)

    async def find_secrets(self, job: Job) -> None:
        """See to it that a job's secrets are known, if its submission is still there. Raises UnreadableError."""
        if job.key not in self._secrets and (payload := await self.read(job)) is not None:
            self.keep_secrets(job.key, payload)

    def drop_secrets_unless(self, is_at_robot: Callable[[JobKey], bool]) -> None:
        """Forget the secrets of jobs of which nothing more is to be reported in time."""
        self._secrets = {key: secrets for key, secrets in self._secrets.items() if is_at_robot(key)}

    def scrubbed(self, key: JobKey, report: OrderResult) -> OrderResult:
        """Return a report without secrets; where these are not known any more, without the robot's words."""
        secrets = self._secrets.get(key)
        if secrets is None:
            return report._replace(error_message=report.error_message and MASK)
        cut = len(report.error_message or "") >= ERROR_MESSAGE_MAX_LENGTH
        number, code, words = (text and scrub(text, secrets) for text in report[2:])
        if cut and words:
            # The bridge, which does not know these secrets, may have cut through one.
            words = words[: max(0, len(words) - min(CUT_OFF, longest_form(secrets)))]
        return report._replace(tracking_number=number, error_type=code, error_message=words)
