"""`jobs show`: one job on one screen."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from streams.core.job import Job, JobKey, OrderStatus
from streams.operate.console import make_console, printable
from streams.settings import RuleSettings
from streams.terminal import (
    AsJson,
    OfWorkspace,
    ToDev,
    command_settings,
    fail,
    fail_unknown_job,
    json_line,
    run_on_kafka,
    shown_progress,
    unread_before,
)

if TYPE_CHECKING:
    from schemas import Order
    from streams.operate.job_rows import Progress
    from streams.operate.letters import Letter
    from streams.operate.standing import SendAgain, Wait

ORDERS_SHOWN = 20
_VERDICTS = {"yes": "yes", "no": "no", "orders": "these orders"}


@dataclass(frozen=True)
class Shown:
    """A job, where it stands, and its letters; None where this user may not read those, of which `unread` says why."""

    job: Job
    waits: "tuple[Wait, ...]"
    again: "SendAgain"
    workers: Collection[str] | None
    letters: "list[Letter] | None"
    unread: str = ""


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
    unread = unread_before(settings)
    with shown_progress("reading the job table") as progress:
        found = run_on_kafka(settings, _find(settings, job, workspace, progress))
    if isinstance(found, Shown):
        if to_dev and found.again.command is not None:
            # Else it would go to whatever Kafka is exported.
            command = found.again.command.replace(" resubmit ", " resubmit --dev ", 1)
            found = replace(found, again=replace(found.again, command=command))
        if as_json:
            typer.echo(json_line(_fields(found)))
        else:
            console = make_console()
            console.print(_screen(found, datetime.now(UTC)))
            if found.again.command is not None:
                # In one piece, however long it is: its beginning would be another command.
                console.print(printable(found.again.command), markup=False, soft_wrap=True)
        return
    fail_without_one(settings, job, workspace, found, unread)


def fail_without_one(
    settings: RuleSettings, job_id: str, workspace_id: str | None, named: Sequence[str], unread: int | None
) -> NoReturn:
    """Say that no workspace has a job, or that several have one of this id, and end."""
    if named:
        fail(f"several workspaces have a job {printable(job_id)}: say --workspace {', '.join(map(printable, named))}")
    of = "" if workspace_id is None else f" of {printable(workspace_id)}"
    fail_unknown_job(settings, f"job {printable(job_id)}{of}", unread)


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
    waits = waiting_for(job, view.around(workspace_id, settings.deadlines, settings.jobs_per_workspace, now), now)
    orders = await _orders_submitted(settings, job) if job.ended else orders_of_row(job)
    own, unread = (letters, "") if isinstance(letters, list) else (None, letters)
    return Shown(job, waits, send_again(job, orders, now), view.workers, own, unread)


async def _orders_submitted(settings: RuleSettings, job: Job) -> "Sequence[Order] | None":
    """Return the orders of a job's submission, None if it is gone; those of its row if this user may not read it."""
    from streams.kafka.access import AccessError
    from streams.operate.job_rows import record_reader
    from streams.operate.standing import orders_of_row
    from streams.wire.payload import submission_of

    try:
        async with record_reader(settings, job.source.topic) as reader:
            record = await reader.record(job.source)
    except AccessError:
        return orders_of_row(job)
    submission = None if record is None else submission_of(job, record.value or b"")
    return None if submission is None else submission.orders


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
            letters = await read_letters(reader, topics, numbers, lambda letter: letter.job == key)
    except AccessError as error:
        return str(error)
    return list(letters.values())


def _fields(shown: Shown) -> dict[str, object]:
    from streams.operate.job_fields import job_fields, standing_fields
    from streams.operate.letters import letter_fields
    from streams.operate.standing import worker_alive

    letters = None if shown.letters is None else list(map(letter_fields, shown.letters))
    return {
        **job_fields(shown.job),
        "workerAlive": worker_alive(shown.job, shown.workers),
        "deadLetters": letters,
        **standing_fields(shown.waits, shown.again),
    }


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
    from streams.operate.standing import clock, state_in_words, worker_alive

    job = shown.job
    yield "job", f"{job.job_id} of {job.workspace_id}"
    yield "state", state_in_words(job, now)
    for nth, wait in enumerate(shown.waits):
        yield "" if nth else "waits for", wait.words
    yield "submitted", f"{clock(job.submitted_at, now)}, {job.order_count or 0} orders"
    if job.claimed_at is not None:
        alive = {None: "", True: ", which is alive", False: ", which is gone"}[worker_alive(job, shown.workers)]
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
