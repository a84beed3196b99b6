"""What the commands share: how they are given settings, and how they say in one line what went wrong."""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from streams.names import TOPIC_PREFIX, TOPIC_PREFIX_VARIABLE
from streams.operate.console import printable
from streams.operate.person import os_user
from streams.settings import KafkaSettings, Kind, SettingsError, load_settings, unknown_variables, variable_of

T = TypeVar("T")
ToDev = Annotated[bool, typer.Option("--dev", help="On the Kafka of the dev that runs, whatever is exported.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
OfWorkspace = Annotated[
    str | None, typer.Option(metavar="ID", help="Its workspace: then one partition is read, and not all.")
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept for years.")]


Actor = Annotated[str, typer.Option(metavar="NAME", default_factory=os_user, help="Who does it.")]
# Of the commands that ask for something that is not there.
NOT_FOUND_EXIT_CODE = 3
# Of the commands that give a control that no worker has decided by then.
UNDECIDED_EXIT_CODE = 4


def json_line(value: object) -> str:
    """Return a value as one line of JSON, times as records have them."""
    return json.dumps(value, default=_json_default)


def _json_default(value: object) -> str | None:
    from streams.wire.rows import utc_text

    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return utc_text(value)


def somebody_is_there() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty()


def check_that_somebody_can_be_asked(*, dry_run: bool, yes: bool) -> None:
    """End unless it was said that nobody need be asked, or somebody is there."""
    if not (dry_run or yes or somebody_is_there()):
        fail("nobody is there to be asked: say --yes, or --dry-run", 2)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless the answer was given beforehand; end if it is no."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


@contextlib.contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give what is told how far a read is, and of how much; on a terminal it is shown."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(what, total=None)
        yield lambda read, of: shown.update(task, completed=read, total=of)


def tell(problem: object) -> None:
    """Say what is wrong, whoever's words are in it."""
    text = "\n".join(map(printable, str(problem).split("\n")))
    typer.echo(f"robot-orchestrator: {text}", err=True)


def fail(problem: object, code: int = 1) -> NoReturn:
    """Say what is wrong, and end."""
    tell(problem)
    raise typer.Exit(code)


def unread_before(settings: KafkaSettings) -> int | None:
    """Return how many submissions no worker has read, None if that is not known; for a command that reads the table."""
    from streams.operate.unread import unread_submissions

    return run_on_kafka(settings, unread_submissions(settings))


def fail_unknown_job(settings: KafkaSettings, job: str, unread: int | None) -> NoReturn:
    """Say that the job table does not have a job, of which so many were unread before it was read, and end."""
    days = settings.retention_seconds / 86_400
    waits = "" if unread == 0 else f"; {unread_in_words(unread)}, and it may be one: do not send it again"
    fail(f"no such {job}: it is unknown, or was forgotten {days:g} days after its end{waits}", NOT_FOUND_EXIT_CODE)


def unread_in_words(unread: int | None) -> str:
    """Return how many submissions no worker has read; None is not known."""
    if unread is None:
        return "how many submissions are not read yet could not be asked"
    return f"up to {unread} submissions are not read yet"


def end_if_prefixed(what: str) -> None:
    """End if a prefix is exported, which what is named does not have."""
    if TOPIC_PREFIX:
        fail(f"{TOPIC_PREFIX_VARIABLE} is {TOPIC_PREFIX}, and {what} has no prefix: unset it", 2)


def settings_of(kind: type[Kind]) -> Kind:
    """Return the settings of this process, or end."""
    try:
        return load_settings(kind)
    except SettingsError as error:
        fail(error)


def service_settings(kind: type[Kind]) -> Kind:
    """Return the settings of a program that logs what is unknown among them once it runs, or end."""
    try:
        return load_settings(kind)
    except SettingsError as error:
        # What is missing may be there under another name.
        warn_of_unknown_variables()
        fail(error)


def warn_of_unknown_variables() -> None:
    """Name the variables that look like settings and are none."""
    if unknown := unknown_variables():
        tell(f"warning: {unknown}")


def kafka_settings(to_dev: bool = False) -> KafkaSettings:
    """Return the settings of a command that talks to Kafka only."""
    return command_settings(KafkaSettings, to_dev)


def command_settings(kind: type[Kind], to_dev: bool) -> Kind:
    """Return the settings of a command, or end."""
    # What goes wrong is said in one line of ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    warn_of_unknown_variables()
    return _settings_of_dev(kind) if to_dev else settings_of(kind)


def _settings_of_dev(kind: type[Kind]) -> Kind:
    from streams.dev.running import ELSEWHERE, dev_folder, variables_of_dev
    from streams.dev.stack import StackError, environment

    end_if_prefixed("dev")
    try:
        variables = variables_of_dev(dev_folder())
    except StackError as error:
        fail(error)
    with environment(variables, without=ELSEWHERE):
        return settings_of(kind)


def run_on_kafka(current: KafkaSettings, work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on Kafka; what goes wrong there is one line."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from streams.kafka.access import AccessError, connection_problem
    from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError
    from streams.operate.job_rows import NotReadError
    from streams.wire.rows import TableError

    try:
        return asyncio.run(work)
    except SettingsError as error:
        fail(error)
    except TopicsError as error:
        for problem in error.problems:
            tell(problem)
        raise typer.Exit(CONFIG_EXIT_CODE) from None
    except (AccessError, TableError) as error:
        fail(error, CONFIG_EXIT_CODE)
    except NotReadError as error:
        fail(error)
    except KafkaConnectionError:
        fail(asyncio.run(connection_problem(current)))
    except KafkaError as error:
        fail(f"Kafka ({variable_of('bootstrap_servers')}): {error}")
