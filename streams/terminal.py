"""What the commands share: how they are given settings, and how they say in one line what went wrong."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from streams.settings import KafkaSettings, Kind, SettingsError, load_settings, unknown_variables, variable_of

T = TypeVar("T")
ToDev = Annotated[bool, typer.Option("--dev", help="On the Kafka of the dev that runs, whatever is exported.")]


def tell(problem: object) -> None:
    """Say what is wrong."""
    typer.echo(f"robot-orchestrator: {problem}", err=True)


def fail(problem: object, code: int = 1) -> NoReturn:
    """Say what is wrong, and end."""
    tell(problem)
    raise typer.Exit(code)


def settings_of(kind: type[Kind]) -> Kind:
    """Return the settings of this process, or end."""
    try:
        return load_settings(kind)
    except SettingsError as error:
        fail(error)


def warn_of_unknown_variables() -> None:
    """Name the variables that look like settings and are none."""
    if unknown := unknown_variables():
        tell(f"warning: {unknown}")


def kafka_settings(to_dev: bool = False) -> KafkaSettings:
    """Return the settings of a command that talks to Kafka only."""
    # What goes wrong is said in one line of ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    warn_of_unknown_variables()
    return _settings_of_dev() if to_dev else settings_of(KafkaSettings)


def _settings_of_dev() -> KafkaSettings:
    from streams.dev.running import ELSEWHERE, dev_folder, variables_of_dev
    from streams.dev.stack import StackError, environment

    try:
        variables = variables_of_dev(dev_folder())
    except StackError as error:
        fail(error)
    with environment(variables, without=ELSEWHERE):
        return settings_of(KafkaSettings)


def run_on_kafka(current: KafkaSettings, work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on Kafka; what goes wrong there is one line."""
    from aiokafka.errors import KafkaConnectionError, KafkaError

    from streams.kafka.access import AccessError, connection_problem
    from streams.kafka.topics import CONFIG_EXIT_CODE, TopicsError

    try:
        return asyncio.run(work)
    except SettingsError as error:
        fail(error)
    except TopicsError as error:
        for problem in error.problems:
            tell(problem)
        raise typer.Exit(CONFIG_EXIT_CODE) from None
    except AccessError as error:
        fail(error, CONFIG_EXIT_CODE)
    except KafkaConnectionError:
        fail(asyncio.run(connection_problem(current)))
    except KafkaError as error:
        fail(f"Kafka ({variable_of('bootstrap_servers')}): {error}")
