"""`jobs list`, `show` and `watch`: where jobs are, and what may be done with them."""

import asyncio
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.resubmit import resubmit
from streams.commands.stop import cancel, give_up
from streams.core.job import FailureReason, Job, JobKey, OrderStatus, Status
from streams.operate.console import make_console, printable
from streams.settings import RuleSettings
from streams.terminal import (
    NOT_FOUND_EXIT_CODE,
    AsJson,
    ToDev,
    command_settings,
    fail,
    json_line,
    run_on_kafka,
    shown_progress,
    tell,
)

if TYPE_CHECKING:
    from streams.operate.job_rows import Progress
    from streams.operate.letters import Letter
    from streams.operate.resubmission import Choice
    from streams.operate.standing import SendAgain, Wait
    from streams.operate.table_view import TableView

ORDERS_SHOWN = 20
OfWorkspace = Annotated[
    str | None, typer.Option(metavar="ID", help="Its workspace: then one partition is read, and not all.")
]

jobs_cli = typer.Typer(no_args_is_help=True, help="See where jobs are, stop them, and try them again.")
jobs_cli.command("resubmit")(resubmit)
jobs_cli.command("cancel")(cancel)
jobs_cli.command("give-up")(give_up)


@dataclass(frozen=True)
class Shown:
    """A job, where it stands, and its letters; None where this user may not read those, of which `unread` says why."""

    job: Job
    waits: "tuple[Wait, ...]"
    again: "SendAgain"
    workers: Collection[str] | None
    letters: "list[Letter] | None"
    unread: str = ""


@jobs_cli.command("show")
def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its job id.")],
    workspace: OfWorkspace = None,
    as_json: AsJson = False,
    to_dev: ToDev = False,
) -> None:
    """Say where a job is, what it waits for, what was done with it, and whether it may be sent again.

    Exit codes: 0 done, 1 several workspaces have such a job, 3 no such job.
    """
    settings = command_settings(RuleSettings, to_dev)
    with shown_progress("reading the job table") as progress:
        found = run_on_kafka(settings, _find(settings, job, workspace, progress))
    if isinstance(found, Shown):
        if as_json:
            typer.echo(json_line(_fields(found)))
        else:
            make_console().print(_screen(found, datetime.now(UTC)))
        return
    if found:
        fail(f"several workspaces have a job {printable(job)}: say --workspace {', '.join(map(printable, found))}")
    of = "" if workspace is None else f" of {printable(workspace)}"
    days = settings.retention_seconds / 86_400
    fail(
        f"no such job {printable(job)}{of}: it is unknown, or was forgotten {days:g} days after its end",
        NOT_FOUND_EXIT_CODE,
    )


async def _find(
    settings: RuleSettings, job_id: str, workspace_id: str | None, progress: "Progress"
) -> Shown | list[str]:
    """Return a job, or the workspaces of several; none if there is no such job."""
    from streams.names import changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.standing import orders_of_row, send_again, waiting_for
    from streams.operate.table_view import read_view, workspaces_of

    async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
        if workspace_id is None:
            named = await workspaces_of(settings, reader, job_id, progress)
            if len(named) != 1:
                return named
            (workspace_id,) = named
        key = JobKey(workspace_id, job_id)
        view, letters = await asyncio.gather(
            read_view(settings, reader, workspace_id, progress), _letters(settings, key)
        )
    job, now = view.get(key), datetime.now(UTC)
    if job is None:
        return []
    waits = waiting_for(job, view.around(job, settings.deadlines, settings.jobs_per_workspace), now)
    own, unread = (letters, "") if isinstance(letters, list) else (None, letters)
    return Shown(job, waits, send_again(job, orders_of_row(job), now), view.workers, own, unread)


async def _letters(settings: RuleSettings, key: JobKey) -> "list[Letter] | str":
    """Return the letters that name a job, in its own partition; or why they cannot be read."""
    from streams.kafka.access import AccessError
    from streams.names import DLQ_OF
    from streams.operate.job_rows import record_reader
    from streams.operate.redrive import read_letters
    from streams.wire.placement import partition_of

    topics = tuple(DLQ_OF.values())
    try:
        async with record_reader(settings, *topics) as reader:
            numbers = [partition_of(key.workspace_id, reader.partitions)]
            letters = await read_letters(reader, topics, numbers)
    except AccessError as error:
        return str(error)
    return [letter for letter in letters.values() if letter.job == key]


def _fields(shown: Shown) -> dict[str, object]:
    from streams.operate.job_fields import job_fields, standing_fields
    from streams.operate.letters import letter_fields

    letters = None if shown.letters is None else list(map(letter_fields, shown.letters))
    return {
        **job_fields(shown.job),
        "workerAlive": _alive(shown),
        "deadLetters": letters,
        **standing_fields(shown.waits, shown.again),
    }


