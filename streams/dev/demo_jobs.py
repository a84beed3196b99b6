"""The demo's jobs: what is done to each, and how it must end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from streams.core.job import FailureReason, JobKey
from streams.dev.batches import Fate
from streams.dev.stack import PARTITIONS
from streams.names import DeadLetterReason
from streams.wire.placement import partition_of

USERNAME = "portal-user-5832"
PASSWORD = "portal-pässword-4719"  # noqa: S105 # of no portal: looked for in every topic that must not have it
COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Case:
    """A job and its expected end: `ends` is `completed` or the reason of its failure.

    `posts` is how often the robot must have seen it, None if that depends on how fast the machine is; `letters` are the
    dead letters that must tell of it, `amended` whether something became known of it after its outcome.
    """

    job_id: str
    story: str
    ends: str = COMPLETED
    fate: Fate = Fate.COMPLETE
    orders: int = 2
    counts: tuple[int, int] | None = None
    robot_status: int | None = None
    posts: int | None = 1
    letters: tuple[DeadLetterReason, ...] = ()
    amended: bool = False
    workspace: str = ""
    city: str = "MANIZALES (CDAS)"

    @property
    def key(self) -> JobKey:
        """The ids; a workspace of its own unless the case says otherwise."""
        return JobKey(self.workspace or f"shop-{self.job_id}", self.job_id)

    def submission(self, **changes: Any) -> bytes:
        """Return the bytes of the submission."""
        return example_submission(self.key, self.orders, self.city, **changes)


def example_submission(key: JobKey, order_count: int, city: str = "MANIZALES (CDAS)", **changes: Any) -> bytes:
    """Return a submission; a `changes` value takes the place of the field of that name."""
    value: Mapping[str, Any] = {
        "jobId": key.job_id,
        "workspaceId": key.workspace_id,
        "carrier": "coordinadora",
        "credentials": {"username": USERNAME, "password": PASSWORD},
        "orders": [_order(key, number, city) for number in range(1, order_count + 1)],
    }
    return json.dumps({**value, **changes}, ensure_ascii=False).encode()


def _order(key: JobKey, number: int, city: str) -> dict[str, Any]:
    address = {"nombres": "Ejemplo", "apellidos": "Peñuela", "direccion": "Calle 49F # 12-30", "ciudad": city}
    parcel = {"referencia": f"PED-{number}", "unidades": 1, "peso": 1.5, "valorDeclarado": 55000}
    return {"itemId": f"{key.job_id}-item-{number}", "orderId": f"order-{number}", "pedidoInput": address | parcel}


ROBOT_FATES = (
    Case("all-done", "every order is done"),
    Case("partly-failed", "half of the orders fail", fate=Fate.PARTLY_FAIL, counts=(1, 1)),
    Case("all-failed", "every order fails", fate=Fate.ALL_FAIL, counts=(0, 2)),
    Case("early", "completed before the robot's answer", fate=Fate.COMPLETE_FIRST),
    # The completion is in Kafka before the robot's answer, and wins over it.
    Case("no-city", "each order reported, then 400", counts=(0, 2), city=""),
    Case("busy", "busy: 409, then called again", fate=Fate.BUSY_409, posts=2),
    Case(
        "refused-409", "busy for too long: 409", FailureReason.ROBOT_REJECTED, Fate.REFUSE, robot_status=409, posts=None
    ),
    Case("crash-500", "broken: 500", FailureReason.ROBOT_REJECTED, Fate.CRASH_500, robot_status=500),
    Case(
        "redirect",
        "307, which is not followed",
        FailureReason.ROBOT_REJECTED,
        Fate.REDIRECT_307,
        robot_status=307,
    ),
    Case(
        "tells-secrets",
        "400 that repeats the password",
        FailureReason.ROBOT_REJECTED,
        Fate.ECHO_SECRETS,
        robot_status=400,
    ),
    Case("cut", "connection cut during the call", FailureReason.DISPATCH_UNKNOWN, Fate.CUT),
    Case("no-answer", "no answer to the call", FailureReason.DISPATCH_UNKNOWN, Fate.HANG),
    Case("lost", "accepted, then never heard of again", FailureReason.TIMEOUT, Fate.LOSE, orders=1),
)
PARTLY_FAILED = next(case for case in ROBOT_FATES if case.fate is Fate.PARTLY_FAIL)
# Its id is made when it is submitted.
AGAIN = Case("again", "the order that failed, tried again", orders=1, workspace=PARTLY_FAILED.key.workspace_id)
LATE = Case(
    "late",
    "its completion comes too late, and is told",
    FailureReason.TIMEOUT,
    Fate.LOSE,
    orders=1,
    amended=True,
)
FIRST = Case("first-in-line", "one workspace, two jobs", workspace="shop-with-two-jobs")
SECOND = Case("second-in-line", "the second waits for the first", workspace="shop-with-two-jobs")

TWICE = Case("submitted-twice", "the same submission twice")
CONFLICT = Case("conflict", "then other orders under its ids", letters=(DeadLetterReason.CONFLICT,))
MISPLACED = Case("misplaced", "wrong partition, no key")
REPORTED_ELSEWHERE = Case("reported-elsewhere", "completion in the wrong partition", fate=Fate.LOSE, counts=(2, 0))
BAD = Case(
    "bad-submission",
    "no orders in it",
    FailureReason.INVALID_SUBMISSION,
    orders=0,
    posts=0,
    letters=(DeadLetterReason.INVALID,),
)
POISON = b"this is not JSON"
POISON_STORY = "a record that is not JSON"


QUIET_CASES = (
    *ROBOT_FATES,
    LATE,
    FIRST,
    SECOND,
    TWICE,
    CONFLICT,
    MISPLACED,
    REPORTED_ELSEWHERE,
    BAD,
)


def _workspace_in(partition: int) -> str:
    return next(name for n in count(1) if partition_of(name := f"shop-{n}", PARTITIONS) == partition)


# One for each partition, so that whichever worker is killed has calls in flight.
KILLED_WORKER = tuple(
    Case(f"worker-killed-{n}", "its worker or another is killed", workspace=_workspace_in(n)) for n in range(PARTITIONS)
)
ROBOT_DOWN = Case("robot-down", "nobody listens at its address", FailureReason.ROBOT_UNREACHABLE, posts=0)

CASES = (*QUIET_CASES, *KILLED_WORKER, ROBOT_DOWN)
