"""What people ask for, and what came of it: jobs are stopped, workspaces held and released."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from streams.core.effects import IgnoreReason
from streams.core.job import JobKey, Stop


class Action(StrEnum):
    """What is asked for; the last two only say what was done, and nothing follows from them here."""

    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
    GIVE_UP = "give_up"
    RESUBMIT = "resubmit"
    REDRIVE = "redrive"


# Done by the command itself, and kept in the topic for whoever asks later.
NOTES = frozenset({Action.RESUBMIT, Action.REDRIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What somebody asks for. A hold or release without a workspace is of a whole partition.

    `detail` is what was done: the new job's id, or that of the letter.
    """

    control_id: str
    action: Action
    workspace_id: str | None
    job_id: str | None
    actor: str
    reason: str
    requested_at: datetime
    detail: str | None = None

    @property
    def job(self) -> JobKey | None:
        """The job that it is about."""
        return None if self.workspace_id is None or self.job_id is None else JobKey(self.workspace_id, self.job_id)

    def stop(self, now: datetime) -> Stop:
        """Return what is written down with a job that is stopped by it."""
        return Stop(self.control_id, self.actor, self.reason, now)


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of a control: it was applied, or why not. `in_force`: a hold that nobody has released."""

    control: Control
    decided_at: datetime
    refused: IgnoreReason | None = None
    in_force: bool = False
