"""Every program with a user of its own, who may do what docs/operating.md says and nothing else."""

import asyncio
import json
import re
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from schemas import JobCompleted
from streams.cli import cli
from streams.dev.robot import Fate
from streams.kafka.access import AccessError, Operation
from streams.kafka.reader import KafkaReader
from streams.kafka.topics import check_topics
from streams.names import DLQ_OF, SOURCE_TOPICS, Topic, changelog_topic
from streams.settings import KafkaSettings
from streams.wire.records import TopicPartition
from tests.security.documented_acls import documented_acls
from tests.security.programs import CREATE_TOPICS, run_here
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, create_topic, report
from tests.support.builders import PASSWORD as PORTAL_PASSWORD
from tests.support.builders import completion, submission
from tests.support.console import ConsoleProcess, said
from tests.support.scene import PARTITIONS, Scene
from tests.support.secure_kafka import PASSWORD, Acl, Resource, SecureKafka
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE_SUBMISSIONS = Acl(Resource.TOPIC, Topic.SUBMITTED, Operation.WRITE)
# Of each command of people on call what makes it do its work; `W` is a workspace, `J` its job at the robot,
# `P` one that waits, `L` a letter.
ON_CALL = {
    "jobs list": "--workspace=W",
    "jobs show": "J --workspace=W",
    "jobs cancel": "P --workspace=W --reason=x --yes",
    "jobs give-up": "J --workspace=W --reason=x --yes",
    "jobs watch": "J",
    "holds list": "",
    "holds add": "W --reason=x --yes",
    "holds remove": "W --yes",
    "dlq list": "",
    "dlq show": "L",
    "dlq redrive": "L --reason=x --yes",
}
# In the documented table by the program's name, in Kafka by the user's.
USER = {
    "worker": "worker",
    "bridge": "bridge",
    "console": "console",
    "console --allow-actions": "console-actions",
    "submit": "submit",
    "topics check": "topics-check",
    "topics create": "topics-create",
    "topics adopt": "topics-adopt",
    "jobs resubmit": "jobs-resubmit",
} | dict.fromkeys(ON_CALL, "on-call")


