"""What the command line makes of the environment, before it talks to anybody."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streams.cli import cli
from streams.core.job import JobKey
from streams.dev.demo_jobs import example_submission
from streams.settings import SECRETS_DIR_VARIABLE, BridgeSettings, WorkerSettings, variable_of
from tests.support.builders import NOWHERE, worker_variables
from tests.support.settings import only_these, set_all

NO_CONNECTION = f"robot-orchestrator: no connection to Kafka at {NOWHERE}: "
ANY_TEXT = (
    *("sasl_username", "sasl_password", "oauth_client_id", "oauth_client_secret", "oauth_scope", "oauth_ca_file"),
    *("ssl_ca_file", "ssl_cert_file", "ssl_key_file", "probe_host"),
)
OF_KAFKA = (
    ["topics", "check"],
    ["topics", "create"],
    ["topics", "adopt", "--yes"],
    ["submit", "-"],
    ["jobs", "resubmit", "j", "--workspace", "w", "--yes"],
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Leave of the environment's settings only where no Kafka is."""
    only_these(monkeypatch, {"KAFKA_BOOTSTRAP_SERVERS": NOWHERE})
    return monkeypatch


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(cli, arguments, input=example_submission(JobKey("w", "j"), 1))


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    result = run(["--version"])
    assert (result.exit_code, result.stdout) == (0, f"robot-orchestrator {project['version']}\n")


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


