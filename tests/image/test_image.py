"""What is in the image, and that worker, bridge and console run from it on a real Kafka."""

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from streams.dev.loopback import HOST
from streams.dev.stack import environment
from streams.names import LogEvent
from streams.version import version
from tests.image.container import IMAGE, SECRETS_DIR, build, output, podman, run, secrets_folder
from tests.install.locks import ENVIRONMENTS, read_lock
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, create_topic, report
from tests.support.builders import CALLBACK_SECRET, NOWHERE, submission, worker_variables
from tests.support.console import ConsoleProcess
from tests.support.scene import Scene

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]
REVISION = "a-revision"
TOKEN = "a-token-of-an-example"
WITH_SECRETS = {"ROBOT_ORCHESTRATOR_SECRETS_DIR": SECRETS_DIR}
# Of Linux: a process that a signal has ended.
TERMINATED = 128 + signal.SIGTERM


@pytest.fixture(scope="session", autouse=True)
def image(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build the image, once for all tests."""
    build(tmp_path_factory.mktemp("image"), REVISION)


@pytest.fixture
def name() -> Iterator[str]:
    """Return the name of a container, of which nothing is left when the test is over."""
    given = f"robot-orchestrator-{uuid.uuid4().hex[:8]}"
    yield given
    subprocess.run([*podman(), "rm", "--force", "--ignore", "--time=0", given], check=True, capture_output=True)


def test_the_image_says_what_it_is() -> None:
    (found,) = json.loads(output([*podman(), "image", "inspect", IMAGE]))
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in found["Labels"].items()}
    assert (labels["title"], labels["version"], labels["revision"]) == ("robot-orchestrator", version(), REVISION)
    assert found["Config"]["User"] == "10001:10001"


def test_the_entry_point_is_the_command(name: str) -> None:
    assert output([*run(name), "--version"]) == f"robot-orchestrator {version()}"


def test_the_image_has_what_the_lock_names_and_neither_pip_nor_java(name: str) -> None:
    code = "from importlib.metadata import distributions as d; print(*(f'{p.name}=={p.version}' for p in d()))"
    installed = output([*run(name, "--entrypoint=/opt/robot-orchestrator/bin/python"), "-c", code]).split()
    locked = [entry for entry in read_lock("requirements.lock").values() if entry.holds_in(ENVIRONMENTS[0])]
    wanted = {f"{entry.name}=={entry.version}" for entry in locked} | {f"robot-orchestrator=={version()}"}
    assert {text.lower().replace("_", "-").replace(".", "-") for text in installed} == {
        text.replace(".", "-") for text in wanted
    }
    look = "for program in pip pip3 java javac gcc pytest; do command -v $program; done; true"
    assert output([*run(name, "--entrypoint=sh"), "-c", look]) == ""


def test_an_image_may_have_what_all_extras_need(name: str, tmp_path: Path) -> None:
    build(tmp_path, REVISION, f"{IMAGE}-all-extras", "--build-arg=LOCK=all-extras.lock")
    *command, _ = run(name, "--entrypoint=/opt/robot-orchestrator/bin/python")
    code = "import aws_msk_iam_sasl_signer, opentelemetry.sdk; print('both')"
    assert output([*command, f"{IMAGE}-all-extras", "-c", code]) == "both"


def test_nothing_can_be_written_and_nobody_is_root(name: str) -> None:
    told = output(
        [
            *run(name, "--entrypoint=sh"),
            "-c",
            "id -u; for f in / /tmp /opt/robot-orchestrator; do test -w $f && echo $f; done; true",
        ]
    )
    assert told == "10001"


def test_a_worker_that_is_stopped_while_it_starts_ends(name: str) -> None:
    """Without tini it would not get the signal at all: the kernel keeps it from a first process without a handler."""
    with environment(worker_variables(NOWHERE, "http://127.0.0.1:9")):
        container = subprocess.Popen([*run(name, variables=worker_variables(NOWHERE, NOWHERE)), "worker"])
    deadline = time.monotonic() + 60
    while not output([*podman(), "ps", "--quiet", f"--filter=name={name}", "--filter=status=running"]):
        assert time.monotonic() < deadline
    output([*podman(), "kill", "--signal=TERM", name])
    assert container.wait(60) in (0, TERMINATED)


async def test_topics_are_created_and_a_worker_runs(name: str, kafka_bootstrap: str, tmp_path: Path) -> None:
    """Its secret is a file; SIGTERM lets it leave with a line and without an error."""
    with environment({"KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap}):
        create = [*run(name, variables=["KAFKA_BOOTSTRAP_SERVERS"]), "topics", "create", "--partitions", "4"]
        assert "created robot.job.submitted" in output([*create, "--replication-factor", "1"])
        assert output([*create, "--replication-factor", "1"]) == "all topics are there"
    mounted = secrets_folder(tmp_path / "secrets", {"ROBOT_CALLBACK_SECRET": CALLBACK_SECRET})
    async with Scene(kafka_bootstrap, tmp_path, WITH_SECRETS) as scene:
        names = [*(scene.variables.keys() - {"ROBOT_CALLBACK_SECRET"}), "ROBOT_ORCHESTRATOR_PROBE_PORT"]
        program, *options = (*run(name, mounted, variables=names), "worker")
        worker = await scene.worker(options, python=program)
        (line,) = worker.told(LogEvent.WORKER_STARTED)
        assert line["settings"]["ROBOT_ORCHESTRATOR_REVISION"] == REVISION
        assert not worker.told("settings_warning")
        payload = submission()
        await scene.submit(payload)
        assert (await scene.outcome(payload["jobId"])).status == "completed"
        assert await worker.stop() == 0
        assert worker.told(LogEvent.WORKER_STOPPED)


async def test_a_bridge_runs(name: str, kafka_bootstrap: str, tmp_path: Path) -> None:
    await create_topic(kafka_bootstrap)
    mounted = secrets_folder(tmp_path / "secrets", {"ROBOT_CALLBACK_SECRET": CALLBACK_SECRET})
    names = ("KAFKA_BOOTSTRAP_SERVERS", "ROBOT_ORCHESTRATOR_BRIDGE_PORT", "ROBOT_ORCHESTRATOR_SECRETS_DIR")
    program, *options = (*run(name, mounted, variables=names), "bridge")
    bridge = BridgeProcess(kafka_bootstrap, tmp_path / "bridge.log", WITH_SECRETS, options, program)
    try:
        await bridge.wait_ready()
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            answer = await client.post(bridge.callback("shop-5", "job-17"), json=report(), headers=HEADERS)
        assert answer.status_code == 200
        assert await bridge.stop() == 0
    finally:
        bridge.close()


async def test_a_console_runs_and_wants_its_token(name: str, kafka_bootstrap: str, tmp_path: Path) -> None:
    mounted = secrets_folder(tmp_path / "secrets", {"ROBOT_ORCHESTRATOR_CONSOLE_TOKEN": TOKEN})
    data = "--mount=type=tmpfs,destination=/var/lib/robot-orchestrator,chown"
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        names = ("KAFKA_BOOTSTRAP_SERVERS", "ROBOT_ORCHESTRATOR_APP_ID")
        variables = {variable: scene.variables[variable] for variable in names} | WITH_SECRETS
        passed_on = [*variables, "ROBOT_ORCHESTRATOR_CONSOLE_PORT"]
        program, *options = (*run(name, mounted, data, variables=passed_on), "console")
        console = ConsoleProcess(variables, tmp_path, options, program)
        try:
            await console.wait_ready()
            async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
                url = f"http://{HOST}:{console.probe_port}/api/summary"
                assert (await client.get(url)).status_code == 401
                assert (await client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})).status_code == 200
            assert await console.stop() == 0
        finally:
            console.close()
