"""G8: secrets are in the submitted topic, its dead letters and the POST. Everywhere else they are searched for."""

import base64
import html
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import quote, quote_plus

import pytest
import pytest_asyncio
from aiohttp import web

from schemas import JobCompleted, JobFailed
from streams.dev.robot import SimulatedRobot
from streams.names import Topic
from streams.wire.placement import partition_of
from tests.security.documented_acls import documented_acls
from tests.security.programs import run
from tests.support import secure_kafka
from tests.support.builders import submission
from tests.support.saboteur import How, Point, command
from tests.support.scene import PARTITIONS, Scene
from tests.support.secure_kafka import SecureKafka

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Made up, of characters that every way of writing them down writes differently.
USERNAME = "the.courier+usér/1"
PASSWORD = 'pa"ss\\wörd &<7>/+='
CALLBACK_SECRET = 'callback "s3cret" +/=&%'
SECRETS = {
    "username": USERNAME,
    "password": PASSWORD,
    "callback secret": CALLBACK_SECRET,
    "broker password": secure_kafka.PASSWORD,
}
# Where credentials belong.
PRIVATE = (Topic.SUBMITTED, Topic.DLQ_SUBMITTED)
DEBUG = {
    "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
    "ROBOT_ORCHESTRATOR_LOG_LEVEL": "debug",
    # Slow steps are then logged with the reprs of what they were called with.
    "PYTHONASYNCIODEBUG": "1",
}


OK, REFUSED, BROKEN, MOVED = "200 OK", "409 Conflict", "500 Broken", "307 Moved"
LONG, CUT, CUT_IN_HEAD, CUT_IN_BODY = "too long", "cut", "cut in its head", "cut in its body"
BAD_HEADER, NO_HTTP = "bad header", "no HTTP"
REASON = {
    REFUSED: "robot_rejected",
    BROKEN: "robot_rejected",
    MOVED: "robot_rejected",
    LONG: "robot_rejected",
    CUT_IN_BODY: "robot_rejected",
    CUT: "dispatch_unknown",
    CUT_IN_HEAD: "dispatch_unknown",
    BAD_HEADER: "dispatch_unknown",
    NO_HTTP: "dispatch_unknown",
}


def forms_of(secret: str) -> dict[str, str]:
    """Return the secret as it may be written down, by the name of the form."""
    raw = secret.encode()
    return {
        "plain": secret,
        "JSON": json.dumps(secret)[1:-1],
        "JSON in UTF-8": json.dumps(secret, ensure_ascii=False)[1:-1],
        "percent-encoded": quote(secret, safe=""),
        "percent-encoded path": quote(secret),
        "percent-encoded form": quote_plus(secret),
        "HTML": html.escape(secret),
        "text in Python": repr(secret)[1:-1],
        "bytes in Python": repr(raw)[2:-1],
        "hex": raw.hex(),
        **{f"base64 after {i}": base64.b64encode(b":" * i + raw).decode() for i in range(3)},
    }


def searched(secret: str) -> dict[str, bytes]:
    """Return what is looked for: each form, of base64 what no neighbour decides."""
    forms = {name: form[4:-4] if name.startswith("base64") else form for name, form in forms_of(secret).items()}
    return {name: unescaped(form.encode()) for name, form in forms.items()}


def unescaped(content: bytes) -> bytes:
    """Return a text without backslashes: there are any number of them in a text in JSON in a repr in JSON."""
    return content.replace(b"\\", b"").lower()


class EchoingRobot(SimulatedRobot):
    """A robot that repeats in header and body all that it is told, in every form, whatever its answer is."""

    answers: ClassVar[dict[str, str]] = {}

    async def _create_batch(self, http: web.Request) -> web.StreamResponse:
        body = await http.read()
        await self._record(http, body)
        request = json.loads(body)
        told = [*request["credentials"].values(), request["callbackSecret"]]
        forms = [form for secret in told for form in forms_of(secret).values()]
        text = "\n".join((*forms, str(dict(http.headers)), str(request), body.decode(), json.dumps(body.decode())))
        escaped = json.dumps(json.dumps(body.decode()))
        line = quote(" ".join(forms), safe=" \"\\&<>/+=%;#'")
        answer = self.answers.get(request["jobId"], OK)
        status = answer if answer[0].isdigit() else REFUSED
        if answer == LONG:
            text *= 20
        length = len(text.encode()) * (2 if answer == CUT_IN_BODY else 1)
        head = f"HTTP/1.1 {status}\r\nX-Echo: {line}\r\nLocation: {self.url}/{line}\r\nContent-Length: {length}\r\n"
        sent = {
            CUT: "",
            CUT_IN_HEAD: head,
            # What the HTTP client quotes of these it escapes once more, and then again.
            BAD_HEADER: f"{head}{escaped} {told}\r\n\r\n",
            NO_HTTP: f"{escaped} {told}\r\n\r\n",
        }.get(answer, f"{head}Connection: close\r\n\r\n{text}")
        assert http.transport is not None
        http.transport.write(sent.encode())
        http.transport.close()
        return web.Response()


