"""A login with tokens of a provider, on a Kafka whose own validator checks them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import pytest_asyncio
from aiokafka import conn
from aiokafka.errors import SaslAuthenticationFailed
from aiokafka.protocol.metadata import MetadataRequest

from schemas import JobCompleted
from streams.login.refusals import _Heeding
from streams.settings import KafkaSettings
from tests.security.documented_acls import documented_acls
from tests.security.programs import run
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, report
from tests.support.builders import submission
from tests.support.console import ConsoleProcess, said
from tests.support.scene import Scene
from tests.support.secure_kafka import SESSION_SECONDS, SecureKafka
from tests.support.tokens import CLIENT_SECRET, Signer, TokenEndpoint

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Longer than the sessions, so that both ends are reached: of some connections the session's, of others the token's.
LIFETIME_SECONDS = SESSION_SECONDS + 2.0
TOKENS = 5
TYPO = "cl1ent:s3cret+/=&% y"
CREDENTIALS = "KAFKA_SASL_OAUTH_CLIENT_ID, KAFKA_SASL_OAUTH_CLIENT_SECRET, KAFKA_SASL_OAUTH_SCOPE"
REFUSED = (
    "it refuses the token (KAFKA_SASL_OAUTH_TOKEN_URL, KAFKA_SASL_OAUTH_CLIENT_ID, KAFKA_SASL_OAUTH_CLIENT_SECRET)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(secure: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Scene(secure.bootstrap_servers, tmp_path_factory.mktemp("tokens")) as scene:
        await secure.allow_only("worker", documented_acls("worker", scene.app_id))
        yield scene


def nothing_secret(text: str, endpoint: TokenEndpoint) -> str:
    for secret in (CLIENT_SECRET, TYPO, *endpoint.given):
        assert secret not in text
    assert "Traceback" not in text
    return text


async def test_a_worker_outlives_the_end_of_its_token_and_repeats_no_call(secure: SecureKafka, scene: Scene) -> None:
    """The broker cuts connections off in the midst of their work; each is made again, with a token that is good."""
    async with TokenEndpoint(secure.signer, LIFETIME_SECONDS) as endpoint:
        worker = await scene.worker(**cast(Any, secure.token_login("worker", endpoint)))
        jobs = []
        while len(endpoint.given) < TOKENS:
            jobs.append(await scene.submit(submission()))
            await asyncio.sleep(0.1)
        for job_id in jobs:
            assert isinstance(await scene.outcome(job_id), JobCompleted)
        assert [scene.posts(job_id) for job_id in jobs] == [1] * len(jobs)
        assert [len(await scene.outcomes_of(job_id)) for job_id in jobs] == [1] * len(jobs)
        assert worker.running
        worker.close()
    assert f"Connection at {secure.token_servers} closed" in nothing_secret(worker.log_path.read_text(), endpoint)


async def test_a_worker_outlives_a_provider_that_is_away(secure: SecureKafka, scene: Scene) -> None:
    """Without a token it is as without a broker: it waits, and goes on when there is one again."""
    async with TokenEndpoint(secure.signer, LIFETIME_SECONDS) as endpoint:
        worker = await scene.worker(**cast(Any, secure.token_login("worker", endpoint)))
        await endpoint.stop()
        job_id = await scene.submit(submission())
        async with asyncio.timeout(TIMEOUT.read):
            while "no token from" not in worker.log_path.read_text():
                await asyncio.sleep(0.1)
        await endpoint.start()
        assert isinstance(await scene.outcome(job_id), JobCompleted)
        assert scene.posts(job_id) == 1
        assert worker.running
        worker.close()
    nothing_secret(worker.log_path.read_text(), endpoint)


async def problem_of(scene: Scene, variables: dict[str, str]) -> str:
    """Return why a worker waits, which it does for as long as that lasts."""
    worker = await scene.worker(ready=False, **cast(Any, variables))
    told = await worker.wait_told("waiting_for_broker")
    assert worker.running
    worker.close()
    return str(told[0]["error"])


async def test_a_worker_says_that_nobody_answers_at_the_token_endpoint(secure: SecureKafka, scene: Scene) -> None:
    endpoint = TokenEndpoint(secure.signer)
    problem = await problem_of(scene, secure.token_login("worker", endpoint))
    why = f"no token from {endpoint.url}: [Errno 111] Connection refused (KAFKA_SASL_OAUTH_TOKEN_URL)"
    assert problem == f"no connection to Kafka at {secure.token_servers}: {why}"


async def test_a_worker_says_how_the_provider_refuses_without_the_secret_that_it_repeats(
    secure: SecureKafka, scene: Scene
) -> None:
    async with TokenEndpoint(secure.signer) as endpoint:
        variables = secure.token_login("worker", endpoint) | {"KAFKA_SASL_OAUTH_CLIENT_SECRET": TYPO}
        problem = await problem_of(scene, variables)
    words = "it answers 401: invalid_client: no client has the secret ***"
    why = f"no token from {endpoint.url}: {words} ({CREDENTIALS})"
    assert problem == f"no connection to Kafka at {secure.token_servers}: {why}"


async def test_a_worker_says_that_the_broker_refuses_its_token(secure: SecureKafka, scene: Scene) -> None:
    async with TokenEndpoint(Signer()) as endpoint:
        problem = await problem_of(scene, secure.token_login("worker", endpoint))
    assert problem == f"no connection to Kafka at {secure.token_servers}: {REFUSED}"


async def test_a_refused_token_is_a_refused_login(secure: SecureKafka) -> None:
    async with TokenEndpoint(Signer()) as endpoint:
        with pytest.raises(SaslAuthenticationFailed):
            await connect(options_of(secure, endpoint))


@pytest.mark.stock
async def test_a_refused_token_is_none_to_stock_aiokafka(secure: SecureKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    async with TokenEndpoint(Signer()) as endpoint:
        options = options_of(secure, endpoint)
        monkeypatch.setattr(conn, "OAuthAuthenticator", _Heeding.__base__)
        connection = await connect(options)
        assert (await connection.send(MetadataRequest([]))).brokers == []
        await connection.close()


def options_of(secure: SecureKafka, endpoint: TokenEndpoint) -> dict[str, Any]:
    return KafkaSettings(**cast(Any, secure.token_login("worker", endpoint))).kafka_client_options()


async def connect(options: dict[str, Any]) -> Any:
    host, _, port = options.pop("bootstrap_servers").partition(":")
    return await conn.create_conn(host, int(port), **options)


async def test_a_worker_whose_token_is_good_says_what_it_may_not_do(secure: SecureKafka, scene: Scene) -> None:
    async with TokenEndpoint(secure.signer) as endpoint:
        worker = await scene.worker(ready=False, **cast(Any, secure.token_login("nobody", endpoint)))
        assert await worker.wait_ended() == 78
    # In whatever order the cluster names them.
    assert worker.last_words().startswith("missing ACLs: ")
    assert "READ on topic robot.job.submitted" in worker.last_words()


@pytest.mark.parametrize("command", ["topics check", "submit -", "jobs list"])
async def test_a_command_ends_with_one_line_about_a_token_that_it_is_not_given(
    secure: SecureKafka, command: str
) -> None:
    async with TokenEndpoint(secure.signer) as endpoint:
        variables = secure.token_login("worker", endpoint) | {"KAFKA_SASL_OAUTH_CLIENT_SECRET": TYPO}
        ended = await asyncio.to_thread(run, command, variables, json.dumps(submission()))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"no token from {endpoint.url}: it answers 401" in nothing_secret(ended.stderr, endpoint)


async def test_commands_bridge_and_console_log_in_with_a_token(
    secure: SecureKafka, scene: Scene, tmp_path: Path
) -> None:
    async with TokenEndpoint(secure.signer, LIFETIME_SECONDS) as endpoint:
        await secure.allow_only("submit", documented_acls("submit", scene.app_id))
        payload = submission()
        ended = await asyncio.to_thread(run, "submit -", secure.token_login("submit", endpoint), json.dumps(payload))
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{payload['jobId']}\n", "")
        await secure.allow_only("bridge", documented_acls("bridge"))
        await secure.allow_only("console", documented_acls("console", scene.app_id))
        bridge = BridgeProcess(
            secure.bootstrap_servers, tmp_path / "bridge.log", secure.token_login("bridge", endpoint)
        )
        own = {"ROBOT_ORCHESTRATOR_APP_ID": scene.app_id}
        console = ConsoleProcess(secure.token_login("console", endpoint) | own, tmp_path)
        scene.workers += [bridge, console]
        await bridge.wait_ready()
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            # The token of the first one has ended by the last one.
            while len(endpoint.given) < TOKENS:
                post = await client.post(bridge.callback("shop-5", "job-17"), json=report(), headers=HEADERS)
                assert post.status_code == 200
                await asyncio.sleep(0.1)
        await said(console, "/summary", lambda found: found["kafka"]["lookedAt"])
        assert await bridge.stop() == 0
        assert await console.stop() == 0
    for log in (bridge.log_path, console.log_path):
        nothing_secret(log.read_text(), endpoint)