def _alive(shown: Shown) -> bool | None:
    if shown.job.claimed_by is None or shown.workers is None:
        return None
    return shown.job.claimed_by in shown.workers


def _screen(shown: Shown, now: datetime) -> object:
    """Return a job as one screen."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, words in _lines(shown, now):
        grid.add_row(name, Text(printable(words)))
    return grid


def _lines(shown: Shown, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what is known of a job, line by line, each with its name or none."""
    from streams.operate.letters import step
    from streams.operate.standing import clock, state_in_words

    job = shown.job
    yield "job", f"{job.job_id} of {job.workspace_id}"
    yield "state", state_in_words(job, now)
    for nth, wait in enumerate(shown.waits):
        yield "" if nth else "waits for", wait.words
    yield "submitted", f"{clock(job.submitted_at, now)}, {job.order_count or 0} orders"
    if job.claimed_at is not None:
        alive = {None: "", True: ", which is alive", False: ", which is gone"}[_alive(shown)]
        yield "claimed", f"{clock(job.claimed_at, now)} by {job.claimed_by}{alive}"
    if job.called_at is not None:
        yield "called", f"{clock(job.called_at, now)}: {_answer(job)}"
    if job.accepted_at is not None:
        yield "accepted", clock(job.accepted_at, now)
    if job.ended_at is not None:
        yield "decided", clock(job.ended_at, now)
    elif job.decide_at is not None:
        yield "decided", f"by {clock(job.decide_at, now)} at the latest"
    if job.error is not None:
        yield "error", job.error
    yield from _orders(job)
    if job.amended_at is not None:
        yield "amended", f"{clock(job.amended_at, now)}: more became known after its outcome"
    if job.resubmission_of is not None:
        yield "again", f"it has orders of {job.resubmission_of}"
    if job.resubmitted_as is not None:
        yield "again", f"its orders were sent again as {job.resubmitted_as}"
    if shown.letters is None:
        yield "letters", f"not looked for: {shown.unread}"
    for nth, letter in enumerate(shown.letters or ()):
        yield "" if nth else "letters", f"{letter.letter_id} ({letter.headers.reason}): {step(letter)}"
    yield "send again?", f"{_VERDICTS[shown.again.verdict]}: {shown.again.because}"
    if shown.again.choice is not None:
        yield "", _command(job, shown.again.choice)


_VERDICTS = {"yes": "yes", "no": "no", "orders": "these orders"}


def _answer(job: Job) -> str:
    answered_at = job.answered_at or job.accepted_at
    if job.called_at is None or answered_at is None:
        return "not answered yet"
    status = "accepted" if job.accepted_at is not None else job.robot_status or "no answer"
    return f"{status} after {(answered_at - job.called_at).total_seconds():.1f} s"


def _orders(job: Job) -> Iterator[tuple[str, str]]:
    for nth, order in enumerate(job.orders[:ORDERS_SHOWN]):
        words = " ".join(filter(None, (order.tracking_number, order.error_type, order.error_message)))
        unreported = order.status is OrderStatus.UNREPORTED
        yield "" if nth else "orders", f"{order.item_id}: {order.status}{'' if unreported else f' {words}'}".rstrip()
    if len(job.orders) > ORDERS_SHOWN:
        yield "", f"and {len(job.orders) - ORDERS_SHOWN} more (--json has them all)"


def _command(job: Job, choice: "Choice") -> str:
    """Return what sends again what may be sent again."""
    from streams.operate.resubmission import Group

    words = ["robot-orchestrator", "jobs", "resubmit", job.job_id, "--workspace", job.workspace_id]
    if choice.group not in (None, Group.FAILED):
        words += ["--orders", choice.group]
    for item_id in sorted(choice.named):
        words += ["--order", item_id]
    return shlex.join([*words, *(["--new-item-ids"] if choice.new_item_ids else [])])


