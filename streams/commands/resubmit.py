"""`jobs resubmit`: orders of a job that has ended, again, as a new job."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.core.job import JobKey
from streams.names import OUTCOME_TOPICS
from streams.operate.console import printable
from streams.operate.resubmission import Choice, Group, KnownOrder, Standing
from streams.settings import KafkaSettings
from streams.terminal import (
    UNDECIDED_EXIT_CODE,
    Actor,
    AsJson,
    DryRun,
    ToDev,
    Yes,
    check_that_somebody_can_be_asked,
    fail,
    fail_unknown_job,
    json_line,
    kafka_settings,
    run_on_kafka,
    tell,
    unread_before,
)

if TYPE_CHECKING:
    from streams.operate.resubmit import Prepared

_IN_WORDS = {
    Standing.NEVER_SENT: "the robot never had it",
    Standing.FAILED: "reported as failed",
    Standing.DOUBTFUL: "reported as failed, and may have shipped all the same",
    Standing.UNREPORTED: "not reported, and may have shipped",
    Standing.UNCLEAR: "not known whether it failed",
    Standing.SHIPPED: "reported as success",
}


def resubmit(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its job id.")],
    workspace: Annotated[str, typer.Option(metavar="ID", help="Its workspace id.")],
    actor: Actor,
    orders: Annotated[
        Group | None, typer.Option(help="Those reported as failed (if nothing is said), or not at all, or both.")
    ] = None,
    order: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM_ID", help="This one, instead of --orders or beside it; repeatable."),
    ] = None,
    new_item_ids: Annotated[bool, typer.Option("--new-item-ids", help="Give the orders other item ids.")] = False,
    may_have_shipped: Annotated[
        bool, typer.Option("--may-have-shipped", help="Also what the robot may have sent already.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept for years.")] = "tried again",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """Try orders of a job that has ended again, as a new job that is linked to it.

    Exit codes: 0 done, 1 refused or not sent, 2 wrong usage, 3 no such job, 4 sent, and not taken by a worker yet.
    """
    from streams.operate.giving import NotGivenError
    from streams.operate.resubmit import note, send
    from streams.operate.submit import SubmitError

    check_that_somebody_can_be_asked(dry_run=dry_run, yes=yes)
    choice = Choice(
        group=orders or (None if order else Group.FAILED),
        named=frozenset(order or ()),
        new_item_ids=new_item_ids,
        may_have_shipped=may_have_shipped,
    )
    settings, taken = kafka_settings(to_dev), None
    prepared = _prepared(settings, JobKey(workspace, job), choice)
    if not as_json:
        typer.echo("\n".join(map(printable, _lines(prepared))))
    for warning in prepared.plan.warnings:
        tell(f"warning: {printable(warning)}")
    if not dry_run:
        if not yes:
            count = len(prepared.plan.orders)
            typer.confirm(f"Send {count} {'order' if count == 1 else 'orders'} again?", abort=True, err=True)
            # It may have taken long to answer.
            if _prepared(settings, JobKey(workspace, job), choice).plan != prepared.plan:
                fail("something was reported of the job meanwhile: look again")
        try:
            # Nothing is sent of which nobody could say who has done it.
            run_on_kafka(settings, note(settings, prepared, actor, reason))
            taken = run_on_kafka(settings, send(settings, prepared))
        except (NotGivenError, SubmitError) as error:
            fail(error)
    if as_json:
        typer.echo(json_line(_as_object(prepared, sent=not dry_run, taken=taken)))
    elif dry_run:
        typer.echo("nothing was sent")
    if dry_run:
        return
    new_job_id = prepared.plan.new_job_id
    if taken is False:
        fail(f"another choice of its orders was sent before, as {new_job_id} too: this one is a conflict, and not done")
    outcome = f"its outcome comes in {' or '.join(OUTCOME_TOPICS)}, under the key {new_job_id}"
    if taken is None:
        tell(f"sent, and no worker has taken it yet, as far as could be read; {outcome}")
        raise typer.Exit(UNDECIDED_EXIT_CODE)
    if not as_json:
        typer.echo(f"sent: {outcome}")


def _prepared(settings: KafkaSettings, key: JobKey, choice: Choice) -> "Prepared":
    """Return what would be sent, or end."""
    from streams.operate.resubmit import RefusedError, UnknownJobError, prepare

    name = printable(f"job {key.job_id} of {key.workspace_id}")
    unread = unread_before(settings)
    try:
        return run_on_kafka(settings, prepare(settings, key, choice, datetime.now(UTC)))
    except UnknownJobError:
        fail_unknown_job(settings, name, unread)
    except RefusedError as error:
        fail(f"{name} is not resubmitted: {printable(str(error))}")


def _lines(prepared: "Prepared") -> list[str]:
    """Return for people which job is tried again as which, and each of its orders."""
    former, plan = prepared.former, prepared.plan
    head = (
        f"job {former.job_id} of {former.workspace_id} ({former.reason or former.status}) again as {plan.new_job_id}:"
    )
    return [head, *(_line(order, plan.items[order.place]) for order in plan.orders)]


def _line(order: KnownOrder, item_id: str) -> str:
    renamed = "" if item_id == order.item_id else f" as {item_id}"
    code = "" if order.error_type is None else f" ({order.error_type})"
    return f"  {order.item_id}{renamed}, order {order.order.orderId}: {_IN_WORDS[order.standing]}{code}"


def _as_object(prepared: "Prepared", *, sent: bool, taken: bool | None) -> dict[str, Any]:
    former, plan = prepared.former, prepared.plan
    return {
        "workspaceId": former.workspace_id,
        "resubmissionOf": former.job_id,
        "jobId": plan.new_job_id,
        "orders": [
            {
                "itemId": plan.items[order.place],
                "formerItemId": order.item_id,
                "orderId": order.order.orderId,
                "known": order.standing.value,
                "errorType": order.error_type,
            }
            for order in plan.orders
        ],
        "warnings": list(plan.warnings),
        "sent": sent,
        "taken": taken,
    }
