"""Publishing submissions for people and scripts: checked against the contract first, then sent as they are."""

import asyncio
import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from pydantic import ValidationError

from schemas import JobSubmitted, explain
from streams.kafka.access import AccessError, Operation, connection_problem, describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.topics import missing_topics
from streams.names import Topic
from streams.settings import KafkaSettings
from streams.wire.intake import SUBMISSION_MAX_BYTES
from streams.wire.placement import partition_of

# A person waits for the answer.
REQUEST_TIMEOUT_MS = 10_000
# What to do when nobody knows whether a submission was taken.
_AGAIN = "submit the very same job (same ids) again"
_SEVERAL = "several jobs go one a line to robot-orchestrator submit -"


class InvalidSubmissionError(ValueError):
    """Bytes that are no submission; the text is one line that names the field and quotes nothing."""


class SubmitError(Exception):
    """Kafka did not take a submission, or may not have; the text is one line."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid submission: its ids, and its bytes, which carry credentials."""

    job_id: str
    workspace_id: str
    value: bytes = field(repr=False)


def parse_submission(value: bytes) -> Submission:
    """Return the submission in a JSON text. Raises InvalidSubmissionError."""
    if len(value) > SUBMISSION_MAX_BYTES:
        raise InvalidSubmissionError(f"it has {len(value)} bytes, the most are {SUBMISSION_MAX_BYTES}")
    try:
        job = JobSubmitted.model_validate_json(value)
    except ValidationError as error:
        raise InvalidSubmissionError(_form_problem(value) or explain(error)) from None
    items: set[str] = set()
    for number, order in enumerate(job.orders):
        if order.itemId in items:
            raise InvalidSubmissionError(
                f"orders.{number}.itemId: another order has it too, and the robot's reports would not tell them apart"
            )
        items.add(order.itemId)
    return Submission(job.jobId, job.workspaceId, value)


def _form_problem(value: bytes) -> str | None:
    """Return what is wrong with bytes that are not even one JSON object, None if they are."""
    if not value.strip():
        return "it is empty"
    if value.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it begins with a byte order mark: save it as UTF-8 without one"
    try:
        document, end = json.JSONDecoder().raw_decode(value.decode().strip())
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.pos == len(error.doc):
            return "its JSON is not whole; a job over several lines goes as a file, robot-orchestrator submit FILE"
        return "it is no JSON; a job is one JSON object (robot-orchestrator example prints one)"
    if value.decode().strip()[end:]:
        return f"it holds more than one JSON value; {_SEVERAL}"
    if isinstance(document, list):
        return f"it is a JSON array and no job; {_SEVERAL} (jq -c '.[]' FILE makes them)"
    return None if isinstance(document, dict) else "it is JSON, but no object (robot-orchestrator example prints one)"


def read_lines(lines: Iterable[bytes], invalid: Callable[[str], None]) -> Iterator[Submission]:
    """Yield the valid submissions of a text with one a line; `invalid` is told of the others."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse_submission(line.rstrip(b"\r\n"))
        except InvalidSubmissionError as error:
            invalid(f"line {number}: {error}")


async def check_topic(settings: KafkaSettings) -> None:
    """Raise MissingTopicsError if submissions have no topic, for which a producer would wait."""
    async with admin_client(**settings.kafka_client_options(), request_timeout_ms=REQUEST_TIMEOUT_MS) as admin:
        if Topic.SUBMITTED not in await describe_topics(admin, [Topic.SUBMITTED]):
            raise await missing_topics(admin, [Topic.SUBMITTED], settings.app_id)


class Submitter:
    """Publishes submissions to their own partitions, from `__aenter__` to `__aexit__`. Raises SubmitError.

    `again`: what a person is told to do where nobody knows whether Kafka has taken one.
    """

    def __init__(self, settings: KafkaSettings, again: str = _AGAIN) -> None:
        self._settings = settings
        self._again = again

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self._settings.kafka_client_options(),
            acks="all",
            max_request_size=SUBMISSION_MAX_BYTES + 1_000_000,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await self._producer.start()
        except KafkaConnectionError as error:
            await self._producer.stop()
            raise SubmitError(await connection_problem(self._settings)) from error
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._producer.stop()

    async def submit(self, submission: Submission) -> None:
        """Publish a submission and return when the broker has it."""
        workspace_id = submission.workspace_id
        try:
            partitions = await self._producer.partitions_for(Topic.SUBMITTED)
            await self._producer.send_and_wait(
                Topic.SUBMITTED,
                key=workspace_id.encode(),
                value=submission.value,
                partition=partition_of(workspace_id, len(partitions)),
            )
        except UnknownTopicOrPartitionError as error:
            raise SubmitError(f"no topic {Topic.SUBMITTED} (robot-orchestrator topics create makes it)") from error
        except TopicAuthorizationFailedError as error:
            raise SubmitError(str(AccessError((Operation.WRITE, f"topic {Topic.SUBMITTED}")))) from error
        except KafkaError as error:
            reason = str(error) or type(error).__name__
            # The producer has tried again until it ran out of time; one of the tries may be in the log.
            if error.retriable or isinstance(error, KafkaTimeoutError):
                raise SubmitError(
                    f"{Topic.SUBMITTED} may or may not have taken job {submission.job_id} ({reason}): "
                    f"{self._again}, which is harmless"
                ) from error
            raise SubmitError(f"{Topic.SUBMITTED} did not take job {submission.job_id}: {reason}") from error


def publish(settings: KafkaSettings, submissions: Iterable[Submission], again: str = _AGAIN) -> Iterator[str]:
    """Publish submissions as they come and yield each job id when the broker has it. Raises SubmitError.

    The event loop runs only while there is something to send: waiting for the next line is the caller's own
    blocking read, which Ctrl-C ends.
    """
    with asyncio.Runner() as runner:
        submitter = Submitter(settings, again)
        runner.run(submitter.__aenter__())
        try:
            for submission in submissions:
                runner.run(submitter.submit(submission))
                yield submission.job_id
        finally:
            runner.run(submitter.__aexit__())
