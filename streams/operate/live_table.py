"""A live table of jobs, read from the changelog: in place on a terminal, else a line for each change of a job."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aiokafka import TopicPartition
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.core.job import Job, JobKey, OrderStatus, PutOff, Status
from streams.kafka.consumer import Consumer
from streams.names import changelog_topic
from streams.operate.console import PLAIN_WIDTH, printable
from streams.operate.standing import clock, state_in_words
from streams.wire.rows import JobEntry, decode_entry

STYLES = {
    Status.PENDING: "yellow",
    Status.PROCESSING: "cyan",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
}
NEWEST_SHOWN = 20
REFRESH_MS = 250
UUID_LENGTH = 36
# A UUID's first group and an ellipsis; on a narrow terminal the room is for what a job waits for.
SHORT_ID_LENGTH = 9
OTHER_COLUMNS_WIDTH = 86
# The head, the counts, and room for the prompt that comes after.
LINES_AROUND = 6


@contextlib.contextmanager
def shown_steps(console: Console) -> Iterator[Callable[[str], None]]:
    """Give what prints the steps of something that takes a while; on a terminal a spinner shows that it goes on."""
    with console.status("") as status:

        def tell(step: str) -> None:
            console.print(f"  {step}", style="dim")
            status.update(step)

        yield tell


def since(job: Job) -> datetime:
    """Return when the job came into the state that it is in."""
    put_off_at = None if job.put_off is None else job.put_off.since
    return job.ended_at or job.accepted_at or job.claimed_at or put_off_at or job.submitted_at


def explain(job: Job, now: datetime) -> str:
    """Return what the job waits for, or how it ended; who holds its workspace is in no row of it."""
    if job.stop is not None:
        return printable(state_in_words(job, now))
    match job.status:
        case Status.PENDING if job.put_off is not None:
            return _explain_put_off(job.put_off, now)
        case Status.PENDING:
            return state_in_words(job, now)
        case Status.PROCESSING:
            stage = "robot is being called" if job.accepted_at is None else "robot at work"
            if job.robot_restarted_at is not None:
                stage = "robot has restarted and lost it"
            if job.orders:
                unreported = job.reported(OrderStatus.UNREPORTED)
                stage += f", {len(job.orders) - unreported} of {len(job.orders)} reported"
            left = (job.deadline - now).total_seconds() if job.deadline else 0.0
            return f"{stage}, {_duration(left)} left" if left > 0 else f"{stage}, deadline has passed"
        case Status.COMPLETED:
            mismatch = ", which does not add up" if job.counts_mismatch else ""
            return f"{job.success_count} done, {job.error_count} failed{mismatch}"
        case Status.FAILED:
            status = "" if job.robot_status is None else f" {job.robot_status}"
            received = "robot may have it" if job.robot_may_have_received else "not taken by the robot"
            return f"{job.reason}{status}, {received}{_told_later(job)}"


def _told_later(job: Job) -> str:
    if job.amended_at is None:
        return ""
    done, failed = job.reported(OrderStatus.SUCCESS), job.reported(OrderStatus.ERROR)
    counts = (done, failed) if job.success_count is None else (job.success_count, job.error_count)
    return f"; told later: {counts[0]} done, {counts[1]} failed"


def _explain_put_off(put_off: PutOff, now: datetime) -> str:
    why = "robot away" if put_off.robot_status is None else f"robot busy ({put_off.robot_status})"
    until, gives_up_at = put_off.until, put_off.gives_up_at
    if gives_up_at is not None and gives_up_at <= until:
        again = f"gives up in {_duration((gives_up_at - now).total_seconds())}"
    elif until > now:
        again = f"again in {_duration((until - now).total_seconds())}"
    else:
        again = "waits for its turn"
    return f"{why}, put off {put_off.times}x, {again}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02}"


class JobBoard:
    """The rows of the jobs that are shown, kept up to date from the changelog by `follow`.

    `caught_up`: whether all that was there at the start has been read.
    """

    def __init__(self, client_options: Mapping[str, Any], app_id: str, shown: Callable[[Job], bool]) -> None:
        self.jobs: dict[JobKey, Job] = {}
        self.caught_up = False
        self._shown = shown
        self._changed = asyncio.Condition()
        # Without a group it is given every partition.
        self._consumer = Consumer(
            changelog_topic(app_id),
            **client_options,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=100,
        )

    async def follow(self, changed: Callable[[Job], None], refreshed: Callable[[], None]) -> None:
        """Read until cancelled. `changed` hears of each row that is written from now on, `refreshed` of the time."""
        try:
            await self._consumer.start()
            ends = await self._consumer.end_offsets(self._consumer.assignment())
            while True:
                batches = await self._consumer.getmany(timeout_ms=REFRESH_MS)
                for source, messages in batches.items():
                    for message in messages:
                        job = self._apply(message.key, message.value)
                        if job is not None and message.offset >= ends[source]:
                            changed(job)
                refreshed()
                # Until then a row may be an old one.
                self.caught_up = self.caught_up or not await self._behind(ends)
                if self.caught_up:
                    async with self._changed:
                        self._changed.notify_all()
        finally:
            await self._consumer.stop()

    async def _behind(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether anything that was there at the start has not been read yet, or a broker does not say."""
        try:
            async with asyncio.timeout(REFRESH_MS / 1000):
                return any([await self._consumer.position(place) < end for place, end in ends.items()])
        except TimeoutError:
            return True

    async def wait_for(self, condition: Callable[[], bool], within_seconds: float | None) -> bool:
        """Return whether the condition on `jobs` came true in time, however long that is with None."""
        try:
            async with asyncio.timeout(within_seconds), self._changed:
                return await self._changed.wait_for(condition)
        except TimeoutError:
            return False

    def _apply(self, key: bytes, value: bytes | None) -> Job | None:
        match decode_entry(key, value):
            case JobEntry(_, Job() as job) if self._shown(job):
                self.jobs[job.key] = job
                return job
            case JobEntry(job_key, None):
                self.jobs.pop(job_key, None)
        return None


