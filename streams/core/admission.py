"""Who may be called next: per workspace first in, first out, at most a given number at the robot."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice

from streams.core.deadlines import FIRST_BACK_OFF, Deadlines
from streams.core.job import BUSY_STATUSES, FailureReason, Job, JobKey, Status


def robot_free_at(job: Job, deadlines: Deadlines) -> datetime | None:
    """Return when the robot has surely let go of a job's batch, or None while the job has not ended.

    Meant for a job whose call has returned. A batch that surely never ran frees its workspace at once; a
    completed one a pause after its completion; one of which that comes late a pause after it came; any other a pause
    after its deadline, or, where a job that the robot refuses can be put off, a pause after its end. One that was given
    up had not reached its deadline, so that the robot may well be at it.
    """
    if not job.ended or job.ended_at is None:
        return None
    if job.status is Status.COMPLETED:
        return job.ended_at + deadlines.workspace_pause
    if not job.robot_may_have_received:
        return job.ended_at
    if job.robot_is_done and job.amended_at is not None:
        return job.amended_at + deadlines.workspace_pause
    if deadlines.patience and job.reason is not FailureReason.GIVEN_UP:
        # The robot itself refuses the next batch while it is still at work on this one.
        return job.ended_at + deadlines.workspace_pause
    return (job.deadline or job.ended_at) + deadlines.workspace_pause


def paused_until(job: Job) -> datetime | None:
    """Return until when a row says that its workspace is not called; a robot's longer wish may be in no row."""
    if job.put_off is not None and job.status is Status.PENDING:
        return job.put_off.until
    if job.ended_at is not None and job.robot_status in BUSY_STATUSES:
        return job.ended_at + FIRST_BACK_OFF
    return None


