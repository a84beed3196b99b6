"""`dev` beside a live cluster: what it leaves alone, where it refuses to work, and how clients find it."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from streams.core.job import JobKey
from streams.dev.demo_jobs import example_submission
from streams.dev.history import History, read_history
from streams.dev.kafka import EmbeddedKafka
from streams.dev.kafka_jars import kafka_jars
from streams.dev.loopback import free_port
from streams.dev.other_cluster import GROUP_MEMBERS
from streams.dev.running import APP_ID_FILE, only_dev, own_app_id, variables_of_dev
from streams.dev.stack import StackError
from streams.kafka.admin import admin_client
from streams.names import Topic, changelog_topic
from tests.dev.test_topics import delete
from tests.support.worker import POLL_SECONDS, WorkerProcess

LIVE_JOBS = 12
PATIENCE_SECONDS = 60.0


class Refusing(BaseHTTPRequestHandler):
    """A robot that knows no path, so that a job that is called fails at once."""

    def do_GET(self) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    do_POST = do_GET

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing_robot() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class CommandLine:
    """The command line of a user with a data folder of their own and these variables exported."""

    def __init__(self, folder: Path, **exported: str) -> None:
        self.folder = folder
        self.data = folder / "robot-orchestrator" / "dev-data"
        self.exported = {"XDG_CACHE_HOME": str(folder), **exported}
        jars = kafka_jars()
        self.data.parent.mkdir(parents=True, exist_ok=True)
        if not (link := self.data.parent / jars.name).exists():
            link.symlink_to(jars)

    def run(self, *arguments: str, text: str = "") -> tuple[int, str, str]:
        """Return exit code, output and errors of a command."""
        command = [sys.executable, "-m", "streams.cli", *arguments]
        environment = os.environ | self.exported
        ended = subprocess.run(
            command,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return ended.returncode, ended.stdout, ended.stderr

    @contextmanager
    def dev(self, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
        """Run `dev` and yield its process and what it has said when it is up."""
        output = self.folder / "dev.out"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "dev", "--order-seconds", "0", *options],
                env=os.environ | self.exported,
                stdout=out,
                stderr=out,
            )
        try:
            wait_for(lambda: "Ctrl-C stops everything" in output.read_text() or process.poll() is not None)
            assert process.poll() is None, output.read_text()
            yield process, output.read_text()
        finally:
            process.terminate()
            process.wait()

    def posts(self) -> list[str]:
        """Return the ids of the jobs that the simulated robot was given."""
        file = self.data / "robot-posts.jsonl"
        return [json.loads(line)["job_id"] for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(POLL_SECONDS)


def lines_of(prefix: str, count: int) -> str:
    return "\n".join(example_submission(JobKey(f"{prefix}-w{n}", f"{prefix}-{n}"), 1).decode() for n in range(count))


def history_of(bootstrap_servers: str, app_id: str = "robot-orchestrator") -> History:
    return asyncio.run(read_history({"bootstrap_servers": bootstrap_servers}, app_id))


@contextmanager
def joined(bootstrap_servers: str, group: str) -> Iterator[None]:
    """Be a member of a group."""

    async def join() -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(Topic.SUBMITTED, bootstrap_servers=bootstrap_servers, group_id=group)
        await consumer.start()
        return consumer

    with asyncio.Runner() as runner:
        consumer = runner.run(join())
        try:
            yield
        finally:
            runner.run(consumer.stop())


async def members_of(bootstrap_servers: str, group: str) -> int:
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        (response,) = await admin.describe_consumer_groups([group])
        return len(response.groups[0][GROUP_MEMBERS])


def assert_refused(ended: tuple[int, str, str], bootstrap_servers: str, because: str) -> None:
    code, _, errors = ended
    assert code == 1
    assert errors.startswith(f"robot-orchestrator: dev does not work on {bootstrap_servers}: {because}")
    assert errors.count("\n") == 1


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(tmp_path / "cluster") as broker:
        yield broker


def test_dev_leaves_the_cluster_of_the_environment_alone(
    cluster: EmbeddedKafka, refusing_robot: str, tmp_path: Path
) -> None:
    live = cluster.bootstrap_servers
    exported = {
        "KAFKA_BOOTSTRAP_SERVERS": live,
        "ROBOT_COORDINADORA_URL": refusing_robot,
        "ROBOT_CALLBACK_SECRET": "s",
        "NEXT_PUBLIC_APP_URL": "http://app",
    }
    user = CommandLine(tmp_path / "user", **exported)
    assert user.run("topics", "create", "--replication-factor", "1", "--partitions", "4")[0] == 0
    worker = WorkerProcess(exported, tmp_path / "worker.log")
    try:
        with user.dev():
            asyncio.run(worker.wait_ready())
            assert asyncio.run(members_of(live, "robot-orchestrator")) == 1
            assert user.run("submit", "-", text=lines_of("live", LIVE_JOBS))[0] == 0
            assert user.run("submit", "--dev", "-", text=lines_of("dev", 1)) == (0, "dev-0\n", "")
            wait_for(lambda: len(history_of(live).outcomes()) == LIVE_JOBS)
            wait_for(lambda: user.posts() == ["dev-0"])
        assert len(history_of(live).of(Topic.FAILED)) == LIVE_JOBS
    finally:
        worker.close()


def test_clients_and_a_worker_of_the_users_own_find_dev_whatever_is_exported(tmp_path: Path) -> None:
    elsewhere = {
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "ROBOT_ORCHESTRATOR_APP_ID": "another",
        "ROBOT_ORCHESTRATOR_SECRETS_DIR": str(tmp_path / "absent"),
    }
    user, port = CommandLine(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:9", **elsewhere), free_port()
    with user.dev("--workers", "0", "--port", str(port)) as (process, said):
        (line,) = re.findall(r"^  export (.*)$", said, re.MULTILINE)
        exports = dict(value.split("=", 1) for value in shlex.split(line))
        assert exports["KAFKA_BOOTSTRAP_SERVERS"] == f"127.0.0.1:{port}"
        worker = WorkerProcess(exports, tmp_path / "worker.log")
        try:
            asyncio.run(worker.wait_ready())
            assert (
                f"{exports['ROBOT_ORCHESTRATOR_APP_ID']}-jobs-changelog: 4" in user.run("topics", "check", "--dev")[1]
            )
            assert user.run("submit", "--dev", "-", text=lines_of("dev", 1)) == (0, "dev-0\n", "")
            wait_for(lambda: user.posts() == ["dev-0"])
        finally:
            worker.close()
        # What it has told clients stays behind.
        process.kill()
        process.wait()
        code, _, errors = user.run("submit", "--dev", "-", text=lines_of("dev", 1))
        assert (code, errors) == (1, "robot-orchestrator: no dev runs here (robot-orchestrator dev starts one)\n")


def test_dev_works_on_another_cluster_only_if_its_jobs_are_its_own(cluster: EmbeddedKafka, tmp_path: Path) -> None:
    servers = cluster.bootstrap_servers
    first, second = CommandLine(tmp_path / "first"), CommandLine(tmp_path / "second")
    on_it = ("--workers", "0", "--bootstrap-servers", servers)
    with first.dev(*on_it):
        assert first.run("submit", "--dev", "-", text=lines_of("dev", 1)) == (0, "dev-0\n", "")
    app_id = own_app_id(first.data)

    assert_refused(second.run("dev", *on_it), servers, f"another application's jobs are there, by its topic {app_id}-")
    with first.dev(*on_it):
        pass
    with joined(servers, app_id):
        assert_refused(first.run("dev", *on_it), servers, f"its group {app_id} has members, ")
    asyncio.run(delete(servers, changelog_topic(app_id)))
    assert_refused(first.run("dev", *on_it), servers, "robot.job.submitted has or had records of somebody else")


def test_without_a_kafka_there_dev_says_so_in_one_line_after_the_one_of_a_misspelt_variable(tmp_path: Path) -> None:
    user = CommandLine(tmp_path, ROBOT_ORCHESTRATOR_DRAIN_SECOND="1")
    code, out, errors = user.run("dev", "--bootstrap-servers", "127.0.0.1:9")
    warning, refusal = errors.splitlines(keepends=True)
    assert warning == (
        "robot-orchestrator: warning: ROBOT_ORCHESTRATOR_DRAIN_SECOND is unknown and ignored (nearest: "
        "ROBOT_ORCHESTRATOR_DRAIN_SECONDS)\n"
    )
    assert_refused((code, out, refusal), "127.0.0.1:9", "no Kafka without TLS or login answers there")


def test_dev_keeps_an_application_id_that_no_other_folder_has(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    # As a dev that ended while it wrote the file leaves it.
    (second / APP_ID_FILE).touch()
    ids = {own_app_id(folder) for folder in (first, second, first, second)}
    assert len(ids) == 2
    assert all(app_id.startswith("robot-orchestrator-dev-") for app_id in ids)


def test_one_dev_runs_and_clients_find_it_from_when_it_is_up_to_when_it_ends(tmp_path: Path) -> None:
    folder, variables = tmp_path / "dev", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    for _ in range(2):
        with pytest.raises(StackError, match="no dev runs here"):
            variables_of_dev(folder)
        with only_dev(folder) as announce:
            with pytest.raises(StackError, match="still starting"):
                variables_of_dev(folder)
            announce(variables)
            with pytest.raises(StackError, match="another dev runs already"), only_dev(folder):
                pass
            assert variables_of_dev(folder) == variables
