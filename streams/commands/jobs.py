"""`jobs list` and `watch`: which jobs there are; and the commands about single ones."""

import heapq
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from streams.commands.resubmit import resubmit
from streams.commands.show import fail_without_one, show
from streams.commands.stop import cancel, give_up
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.operate.console import make_console, printable
from streams.settings import RuleSettings
from streams.terminal import (
    AsJson,
    OfWorkspace,
    ToDev,
    command_settings,
    fail,
    json_line,
    run_on_kafka,
    shown_progress,
    tell,
    unread_before,
    unread_in_words,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from streams.operate.job_rows import Progress
    from streams.operate.table_view import TableView

# Of a table of jobs: what is beside the ids and the time, with some words a line of what a job waits for.
WIDTH_OF_THE_REST = 54

jobs_cli = typer.Typer(no_args_is_help=True, help="See where jobs are, stop them, and try them again.")
jobs_cli.command("show")(show)
jobs_cli.command("resubmit")(resubmit)
jobs_cli.command("cancel")(cancel)
jobs_cli.command("give-up")(give_up)


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
    unread = unread_before(settings)
    with shown_progress("reading the job table") as progress:
        view, with_order = run_on_kafka(settings, _read(settings, workspace, order, progress))
    found = unnamed = 0

    def wanted() -> Iterator[Job]:
        nonlocal found, unnamed
        for row in view.jobs():
            if workspace in (None, row.workspace_id):
                unnamed += not row.orders
                if search.finds(row) and (with_order is None or _has(row, order, with_order)):
                    found += 1
                    yield row

    _print_jobs(heapq.nlargest(limit, wanted(), attrgetter("submitted_at")), view, settings, as_json=as_json)
    for key in sorted(with_order or ()):
        if workspace not in (None, key.workspace_id) or view.get(key) is not None:
            continue
        name = f"{order} is in job {key.job_id} of {key.workspace_id}"
        tell(f"{printable(name)}, which no worker has taken yet, or which is forgotten: do not send it again unseen")
    # Who asks for one in particular must not take it for one that there is not.
    if unread != 0 and (not found or job is not None or order is not None or item is not None):
        tell(f"{unread_in_words(unread)}: what is not listed may be one of them, do not send it again")
    if found > limit:
        tell(f"{found - limit} older jobs are not shown (--limit)")
    if item is not None and unnamed:
        tell(f"of {unnamed} jobs the rows name no items: --order reads their submissions, too")


def _instant(text: str | None) -> datetime | None:
    from streams.operate.search import instant_in

    if text is None:
        return None
    try:
        return instant_in(text, datetime.now(UTC))
    except (ValueError, OverflowError):
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
    from streams.operate.job_fields import job_fields, standing_fields
    from streams.operate.standing import clock, orders_of_row, send_again, state_in_words, waiting_for

    now, lines = datetime.now(UTC), []
    arounds = {
        workspace_id: view.around(workspace_id, settings.deadlines, settings.jobs_per_workspace, now)
        for workspace_id in {job.workspace_id for job in jobs}
    }
    for job in jobs:
        waits = waiting_for(job, arounds[job.workspace_id], now)
        again = send_again(job, orders_of_row(job), now)
        if as_json:
            typer.echo(json_line({**job_fields(job), **standing_fields(waits, again)}))
            continue
        what = "; waits for ".join([state_in_words(job, now), *(wait.words for wait in waits[:1])])
        cells = (job.job_id, job.workspace_id, clock(job.submitted_at, now), what, again.verdict)
        lines.append(Line(*map(printable, cells)))
    if not as_json:
        console = make_console()
        console.print(as_table(lines, console.width) if jobs else "no such jobs")


class Line(NamedTuple):
    """A job of a list, in words that may be printed."""

    job_id: str
    workspace_id: str
    submitted: str
    what: str
    again: str


def as_table(lines: list[Line], width: int) -> "RenderableType":
    """Return a table, or two lines a job where that would break the ids, which people copy."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    longest = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:3]]
    if sum(longest) + WIDTH_OF_THE_REST > width:
        return Group(
            *(
                Group(
                    Text(f"{line.job_id} of {line.workspace_id}", no_wrap=True, overflow="ignore"),
                    Padding(Text(f"{line.submitted}  {line.what}; again? {line.again}"), (0, 0, 0, 2)),
                )
                for line in lines
            )
        )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("job", "workspace", "submitted", "state, and what it waits for", "again?"):
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


@jobs_cli.command("watch")
def watch(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="This one alone, until it has ended.")] = None,
    workspace: Annotated[str | None, typer.Option(metavar="ID", help="Jobs of this workspace alone.")] = None,
    as_json: AsJson = False,
    to_dev: ToDev = False,
) -> None:
    """Show jobs as they change, until Ctrl-C: a live table on a terminal, else a line for each change.

    With --json one object for each change. With JOB the first is how it is, and it ends when that job has ended. Exit
    codes: 0 it is completed, 1 it has failed, or several workspaces have such a job, 3 no such job.
    """
    settings = command_settings(RuleSettings, to_dev)
    try:
        if job is not None:
            unread = unread_before(settings)
            named = run_on_kafka(settings, _workspaces_with(settings, job, workspace))
            if len(named) != 1:
                fail_without_one(settings, job, workspace, named, unread)
            (workspace,) = named
        ended = run_on_kafka(settings, _watch(settings, job, workspace, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(0 if all(row.status is Status.COMPLETED for row in ended) else 1)


async def _workspaces_with(settings: RuleSettings, job_id: str, workspace_id: str | None) -> list[str]:
    """Return the workspaces that have a job, of which one may be said."""
    from streams.names import changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.table_view import read_row, workspaces_of

    async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
        if workspace_id is None:
            return await workspaces_of(settings, reader, job_id)
        row = await read_row(settings, reader, JobKey(workspace_id, job_id))
        return [] if row is None else [workspace_id]


async def _watch(settings: RuleSettings, job_id: str | None, workspace_id: str | None, *, as_json: bool) -> list[Job]:
    """Show jobs until the one that is watched has ended; return it."""
    from streams.names import changelog_topic
    from streams.operate.job_fields import job_fields
    from streams.operate.job_rows import readable_partitions
    from streams.operate.live_table import live_jobs, printed_on

    await readable_partitions(settings, [changelog_topic(settings.app_id)])

    def shown(job: Job) -> bool:
        return job_id in (None, job.job_id) and workspace_id in (None, job.workspace_id)

    def print_object(job: Job) -> None:
        typer.echo(json_line(job_fields(job)))

    console, told = make_console(), False
    show = print_object if as_json else printed_on(console)

    def tell_change(job: Job) -> None:
        nonlocal told
        told = True
        show(job)

    in_place = console.is_terminal and not as_json
    async with live_jobs(
        settings.kafka_client_options(), settings.app_id, console, shown, None if in_place else tell_change
    ) as board:
        watched = board.jobs.values()
        await board.wait_for(lambda: board.caught_up, None)
        if not in_place and not told:
            # Else whoever reads could not tell that anything is watched.
            if job_id is None:
                tell(f"watching, {sum(not row.ended for row in watched)} jobs have not ended")
            else:
                for row in watched:
                    show(row)
        await board.wait_for(lambda: job_id is not None and any(row.ended for row in watched), None)
        return list(watched)
