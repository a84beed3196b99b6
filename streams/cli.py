"""The command line: `robot-orchestrator`."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.check import check
from streams.commands.dlq import dlq_cli
from streams.commands.holds import holds_cli
from streams.commands.jobs import jobs_cli
from streams.operate.console import printable
from streams.settings import (
    BridgeSettings,
    ConsoleSettings,
    KafkaSettings,
    ServiceSettings,
    SettingsError,
    WorkerSettings,
    effective,
)
from streams.terminal import (
    ToDev,
    end_if_prefixed,
    fail,
    kafka_settings,
    run_on_kafka,
    service_settings,
    tell,
    warn_of_unknown_variables,
)
from streams.version import DISTRIBUTION, version

if TYPE_CHECKING:
    from streams.operate.submit import Submission

_EVERY = Annotated[int, typer.Option(metavar="N", min=0, help="One job in N, on average; 0 for none.")]

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
topics_cli = typer.Typer(no_args_is_help=True, help="Create, check or adopt the topics.")
cli.add_typer(topics_cli, name="topics")
cli.add_typer(jobs_cli, name="jobs")
cli.add_typer(holds_cli, name="holds")
cli.add_typer(dlq_cli, name="dlq")
cli.command()(check)


def main() -> None:
    """Run the command line."""
    cli()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{DISTRIBUTION} {version()}")
        raise typer.Exit


@cli.callback()
def before_any_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


@contextlib.contextmanager
def _services() -> Iterator[None]:
    """Let SIGTERM end what a command runs as Ctrl-C does; what goes wrong there is said in a line."""
    from streams.dev.kafka_jars import EmbeddedKafkaError
    from streams.dev.stack import StackError
    from streams.kafka.access import AccessError
    from streams.kafka.topics import TopicsError

    # A shell that starts it in the background has it ignore the signal by which it is ended.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Raised anywhere in an event loop KeyboardInterrupt may end a task alone; of Ctrl-C asyncio makes an end in order.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    warn_of_unknown_variables()
    end_if_prefixed("what runs here")
    try:
        yield
    except (EmbeddedKafkaError, SettingsError, StackError, AccessError, TopicsError) as error:
        fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@cli.command()
def worker() -> None:
    """Run a worker until SIGTERM."""
    settings = service_settings(WorkerSettings)
    # Nothing that is imported becomes garbage. Looking for some takes a tenth of the imports' time, and later 60 ms
    # whenever all of it is looked at.
    gc.disable()
    from streams.app import run_worker
    from streams.faust_hardening.versions import UntestedVersionError

    gc.freeze()
    gc.enable()
    try:
        run_worker(settings)
    except (SettingsError, UntestedVersionError) as error:
        fail(error)


@cli.command()
def bridge() -> None:
    """Take the robot's reports and publish them, until SIGTERM."""
    from streams.kafka.topics import CONFIG_EXIT_CODE

    settings = service_settings(BridgeSettings)
    try:
        from streams.bridge.run import run_bridge
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        fail("the bridge needs an extra: install robot-orchestrator[bridge]", CONFIG_EXIT_CODE)
    raise typer.Exit(run_bridge(settings))


@cli.command()
def console(
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="People may hold, release, cancel and give up there.")
    ] = False,
) -> None:
    """Show jobs, workers, holds and dead letters as pages and as an API, until SIGTERM."""
    from streams.kafka.topics import CONFIG_EXIT_CODE

    settings = service_settings(ConsoleSettings)
    try:
        from streams.console.run import run_console
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "jinja2", "starlette", "uvicorn"):
            raise
        fail("the console needs an extra: install robot-orchestrator[console]", CONFIG_EXIT_CODE)
    raise typer.Exit(run_console(settings, allow_actions=allow_actions))


@cli.command()
def settings(
    of_bridge: Annotated[bool, typer.Option("--bridge", help="Those of a bridge, not of a worker.")] = False,
    of_console: Annotated[bool, typer.Option("--console", help="Those of a console.")] = False,
) -> None:
    """Print the effective settings, secrets masked, each with where it came from, and what the program lacks."""
    if of_bridge and of_console:
        fail("say one of --bridge and --console", 2)
    warn_of_unknown_variables()
    kind: type[ServiceSettings] = BridgeSettings if of_bridge else ConsoleSettings if of_console else WorkerSettings
    try:
        rows, problem = effective(kind)
    except SettingsError as error:
        fail(error)
    for variable, value, origin in rows:
        typer.echo(f"{variable}={value}  # {origin}")
    if problem is not None:
        fail(problem)


@cli.command()
def submit(
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A JSON file; or - for JSON lines from standard input.")
    ],
    to_dev: ToDev = False,
) -> None:
    """Publish jobs and print their ids, one a line.

    Nothing is published that the contract forbids, or in which two orders have one item id. Of several lines the
    others are, and the exit code is 1. Nor is a file whose ids are taken, as far as this user may read the job table.
    """
    from streams.operate.submit import (
        InvalidSubmissionError,
        SubmitError,
        check_topic,
        parse_submission,
        publish,
        read_lines,
    )

    invalid, published = 0, 0
    current = kafka_settings(to_dev)

    def complain(problem: str) -> None:
        nonlocal invalid
        invalid += 1
        typer.echo(f"robot-orchestrator: {problem}", err=True)

    try:
        if source == "-":
            submissions = read_lines(sys.stdin.buffer, complain)
            run_on_kafka(current, check_topic(current))
        else:
            submission = parse_submission(Path(source).read_bytes())
            run_on_kafka(current, check_topic(current))
            _end_if_taken(current, submission)
            submissions = iter([submission])
        for job_id in publish(current, submissions):
            published += 1
            typer.echo(job_id)
    except InvalidSubmissionError as error:
        fail(f"{source}: {error}")
    except BrokenPipeError:
        tell(f"nobody reads what is printed any more, so the last job that was published is {printable(job_id)}")
        raise
    except OSError as error:
        fail(f"{source}: {error.strerror}")
    except (SettingsError, SubmitError) as error:
        fail(error)
    if not published and not invalid:
        fail(f"{source}: it is empty")
    if invalid:
        raise typer.Exit(1)


