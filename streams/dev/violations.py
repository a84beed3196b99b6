"""What can be wrong with a run."""

from enum import StrEnum
from typing import NamedTuple

from streams.core.job import JobKey


class ViolationKind(StrEnum):
    """What can be wrong with a history."""

    POSTED_TWICE = "handed over more than once"
    POSTED_UNKNOWN = "posted, but never submitted"
    POST_DENIED = "posted, but its outcome says that it cannot have been"
    NO_OUTCOME = "accepted, but without an outcome"
    SEVERAL_OUTCOMES = "more than one outcome"
    UNKNOWN_OUTCOME = "an outcome of a job that was never submitted"
    COMPLETION_IGNORED = "completed in time, but timed out"
    REPORTS_IGNORED = "each of its orders was reported in time, but it failed"
    CLAIMED_IN_A_HOLD = "claimed while somebody held it"
    DECIDED_AGAIN = "decided once, and then in another way"
    CONTROL_IGNORED = "somebody stopped it, or nobody did, and its outcome says otherwise"
    UNACCOUNTED = "a record of which nothing came"
    SECRET = "a secret outside its topics"  # noqa: S105 # says what is wrong, is none


class Violation(NamedTuple):
    """A promise that was not kept. `subject` is a job or a record, `detail` never quotes a payload."""

    kind: ViolationKind
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.kind.value} ({self.detail})"


def name_of(key: JobKey) -> str:
    """Return a job in words."""
    return f"job {key.job_id} of workspace {key.workspace_id}"
