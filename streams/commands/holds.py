"""`holds list`, `add` and `remove`: a workspace, or everything, is not called until a person says so."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.given import end_as_decided, end_as_not_given, give_or_end
from streams.core.controls import Action, Control, Decision
from streams.core.effects import IgnoreReason
from streams.operate.console import make_console, printable
from streams.settings import KafkaSettings
from streams.terminal import (
    Actor,
    AsJson,
    DryRun,
    Reason,
    ToDev,
    Yes,
    check_that_somebody_can_be_asked,
    confirm,
    fail,
    json_line,
    kafka_settings,
    run_on_kafka,
)

if TYPE_CHECKING:
    from streams.operate.held import Held
    from streams.operate.standing import Hold
    from streams.operate.table_view import TableView

holds_cli = typer.Typer(no_args_is_help=True, help="Hold workspaces, or everything: who is held is not called.")
Workspace = Annotated[str | None, typer.Argument(metavar="WORKSPACE", help="Its workspace id.")]
Everything = Annotated[bool, typer.Option("--all", help="Everything, in place of a workspace.")]


@holds_cli.command("list")
def list_holds(as_json: AsJson = False, to_dev: ToDev = False) -> None:
    """List what nobody is called of: what people hold, and a robot that is away or busy; --json: one object a line."""
    from streams.operate.held import held_now

    settings = kafka_settings(to_dev)
    view, now = run_on_kafka(settings, _view(settings)), datetime.now(UTC)
    held = held_now(view, now)
    for one in held:
        if as_json:
            typer.echo(json_line(_as_object(one)))
        else:
            make_console().print(printable(_line(one, view.partitions, now)), markup=False, soft_wrap=True)
    if not held and not as_json:
        typer.echo("nothing is held")


def _as_object(held: "Held") -> dict[str, Any]:
    return {
        "workspaceId": held.workspace_id,
        "by": held.by.value,
        "actor": held.actor,
        "reason": held.reason,
        "since": held.since,
        "until": held.until,
        "partitions": held.partitions,
    }


def _line(held: "Held", partitions: int, now: datetime) -> str:
    from streams.operate.standing import clock

    whole = "everything" if held.partitions == partitions else f"{held.partitions} of {partitions} partitions"
    since = "" if held.since is None else f" since {clock(held.since, now)}"
    until = "" if held.until is None else f", until {clock(held.until, now)}"
    who = "the robot" if held.actor is None else held.actor
    return f"{held.workspace_id or whole}: held by {who}{since}{until}: {held.reason}"


async def _view(settings: KafkaSettings) -> "TableView":
    from streams.names import changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.table_view import read_view

    async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
        return await read_view(settings, reader, None)


async def _holds(settings: KafkaSettings) -> "dict[int, Collection[Hold]]":
    from streams.names import changelog_topic
    from streams.operate.job_rows import record_reader
    from streams.operate.table_view import read_holds

    async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
        return await read_holds(settings, reader)


@holds_cli.command("add")
def add(
    actor: Actor,
    reason: Reason,
    workspace: Workspace = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """Call nobody of a workspace, or nobody at all, until it is removed; what is at the robot goes on.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 4 given, and not decided yet.
    """
    control = _control(Action.HOLD, workspace, everything, actor, reason)
    _give(control, "hold", dry_run=dry_run, as_json=as_json, yes=yes, to_dev=to_dev)


@holds_cli.command("remove")
def remove(
    actor: Actor,
    workspace: Workspace = None,
    everything: Everything = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept for years.")] = "released",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """Take a hold back: that of a workspace, or that of everything; the other kind stays.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 4 given, and not decided yet.
    """
    control = _control(Action.RELEASE, workspace, everything, actor, reason)
    _give(control, "release", dry_run=dry_run, as_json=as_json, yes=yes, to_dev=to_dev)


def _control(action: Action, workspace_id: str | None, everything: bool, actor: str, reason: str) -> Control:
    from streams.operate.giving import new_control

    if (workspace_id is None) != everything:
        fail("say a workspace, or --all, and not both", 2)
    return new_control(action, workspace_id, None, actor, reason)


def _give(control: Control, verb: str, *, dry_run: bool, as_json: bool, yes: bool, to_dev: bool) -> None:
    from streams.wire.placement import partition_of

    check_that_somebody_can_be_asked(dry_run=dry_run, yes=yes)
    settings = kafka_settings(to_dev)
    by_partition = run_on_kafka(settings, _holds(settings))
    if control.workspace_id is None:
        numbers: Collection[int] = by_partition
    else:
        numbers = [partition_of(control.workspace_id, len(by_partition))]
    what = "everything" if control.workspace_id is None else printable(control.workspace_id)
    held = [hold for number in numbers for hold in by_partition[number] if hold.workspace_id == control.workspace_id]
    refused = _refusal(control, len(held), len(numbers))
    if refused is not None:
        end_as_decided(f"{verb} {what}", [Decision(control, datetime.now(UTC), refused)], as_json=as_json)
    typer.echo(f"{what}: {f'held by {printable(held[0].actor)}' if held else 'not held'}", err=True)
    if dry_run:
        end_as_not_given(as_json=as_json)
    confirm(f"{verb.capitalize()} {what}?", yes=yes)
    end_as_decided(f"{verb} {what}", give_or_end(settings, dict.fromkeys(numbers, control)), as_json=as_json)


def _refusal(control: Control, held: int, partitions: int) -> IgnoreReason | None:
    """Return why no worker would do anything in any of the partitions of which some are held."""
    if control.action is Action.HOLD:
        return IgnoreReason.ALREADY_HELD if held == partitions else None
    return None if held else IgnoreReason.NOT_HELD
