"""An environment's few rights, by the prefix of its names."""

import asyncio
import json
import re
from pathlib import Path

from streams.kafka.access import Operation
from streams.names import TOPIC_PREFIX_VARIABLE
from tests.security.programs import CREATE_TOPICS, run
from tests.support.builders import submission, worker_variables
from tests.support.documents import OPERATING
from tests.support.secure_kafka import Acl, Pattern, Resource, SecureKafka
from tests.support.worker import WorkerProcess

USER = "staging"
PREFIX = "staging."
KINDS = {"topics": Resource.TOPIC, "groups": Resource.GROUP, "transactional ids": Resource.TRANSACTIONAL_ID}
WAIT_SECONDS = 60


def documented() -> list[Acl]:
    """Return what docs/operating.md lets an environment do."""
    return [
        Acl(KINDS[kind], prefix, Operation[operation], Pattern.PREFIXED)
        for resource, operations in OPERATING.table("resource, pattern type PREFIXED")
        for kind, prefix in re.findall(r"([a-z ]+) `(.+)`", resource)
        for operation in re.findall(r"[A-Z_]{4,}", operations)
    ]


async def test_rights_by_prefix_are_enough_for_an_environment_and_reach_no_other(
    secure: SecureKafka, tmp_path: Path
) -> None:
    await secure.allow_only(USER, documented())
    variables = {**worker_variables(), **secure.login(USER), TOPIC_PREFIX_VARIABLE: PREFIX}
    created = await asyncio.to_thread(run, CREATE_TOPICS, variables)
    assert created.returncode == 0, created.stderr
    worker = WorkerProcess(variables, tmp_path / "worker.log")
    try:
        await worker.wait_ready()
        payload = submission()
        sent = await asyncio.to_thread(run, "submit -", variables, json.dumps(payload))
        assert sent.returncode == 0, sent.stderr
        show = f"jobs show {payload['jobId']} --workspace {payload['workspaceId']} --json"
        async with asyncio.timeout(WAIT_SECONDS):
            # There is no robot, so that the job waits until it is cancelled.
            while (await asyncio.to_thread(run, show, variables)).returncode:
                await asyncio.sleep(0.1)
            cancel = f"jobs cancel {payload['jobId']} --workspace {payload['workspaceId']} --reason x --yes"
            cancelled = await asyncio.to_thread(run, cancel, variables)
            assert cancelled.returncode == 0, cancelled.stderr
            while json.loads((await asyncio.to_thread(run, show, variables)).stdout)["status"] != "failed":
                await asyncio.sleep(0.1)
    finally:
        worker.close()
    elsewhere = await asyncio.to_thread(run, "topics check", {**variables, TOPIC_PREFIX_VARIABLE: ""})
    assert elsewhere.returncode
    assert "missing ACLs" in elsewhere.stderr
