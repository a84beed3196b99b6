"""The jobs of the benchmarks: the contract's example of two orders, with ids of their own."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import schemas

_EXAMPLE = Path(schemas.__file__).parent / "examples" / "robot.job.submitted" / "valid" / "contract.json"


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to publish; `value` is its record's value."""

    job_id: str
    workspace_id: str
    value: bytes = field(repr=False)


def make_submissions(count: int, workspaces: Sequence[str] = ()) -> list[Submission]:
    """Return jobs of the given workspaces in turn, or each of a workspace of its own."""
    template = json.loads(_EXAMPLE.read_bytes())
    submissions = []
    for number in range(count):
        ids = {
            "jobId": str(uuid.uuid4()),
            "workspaceId": workspaces[number % len(workspaces)] if workspaces else str(uuid.uuid4()),
        }
        value = json.dumps(template | ids, ensure_ascii=False, separators=(",", ":")).encode()
        submissions.append(Submission(ids["jobId"], ids["workspaceId"], value))
    return submissions
