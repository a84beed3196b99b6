"""The programs of the command line, with the settings of a Kafka connection and nothing else."""

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from typer.testing import CliRunner

from streams.cli import cli
from tests.support.scene import PARTITIONS
from tests.support.settings import OURS

CREATE_TOPICS = f"topics create --partitions {PARTITIONS} --replication-factor 1"


def run_here(command: str, variables: Mapping[str, str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Do the same in this process, without the half second of a start."""
    others: dict[str, str | None] = {name: None for name in os.environ if name.startswith(OURS)}
    invoked = CliRunner(env=others | dict(variables)).invoke
    # The event loop of a test has this thread.
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(invoked, cli, command.split(), stdin).result()
    return subprocess.CompletedProcess(command, ended.exit_code, ended.stdout, ended.stderr)


def run(command: str, variables: Mapping[str, str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `robot-orchestrator` with some arguments to its end."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *command.split()],
        env=others | dict(variables),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