def secret_submission(**other: object) -> dict[str, Any]:
    return {**submission(), "credentials": {"username": USERNAME, "password": PASSWORD}, **other}


@dataclass
class Everything:
    """What the programs have written, by where it is."""

    written: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, content: str | bytes) -> None:
        self.written[where] = content.encode() if isinstance(content, str) else content

    def leaks(self) -> list[tuple[str, str, str]]:
        """Return every (place, secret, form) that is there and should not be."""
        return [
            (where, name, form)
            for where, content in self.written.items()
            for plain in [unescaped(content)]
            for name, secret in SECRETS.items()
            for form, text in searched(secret).items()
            if text in plain
        ]


def partitions_of(data_dir: Path) -> dict[str, bytes]:
    """Return what lies in each partition's files, whoever wrote it and whether it was committed or not."""
    return {
        folder.name: b"".join(file.read_bytes() for file in folder.glob("*.log"))
        for folder in data_dir.iterdir()
        if folder.is_dir()
    }


def is_private(partition: str) -> bool:
    return partition.rpartition("-")[0] in PRIVATE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(secure: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("secrets")
    login = secure.login("worker")
    async with Scene(secure.bootstrap_servers, folder, DEBUG, robot_class=EchoingRobot) as scene:
        scene.variables |= login
        await secure.allow_only("worker", documented_acls("worker", scene.app_id))
        for user, program in (("submit", "submit"), ("topics-check", "topics check")):
            await secure.allow_only(user, documented_acls(program, scene.app_id))
        yield scene


async def test_secrets_are_nowhere_but_where_they_belong(secure: SecureKafka, scene: Scene, tmp_path: Path) -> None:
    everything = Everything()
    worker = await scene.worker(("-m", "faust", "-A", "streams.app", "worker", "--loglevel", "debug"))
    await _jobs_of_every_fate(scene)
    await _records_that_are_no_use(scene)
    for path in ("/metrics", "/readyz?verbose", "/livez"):
        everything.add(path, (await worker.get(path))[1])
    assert await worker.stop() == 0
    await _crash(scene)
    await _aborted_starts(scene, secure)
    for number, one in enumerate(scene.workers):
        everything.add(f"log of worker {number}", one.log_path.read_bytes())
    for name, ended in _commands(scene, secure, tmp_path):
        everything.add(name, ended.stdout + ended.stderr)
    for name, content in partitions_of(secure.data_dir).items():
        if not is_private(name):
            everything.add(name, content)
    assert everything.leaks() == []


async def test_the_search_would_find_them(secure: SecureKafka) -> None:
    """The topics that may have them are not compressed, so what is not found elsewhere is not there."""
    private = Everything()
    for name, content in partitions_of(secure.data_dir).items():
        if is_private(name):
            private.add(name, content)
    found = {(where.rpartition("-")[0], secret, form) for where, secret, form in private.leaks()}
    assert found >= {(topic, secret, "JSON in UTF-8") for topic in PRIVATE for secret in ("username", "password")}


async def _jobs_of_every_fate(scene: Scene) -> None:
    jobs = {answer: secret_submission() for answer in (OK, *REASON)}
    for answer, payload in jobs.items():
        EchoingRobot.answers[payload["jobId"]] = answer
        await scene.submit(payload)
    for answer, reason in REASON.items():
        outcome = await scene.outcome(jobs[answer]["jobId"])
        assert isinstance(outcome, JobFailed)
        assert outcome.reason == reason, answer
    done = jobs[OK]
    await scene.complete(done, 2, 0)
    assert isinstance(await scene.outcome(done["jobId"]), JobCompleted)
    await scene.complete(done, 1, 1)
    conflict = await scene.publish(Topic.SUBMITTED, done | {"orders": done["orders"][:1]}, done["workspaceId"])
    await scene.dead_letter(Topic.SUBMITTED, conflict)


async def _records_that_are_no_use(scene: Scene) -> None:
    """Submissions with credentials wherever a careless producer may put them, each of which becomes a letter."""
    both = f"{USERNAME} {PASSWORD}"
    wrong = [
        secret_submission(credentials=both),
        secret_submission(credentials=[USERNAME, PASSWORD]),
        secret_submission(credentials={"username": {PASSWORD: USERNAME}, "password": None, both: both}),
        secret_submission(credentials={"username": USERNAME}, password=PASSWORD),
        secret_submission(credentials={"username": USERNAME, "password": PASSWORD * 100}),
        secret_submission(carrier={"password": PASSWORD}),
        secret_submission(orders=both),
        secret_submission(orders=[{"itemId": [PASSWORD], "orderId": 1, "pedidoInput": both, PASSWORD: both}]),
        secret_submission(orders={PASSWORD: USERNAME}),
    ]
    for payload in wrong:
        where = await scene.publish(Topic.SUBMITTED, payload, payload["workspaceId"])
        await scene.dead_letter(Topic.SUBMITTED, where)
        assert isinstance(await scene.outcome(payload["jobId"]), JobFailed)
    whole = json.dumps(secret_submission(), ensure_ascii=False).encode()
    home = partition_of("w", PARTITIONS)
    for value in (whole[:-1], whole.replace(b'"credentials"', b'"credentials"x'), whole + b"}", b'"' + whole):
        headers = [("password", PASSWORD.encode())]
        where = await scene.write(Topic.SUBMITTED, value, home, PASSWORD.encode(), headers=headers)
        await scene.dead_letter(Topic.SUBMITTED, where)
    # One that is fine, but not where it belongs: it is moved.
    moved = secret_submission(password=PASSWORD)
    EchoingRobot.answers[moved["jobId"]] = REFUSED
    wrong_place = (partition_of(moved["workspaceId"], PARTITIONS) + 1) % PARTITIONS
    await scene.write(Topic.SUBMITTED, json.dumps(moved).encode(), wrong_place, PASSWORD.encode())
    assert isinstance(await scene.outcome(moved["jobId"]), JobFailed)


async def _crash(scene: Scene) -> None:
    """A worker that breaks with a request in its hands, and one that finds the job afterwards."""
    payload = secret_submission()
    crashing = await scene.worker(command(Point.BEFORE_POST, How.RAISE))
    await scene.submit(payload)
    assert await crashing.wait_ended() == 70
    last = crashing.log_lines()[-1]
    assert last["error"] == f"RuntimeError: sabotaged with <RobotRequest {payload['jobId']}>"
    assert "Traceback" in last["exception"]


async def _aborted_starts(scene: Scene, secure: SecureKafka) -> None:
    for variables in (
        {"ROBOT_COORDINADORA_URL": PASSWORD, "ROBOT_CALLBACK_SECRET": f"{CALLBACK_SECRET}\u00fc"},
        {"KAFKA_SSL_CA_FILE": str(secure.key_file)},
    ):
        worker = await scene.worker(ready=False, **cast(Any, variables))
        assert await worker.wait_ended() == 1
        assert len(worker.log_path.read_text().splitlines()) == 1
    worker = await scene.worker(ready=False, ROBOT_ORCHESTRATOR_APP_ID="nobody-made-this")
    assert await worker.wait_ended() == 78


def _commands(
    scene: Scene, secure: SecureKafka, folder: Path
) -> Iterator[tuple[str, "subprocess.CompletedProcess[str]"]]:
    yield "settings", run("settings", scene.variables)
    yield "topics check", run("topics check", scene.variables | secure.login("topics-check"))
    submit = scene.variables | secure.login("submit")
    bad = folder / "bad.json"
    bad.write_text(json.dumps(secret_submission(carrier=PASSWORD, orders=USERNAME)))
    yield "submit of a bad file", run(f"submit {bad}", submit)
    lines = [secret_submission(credentials=PASSWORD), secret_submission()]
    yield "submit of a bad line", run("submit -", submit, "\n".join(map(json.dumps, lines)))
    yield "submit without the right", run("submit -", scene.variables, json.dumps(secret_submission()))