class Admission:
    """The waiting jobs of one partition and the places they wait for.

    `limit` 0 means no limit. Workspaces with a waiting job and a free place are served in rounds, so that each has its
    turn; `round_after` gives the round of one that becomes ready from the last one in which it had its turn (None if
    that was long ago), over all partitions of a worker (see CallSlots).
    """

    def __init__(
        self, limit: int, round_after: Callable[[int | None], int] = lambda last: 0 if last is None else last + 1
    ) -> None:
        self._limit = limit
        self._round_after = round_after
        self._waiting: dict[str, deque[str]] = {}
        self._held: dict[str, dict[str, datetime | None]] = {}
        self._releases: list[tuple[datetime, JobKey]] = []
        # Until when nobody of a workspace is called, whatever places it has.
        self._paused: dict[str, datetime] = {}
        self._pauses: list[tuple[datetime, str]] = []
        # The workspaces that are ready, by rounds, in the order in which they became so; and the round of each.
        self._ready: dict[int, dict[str, None]] = {}
        self._round_of: dict[str, int] = {}
        # The round in which a workspace had its last turn, while that is the present one or it waits.
        self._last_round: dict[str, int] = {}
        self._round = 0
        # The workspaces that are not served until somebody says so; and whether nobody is.
        self._blocked: set[str] = set()
        self._all_blocked = False

    @property
    def workspaces_waiting(self) -> int:
        """How many workspaces have a job that waits."""
        return len(self._waiting)

    def wait(self, key: JobKey) -> None:
        """Put a pending job at the end of its workspace's line."""
        self._waiting.setdefault(key.workspace_id, deque()).append(key.job_id)
        self._refresh(key.workspace_id)

    def put_back(self, key: JobKey, nth: int) -> None:
        """Give back a job's place, and put it into its workspace's line as the n-th."""
        self._free(key)
        self._waiting.setdefault(key.workspace_id, deque()).insert(nth, key.job_id)
        self._refresh(key.workspace_id)

    def line(self, workspace_id: str) -> Sequence[str]:
        """Return the jobs of a workspace that wait, the first in line first."""
        return self._waiting.get(workspace_id, ())

    def pause(self, workspace_id: str, until: datetime) -> None:
        """Call nobody of a workspace before an instant; of several the latest counts."""
        paused = self._paused.get(workspace_id)
        if paused is None or until > paused:
            self._paused[workspace_id] = until
            heapq.heappush(self._pauses, (until, workspace_id))
            self._refresh(workspace_id)

    def block(self, workspace_id: str | None) -> None:
        """Serve nobody of a workspace, or nobody at all, until it is unblocked."""
        if workspace_id is None:
            self._all_blocked = True
        else:
            self._blocked.add(workspace_id)
            self._refresh(workspace_id)

    def unblock(self, workspace_id: str | None) -> None:
        """Take back a block; the other kind stays."""
        if workspace_id is None:
            self._all_blocked = False
        else:
            self._blocked.discard(workspace_id)
            self._refresh(workspace_id)

    def hold(self, key: JobKey) -> None:
        """Occupy one of the workspace's places with a job, until it is released."""
        self._held.setdefault(key.workspace_id, {})[key.job_id] = None
        self._refresh(key.workspace_id)

    def release(self, key: JobKey, at: datetime) -> None:
        """Free the job's place at an instant; of several instants the last one said counts."""
        held = self._held.get(key.workspace_id, {})
        if key.job_id in held:
            held[key.job_id] = at
            heapq.heappush(self._releases, (at, key))

    def advance(self, now: datetime) -> None:
        """Free the places, and end the pauses, whose instant has come."""
        while self._releases and self._releases[0][0] <= now:
            at, key = heapq.heappop(self._releases)
            if self._held.get(key.workspace_id, {}).get(key.job_id) == at:
                self._free(key)
                self._refresh(key.workspace_id)
        while self._pauses and self._pauses[0][0] <= now:
            until, workspace_id = heapq.heappop(self._pauses)
            if self._paused.get(workspace_id) == until:
                del self._paused[workspace_id]
                self._refresh(workspace_id)

    def _free(self, key: JobKey) -> None:
        held = self._held.get(key.workspace_id, {})
        held.pop(key.job_id, None)
        if not held:
            self._held.pop(key.workspace_id, None)

    @property
    def rounds(self) -> Mapping[int, int]:
        """How many workspaces of each round have a job that waits and a free place for it."""
        return {number: len(workspaces) for number, workspaces in self._servable.items()}

    @property
    def _servable(self) -> Mapping[int, Mapping[str, None]]:
        return {} if self._all_blocked else self._ready

    @property
    def ready(self) -> bool:
        """Whether a job could be taken."""
        return bool(self._servable)

    def next_in_line(self, most: int) -> list[JobKey]:
        """Return up to `most` jobs in the order in which `first` and `take` would let them go.

        Of a workspace with several places the second job may have to wait for more workspaces than is told here.
        """
        servable = self._servable
        workspaces = (workspace_id for number in sorted(servable) for workspace_id in servable[number])
        lines = [self._turns(workspace_id) for workspace_id in islice(workspaces, most)]
        found: list[JobKey] = []
        while lines and len(found) < most:
            turns = [(line, key) for line in lines if (key := next(line, None)) is not None]
            found += [key for _, key in turns]
            lines = [line for line, _ in turns]
        return found[:most]

    def _turns(self, workspace_id: str) -> Iterator[JobKey]:
        waiting = self._waiting[workspace_id]
        held = len(self._held.get(workspace_id, ()))
        free = len(waiting) if self._limit == 0 else self._limit - held
        return (JobKey(workspace_id, job_id) for job_id in islice(waiting, free))

    def first(self) -> JobKey | None:
        """Return the job whose turn it is, fairly over the workspaces, or None; it stays in line."""
        servable = self._servable
        if not servable:
            return None
        workspace_id = next(iter(servable[min(servable)]))
        return JobKey(workspace_id, self._waiting[workspace_id][0])

    def take(self, key: JobKey) -> None:
        """Take the first job of a workspace out of its line."""
        workspace_id = key.workspace_id
        waiting = self._first_out(key)
        number = self._leave_round(workspace_id)
        if not waiting:
            del self._waiting[workspace_id]
        if number is not None:
            self._forget_rounds_before(number)
            self._last_round[workspace_id] = number
        if not self._waiting:
            # Nobody is left to take turns with.
            self._last_round.clear()
        self._refresh(workspace_id)

    def withdraw(self, key: JobKey) -> None:
        """Take a job out of its workspace's line without a call: its turn, if it was next, goes to the next one."""
        waiting = self._waiting[key.workspace_id]
        waiting.remove(key.job_id)
        if not waiting:
            del self._waiting[key.workspace_id]
            self._refresh(key.workspace_id)

    def _first_out(self, key: JobKey) -> deque[str]:
        """Take a job out of its workspace's line, which it must lead; return what is left."""
        waiting = self._waiting[key.workspace_id]
        if waiting[0] != key.job_id:
            raise ValueError(f"{key.job_id} is not the first in line of its workspace")
        waiting.popleft()
        return waiting

    def _refresh(self, workspace_id: str) -> None:
        places_left = self._limit == 0 or len(self._held.get(workspace_id, ())) < self._limit
        kept = workspace_id in self._paused or workspace_id in self._blocked
        if workspace_id not in self._waiting or kept or not places_left:
            self._leave_round(workspace_id)
        elif workspace_id not in self._round_of:
            number = self._round_after(self._last_round.get(workspace_id))
            self._round_of[workspace_id] = number
            self._ready.setdefault(number, {})[workspace_id] = None

    def _forget_rounds_before(self, number: int) -> None:
        if number > self._round:
            self._round = number
            kept = {name: last for name, last in self._last_round.items() if name in self._waiting or last >= number}
            self._last_round = kept

    def _leave_round(self, workspace_id: str) -> int | None:
        number = self._round_of.pop(workspace_id, None)
        if number is not None:
            workspaces = self._ready[number]
            del workspaces[workspace_id]
            if not workspaces:
                del self._ready[number]
        return number
