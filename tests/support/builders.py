"""What producers write and what a worker needs to start, for every test with a real worker."""

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import schemas

# Made up.
PASSWORD = "pa$$-wörd/7"
USERNAME = "the-courier-user"
CALLBACK_SECRET = "callback-s3cret"
SECRETS = (PASSWORD, USERNAME, CALLBACK_SECRET)
# Nobody listens there.
NOWHERE = "127.0.0.1:9"
# Of a producer, and of who reports to it: of two traces, in the form of W3C Trace Context.
TRACE_OF_PRODUCER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_OF_REPORT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# What an id may be all the same.
NASTY_IDS = (
    *("/", "//", "a/b", "/a", "a/", "..", ".", "../..", "a/../b", "...", "~", "~.", "~..", "~~"),
    *("%", "%2F", "%2e%2e", "%25", "%zz", "?", "#", "a?b=c#d", "a b", " ", "+", "&", ";", "@", ":", "\\", '"', "'"),
    *("\n", "\r\n", "\t", "\x00", "\x7f", "{jobId}", "{workspaceId}", "<script>", "livez", "metrics"),
    *("Ñandú", "e\u0301", "\u202e", "\ufeff", "\u2028", "\U0001f600" * 200, "\U0010ffff"),
    *("x" * 200, "%" * 200, "/" * 200),
)

Fields = dict[str, Any]

_EXAMPLE = Path(schemas.__file__).parent / "examples" / "robot.job.submitted" / "valid" / "contract.json"


def contract_example() -> Fields:
    """Return the contract's own example of a submission."""
    return dict(json.loads(_EXAMPLE.read_bytes()))


def new_id() -> str:
    """Return an id that nobody has."""
    return str(uuid.uuid4())


def submission(
    job_id: str | None = None, workspace_id: str | None = None, orders: int = 2, *, item_id: Callable[[], str] = new_id
) -> Fields:
    """Return a submission; ids that are not given are fresh."""
    job_id = job_id or new_id()
    return {
        "jobId": job_id,
        "workspaceId": workspace_id or new_id(),
        "carrier": "coordinadora",
        "credentials": {"username": USERNAME, "password": PASSWORD},
        "orders": [
            {
                "itemId": item_id(),
                "orderId": f"{job_id}-order-{number}",
                "pedidoInput": {"nombres": "Ñáñez", "ciudad": "MANIZALES (CDAS)", "peso": 0.5, "orden": number},
            }
            for number in range(orders)
        ],
    }


def completion(payload: Mapping[str, Any], success: int = 2, error: int = 0) -> Fields:
    """Return the completion of a submission."""
    ids = {name: payload[name] for name in ("jobId", "workspaceId")}
    return {**ids, "successCount": success, "errorCount": error}


def worker_variables(
    bootstrap_servers: str = NOWHERE, robot_url: str = "http://robot.example.com", **more: str
) -> dict[str, str]:
    """Return the variables without which no worker starts, and others."""
    return {
        "ROBOT_COORDINADORA_URL": robot_url,
        "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
        "NEXT_PUBLIC_APP_URL": "https://app.example/base",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "ROBOT_ORCHESTRATOR_LOG_FORMAT": "json",
        **more,
    }
