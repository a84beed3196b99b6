"""What the commands share that give controls: publishing them, and saying what a worker has decided."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import NoReturn

import typer

from streams.core.controls import Control, Decision
from streams.core.effects import IgnoreReason
from streams.operate.console import printable
from streams.settings import KafkaSettings
from streams.terminal import NOT_FOUND_EXIT_CODE, UNDECIDED_EXIT_CODE, fail, json_line, run_on_kafka, tell

NOT_DECIDED = "given, and not decided yet, as far as could be read"


def give_or_end(settings: KafkaSettings, controls: Mapping[int, Control]) -> Collection[Decision | None]:
    """Publish controls, each to a partition, and return what became of them; or end."""
    from streams.names import changelog_topic
    from streams.operate.giving import NotGivenError, give
    from streams.operate.job_rows import record_reader

    async def given() -> Collection[Decision | None]:
        async with record_reader(settings, changelog_topic(settings.app_id)) as reader:
            return (await give(settings, reader, controls)).values()

    try:
        return run_on_kafka(settings, given())
    except NotGivenError as error:
        fail(error)


def end_as_not_given(*, as_json: bool) -> NoReturn:
    """Say that nothing was done, as in a dry run, and end well."""
    typer.echo(json_line({"given": False}) if as_json else "nothing was done")
    raise typer.Exit


def end_as_decided(what: str, decisions: Collection[Decision | None], *, as_json: bool) -> NoReturn:
    """Say what workers have decided, of one control in several partitions or in one, and end.

    With 0 if it was applied anywhere and is decided everywhere.
    """
    from streams.operate.giving import REFUSALS

    refused = Counter(decision.refused for decision in decisions if decision is not None and decision.refused)
    undecided = sum(decision is None for decision in decisions)
    applied = len(decisions) - undecided - refused.total()
    if as_json:
        typer.echo(json_line({"applied": applied, "refused": dict(refused), "undecided": undecided}))
    elif applied:
        where = "" if len(decisions) == 1 else f" in {applied} of {len(decisions)} partitions"
        typer.echo(f"{what}: done{where}")
    for reason, times in refused.items():
        where = "" if len(decisions) == 1 else f" in {times} of {len(decisions)} partitions"
        tell(f"{printable(what)} is refused{where}: {REFUSALS[reason]}")
    if undecided:
        tell(NOT_DECIDED if len(decisions) == 1 else f"{NOT_DECIDED} in {undecided} of {len(decisions)} partitions")
        raise typer.Exit(UNDECIDED_EXIT_CODE)
    if applied:
        raise typer.Exit
    raise typer.Exit(NOT_FOUND_EXIT_CODE if IgnoreReason.UNKNOWN_JOB in refused else 1)
