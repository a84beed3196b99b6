"""The programs of the command line, with the settings of a Kafka connection and nothing else."""

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.support.scene import PARTITIONS
from tests.support.settings import OURS

CREATE_TOPICS = f"topics create --partitions {PARTITIONS} --replication-factor 1"


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
