"""The command line: `robot-orchestrator`."""

import asyncio
from typing import Annotated, NoReturn

import typer

from streams.settings import Settings, SettingsError, effective, load_settings

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
topics_cli = typer.Typer(no_args_is_help=True, help="Create or check the topics.")
cli.add_typer(topics_cli, name="topics")


def main() -> None:
    """Run the command line."""
    cli()


def _fail(problem: object) -> NoReturn:
    typer.echo(f"robot-orchestrator: {problem}", err=True)
    raise typer.Exit(1)


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        _fail(error)


@cli.command()
def worker() -> None:
    """Run a worker until SIGTERM."""
    from streams.app import build_app
    from streams.faust_hardening import HardenedWorker
    from streams.logs import configure_logging

    settings = _settings()
    configure_logging(settings.log_format, settings.log_level)
    app = build_app(settings)
    app.finalize()
    HardenedWorker(app, quiet=True, loglevel=settings.log_level.upper()).execute_from_commandline()


@cli.command()
def settings() -> None:
    """Print the effective settings, secrets masked, each with where it came from."""
    for variable, value, origin in effective(_settings()):
        typer.echo(f"{variable}={value}  # {origin}")


@topics_cli.command("create")
def create(
    partitions: Annotated[int, typer.Option(min=1, help="The one partition count of all topics.")] = 8,
    replication_factor: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Create the topics that are missing."""
    from streams.topics import create_topics

    created = asyncio.run(create_topics(_settings(), partitions, replication_factor))
    typer.echo("\n".join(f"created {name}" for name in created) or "all topics are there")


@topics_cli.command("check")
def check() -> None:
    """Check that all topics are there with one partition count."""
    from streams.topics import TopicsError, check_topics, describe

    current = _settings()
    try:
        report = asyncio.run(check_topics(current))
    except TopicsError as error:
        _fail(error)
    for name, partitions, max_bytes in describe(report, current):
        typer.echo(f"{name}: {partitions} partitions, records up to {max_bytes} bytes")


if __name__ == "__main__":
    main()