def _end_if_taken(current: KafkaSettings, submission: "Submission") -> None:
    """End if nothing would come of a submission, since its ids are taken; say so if it was submitted before."""
    from streams.operate.taken import known_job, taken_by

    job = asyncio.run(known_job(current, submission))
    if job is not None:
        taken = taken_by(job, submission, datetime.now(UTC))
        if taken.in_vain:
            fail(printable(taken.text))
        tell(printable(taken.text))


@cli.command()
def example(
    count: Annotated[int, typer.Option(min=1, help="How many jobs.")] = 1,
    orders: Annotated[int, typer.Option(min=1, help="Orders in each.")] = 2,
) -> None:
    """Print example submissions with fresh ids, one a line, to be piped into submit."""
    from streams.core.job import JobKey
    from streams.dev.demo_jobs import example_submission

    for _ in range(count):
        typer.echo(example_submission(JobKey(str(uuid.uuid4()), str(uuid.uuid4())), orders))


@cli.command()
def dev(
    workers: Annotated[int, typer.Option(min=0)] = 1,
    order_seconds: Annotated[float, typer.Option(min=0, help="The robot's work on an order.")] = 2.0,
    robot_delay: Annotated[float, typer.Option(min=0, help="Seconds before the robot answers a call.")] = 0.5,
    refuse_every: _EVERY = 0,
    lose_every: _EVERY = 0,
    early_every: _EVERY = 0,
    fail_every: _EVERY = 0,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where Kafka listens; if not said, at a free port.")
    ] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Kafka on which nobody else works, in place of its own.")
    ] = None,
) -> None:
    """Run everything on this machine: Kafka, a simulated robot, workers, and a live table of jobs.

    The Kafka and the robot that are exported are left alone. One job in N is refused by the robot (409), lost,
    completed before the robot's answer, or fails with every order; which ones, the job id decides.
    """
    from streams.dev.batches import Fate
    from streams.dev.sandbox import fates_of, run_sandbox
    from streams.dev.stack import RobotOptions
    from streams.operate.console import make_console

    every = {
        Fate.REFUSE: refuse_every,
        Fate.LOSE: lose_every,
        Fate.COMPLETE_FIRST: early_every,
        Fate.ALL_FAIL: fail_every,
    }
    try:
        fates = fates_of(every)
    except ValueError as error:
        fail(error)
    if port and bootstrap_servers:
        fail("--port is of the Kafka that dev starts, and --bootstrap-servers says that it starts none", 2)
    robot = RobotOptions(order_seconds, robot_delay, 0.5, fates=fates)
    with _services():
        run_sandbox(make_console(), robot, workers, bootstrap_servers=bootstrap_servers, port=port)


@cli.command()
def demo() -> None:
    """Show every fate of a job on a real Kafka, in half a minute, and check that no promise was broken."""
    from streams.dev.demo import run_demo
    from streams.operate.console import make_console

    with _services():
        raise typer.Exit(run_demo(make_console()))


@topics_cli.command("create")
def create(
    partitions: Annotated[
        int | None, typer.Option(min=1, help="The one partition count of all topics, 8 if it is not said.")
    ] = None,
    replication_factor: Annotated[int, typer.Option(min=1, help="1 where there is one broker.")] = 3,
    beside_others: Annotated[
        bool, typer.Option("--beside-others", help="Make a job table although another application has one.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the commands of Kafka's own tool that make all of them; ask no broker."),
    ] = False,
) -> None:
    """Create the topics that are missing; those that are there stay as they are."""
    from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError, create_topics, creation_commands

    current, count = kafka_settings(), partitions or 8
    if dry_run:
        try:
            typer.echo("\n".join(creation_commands(current, count, replication_factor)))
        except TopicsError as error:
            fail(error, CONFIG_EXIT_CODE)
        return
    creation = create_topics(current, count, replication_factor, beside_others=beside_others)
    created = run_on_kafka(current, creation)
    typer.echo("\n".join(f"created {name}" for name in created.names) or "all topics are there")
    if partitions not in (None, created.partitions):
        tell(f"warning: all topics have {created.partitions} partitions, as those had that were there")


@topics_cli.command("check")
def check_topics_of_cluster(to_dev: ToDev = False) -> None:
    """Check that all topics are there with one partition count, and with the settings that the promises need."""
    from streams.kafka.topics import check_topics, describe

    current = kafka_settings(to_dev)
    report = run_on_kafka(current, check_topics(current))
    for name, partitions, max_bytes in describe(report, current):
        typer.echo(f"{name}: {partitions} partitions, records up to {max_bytes} bytes")
    for warning in report.warnings:
        tell(f"warning: {warning}")


@topics_cli.command("adopt")
def adopt(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Go on without a job table that was lost: what only it knew of has no outcome and is not called any more."""
    from streams.kafka.adopt import adopt_table

    current = kafka_settings()
    if not yes:
        typer.confirm(
            "Jobs that were waiting or at the robot when the table was lost will have no outcome. Go on?", abort=True
        )
    typer.echo(f"marked {run_on_kafka(current, adopt_table(current))} partitions: workers start now")


if __name__ == "__main__":
    main()