@dataclass
class Secured:
    """An application whose programs have the least ACLs."""

    kafka: SecureKafka
    scene: Scene

    async def allow(self, program: str, without: Acl | None = None) -> None:
        """Let a program do what docs/operating.md says, all but one thing of it."""
        acls = documented_acls(program, self.scene.app_id)
        if without is not None:
            acls.remove(_own(without, self.scene.app_id))
        await self.kafka.allow_only(USER[program], acls)

    async def worker(self, *, ready: bool = True) -> WorkerProcess:
        """Start a worker as its user."""
        return await self.scene.worker(ready=ready, **cast(Any, self.kafka.login(USER["worker"])))

    async def bridge(self, *, ready: bool = True) -> BridgeProcess:
        """Start a bridge as its user."""
        log_path = self.scene.folder / f"bridge-{uuid.uuid4().hex}.log"
        bridge = BridgeProcess(self.kafka.bootstrap_servers, log_path, self.kafka.login(USER["bridge"]))
        self.scene.workers.append(bridge)
        if ready:
            await bridge.wait_ready()
        return bridge

    def console(self, program: str) -> ConsoleProcess:
        """Start a console as its user."""
        folder = self.scene.folder / f"console-{uuid.uuid4().hex}"
        folder.mkdir()
        own = {"ROBOT_ORCHESTRATOR_APP_ID": self.scene.app_id}
        command = ("-m", "streams.cli", *program.split())
        console = ConsoleProcess({**self.kafka.login(USER[program]), **own}, folder, command)
        self.scene.workers.append(console)
        return console

    def run(
        self, program: str, stdin: str = "", options: str = "", **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program other than the worker as its user."""
        command = {"submit": "submit -", "topics create": CREATE_TOPICS, "topics adopt": "topics adopt --yes"}.get(
            program, program
        )
        app_id = {"ROBOT_ORCHESTRATOR_APP_ID": self.scene.app_id}
        return run_here(f"{command} {options}", {**self.kafka.login(USER[program]), **app_id, **variables}, stdin)


def _own(acl: Acl, app_id: str) -> Acl:
    return acl._replace(name=acl.name.replace("robot-orchestrator", app_id))


def label(acl: Acl) -> str:
    return f"{acl.operation.name} {acl.name}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(secure: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    async with Scene(secure.bootstrap_servers, tmp_path_factory.mktemp("secured")) as scene:
        secured = Secured(secure, scene)
        for program in USER:
            await secured.allow(program)
        yield secured


async def test_the_topics_are_created(created: "subprocess.CompletedProcess[str]") -> None:
    topics = [*Topic, changelog_topic("robot-orchestrator")]
    assert (created.returncode, created.stderr) == (0, "")
    assert created.stdout.split() == [word for topic in topics for word in ("created", topic)]


async def test_a_job_goes_through_with_the_least_acls(secured: Secured) -> None:
    scene = secured.scene
    checked = secured.run("topics check")
    assert (checked.returncode, checked.stderr) == (0, "")
    worker = await secured.worker()
    payload = submission()
    submitted = secured.run("submit", json.dumps(payload))
    assert (submitted.returncode, submitted.stdout, submitted.stderr) == (0, f"{payload['jobId']}\n", "")
    assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
    assert scene.posts(payload["jobId"]) == 1
    # A record at the wrong place and one that is no use: forwarding and dead letters need rights too.
    lost = submission()
    await scene.write(Topic.SUBMITTED, json.dumps(lost).encode(), 0)
    await scene.write(Topic.SUBMITTED, json.dumps(lost).encode(), 1)
    for topic in (Topic.SUBMITTED, Topic.BATCH_COMPLETED):
        await scene.dead_letter(topic, await scene.write(topic, b"{}", 0))
    assert isinstance(await scene.outcome(lost["jobId"]), JobCompleted)
    await scene.outcome(await scene.submit(submission(), Fate.REFUSE))
    assert await worker.stop() == 0
    # The topics were created for another application, of whose own topic these users are told nothing.
    assert worker.told("topics_warning") == []


async def test_another_application_is_warned_of_by_those_who_may_describe_its_topic(secured: Secured) -> None:
    app_id = secured.scene.app_id
    see = Acl(Resource.TOPIC, changelog_topic("robot-orchestrator"), Operation.DESCRIBE)
    await secured.kafka.allow_only(USER["topics check"], [*documented_acls("topics check", app_id), see])
    checked = secured.run("topics check")
    await secured.allow("topics check")
    told = f"robot-orchestrator-jobs-changelog: job tables of other applications than {app_id} "
    assert checked.returncode == 0
    assert checked.stderr.startswith(f"robot-orchestrator: warning: {told}")


async def test_a_worker_may_ask_which_transactions_are_open(secured: Secured) -> None:
    variables = {**secured.scene.variables, **secured.kafka.login(USER["worker"])}
    options = KafkaSettings(**cast(Any, variables)).kafka_client_options()
    reader = KafkaReader(options, secured.scene.app_id, secured.scene.partitions)
    await reader.start()
    try:
        assert await reader.open_transactions(TopicPartition(Topic.BATCH_COMPLETED, 0)) == []
        assert (await reader.peek(TopicPartition(Topic.BATCH_COMPLETED, 0), 0, 1, limit=1))[1] == 1
    finally:
        await reader.stop()


SEEN_AT_THE_START = [acl for acl in documented_acls("worker") if acl.resource is not Resource.TRANSACTIONAL_ID]
SEEN_LATER = [acl for acl in documented_acls("worker") if acl not in SEEN_AT_THE_START]


@pytest.mark.parametrize("acl", SEEN_AT_THE_START, ids=label)
async def test_a_worker_that_starts_names_the_acl_that_it_lacks(secured: Secured, acl: Acl) -> None:
    await secured.allow("worker", without=acl)
    variables = {**secured.scene.variables, **secured.kafka.login(USER["worker"])}
    with pytest.raises(AccessError) as refused:
        await check_topics(KafkaSettings(**cast(Any, variables)), worker=True)
    await secured.allow("worker")
    assert str(refused.value) == _lack(secured, acl)


def _lack(secured: Secured, acl: Acl) -> str:
    kind = acl.resource.name.lower().replace("_", " ")
    return f"missing ACLs: {acl.operation.name} on {kind} {_own(acl, secured.scene.app_id).name}"


# The last one is the group's, which is checked last.
@pytest.mark.parametrize("acl", [SEEN_AT_THE_START[0], SEEN_AT_THE_START[-1], *SEEN_LATER], ids=label)
async def test_a_worker_that_lacks_an_acl_ends_with_a_line_that_names_it(secured: Secured, acl: Acl) -> None:
    await secured.allow("worker", without=acl)
    worker = await secured.worker(ready=False)
    code = await worker.wait_ended()
    await secured.allow("worker")
    error = worker.log_lines()[-1]["error"]
    if acl in SEEN_LATER:
        # Only when a partition is opened.
        assert code == 70
        assert _lack(secured, acl) in error
    else:
        assert (code, error) == (78, _lack(secured, acl))


async def test_a_bridge_that_may_not_write_ends_with_a_line_that_names_the_acl(secured: Secured) -> None:
    await create_topic(secured.kafka.bootstrap_servers)
    await secured.allow("bridge", without=Acl(Resource.TOPIC, Topic.ORDER_REPORTED, Operation.WRITE))
    bridge = await secured.bridge(ready=False)
    code = await bridge.wait_ended()
    await secured.allow("bridge")
    assert code == 78
    assert bridge.log_lines()[-1]["error"] == f"missing ACLs: WRITE on topic {Topic.ORDER_REPORTED}"


async def test_a_right_to_write_that_is_taken_away_meanwhile_costs_no_report(secured: Secured) -> None:
    await create_topic(secured.kafka.bootstrap_servers)
    bridge = await secured.bridge()
    # So far these were enough.
    await secured.allow("bridge", without=Acl(Resource.TOPIC, Topic.ORDER_REPORTED, Operation.WRITE))
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        post = client.post(bridge.callback("shop-5", "job-17"), json=report(), headers=HEADERS)
        posted = asyncio.create_task(post)
        await bridge.wait_told("producer_replaced")
        await secured.allow("bridge")
        assert (await posted).status_code == 200
    assert await bridge.stop() == 0


async def test_a_console_reads_with_the_least_acls(secured: Secured) -> None:
    job_id = await secured.scene.submit(submission())
    worker, console = await secured.worker(), secured.console("console")
    await said(console, "/jobs", lambda found: any(one["jobId"] == job_id for one in found["jobs"]))
    summary = await said(console, "/summary", lambda found: found["kafka"]["lookedAt"])
    assert set(summary["kafka"]["lag"]) == set(SOURCE_TOPICS)
    assert summary["kafka"]["problem"] is None
    assert [one["alive"] for one in summary["workers"]] == [True]
    assert await console.stop() == 0
    assert await worker.stop() == 0


CONSOLE_TOPICS = [acl for acl in documented_acls("console") if acl.resource is Resource.TOPIC]


@pytest.mark.parametrize("acl", [CONSOLE_TOPICS[0], CONSOLE_TOPICS[-1]], ids=label)
async def test_without_one_of_its_acls_a_console_ends_with_a_line_that_names_it(secured: Secured, acl: Acl) -> None:
    await secured.allow("console", without=acl)
    console = secured.console("console")
    code = await console.wait_ended()
    await secured.allow("console")
    assert code == 78
    assert console.log_lines()[-1]["error"] == f"missing ACLs: {label(acl)}".replace(" robot", " on topic robot")


async def test_only_a_console_that_may_write_controls_has_something_done(secured: Secured) -> None:
    also = documented_acls("console", secured.scene.app_id)
    both = [*also, *documented_acls("console --allow-actions", secured.scene.app_id)]
    for acls, told in ((also, f"missing ACLs: WRITE on topic {Topic.CONTROL}"), (both, "")):
        await secured.kafka.allow_only(USER["console --allow-actions"], acls)
        console = secured.console("console --allow-actions")
        await console.wait_ready()
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            url = f"http://127.0.0.1:{console.probe_port}/act"
            page = await client.get(url, params={"action": "hold", "workspace": "shop-9"})
            token = page.text.split('name="form_token" value="')[1].split('"')[0]
            fields = {"action": "hold", "workspace": "shop-9", "word": "shop-9", "reason": "why not"}
            answer = await client.post(url, data={**fields, "form_token": token})
        assert answer.status_code == (409 if told else 303)
        assert told in answer.text
        assert await console.stop() == 0


@pytest.mark.parametrize("acl", documented_acls("submit"), ids=label)
async def test_without_its_acl_nothing_is_submitted(secured: Secured, acl: Acl) -> None:
    await secured.allow("submit", without=acl)
    ended = secured.run("submit", json.dumps(submission()))
    await secured.allow("submit")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "robot-orchestrator: missing ACLs: WRITE on topic robot.job.submitted\n"


async def test_a_job_is_resubmitted_with_the_least_acls_and_with_no_less(secured: Secured) -> None:
    payload = submission()
    # Who may do everything: here it is the command that may not.
    worker = await secured.scene.worker()
    await secured.scene.outcome(await secured.scene.submit(payload, Fate.REFUSE))
    options = f"{payload['jobId']} --workspace {payload['workspaceId']} --orders all --yes --json"
    for acl in documented_acls("jobs resubmit"):
        await secured.allow("jobs resubmit", without=acl)
        refused = secured.run("jobs resubmit", options=options)
        assert PORTAL_PASSWORD not in refused.stdout + refused.stderr
        assert (refused.returncode, refused.stdout) == (1 if acl == WRITE_SUBMISSIONS else 78, "")
        assert refused.stderr.splitlines()[-1] == f"robot-orchestrator: {_lack(secured, acl)}"
    await secured.allow("jobs resubmit")
    ended = secured.run("jobs resubmit", options=options)
    assert ended.returncode == 0, ended.stderr
    assert PORTAL_PASSWORD not in ended.stdout + ended.stderr
    outcome = await secured.scene.outcome(json.loads(ended.stdout)["jobId"])
    assert isinstance(outcome, JobCompleted)
    assert outcome.resubmissionOf == payload["jobId"]
    assert await worker.stop() == 0


async def test_who_may_not_ask_what_is_unread_is_not_told_that_a_job_is_unknown_and_no_more(secured: Secured) -> None:
    await secured.allow("jobs show")
    ended = secured.run("jobs show", options="J --workspace=W")
    assert ended.returncode == 3
    told = "how many submissions are not read yet could not be asked, and it may be one: do not send it again"
    assert told in ended.stderr


async def test_people_on_call_need_the_least_acls_and_no_less(secured: Secured) -> None:
    scene, job = secured.scene, submission()
    # Who may do everything: here it is the commands that may not.
    worker = await scene.worker()
    where = await scene.publish(Topic.BATCH_COMPLETED, completion(job), job["workspaceId"])
    await scene.dead_letter(Topic.BATCH_COMPLETED, where)
    await scene.submit(job, Fate.LOSE)
    await scene.row(job["jobId"], lambda row: row.accepted_at is not None)
    waits = await scene.submit(submission(workspace_id=job["workspaceId"]))
    await scene.row(waits)
    names = {
        "W": job["workspaceId"],
        "J": job["jobId"],
        "P": waits,
        "L": f"{where.topic}-{where.partition}-{where.offset}",
    }
    others = {*DLQ_OF, *DLQ_OF.values()} - {Topic.BATCH_COMPLETED, Topic.DLQ_BATCH_COMPLETED, Topic.CONTROL}
    for program, template in ON_CALL.items():
        options = re.sub(r"\b[WJPL]\b", lambda found: names[found[0]], template)
        for acl in documented_acls(program):
            # Of a letter its own topics are looked at.
            if acl.name not in others or program == "dlq list":
                await secured.allow(program, without=acl)
                refused = await _invoked(secured, f"{program} {options}")
                assert refused.exit_code == 78, (program, acl, refused.output)
                assert refused.stderr.splitlines()[-1] == f"robot-orchestrator: {_lack(secured, acl)}"
        await secured.allow(program)
        ended = await _invoked(secured, f"{program} {options}")
        # The job that is watched has been given up by then.
        assert ended.exit_code == (1 if program == "jobs watch" else 0), (program, ended.output)
        assert PORTAL_PASSWORD not in ended.output
    assert await worker.stop() == 0


async def _invoked(secured: Secured, command: str) -> Result:
    """Give a command as its user, in this process."""
    program = next(program for program in ON_CALL if command.startswith(program))
    app_id = {"ROBOT_ORCHESTRATOR_APP_ID": secured.scene.app_id}
    runner = CliRunner(env={**secured.kafka.login(USER[program]), **app_id})
    return await asyncio.to_thread(runner.invoke, cli, command.split())


CHECKED = [
    acl for acl in documented_acls("topics check") if acl.name in (Topic.FAILED, "robot-orchestrator-jobs-changelog")
]


@pytest.mark.parametrize("acl", CHECKED, ids=label)
async def test_topics_check_names_the_acl_that_it_lacks(secured: Secured, acl: Acl) -> None:
    await secured.allow("topics check", without=acl)
    ended = secured.run("topics check")
    await secured.allow("topics check")
    name = _own(acl, secured.scene.app_id).name
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr == f"robot-orchestrator: missing ACLs: {acl.operation.name} on topic {name}\n"


@pytest.mark.parametrize("operation", [Operation.CREATE, Operation.DESCRIBE], ids=lambda operation: operation.name)
async def test_topics_create_names_the_acl_that_it_lacks(secured: Secured, operation: Operation) -> None:
    app_id = f"new-{operation.name.lower()}"
    acls = documented_acls("topics create", app_id)
    acls.remove(Acl(Resource.TOPIC, changelog_topic(app_id), operation))
    await secured.kafka.allow_only("topics-create", acls)
    ended = secured.run("topics create", ROBOT_ORCHESTRATOR_APP_ID=app_id)
    assert (ended.returncode, ended.stdout) == (78, "")
    assert ended.stderr == (f"robot-orchestrator: missing ACLs: {operation.name} on topic {changelog_topic(app_id)}\n")


async def test_topics_adopt_needs_to_write_to_the_table_and_says_so(secured: Secured) -> None:
    adopted = secured.run("topics adopt")
    assert (adopted.returncode, adopted.stderr) == (0, "")
    assert adopted.stdout == f"marked {PARTITIONS} partitions: workers start now\n"
    changelog = changelog_topic("robot-orchestrator")
    await secured.allow("topics adopt", without=Acl(Resource.TOPIC, changelog, Operation.WRITE))
    refused = secured.run("topics adopt")
    await secured.allow("topics adopt")
    assert (refused.returncode, refused.stdout) == (78, "")
    name = changelog_topic(secured.scene.app_id)
    assert refused.stderr == f"robot-orchestrator: missing ACLs: WRITE on topic {name}\n"


async def test_a_right_that_is_taken_away_meanwhile_costs_no_job(secured: Secured) -> None:
    scene = secured.scene
    taken = Acl(Resource.TOPIC, Topic.COMPLETED, Operation.WRITE)
    before, meanwhile = submission(), submission()
    worker = await secured.worker()
    await scene.submit(before, Fate.LOSE)
    await scene.row(before["jobId"], lambda row: row.accepted_at is not None)
    await secured.allow("worker", without=taken)
    await scene.submit(meanwhile)
    # A claim that the end of the worker overtakes on its way to the robot would wait for its deadline.
    await scene.wait_for(lambda: scene.posts(meanwhile["jobId"]) or None)
    await scene.complete(before, 2, 0)
    assert await worker.wait_ended() == 70
    error = worker.log_lines()[-1]["error"]
    assert error == f"AccessError: missing ACLs: WRITE on topic {Topic.COMPLETED}"
    await secured.allow("worker")
    worker = await secured.worker()
    for payload in (before, meanwhile):
        assert isinstance(await scene.outcome(payload["jobId"]), JobCompleted)
        assert scene.posts(payload["jobId"]) == 1
        assert len(await scene.outcomes_of(payload["jobId"])) == 1
    assert await worker.stop() == 0
    assert PASSWORD not in worker.log_path.read_text()
