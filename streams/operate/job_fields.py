"""A job as scripts get it: the fields of the records, what the row has beside them, and where the job stands. Pure."""

from collections.abc import Iterable
from typing import Any

from streams.core.job import Job
from streams.operate.standing import SendAgain, Wait
from streams.wire.outcomes import common_fields, stopped_by


def job_fields(job: Job) -> dict[str, Any]:
    """Return what the row says, by the names on the wire; times are datetimes."""
    put_off = job.put_off
    return common_fields(job) | {
        "reason": job.reason,
        "error": job.error,
        "robotMayHaveReceived": job.robot_may_have_received,
        "robotStatus": job.robot_status,
        "successCount": job.success_count,
        "errorCount": job.error_count,
        "countsMismatch": job.counts_mismatch,
        "control": None if job.stop is None else stopped_by(job.stop),
        "resubmittedAs": job.resubmitted_as,
        "amendedAt": job.amended_at,
        "claimedBy": job.claimed_by,
        "calledAt": job.called_at,
        "answeredAt": job.answered_at or job.accepted_at,
        "decideAt": job.decide_at,
        "robotRestartedAt": job.robot_restarted_at,
        "putOff": None
        if put_off is None
        else {
            "times": put_off.times,
            "since": put_off.since,
            "until": put_off.until,
            "reason": put_off.reason,
            "robotStatus": put_off.robot_status,
            "givesUpAt": put_off.gives_up_at,
        },
        "source": dict(zip(("topic", "partition", "offset"), job.source, strict=True)),
    }


def standing_fields(waits: Iterable[Wait], again: SendAgain) -> dict[str, Any]:
    """Return what a job waits for, and whether it may be sent again."""
    waiting_for = [
        {
            "kind": wait.kind,
            "words": wait.words,
            "since": wait.since,
            "until": wait.until,
            "place": wait.place,
            "behind": wait.behind,
        }
        for wait in waits
    ]
    more = {"orders": list(again.orders) or None, "command": again.command}
    given = {name: value for name, value in more.items() if value is not None}
    return {
        "waitingFor": waiting_for,
        "sendAgain": {"verdict": again.verdict, "because": again.because, **given},
    }
