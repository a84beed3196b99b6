"""What nobody is called of for now: what people hold, and what the robot does. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from streams.core.admission import paused_until
from streams.operate.standing import Hold, WaitKind
from streams.operate.table_view import TableView


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A workspace, or with None everything in some partitions, by whom, since when and why.

    `by` is a person, or a robot that is away or busy. `until` is when it is over, None where nobody knows.
    """

    by: WaitKind
    workspace_id: str | None
    partitions: int
    since: datetime | None
    until: datetime | None = None
    actor: str | None = None
    reason: str


def held_now(view: TableView, now: datetime) -> list[Held]:
    """Return all that is held, what people hold first."""
    return [*_by_people(view), *_by_absence(view), *_by_work(view, now)]


def _by_people(view: TableView) -> Iterator[Held]:
    # A hold of everything is one in each partition, each with its own time.
    found: dict[tuple[str | None, str, str], list[Hold]] = defaultdict(list)
    for holds in view.holds.values():
        for hold in holds:
            found[hold.workspace_id, hold.actor, hold.reason].append(hold)
    for (workspace_id, actor, reason), parts in found.items():
        since = min(hold.since for hold in parts)
        yield Held(
            by=WaitKind.PERSON,
            workspace_id=workspace_id,
            partitions=len(parts),
            since=since,
            actor=actor,
            reason=reason,
        )


def _by_absence(view: TableView) -> Iterator[Held]:
    for worker_id, (since, numbers) in view.robot_missed_by.items():
        words = f"the robot is not there, as {worker_id} sees it"
        yield Held(by=WaitKind.ROBOT_AWAY, workspace_id=None, partitions=len(numbers), since=since, reason=words)


def _by_work(view: TableView, now: datetime) -> Iterator[Held]:
    for workspace_id, rows in view.workspaces.items():
        pauses = [(until, job) for job in rows.values() if (until := paused_until(job)) is not None and until > now]
        if pauses:
            until, job = max(pauses, key=lambda pause: pause[0])
            since = job.ended_at if job.put_off is None else job.put_off.since
            words = f"the robot was busy when it was called for {job.job_id}"
            yield Held(
                by=WaitKind.ROBOT_BUSY, workspace_id=workspace_id, partitions=1, since=since, until=until, reason=words
            )
