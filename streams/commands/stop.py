"""`jobs cancel` and `jobs give-up`: a job is ended by a person."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.given import end_as_decided, end_as_not_given, give_or_end
from streams.core.controls import Action, Control, Decision
from streams.core.job import Job, JobKey
from streams.operate.console import printable
from streams.settings import RuleSettings
from streams.terminal import (
    Actor,
    AsJson,
    DryRun,
    Reason,
    ToDev,
    Yes,
    check_that_somebody_can_be_asked,
    command_settings,
    confirm,
    fail_unknown_job,
    run_on_kafka,
    unread_before,
)

if TYPE_CHECKING:
    from streams.core.effects import IgnoreReason

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its job id.")]
OfWorkspace = Annotated[str, typer.Option(metavar="ID", help="Its workspace id.")]


def cancel(
    job: JobId,
    workspace: OfWorkspace,
    reason: Reason,
    actor: Actor,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """End a job that waits for its call: it fails as cancelled, and the robot never has it.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no such job, 4 given, and not decided yet.
    """
    from streams.operate.giving import new_control

    settings = command_settings(RuleSettings, to_dev)
    control = new_control(Action.CANCEL, workspace, job, actor, reason)
    _stop(settings, control, "Cancel", dry_run=dry_run, as_json=as_json, yes=yes)


def give_up(
    job: JobId,
    workspace: OfWorkspace,
    reason: Reason,
    actor: Actor,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """End a job that is at the robot without waiting for its deadline: it fails as given up, and may still ship.

    A completion that is in Kafka by then still completes it. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no such
    job, 4 given, and not decided yet.
    """
    from streams.operate.giving import new_control

    settings = command_settings(RuleSettings, to_dev)
    control = new_control(Action.GIVE_UP, workspace, job, actor, reason)
    _stop(settings, control, "It may still ship. Give up", dry_run=dry_run, as_json=as_json, yes=yes)


def _stop(settings: RuleSettings, control: Control, question: str, *, dry_run: bool, as_json: bool, yes: bool) -> None:
    """Say what would be done and ask; then give the control and say what came of it."""
    from streams.operate.standing import state_in_words
    from streams.wire.placement import partition_of

    check_that_somebody_can_be_asked(dry_run=dry_run, yes=yes)
    key = control.job
    assert key is not None  # noqa: S101 # narrows the type; it is made with one
    name = printable(f"job {key.job_id} of {key.workspace_id}")
    unread = unread_before(settings)
    job, partitions = run_on_kafka(settings, _row(settings, key))
    if job is None:
        fail_unknown_job(settings, name, unread)
    refused = _refusal(job, control, settings)
    if refused is not None:
        end_as_decided(name, [Decision(control, datetime.now(UTC), refused)], as_json=as_json)
    typer.echo(f"{name}: {printable(state_in_words(job, datetime.now(UTC)))}", err=True)
    if dry_run:
        end_as_not_given(as_json=as_json)
    confirm(f"{question} {name}?", yes=yes)
    decisions = give_or_end(settings, {partition_of(key.workspace_id, partitions): control})
    end_as_decided(f"{control.action.replace('_', ' ')} {name}", decisions, as_json=as_json)


async def _row(settings: RuleSettings, key: JobKey) -> tuple[Job | None, int]:
    """Return a job's row, and how many partitions the table has."""
    from streams.names import changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.table_view import read_row

    async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
        return await read_row(settings, reader, key), reader.partitions


def _refusal(job: Job, control: Control, settings: RuleSettings) -> "IgnoreReason | None":
    """Return why a worker would do nothing, as its own table has it."""
    from streams.core.events import Cancelled, GivenUp
    from streams.core.transition import transition

    now = datetime.now(UTC)
    kind = Cancelled if control.action is Action.CANCEL else GivenUp
    return transition(job, kind(job.key, control.stop(now)), now, settings.deadlines).ignored
