"""Every way to log in, and what is said when it is the wrong one."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from schemas import JobCompleted
from tests.security.documented_acls import documented_acls
from tests.security.programs import run
from tests.support.builders import submission
from tests.support.scene import Scene
from tests.support.secure_kafka import PASSWORD, SecureKafka

pytestmark = pytest.mark.asyncio(loop_scope="module")

Variables = dict[str, str]
KEY = "KAFKA_SSL_KEY_FILE"
TYPO = "br0ker+pa$/w0rt"  # made up
BREAKS_OFF = "it breaks off (KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CERT_FILE)"
REFUSED = "it refuses the login (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)"
WRONG: dict[str, tuple[Callable[[SecureKafka], Variables], str]] = {
    "password": (lambda kafka: kafka.login("worker") | {"KAFKA_SASL_PASSWORD": TYPO}, REFUSED),
    "mechanism": (
        lambda kafka: kafka.login("worker", "PLAIN"),
        "it does not know this way to log in (KAFKA_SASL_MECHANISM)",
    ),
    "authority": (
        lambda kafka: kafka.login("worker") | {"KAFKA_SSL_CA_FILE": str(kafka.other_ca_file)},
        "its certificate is not trusted: unable to get local issuer certificate (KAFKA_SSL_CA_FILE)",
    ),
    "plaintext to TLS": (lambda kafka: {"KAFKA_BOOTSTRAP_SERVERS": kafka.sasl_servers}, BREAKS_OFF),
    "TLS to plaintext": (
        lambda kafka: kafka.login("worker") | {"KAFKA_BOOTSTRAP_SERVERS": kafka.plain_servers},
        BREAKS_OFF,
    ),
    "no certificate": (
        lambda kafka: {n: v for n, v in kafka.certificate().items() if n not in ("KAFKA_SSL_CERT_FILE", KEY)},
        "it breaks off: TLSV13_ALERT_CERTIFICATE_REQUIRED (KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_CERT_FILE)",
    ),
}
RIGHT: dict[str, Callable[[SecureKafka], Variables]] = {
    "SCRAM-SHA-256 over TLS": lambda kafka: kafka.login("worker", "SCRAM-SHA-256"),
    "PLAIN": lambda kafka: kafka.plain_login("worker"),
    "certificate": lambda kafka: kafka.certificate(),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(secure: SecureKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Scene(secure.bootstrap_servers, tmp_path_factory.mktemp("login")) as scene:
        await secure.allow_only("worker", documented_acls("worker", scene.app_id))
        yield scene


def without_passwords(text: str) -> str:
    assert PASSWORD not in text
    assert TYPO not in text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("mistake", WRONG)
async def test_a_worker_waits_and_says_what_is_wrong_with_its_login(
    secure: SecureKafka, scene: Scene, mistake: str
) -> None:
    choose, text = WRONG[mistake]
    variables = choose(secure)
    worker = await scene.worker(ready=False, **cast(Any, variables))
    told = await worker.wait_told("waiting_for_broker")
    assert told[0]["error"] == f"no connection to Kafka at {variables['KAFKA_BOOTSTRAP_SERVERS']}: {text}"
    worker.close()
    without_passwords(worker.log_path.read_text())


@pytest.mark.parametrize("command", ["topics check", "submit -"])
async def test_a_command_ends_with_one_line_about_a_wrong_login(secure: SecureKafka, command: str) -> None:
    choose, text = WRONG["password"]
    ended = run(command, choose(secure), json.dumps(submission()))
    assert (ended.returncode, ended.stdout) == (1, "")
    said = without_passwords(ended.stderr)
    assert said == f"robot-orchestrator: no connection to Kafka at {secure.sasl_servers}: {text}\n"


@pytest.mark.parametrize("way", RIGHT)
async def test_a_worker_does_its_work_whatever_the_way_to_log_in(
    secure: SecureKafka, scene: Scene, tmp_path: Path, way: str
) -> None:
    variables = RIGHT[way](secure)
    if (password := variables.pop("KAFKA_SASL_PASSWORD", None)) is not None:
        (tmp_path / "KAFKA_SASL_PASSWORD").write_text(f"{password}\n")
        variables["ROBOT_ORCHESTRATOR_SECRETS_DIR"] = str(tmp_path)
    worker = await scene.worker(**cast(Any, variables))
    job_id = await scene.submit(submission())
    assert isinstance(await scene.outcome(job_id), JobCompleted)
    assert await worker.stop() == 0
    without_passwords(worker.log_path.read_text())
