"""The submission of a job whose row is known: whether it is that one, and its orders under another job's id."""

from collections.abc import Mapping

import msgspec

from schemas import JobSubmitted
from streams.core.job import Job
from streams.wire.intake import fingerprint, read_submission

# Raw, so that what is in an order keeps its bytes, and fields that we do not know stay.
_submissions = msgspec.json.Decoder(dict[str, msgspec.Raw])
_orders = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def submission_of(job: Job, value: bytes) -> JobSubmitted | None:
    """Return what the bytes say if they are what the job was submitted as, else None."""
    try:
        submission = read_submission(value)
    except ValueError:
        return None
    same = (submission.workspaceId, submission.jobId) == job.key and fingerprint(submission) == job.fingerprint
    return submission if same else None


def resubmission(value: bytes, job_id: str, former_job_id: str, items: Mapping[int, str]) -> bytes:
    """Return a submission's bytes with another job id, a link to the former one, and some of its orders.

    `items`: by the place of each of these orders the item id that it is to have.
    """
    submission = _submissions.decode(value)
    orders = _orders.decode(submission["orders"])
    chosen = [{**order, "itemId": items[place]} for place, order in enumerate(orders) if place in items]
    return msgspec.json.encode({**submission, "jobId": job_id, "resubmissionOf": former_job_id, "orders": chosen})
