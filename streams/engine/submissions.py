"""What a partition's jobs were submitted as: the payloads that are sent, and the secrets in them.

Both lie in the submitted topic alone, where a job's row says; what is kept here only spares reading it again.
"""

import asyncio
import re
from collections.abc import Callable, Iterable

from schemas.order_reported import ERROR_MESSAGE_MAX_LENGTH, ERROR_TYPE_MAX_LENGTH, TRACKING_NUMBER_MAX_LENGTH
from streams.core.job import Job, JobKey, OrderResult
from streams.engine.claims import PayloadCache
from streams.engine.ports import LogReader
from streams.wire.payload import submission_of
from streams.wire.records import TopicPartition
from streams.wire.robot_request import Callback, secrets_of
from streams.wire.scrub import MASK, scrubber, surely_holds_none, without_cut_end

# Of words that were cut, so much of the end is left out: half of what there can be.
CUT_OFF = ERROR_MESSAGE_MAX_LENGTH // 2
# What no secret looks like, as far as one can tell without knowing it.
_CODES = ("validation", "portal", "timeout", "unknown")
_NUMBER = re.compile(r"[A-Z]{0,4}[0-9]{4,40}")


class Submissions:
    """The submissions of one partition's jobs. `payloads` is shared by all partitions of a worker."""

    def __init__(self, reader: LogReader, payloads: PayloadCache, callback: Callback) -> None:
        self._reader = reader
        self._payloads = payloads
        self._callback = callback
        # Of jobs at the robot, whose reports are to be scrubbed; None where the submission is gone.
        self._secrets: dict[JobKey, _Secrets | None] = {}
        # Those that were looked up since something was dropped: also of jobs that have ended.
        self._looked_up: set[JobKey] = set()

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
        self._secrets[key] = _Secrets(secrets_of(payload, self._callback))

    def drop_secrets(self, changed: Iterable[JobKey], is_at_robot: Callable[[JobKey], bool]) -> None:
        """Forget the secrets of jobs that have changed, if nothing more is to be reported of them in time."""
        for key in {*changed, *self._looked_up}:
            if not is_at_robot(key):
                self._secrets.pop(key, None)
        self._looked_up.clear()

    async def scrubbed(self, job: Job, report: OrderResult) -> OrderResult:
        """Return a report of a job without secrets. Raises UnreadableError if these are not to be had now.

        The bridge, which does not know them, has cut what is longest, maybe through one. Where nobody knows them any
        more, only what has the form of a number or code is kept.
        """
        number = _unless_cut(report.tracking_number, TRACKING_NUMBER_MAX_LENGTH)
        code = _unless_cut(report.error_type, ERROR_TYPE_MAX_LENGTH)
        words = report.error_message
        if (number, code, words) != (None, None, None):
            secrets = await self._secrets_of(job)
            if secrets is None:
                number = number if number is not None and _NUMBER.fullmatch(number) else None
                code, words = code if code in _CODES else None, words and MASK
            else:
                number, code = secrets.mask(number), secrets.mask(code)
                words = _without_cut_end(words, secrets)
                # Looking for secrets in words can take long.
                await asyncio.sleep(0)
        return report._replace(tracking_number=number, error_type=code, error_message=words)

    async def _secrets_of(self, job: Job) -> "_Secrets | None":
        """Return a job's secrets, None if its submission is gone. Raises UnreadableError."""
        if job.key not in self._secrets:
            payload = await self.read(job)
            self._looked_up.add(job.key)
            self._secrets[job.key] = None if payload is None else _Secrets(secrets_of(payload, self._callback))
        return self._secrets[job.key]


class _Secrets:
    """The secrets of a job, and what masks them, which takes long to make."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self._scrub: Callable[[str], str] | None = None

    def mask(self, text: str | None) -> str | None:
        """Return a text without them."""
        if text is None or surely_holds_none(text, self.texts):
            return text
        self._scrub = self._scrub or scrubber(self.texts)
        return self._scrub(text)


def _unless_cut(text: str | None, maximum: int) -> str | None:
    # Half a number or code is of no use anyway.
    return None if text is None or len(text) >= maximum else text


def _without_cut_end(words: str | None, secrets: _Secrets) -> str | None:
    masked = secrets.mask(words)
    if words is None or masked is None or len(words) < ERROR_MESSAGE_MAX_LENGTH:
        return masked
    return without_cut_end(masked, secrets.texts, CUT_OFF)
