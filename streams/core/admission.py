"""Who may be called next: per workspace first in, first out, at most a given number at the robot."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice

from streams.core.deadlines import FIRST_BACK_OFF, Deadlines
from streams.core.job import BUSY_STATUSES, FailureReason, Job, Status, key_of, workspace_of
from streams.core.lines import Lines


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


def longest_busy(deadlines: Deadlines) -> timedelta:
    """Return how long after the last of an ended row's instants its workspace may have to wait for it, at most."""
    return max(deadlines.workspace_pause, FIRST_BACK_OFF)


def paused_until(job: Job) -> datetime | None:
    """Return until when a row says that its workspace is not called; a robot's longer wish may be in no row."""
    if job.put_off is not None and job.status is Status.PENDING:
        return job.put_off.until
    if job.ended_at is not None and job.robot_status in BUSY_STATUSES:
        return job.ended_at + FIRST_BACK_OFF
    return None


class Admission:
    """The waiting jobs of one partition, by their keys' texts, and the places they wait for.

    `limit` 0 means no limit. Workspaces with a waiting job and a free place are served in rounds, so that each has its
    turn; `round_after` gives the round of one that becomes ready from the last one in which it had its turn (None if
    that was long ago), over all partitions of a worker (see CallSlots).
    """

    def __init__(
        self, limit: int, round_after: Callable[[int | None], int] = lambda last: 0 if last is None else last + 1
    ) -> None:
        self._limit = limit
        self._round_after = round_after
        # The line of each workspace.
        self._waiting: Lines[str] = Lines()
        self._held: dict[str, dict[str, datetime | None]] = {}
        self._releases: list[tuple[datetime, str]] = []
        # Until when nobody of a workspace is called, whatever places it has.
        self._paused: dict[str, datetime] = {}
        self._pauses: list[tuple[datetime, str]] = []
        # The workspaces that are ready, by rounds, in the order in which they became so; how many; the round of each.
        self._ready: Lines[int] = Lines()
        self._rounds: Counter[int] = Counter()
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

    def wait(self, key: str) -> None:
        """Put a pending job at the end of its workspace's line."""
        workspace_id = workspace_of(key)
        if self._waiting.append(workspace_id, key):
            self._refresh(workspace_id)

    def put_back(self, key: str, nth: int) -> None:
        """Give back a job's place, and put it into its workspace's line as the n-th."""
        workspace_id = workspace_of(key)
        self._free(workspace_id, key)
        self._waiting.insert(workspace_id, nth, key)
        self._refresh(workspace_id)

    def line(self, workspace_id: str) -> Iterator[str]:
        """Return the jobs of a workspace that wait, the first in line first."""
        return self._waiting.all_of(workspace_id)

    def lines(self) -> Iterator[str]:
        """Return all jobs that wait."""
        return (key for workspace_id in self._waiting for key in self._waiting.all_of(workspace_id))

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

    def hold(self, key: str) -> None:
        """Occupy one of the workspace's places with a job, until it is released."""
        workspace_id = workspace_of(key)
        self._held.setdefault(workspace_id, {})[key] = None
        self._refresh(workspace_id)

    def release(self, key: str, at: datetime) -> None:
        """Free the job's place at an instant; of several instants the last one said counts."""
        held = self._held.get(workspace_of(key), {})
        if key in held:
            held[key] = at
            heapq.heappush(self._releases, (at, key))

    def advance(self, now: datetime) -> None:
        """Free the places, and end the pauses, whose instant has come."""
        while self._releases and self._releases[0][0] <= now:
            at, key = heapq.heappop(self._releases)
            workspace_id = workspace_of(key)
            if self._held.get(workspace_id, {}).get(key) == at:
                self._free(workspace_id, key)
                self._refresh(workspace_id)
        while self._pauses and self._pauses[0][0] <= now:
            until, workspace_id = heapq.heappop(self._pauses)
            if self._paused.get(workspace_id) == until:
                del self._paused[workspace_id]
                self._refresh(workspace_id)

    def _free(self, workspace_id: str, key: str) -> None:
        held = self._held.get(workspace_id, {})
        held.pop(key, None)
        if not held:
            self._held.pop(workspace_id, None)

    @property
    def rounds(self) -> Mapping[int, int]:
        """How many workspaces of each round have a job that waits and a free place for it."""
        return {} if self._all_blocked else dict(self._rounds)

    @property
    def ready(self) -> bool:
        """Whether a job could be taken."""
        return bool(self._rounds) and not self._all_blocked

    def next_in_line(self, most: int) -> list[str]:
        """Return up to `most` jobs in the order in which `first` and `take` would let them go.

        Of a workspace with several places the second job may have to wait for more workspaces than is told here.
        """
        workspaces = (workspace_id for number in sorted(self.rounds) for workspace_id in self._ready.all_of(number))
        lines = [self._turns(workspace_id) for workspace_id in islice(workspaces, most)]
        found: list[str] = []
        while lines and len(found) < most:
            turns = [(line, key) for line in lines if (key := next(line, None)) is not None]
            found += [key for _, key in turns]
            lines = [line for line, _ in turns]
        return found[:most]

    def _turns(self, workspace_id: str) -> Iterator[str]:
        held = len(self._held.get(workspace_id, ()))
        return islice(self._waiting.all_of(workspace_id), None if self._limit == 0 else self._limit - held)

    def first(self) -> str | None:
        """Return the job whose turn it is, fairly over the workspaces, or None; it stays in line."""
        return self._waiting.first(self._ready.first(min(self._rounds))) if self.ready else None

    def take(self, key: str) -> None:
        """Take the first job of a workspace out of its line."""
        workspace_id = workspace_of(key)
        if self._waiting.first(workspace_id) != key:
            raise ValueError(f"{key_of(key).job_id} is not the first in line of its workspace")
        self._waiting.remove(workspace_id, key)
        number = self._leave_round(workspace_id)
        if number is not None:
            self._forget_rounds_before(number)
            self._last_round[workspace_id] = number
        if not self._waiting:
            # Nobody is left to take turns with.
            self._last_round.clear()
        self._refresh(workspace_id)

    def withdraw(self, key: str) -> None:
        """Take a job out of its workspace's line without a call: its turn, if it was next, goes to the next one."""
        workspace_id = workspace_of(key)
        self._waiting.remove(workspace_id, key)
        self._refresh(workspace_id)

    def _refresh(self, workspace_id: str) -> None:
        places_left = self._limit == 0 or len(self._held.get(workspace_id, ())) < self._limit
        kept = workspace_id in self._paused or workspace_id in self._blocked
        if workspace_id not in self._waiting or kept or not places_left:
            self._leave_round(workspace_id)
        elif workspace_id not in self._round_of:
            number = self._round_after(self._last_round.get(workspace_id))
            self._round_of[workspace_id] = number
            self._ready.append(number, workspace_id)
            self._rounds[number] += 1

    def _forget_rounds_before(self, number: int) -> None:
        if number > self._round:
            self._round = number
            kept = {name: last for name, last in self._last_round.items() if name in self._waiting or last >= number}
            self._last_round = kept

    def _leave_round(self, workspace_id: str) -> int | None:
        number = self._round_of.pop(workspace_id, None)
        if number is not None:
            self._ready.remove(number, workspace_id)
            self._rounds[number] -= 1
            if not self._rounds[number]:
                del self._rounds[number]
        return number