@jobs_cli.command("list")
def list_jobs(
    workspace: OfWorkspace = None,
    job: Annotated[str | None, typer.Option(metavar="ID", help="With this job id.")] = None,
    order: Annotated[
        str | None, typer.Option(metavar="ID", help="With this order or item id: the submissions are read, too.")
    ] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="With this item id in their rows.")] = None,
    status: Annotated[Status | None, typer.Option(help="In this state.")] = None,
    reason: Annotated[FailureReason | None, typer.Option(help="Failed for this reason.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Submitted from then on: ISO 8601, or 15m, 2h or 3d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Submitted before then.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
    to_dev: ToDev = False,
) -> None:
    """List jobs, the newest first; with --json one object a line.

    Exit codes: 0 done, also if there are none; 2 wrong usage.
    """
    from streams.operate.search import Search

    search = Search(
        job_id=job, item_id=item, status=status, reason=reason, since=_instant(since), until=_instant(until)
    )
    settings = command_settings(RuleSettings, to_dev)
    with shown_progress("reading the job table") as progress:
        view, with_order = run_on_kafka(settings, _read(settings, workspace, order, progress))
    own = [row for row in view.jobs if workspace in (None, row.workspace_id)]
    found = [row for row in own if search.finds(row) and (with_order is None or _has(row, order, with_order))]
    newest = sorted(found, key=lambda row: row.submitted_at, reverse=True)[:limit]
    _print_jobs(newest, view, settings, as_json=as_json)
    if len(found) > limit:
        tell(f"{len(found) - limit} older jobs are not shown (--limit)")
    if item is not None and (unnamed := sum(not row.orders for row in own)):
        tell(f"of {unnamed} jobs the rows name no items: --order reads their submissions, too")


def _instant(text: str | None) -> datetime | None:
    from streams.operate.search import instant_in

    if text is None:
        return None
    try:
        return instant_in(text, datetime.now(UTC))
    except ValueError:
        fail(f"{printable(text)} is no time: say it as 2026-01-31T12:00, or as 15m, 2h or 3d for that long ago", 2)


def _has(row: Job, order: str | None, with_order: Collection[JobKey]) -> bool:
    return row.key in with_order or any(result.item_id == order for result in row.orders)


async def _read(
    settings: RuleSettings, workspace_id: str | None, order: str | None, progress: "Progress"
) -> "tuple[TableView, set[JobKey] | None]":
    """Return the rows, and which jobs have an order if one is asked for."""
    from streams.names import Topic, changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.search import jobs_with_order
    from streams.operate.table_view import read_view

    topics = [changelog_topic(settings.app_id), *([] if order is None else [Topic.SUBMITTED])]
    async with record_reader(settings, *topics) as reader:
        view = await read_view(settings, reader, workspace_id, progress)
        # A submission may lie in any partition: where it is misplaced, a copy is in its own.
        every = range(reader.partitions)
        return view, None if order is None else await jobs_with_order(reader, every, order, progress)


def _print_jobs(jobs: list[Job], view: "TableView", settings: RuleSettings, *, as_json: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from streams.operate.job_fields import job_fields, standing_fields
    from streams.operate.standing import clock, orders_of_row, send_again, state_in_words, waiting_for

    now = datetime.now(UTC)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("job", "workspace", "submitted", "state, and what it waits for", "again?"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        waits = waiting_for(job, view.around(job, settings.deadlines, settings.jobs_per_workspace), now)
        again = send_again(job, orders_of_row(job), now)
        if as_json:
            typer.echo(json_line({**job_fields(job), **standing_fields(waits, again)}))
            continue
        what = "; waits for ".join([state_in_words(job, now), *(wait.words for wait in waits[:1])])
        cells = (job.job_id, job.workspace_id, clock(job.submitted_at, now), what, again.verdict)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if not as_json:
        make_console().print(table if jobs else "no such jobs")


@jobs_cli.command("watch")
def watch(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="This one alone, until it has ended.")] = None,
    workspace: Annotated[str | None, typer.Option(metavar="ID", help="Jobs of this workspace alone.")] = None,
    to_dev: ToDev = False,
) -> None:
    """Show jobs as they change, until Ctrl-C: a live table on a terminal, else a line for each change.

    With JOB it ends when that job has ended: with 0 if it is completed, else with 1.
    """
    settings = command_settings(RuleSettings, to_dev)
    try:
        ended = run_on_kafka(settings, _watch(settings, job, workspace))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if all(row.status is Status.COMPLETED for row in ended) else 1)


async def _watch(settings: RuleSettings, job_id: str | None, workspace_id: str | None) -> list[Job]:
    """Show jobs until the one that is watched has ended; return it."""
    from streams.names import changelog_topic
    from streams.operate.job_rows import readable_partitions
    from streams.operate.live_table import live_jobs

    await readable_partitions(settings, [changelog_topic(settings.app_id)])

    def shown(job: Job) -> bool:
        return job_id in (None, job.job_id) and workspace_id in (None, job.workspace_id)

    async with live_jobs(settings.kafka_client_options(), settings.app_id, make_console(), shown) as board:
        watched = board.jobs.values()
        await board.wait_for(lambda: job_id is not None and any(row.ended for row in watched), None)
        return list(watched)
