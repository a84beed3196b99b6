"""The jobs of the benchmarks: the contract's example of two orders, with ids of their own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.builders import contract_example, new_id


@dataclass(frozen=True, slots=True)
class Submission:
    """A job to publish; `value` is its record's value."""

    job_id: str
    workspace_id: str
    value: bytes = field(repr=False)


def make_submissions(count: int, workspaces: Sequence[str] = ()) -> list[Submission]:
    """Return jobs of the given workspaces in turn, or each of a workspace of its own."""
    template = contract_example()
    submissions = []
    for number in range(count):
        ids = {
            "jobId": new_id(),
            "workspaceId": workspaces[number % len(workspaces)] if workspaces else new_id(),
        }
        value = json.dumps(template | ids, ensure_ascii=False, separators=(",", ":")).encode()
        submissions.append(Submission(ids["jobId"], ids["workspaceId"], value))
    return submissions
