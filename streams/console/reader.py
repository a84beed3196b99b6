"""Questions to the console's file, each answered from an index."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from streams.console.entries import Letter
from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.core.job import Job, JobKey, Status
from streams.wire.rows import Owner, decode_row

# The largest number that SQLite has.
INTEGER_MAX = 2**63 - 1
LAST_CHARACTER = "\U0010ffff"
_LETTER = "topic, partition, place, letter_id, reason, message, redrives, workspace_id, job_id, written_at"
_CONTROL = (
    "partition, control_id, action, workspace_id, job_id, actor, reason, requested_at, detail, decided_at, refused,"
    " in_force"
)


def milliseconds(instant: datetime | None) -> int | None:
    """Return an instant as the file has it."""
    return None if instant is None else round(instant.timestamp() * 1000)


def instant_of(value: int) -> datetime:
    """Return an instant of the file."""
    return datetime.fromtimestamp(value / 1000, UTC)


def cursor_of_name(key: JobKey) -> str:
    """Return by what a list in the order of ids goes on behind a job."""
    return json.dumps([key.job_id, key.workspace_id])


def _name_of_cursor(cursor: str) -> list[str]:
    try:
        name = json.loads(cursor)
    except RecursionError:
        raise ValueError(cursor) from None
    if not (isinstance(name, list) and len(name) == 2 and all(isinstance(one, str) for one in name)):
        raise ValueError(cursor)
    return name


@dataclass(frozen=True, slots=True)
class Listed:
    """A job of a list, its partition, and by what the list goes on behind it."""

    job: Job
    partition: int
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs: by each field that is not None. `oldest` has those first that were submitted first."""

    status: Status | None = None
    reason: str | None = None
    workspace_id: str | None = None
    oldest: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """What somebody asked for in a partition, and the decision, None while there is none."""

    control: Control
    partition: int
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an outcome or an amendment of a job lies."""

    topic: str
    partition: int
    offset: int
    written_at: datetime


class Reader:
    """Questions to the file; each is answered from an index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(question, values).fetchall()

    def job(self, key: JobKey) -> tuple[Job, int] | None:
        """Return a job and its partition, None if it is not here."""
        rows = self._rows("SELECT body, partition FROM jobs WHERE job_id = ? AND workspace_id = ?", key[::-1])
        return (decode_row(rows[0][0]), rows[0][1]) if rows else None

    def jobs_named(self, beginning: str, after: str | None, limit: int) -> list[Listed]:
        """Return the jobs whose ids begin so, in the order of their ids, behind a cursor. Raises as `jobs` does."""
        condition, values = "job_id BETWEEN ? AND ?", [beginning, beginning + LAST_CHARACTER]
        if after is not None:
            condition += " AND (job_id, workspace_id) > (?, ?)"
            values += _name_of_cursor(after)
        return self._listed(condition, values, limit, "job_id, workspace_id")

    def jobs(self, wanted: Filter, after: str | None, limit: int) -> list[Listed]:
        """Return jobs, the newest first or the oldest, behind a cursor. Raises ValueError for one that is none."""
        fields = {"status": wanted.status, "reason": wanted.reason, "workspace_id": wanted.workspace_id}
        given = {name: str(value) for name, value in fields.items() if value is not None}
        conditions, values = [f"{name} = ?" for name in given], list[Any](given.values())
        if after is not None:
            at, _, number = after.partition("-")
            conditions.append(f"(submitted_at, number) {'>' if wanted.oldest else '<'} (?, ?)")
            place = int(at), int(number)
            if max(map(abs, place)) > INTEGER_MAX:
                raise ValueError(after)
            values += place
        direction = "" if wanted.oldest else " DESC"
        order = f"submitted_at{direction}, number{direction}"
        return self._listed(" AND ".join(conditions) or "1", values, limit, order)

    def _listed(self, condition: str, values: Sequence[Any], limit: int, order: str) -> list[Listed]:
        rows = self._rows(
            "SELECT body, partition, submitted_at, number FROM jobs"  # noqa: S608 # values are bound
            f" WHERE {condition} ORDER BY {order} LIMIT ?",
            [*values, limit],
        )
        return [Listed(decode_row(body), partition, f"{at}-{number}") for body, partition, at, number in rows]

    def oldest_waiting(self) -> Job | None:
        """Return the job that has waited longest for its call, None if none waits."""
        return next((one.job for one in self.jobs(Filter(status=Status.PENDING, oldest=True), None, 1)), None)

    def due(self, limit: int) -> list[Listed]:
        """Return the open jobs whose deadlines come next, or have passed."""
        return self._listed("busy_until IS NULL AND deadline IS NOT NULL", (), limit, "deadline")

    def beside(self, key: JobKey, since: datetime, limit: int) -> list[Job]:
        """Return jobs of a job's workspace that have a say in when it is called, so many of each kind.

        They are those that are open, and those that ended, or whose deadline is, after an instant.
        """
        found = self.job(key)
        jobs = [] if found is None else [found[0]]
        for status in (Status.PROCESSING, Status.PENDING):
            wanted = Filter(status=status, workspace_id=key.workspace_id, oldest=True)
            jobs += [one.job for one in self.jobs(wanted, None, limit)]
        condition = "workspace_id = ? AND busy_until IS NOT NULL AND busy_until > ?"
        ended = self._listed(condition, (key.workspace_id, milliseconds(since)), limit, "busy_until DESC")
        return list({job.job_id: job for job in [*jobs, *(one.job for one in ended)]}.values())

    def counts(self) -> list[tuple[Status, str, int]]:
        """Return how many jobs there are of each status and reason, which is empty where there is none."""
        rows = self._rows("SELECT status, reason, count FROM job_counts WHERE count > 0 ORDER BY status, reason")
        return [(Status(status), reason, count) for status, reason, count in rows]

    def letter_counts(self) -> list[tuple[str, str, int]]:
        """Return how many letters there are of each topic and reason."""
        rows = self._rows("SELECT topic, reason, count FROM letter_counts WHERE count > 0 ORDER BY topic, reason")
        return [(topic, reason, count) for topic, reason, count in rows]

    def letters(self, topic: str, reason: str, limit: int) -> list[Letter]:
        """Return the newest letters of a topic and reason."""
        return self._letters("topic = ? AND reason = ?", (topic, reason), limit)

    def letters_of(self, key: JobKey, limit: int) -> list[Letter]:
        """Return the newest letters that name a job."""
        return self._letters("job_id = ? AND workspace_id = ?", key[::-1], limit)

    def letter(self, topic: str, partition: int, offset: int) -> Letter | None:
        """Return a letter by where it lies."""
        found = self._letters("topic = ? AND partition = ? AND place = ?", (topic, partition, offset), 1)
        return found[0] if found else None

    def _letters(self, condition: str, values: Sequence[Any], limit: int) -> list[Letter]:
        rows = self._rows(
            f"SELECT {_LETTER} FROM letters WHERE {condition} ORDER BY written_at DESC LIMIT ?",  # noqa: S608 # as above
            [*values, limit],
        )
        return [
            Letter(
                topic=topic,
                partition=partition,
                offset=place,
                letter_id=letter_id,
                reason=reason,
                message=message,
                redrives=redrives,
                key=None if job_id is None else JobKey(workspace_id, job_id),
                written_at=instant_of(written_at),
            )
            for topic, partition, place, letter_id, reason, message, redrives, workspace_id, job_id, written_at in rows
        ]

    def outcomes_of(self, key: JobKey, limit: int) -> list[Outcome]:
        """Return where a job's outcome and its amendments lie, the first one first."""
        rows = self._rows(
            "SELECT topic, partition, place, written_at FROM outcomes"
            " WHERE job_id = ? AND workspace_id = ? ORDER BY written_at LIMIT ?",
            [*key[::-1], limit],
        )
        return [Outcome(topic, partition, place, instant_of(at)) for topic, partition, place, at in rows]

    def holds(self) -> list[Audited]:
        """Return the holds that are in force."""
        return self._controls("in_force = 1", (), -1)

    def controls(self, limit: int) -> list[Audited]:
        """Return what people did last."""
        return self._controls("1", (), limit)

    def controls_of(self, key: JobKey, limit: int) -> list[Audited]:
        """Return what people did to a job last."""
        return self._controls("job_id = ? AND workspace_id = ?", key[::-1], limit)

    def redrives_of(self, letter_id: str) -> list[Audited]:
        """Return who has sent a letter's record back."""
        return self._controls("action = 'redrive' AND detail = ?", (letter_id,), -1)

    def _controls(self, condition: str, values: Sequence[Any], limit: int) -> list[Audited]:
        rows = self._rows(
            f"SELECT {_CONTROL} FROM controls WHERE {condition}"  # noqa: S608 # values are bound
            " ORDER BY requested_at DESC, control_id DESC, partition DESC LIMIT ?",
            [*values, limit],
        )
        return [_audited(*row) for row in rows]

    def owners(self) -> dict[int, Owner]:
        """Return who has which partition."""
        rows = self._rows("SELECT partition, worker_id, opened_at, robot_away_since FROM owners ORDER BY partition")
        return {
            partition: Owner(worker_id, instant_of(opened_at), None if away is None else instant_of(away))
            for partition, worker_id, opened_at, away in rows
        }


def _audited(partition: int, *row: Any) -> Audited:
    control_id, action, workspace_id, job_id, actor, reason, requested_at, detail, decided_at, refused, in_force = row
    control = Control(
        control_id=control_id,
        action=Action(action),
        workspace_id=workspace_id,
        job_id=job_id,
        actor=actor,
        reason=reason,
        requested_at=instant_of(requested_at),
        detail=detail,
    )
    if decided_at is None:
        return Audited(control, partition, None)
    why = None if refused is None else IgnoreReason(refused)
    return Audited(control, partition, Decision(control, instant_of(decided_at), why, bool(in_force)))
