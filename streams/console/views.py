"""From what the file has to what is shown. Pure, but for reading the file."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.console.entries import Letter
from streams.console.models import (
    ControlView,
    CountView,
    EventView,
    JobDetail,
    JobView,
    KafkaView,
    LetterCountView,
    LetterView,
    PlaceView,
    Summary,
    WorkerView,
)
from streams.console.reader import Audited, Listed, Outcome, Reader
from streams.core.deadlines import Deadlines
from streams.core.job import Job, JobKey
from streams.names import Topic
from streams.operate.giving import REFUSALS
from streams.operate.job_fields import job_fields, standing_fields
from streams.operate.letters import STEPS
from streams.operate.standing import (
    Around,
    Wait,
    holds_in_force,
    orders_of_row,
    send_again,
    state_in_words,
    waiting_for,
    worker_alive,
)
from streams.wire.rows import Owner

# Jobs of a workspace that are looked at to say what one of them waits for, of each kind.
BESIDE = 2_000
# What a job's page lists of each kind.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class Moment:
    """What a view needs beside the file: the time, the workers in the group (None: nobody knows), and their rules."""

    now: datetime
    workers: Collection[str] | None
    deadlines: Deadlines
    jobs_per_workspace: int


# About a letter that somebody else has written, or a newer release.
_NO_STEP = "look at the record, and who has written it: it has no reason that this release knows"


def job_view(job: Job, now: datetime) -> JobView:
    """Return a job for a list."""
    return JobView.model_validate(_job_fields(job, now))


def _job_fields(job: Job, now: datetime) -> dict[str, object]:
    put_off_at = None if job.put_off is None else job.put_off.since
    return {
        "workspaceId": job.workspace_id,
        "jobId": job.job_id,
        "status": job.status,
        "reason": None if job.reason is None else job.reason.value,
        "state": state_in_words(job, now),
        "orderCount": job.order_count,
        "submittedAt": job.submitted_at,
        "since": job.ended_at or job.accepted_at or job.claimed_at or put_off_at or job.submitted_at,
        "deadline": job.deadline,
        "endedAt": job.ended_at,
    }


def job_detail(reader: Reader, key: JobKey, moment: Moment) -> JobDetail | None:
    """Return all that is known of a job, None if it is not here."""
    found = reader.job(key)
    if found is None:
        return None
    job, partition = found
    controls = reader.controls_of(key, SHOWN)
    history = _history(job, reader.outcomes_of(key, SHOWN), controls)
    again = send_again(job, orders_of_row(job), moment.now)
    return JobDetail.model_validate(
        {
            **job_fields(job),
            **_job_fields(job, moment.now),
            **standing_fields(_waits(reader, job, partition, moment), again),
            "workerAlive": worker_alive(job, moment.workers),
            "history": sorted(history, key=lambda event: event.at),
            "controls": control_views(controls),
            "deadLetters": list(map(letter_view, reader.letters_of(key, SHOWN))),
        }
    )


def _waits(reader: Reader, job: Job, partition: int, moment: Moment) -> tuple[Wait, ...]:
    if job.ended:
        return ()
    decisions = [one.decision for one in reader.holds() if one.partition == partition and one.decision is not None]
    since = moment.now - moment.deadlines.workspace_pause - timedelta(seconds=1)
    around = Around(
        deadlines=moment.deadlines,
        workspace=reader.beside(job.key, since, BESIDE),
        holds=holds_in_force(decisions),
        owner=reader.owners().get(partition),
        workers=moment.workers,
        jobs_per_workspace=moment.jobs_per_workspace,
    )
    return waiting_for(job, around, moment.now)


def _history(job: Job, outcomes: Iterable[Outcome], controls: Iterable[Audited]) -> Iterator[EventView]:
    """Yield what is known to have happened to a job, in no order."""
    known = (
        (job.submitted_at, "submitted"),
        (None if job.put_off is None else job.put_off.since, "refused by the robot for the first time, and put off"),
        (job.claimed_at, f"claimed by {job.claimed_by}"),
        (job.called_at, "called"),
        (job.answered_at, "the call was answered, or broke"),
        (job.accepted_at, "accepted by the robot"),
        (job.robot_restarted_at, "the robot was started again, and has lost it"),
        (job.ended_at, f"ended: {job.status}" + (f" ({job.reason})" if job.reason else "")),
        (job.amended_at, "more became known of it"),
    )
    for at, what in known:
        if at is not None:
            yield EventView(at=at, what=what)
    for outcome in outcomes:
        kind = "amendment" if outcome.topic == Topic.AMENDED else "outcome"
        where = f"{outcome.topic}, partition {outcome.partition}, offset {outcome.offset}"
        yield EventView(at=outcome.written_at, what=f"{kind} published in {where}")
    for one in controls:
        yield EventView(at=one.control.requested_at, what=f"{one.control.actor} asked for {one.control.action}")


def control_views(audited: Iterable[Audited]) -> list[ControlView]:
    """Return what people asked for, in the same order; of everything once, whatever partitions it was given to."""
    parts: dict[str, list[Audited]] = {}
    for one in audited:
        parts.setdefault(one.control.control_id, []).append(one)
    return list(map(_control_view, parts.values()))


def _control_view(parts: Sequence[Audited]) -> ControlView:
    control = parts[0].control
    decisions = [one.decision for one in parts if one.decision is not None]
    refusals = [decision.refused for decision in decisions if decision.refused is not None]
    return ControlView(
        controlId=control.control_id,
        action=control.action,
        partitions=sorted(one.partition for one in parts),
        workspaceId=control.workspace_id,
        jobId=control.job_id,
        actor=control.actor,
        reason=control.reason,
        detail=control.detail,
        requestedAt=control.requested_at,
        decidedAt=max(decision.decided_at for decision in decisions) if len(decisions) == len(parts) else None,
        refused=REFUSALS[refusals[0]] if len(refusals) == len(parts) else None,
        inForce=any(decision.in_force for decision in decisions),
    )


def letter_view(letter: Letter) -> LetterView:
    """Return a letter for a list."""
    return LetterView(
        letterId=letter.letter_id,
        reason=letter.reason,
        message=letter.message,
        lies=PlaceView(topic=letter.topic, partition=letter.partition, offset=letter.offset),
        redriveCount=letter.redrives,
        workspaceId=None if letter.key is None else letter.key.workspace_id,
        jobId=None if letter.key is None else letter.key.job_id,
        letteredAt=letter.written_at,
    )


def step_by(reason: str) -> str:
    """Return what can be done about letters of a reason."""
    return STEPS.get(reason, _NO_STEP)


def letter_counts(reader: Reader) -> list[LetterCountView]:
    """Return how many letters there are, each kind with what can be done about it."""
    return [
        LetterCountView(topic=topic, reason=reason, count=count, step=step_by(reason))
        for topic, reason, count in reader.letter_counts()
    ]


def worker_views(owners: Mapping[int, Owner], members: Collection[str] | None) -> list[WorkerView]:
    """Return the workers that have a partition, and those that have none."""
    ids = sorted({owner.worker_id for owner in owners.values()} | set(members or ()))
    return [_worker(worker_id, owners, members) for worker_id in ids]


def _worker(worker_id: str, owners: Mapping[int, Owner], members: Collection[str] | None) -> WorkerView:
    own = {number: owner for number, owner in owners.items() if owner.worker_id == worker_id}
    away = [owner.robot_away_since for owner in own.values() if owner.robot_away_since is not None]
    return WorkerView(
        workerId=worker_id,
        partitions=sorted(own),
        since=min((owner.opened_at for owner in own.values()), default=None),
        alive=None if members is None else worker_id in members,
        robotAwaySince=min(away, default=None),
    )


def summary(reader: Reader, kafka: KafkaView, moment: Moment, shown: int) -> Summary:
    """Return how everything is, with so many deadlines."""
    oldest = reader.oldest_waiting()
    return Summary(
        at=moment.now,
        kafka=kafka,
        jobs=[
            CountView(status=status, reason=reason or None, count=count) for status, reason, count in reader.counts()
        ],
        oldestWaiting=None if oldest is None else job_detail(reader, oldest.key, moment),
        due=job_views(reader.due(shown), moment.now),
        holds=control_views(reader.holds()),
        workers=worker_views(reader.owners(), moment.workers),
        letters=letter_counts(reader),
    )


def job_views(listed: Sequence[Listed], now: datetime) -> list[JobView]:
    """Return jobs for a list."""
    return [job_view(one.job, now) for one in listed]
