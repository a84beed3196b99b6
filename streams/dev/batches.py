"""A batch as the simulated robot sees it: what a valid POST holds, what becomes of it, how it ends."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# In a table of fates: every job that it does not name.
ANY_JOB = "*"


class Fate(StrEnum):
    """What becomes of a valid POST."""

    COMPLETE = "complete"
    PARTLY_FAIL = "partly_fail"  # half of the orders, rounded up, end as errors
    ALL_FAIL = "all_fail"
    REFUSE = "refuse"  # answered with `refuse_status`
    CRASH_500 = "crash_500"  # an HTML page, as a proxy sends it
    REDIRECT_307 = "redirect_307"  # to the same path: a client that follows it has POSTed twice
    CUT = "cut"  # the request is read, and the connection closed without an answer
    HANG = "hang"  # never answered
    LOSE = "lose"  # accepted and worked, never reported
    COMPLETE_FIRST = "complete_first"  # reported before the 200 is sent
    ECHO_SECRETS = "echo_secrets"  # a 400 that repeats everything, the password also in base64


@dataclass(frozen=True)
class BatchRequest:
    """A valid POST body, as far as the robot looks at it."""

    job_id: str
    workspace_id: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    orders: Sequence[Mapping[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class BatchCompletion:
    """What the callback bridge knows when every order of a batch has a result."""

    job_id: str
    workspace_id: str
    success_count: int
    error_count: int


FateOf = Callable[[BatchRequest], Fate]


class InvalidRequestError(ValueError):
    """A body that the robot answers with 400."""


def parse_request(body: bytes) -> BatchRequest:
    """Return the batch in a POST body; raise InvalidRequestError with the text of the 400."""
    try:
        content = json.loads(body)
        credentials, orders = content["credentials"], content["orders"]
        texts = [content["jobId"], content["workspaceId"], content["callbackUrl"]]
        texts += [credentials["username"], credentials["password"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequestError(f"missing or malformed: {error}") from error
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidRequestError("jobId, workspaceId, callbackUrl and credentials are required")
    if not isinstance(orders, list) or not orders or not all(isinstance(order, dict) for order in orders):
        raise InvalidRequestError("orders must not be empty")
    job_id, workspace_id, _callback_url, username, password = texts
    request = BatchRequest(job_id, workspace_id, username, password, orders)
    if without_city(request) == len(orders):
        raise InvalidRequestError("no order has a city")
    return request


def without_city(request: BatchRequest) -> int:
    """Return how many orders the robot reports as errors without working them."""
    inputs = [order.get("pedidoInput") for order in request.orders]
    return sum(not (isinstance(one, dict) and one.get("ciudad")) for one in inputs)


def fate_table(table: Mapping[str, str | Mapping[str, int]]) -> FateOf:
    """Return the choice that a table makes: job id, or `*` for any other, to a fate or to weights of fates.

    Among weighted fates the job id decides, so that whoever has the table knows what became of a job.
    """
    choices: dict[str, list[Fate]] = {}
    for job_id, entry in table.items():
        weights = {entry: 1} if isinstance(entry, str) else entry
        choices[job_id] = [Fate(name) for name, weight in weights.items() for _ in range(weight)]

    def fate_of(request: BatchRequest) -> Fate:
        fates = choices.get(request.job_id) or choices.get(ANY_JOB) or [Fate.COMPLETE]
        return fates[zlib.crc32(request.job_id.encode()) % len(fates)]

    return fate_of
