"""What the command line makes of the environment, before it talks to anybody."""

import os

import pytest
from typer.testing import CliRunner, Result

from streams.cli import cli
from streams.core.job import JobKey
from streams.dev.demo_jobs import example_submission

NOWHERE = "127.0.0.1:9"
NO_CONNECTION = f"robot-orchestrator: no connection to Kafka at {NOWHERE}: "
OF_KAFKA = (["topics", "check"], ["topics", "create"], ["topics", "adopt", "--yes"], ["submit", "-"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leave of the environment's settings only where no Kafka is."""
    for name in list(os.environ):
        if name.startswith(("ROBOT_", "KAFKA_", "NEXT_PUBLIC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    return monkeypatch


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(cli, arguments, input=example_submission(JobKey("w", "j"), 1))


@pytest.mark.parametrize("arguments", OF_KAFKA, ids=" ".join)
def test_a_command_that_talks_to_kafka_only_neither_sets_nor_minds_what_a_worker_needs(
    environment: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    unset = dict(os.environ)
    assert run(arguments).stderr.startswith(NO_CONNECTION)
    assert dict(os.environ) == unset
    for name in ("ROBOT_COORDINADORA_URL", "ROBOT_ORCHESTRATOR_PROBE_PORT", "ROBOT_ORCHESTRATOR_LOG_LEVEL"):
        environment.setenv(name, "nonsense")
    result = run(arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith(NO_CONNECTION)