@pytest.mark.parametrize("arguments", [*OF_KAFKA, ["settings"]], ids=" ".join)
def test_a_misspelt_variable_is_one_line_on_standard_error_and_changes_nothing_else(
    environment: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    without = run(arguments)
    environment.setenv("ROBOT_ORCHESTRATOR_APPID", "another")
    result = run(arguments)
    assert (result.exit_code, result.stdout) == (without.exit_code, without.stdout)
    assert result.stderr == (
        "robot-orchestrator: warning: ROBOT_ORCHESTRATOR_APPID is unknown and ignored (nearest: "
        f"ROBOT_ORCHESTRATOR_APP_ID)\n{without.stderr}"
    )


def test_settings_prints_what_it_can_and_marks_what_a_worker_lacks_or_cannot_use(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ROBOT_COORDINADORA_URL", "http://user:hunter2@robot")
    environment.setenv("ROBOT_CALLBACK_SECRET", "s3cret")
    environment.setenv("ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS", "20")
    environment.setenv("ROBOT_ORCHESTRATOR_PROBE_PORT", "hunter2")
    result = run(["settings"])
    lines = result.stdout.splitlines()
    assert len(lines) == len(WorkerSettings.model_fields)
    assert {
        "ROBOT_COORDINADORA_URL=  # must have no credentials, query or fragment",
        "ROBOT_CALLBACK_SECRET=**********  # environment",
        "NEXT_PUBLIC_APP_URL=  # missing",
        f"KAFKA_BOOTSTRAP_SERVERS={NOWHERE}  # environment",
        "KAFKA_SASL_PASSWORD=  # default",
        "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS=20.0  # environment",
        "ROBOT_ORCHESTRATOR_DRAIN_SECONDS=25.0  # default",
    } < set(lines)
    assert "hunter2" not in result.output
    # What a worker would say.
    assert result.exit_code == 1
    assert result.stderr == (
        "robot-orchestrator: ROBOT_COORDINADORA_URL: must have no credentials, query or fragment; NEXT_PUBLIC_APP_URL "
        "is not set; ROBOT_ORCHESTRATOR_PROBE_PORT: must be a valid integer, unable to parse string as an integer\n"
    )


def test_settings_that_do_not_go_together_are_printed_all_the_same(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, worker_variables())
    environment.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    result = run(["settings"])
    assert "KAFKA_SECURITY_PROTOCOL=SASL_SSL  # environment" in result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (
        1,
        "robot-orchestrator: KAFKA_SASL_MECHANISM is not set, but KAFKA_SECURITY_PROTOCOL is SASL_SSL\n",
    )


@pytest.mark.parametrize("field", [name for name in WorkerSettings.model_fields if name not in ANY_TEXT])
def test_whatever_is_malformed_settings_marks_it_and_prints_the_others(
    environment: pytest.MonkeyPatch, field: str
) -> None:
    environment.setenv(variable_of(field), "hunter 2\u00fc")
    result = run(["settings"])
    lines = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert lines.keys() == {variable_of(name) for name in WorkerSettings.model_fields}
    assert {name for name, line in lines.items() if line.startswith("  # must ")} == {variable_of(field)}
    assert "hunter" not in result.output


def test_secrets_that_cannot_be_read_are_one_line(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ROBOT_CALLBACK_SECRET"
    file.write_bytes(b"hunter2\xff")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    result = run(["settings"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"robot-orchestrator: ROBOT_CALLBACK_SECRET: {file} is not text in UTF-8\n"


def test_a_program_that_lacks_a_secret_names_the_file_that_may_be_meant(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(environment, worker_variables())
    environment.delenv("ROBOT_CALLBACK_SECRET")
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    (tmp_path / "ROBOT_CALLBAK_SECRET").write_text("hunter2")
    result = run(["worker"])
    hint, problem = result.stderr.splitlines()
    assert hint.endswith("is unknown and ignored (nearest: ROBOT_CALLBACK_SECRET)")
    assert (result.exit_code, problem) == (1, "robot-orchestrator: ROBOT_CALLBACK_SECRET is not set")
    assert "hunter2" not in result.output


@pytest.mark.parametrize("command", ["submit --dev -", "check --dev", "dev", "demo"])
def test_dev_has_no_prefix(command: str) -> None:
    """With one, a job would be where dev's workers never look."""
    given = os.environ | {"ROBOT_ORCHESTRATOR_TOPIC_PREFIX": "staging."}
    program = [sys.executable, "-m", "streams.cli", *command.split()]
    ended = subprocess.run(program, env=given, input="", capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("robot-orchestrator: ROBOT_ORCHESTRATOR_TOPIC_PREFIX is staging., and ")


def test_of_a_folder_of_secrets_that_is_not_there_a_command_says_one_line(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv(SECRETS_DIR_VARIABLE, str(tmp_path / "secrets"))
    result = run(["topics", "check"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"robot-orchestrator: {SECRETS_DIR_VARIABLE}: {tmp_path}/secrets cannot be read: No such file or directory\n"
    )


def test_a_console_that_others_could_reach_and_that_would_not_know_them_is_told_so_by_settings(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ROBOT_ORCHESTRATOR_CONSOLE_HOST", "0.0.0.0")
    result = run(["settings", "--console"])
    assert "ROBOT_ORCHESTRATOR_CONSOLE_HOST=0.0.0.0  # environment" in result.stdout.splitlines()
    assert result.exit_code == 1
    assert "set ROBOT_ORCHESTRATOR_CONSOLE_TOKEN, or " in result.stderr


def test_settings_of_a_worker_that_can_start_end_well(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, worker_variables())
    result = run(["settings"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "ROBOT_ORCHESTRATOR_DRAIN_SECONDS=65.0  # default" in result.stdout.splitlines()


def test_settings_of_a_bridge_are_its_own_and_what_it_lacks_is_said(environment: pytest.MonkeyPatch) -> None:
    result = run(["settings", "--bridge"])
    lines = result.stdout.splitlines()
    assert len(lines) == len(BridgeSettings.model_fields)
    assert {"ROBOT_CALLBACK_SECRET=  # missing", "ROBOT_ORCHESTRATOR_BRIDGE_PORT=8082  # default"} < set(lines)
    assert (result.exit_code, result.stderr) == (1, "robot-orchestrator: ROBOT_CALLBACK_SECRET is not set\n")
    for name in ("ROBOT_CALLBACK_SECRET", "ROBOT_CALLBACK_SECRET_PREVIOUS"):
        environment.setenv(name, "s3cret")
    result = run(["settings", "--bridge"])
    assert (result.exit_code, result.stdout.count("=**********  # environment\n")) == (0, 2)
    assert "s3cret" not in result.stdout


def test_a_bridge_without_its_secret_is_one_line() -> None:
    result = run(["bridge"])
    assert (result.exit_code, result.stderr) == (1, "robot-orchestrator: ROBOT_CALLBACK_SECRET is not set\n")


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_bridge_without_its_extra_is_one_line_that_names_it(environment: pytest.MonkeyPatch, missing: str) -> None:
    environment.setenv("ROBOT_CALLBACK_SECRET", "s3cret")
    program = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['robot-orchestrator', 'bridge']; "
        "from streams.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr == "robot-orchestrator: the bridge needs an extra: install robot-orchestrator[bridge]\n"


def test_the_command_line_itself_does_without_the_extra() -> None:
    program = "import sys, streams.cli; sys.exit(bool({'starlette', 'uvicorn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
