"""`dlq list`, `show` and `redrive`: what could not be used, and what can be done about it."""

from collections import Counter
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.names import DeadLetterReason, Topic
from streams.operate.console import make_console, printable
from streams.settings import KafkaSettings
from streams.terminal import (
    NOT_FOUND_EXIT_CODE,
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
    shown_progress,
    tell,
)

if TYPE_CHECKING:
    from streams.core.job import Job
    from streams.operate.letters import Letter
    from streams.operate.redrive import Chosen

LETTERS_SHOWN = 10
LetterId = Annotated[str, typer.Argument(metavar="LETTER", help="Its id, as dlq list says it.")]
AfterUpgrade = Annotated[
    bool, typer.Option("--after-upgrade", help="This release takes what an older one has refused.")
]

dlq_cli = typer.Typer(no_args_is_help=True, help="See dead letters, and send in again what may help.")


@dlq_cli.command("list")
def list_letters(
    reason: Annotated[DeadLetterReason | None, typer.Option(help="Those with this reason alone.")] = None,
    as_json: AsJson = False,
    to_dev: ToDev = False,
) -> None:
    """List dead letters by their reasons, with the only step that makes sense; with --json one object a letter."""
    from streams.operate.letters import letter_fields, step
    from streams.operate.redrive import read_all

    settings = kafka_settings(to_dev)
    with shown_progress("reading dead letters") as progress:
        found = run_on_kafka(settings, read_all(settings, reason, progress))
    for letter, job, note in found if as_json else ():
        status = None if job is None else job.status
        typer.echo(
            json_line({**letter_fields(letter), "jobStatus": status, "redriven": note, "step": step(letter, note)})
        )
    if not as_json:
        _print_by_reason(found)


def _print_by_reason(entries: "list[tuple[Letter, Job | None, str | None]]") -> None:
    from streams.operate.letters import step

    def why(entry: "tuple[Letter, Job | None, str | None]") -> str:
        return entry[0].headers.reason

    console, now = make_console(), datetime.now(UTC)
    for reason, group in groupby(sorted(entries, key=why), why):
        letters = list(group)
        states = Counter("no job" if job is None else job.status.value for _, job, _ in letters)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        console.print(f"{printable(reason)}: {len(letters)} (jobs: {counts})", style="bold", markup=False)
        console.print(f"  {step(letters[0][0])}", markup=False, soft_wrap=True)
        for letter, job, note in letters[:LETTERS_SHOWN]:
            console.print(printable(f"  {_line(letter, job, note, now)}"), markup=False, soft_wrap=True)
        if len(letters) > LETTERS_SHOWN:
            console.print(f"  and {len(letters) - LETTERS_SHOWN} older (--json has them all)")
    if not entries:
        console.print("no dead letters")


def _line(letter: "Letter", job: "Job | None", note: str | None, now: datetime) -> str:
    from streams.operate.standing import clock, state_in_words

    of = "of no job" if letter.job is None else f"of {letter.job.job_id} of {letter.job.workspace_id}"
    state = "" if letter.job is None else f" ({'not there' if job is None else state_in_words(job, now)})"
    redriven = "" if note is None else f"; redriven {note}"
    return f"{letter.letter_id} at {clock(letter.record.timestamp, now)} {of}{state}{redriven}"


@dlq_cli.command("show")
def show(letter: LetterId, as_json: AsJson = False, to_dev: ToDev = False) -> None:
    """Show a dead letter, without credentials and without the robot's words, and what can be done about it.

    Exit codes: 0 done, 3 no such letter.
    """
    chosen = _chosen(kafka_settings(to_dev), letter, after_upgrade=False)
    fields = _fields(chosen)
    if as_json:
        typer.echo(json_line(fields))
        return
    console = make_console()
    for name, value in fields.items():
        text = json_line(value) if isinstance(value, dict | list | datetime) else str(value)
        console.print(f"{name}: {printable(text)}", markup=False, soft_wrap=True)


def _chosen(settings: KafkaSettings, letter_id: str, *, after_upgrade: bool) -> "Chosen":
    """Return a letter, or end."""
    from streams.operate.redrive import UnknownLetterError, choose

    try:
        return run_on_kafka(settings, choose(settings, letter_id, after_upgrade=after_upgrade))
    except UnknownLetterError:
        fail(f"no such letter {printable(letter_id)}: dlq list has the ids", NOT_FOUND_EXIT_CODE)


def _fields(chosen: "Chosen") -> dict[str, Any]:
    from streams.operate.letters import NotRedrivable, letter_fields, shown_payload, step

    verdict = chosen.verdict
    refused = isinstance(verdict, NotRedrivable)
    return {
        **letter_fields(chosen.letter),
        "jobStatus": None if chosen.job is None else chosen.job.status.value,
        "payload": shown_payload(chosen.letter),
        "step": step(chosen.letter, chosen.redriven),
        "redrive": "no" if refused else "yes",
        "because": verdict.reason if isinstance(verdict, NotRedrivable) else verdict.warning,
    }


@dlq_cli.command("redrive")
def redrive(
    letter: LetterId,
    reason: Reason,
    actor: Actor,
    after_upgrade: AfterUpgrade = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    yes: Yes = False,
    to_dev: ToDev = False,
) -> None:
    """Send a dead letter's record in again, once, where something else can come of it.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no such letter.
    """
    from streams.operate.giving import NotGivenError
    from streams.operate.letters import NotRedrivable
    from streams.operate.redrive import NotRedrivenError
    from streams.operate.redrive import redrive as send_in_again

    check_that_somebody_can_be_asked(dry_run=dry_run, yes=yes)
    settings = kafka_settings(to_dev)
    chosen = _chosen(settings, letter, after_upgrade=after_upgrade)
    if isinstance(chosen.verdict, NotRedrivable):
        fail(f"{printable(letter)} is not redriven: {chosen.verdict.reason}")
    if chosen.verdict.warning is not None:
        tell(f"warning: {chosen.verdict.warning}")
    if not dry_run:
        confirm(f"Send {printable(letter)} in again to {Topic(chosen.letter.headers.topic)}?", yes=yes)
        try:
            run_on_kafka(settings, send_in_again(settings, chosen.letter, actor, reason, after_upgrade=after_upgrade))
        except (NotRedrivenError, NotGivenError) as error:
            fail(f"{printable(letter)}: {error}")
    if as_json:
        typer.echo(json_line({**_fields(chosen), "sent": not dry_run}))
    else:
        typer.echo("nothing was sent" if dry_run else f"sent in again to {chosen.letter.headers.topic}")