def render(jobs: Collection[Job], now: datetime, rows: int, width: int = PLAIN_WIDTH) -> RenderableType:
    """Return the newest jobs as a table for a console of a width, with the counts of all below it."""
    id_length = min(UUID_LENGTH, max(SHORT_ID_LENGTH, width - OTHER_COLUMNS_WIDTH))
    table = Table(box=box.SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("job", no_wrap=True, overflow="ellipsis", max_width=id_length)
    table.add_column("workspace", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("status", "orders", "since, UTC"):
        table.add_column(name, no_wrap=True, justify="right" if name == "orders" else "left")
    table.add_column("what", ratio=3, no_wrap=True, overflow="ellipsis")
    for job in sorted(jobs, key=lambda job: job.submitted_at, reverse=True)[:rows]:
        status = Text(job.status.value, STYLES[job.status])
        texts = [escape(printable(text)) for text in job.key[::-1]]
        table.add_row(*texts, status, _orders(job), f"{since(job).astimezone(UTC):%H:%M:%S}", escape(explain(job, now)))
    return Group(table, _counts(jobs, rows))


def line(job: Job, now: datetime) -> str:
    """Return a change of a job as one line."""
    workspace_id, job_id = map(printable, job.key)
    return f"{clock(since(job), now)}  {job.status.value:<10}  {job_id} of {workspace_id}: {explain(job, now)}"


@contextlib.asynccontextmanager
async def live_jobs(
    client_options: Mapping[str, Any],
    app_id: str,
    console: Console,
    shown: Callable[[Job], bool] = lambda _job: True,
    tell: Callable[[Job], None] | None = None,
) -> AsyncIterator[JobBoard]:
    """Show jobs while the block runs; what else is printed on the console goes above the table.

    With `tell` nothing is shown: it is told each change.
    """
    board = JobBoard(client_options, app_id, shown)
    display = _InPlace(board, console) if console.is_terminal and tell is None else _Lines(tell or printed_on(console))
    with display:
        try:
            # In a group: a board that cannot follow any more ends the block too.
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(board.follow(display.changed, display.refreshed))
                yield board
                following.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


class _Lines(contextlib.nullcontext[None]):
    """Without a terminal: each change as it comes."""

    def __init__(self, changed: Callable[[Job], None]) -> None:
        super().__init__()
        self.changed = changed

    def refreshed(self) -> None:
        pass


def printed_on(console: Console) -> Callable[[Job], None]:
    """Return what prints a change of a job."""
    return lambda job: console.print(line(job, datetime.now(UTC)), markup=False, soft_wrap=True)


class _InPlace(Live):
    """On a terminal: the table, drawn again each time."""

    def __init__(self, board: JobBoard, console: Console) -> None:
        super().__init__(console=console, auto_refresh=False)
        self._board = board

    def changed(self, _job: Job) -> None:
        pass

    def refreshed(self) -> None:
        rows = min(NEWEST_SHOWN, max(1, self.console.height - LINES_AROUND))
        self.update(render(self._board.jobs.values(), datetime.now(UTC), rows, self.console.width), refresh=True)


def _orders(job: Job) -> str:
    return "-" if job.order_count is None else str(job.order_count)


def _counts(jobs: Collection[Job], rows: int) -> Text:
    counts = Counter(job.status for job in jobs)
    text = Text(" · ").join(Text(f"{counts[status]} {status.value}", STYLES[status]) for status in Status)
    hidden = len(jobs) - rows
    return text.append(f" · {hidden} older not shown", "dim") if hidden > 0 else text
