"""A batch as the simulated robot sees it: what a valid POST holds, what becomes of it, how its orders end."""

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
    LOGIN_FAILS = "login_fails"  # every order is reported as an error, and none is worked
    REFUSE = "refuse"  # answered with `refuse_status`
    BUSY_409 = "busy_409"  # a job's first `busy_attempts` POSTs are answered 409, then it is accepted
    LIMIT_429 = "limit_429"  # the same with 429 and a Retry-After, as a limit in front of the robot would answer
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
    # Of any type: the robot does not look at an order before it needs something of it.
    orders: Sequence[Any] = field(repr=False)
    callback_url: str = ""
    callback_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class BatchCompletion:
    """What the callback bridge knows when every order of a batch has a result."""

    job_id: str
    workspace_id: str
    success_count: int
    error_count: int


class ErrorType(StrEnum):
    """What the robot says of an order that ended as an error.

    A time-out of the portal can come after the order was sent: that it failed is not that it was not shipped.
    """

    VALIDATION = "validation"
    PORTAL = "portal"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class OrderResult:
    """What a batch reports of one order. It names no job."""

    item_id: Any
    error: ErrorType | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of the callback."""
        if self.error is None:
            return {"itemId": self.item_id, "status": "success", "trackingNumber": f"SIM{_number_of(self.item_id)}"}
        message = f"simulated: {self.error}"
        return {"itemId": self.item_id, "status": "error", "errorType": self.error, "errorMessage": message}


FateOf = Callable[[BatchRequest], Fate]
# The share of the orders that ends with each type of error.
ErrorRates = Mapping[ErrorType, float]


class NoJsonError(ValueError):
    """A body that the existing service's JSON parser refuses: 400, with a page."""


class InvalidRequestError(ValueError):
    """A body that the handler answers with 400."""


class HandlerBugError(Exception):
    """A body on which the existing service's handler breaks, before any work: 500, with a page."""


def parse_json(body: bytes) -> Any:
    """Return what a body holds; raise NoJsonError if that is no JSON."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise NoJsonError(str(error)) from error


def parse_request(content: Any) -> BatchRequest:
    """Return the batch that a body's content asks for; raise InvalidRequestError with the text of the 400.

    Raises HandlerBugError where the handler reads an order that it did not expect.
    """
    try:
        credentials, orders = content["credentials"], content["orders"]
        texts = [content["jobId"], content["workspaceId"], content["callbackUrl"]]
        texts += [credentials["username"], credentials["password"]]
    except (KeyError, TypeError) as error:
        raise InvalidRequestError(f"missing or malformed: {error}") from error
    if not all(isinstance(text, str) and text for text in texts):
        raise InvalidRequestError("jobId, workspaceId, callbackUrl and credentials are required")
    if not isinstance(orders, list) or not orders:
        raise InvalidRequestError("orders must not be empty")
    for order in orders:
        if order is None:
            raise HandlerBugError("Cannot read properties of null (reading 'pedidoInput')")
        if not isinstance(_city_of(order), str):
            raise HandlerBugError("ciudad.trim is not a function")
    job_id, workspace_id, callback_url, username, password = texts
    secret = content.get("callbackSecret")
    return BatchRequest(
        job_id, workspace_id, username, password, orders, callback_url, secret if isinstance(secret, str) else None
    )


def has_city(order: Any) -> bool:
    """Whether the robot works an order: it reports one with an empty or blank city as an error at once."""
    return bool(_city_of(order).strip())


def item_id_of(order: Any) -> Any:
    """Return what reports call an order: null if it has no such id."""
    return order.get("itemId") if isinstance(order, dict) else None


def _city_of(order: Any) -> Any:
    """Return an order's city as it came; what is not there, or null, is as good as empty."""
    pedido = order.get("pedidoInput") if isinstance(order, dict) else None
    city = pedido.get("ciudad") if isinstance(pedido, dict) else None
    return "" if city is None else city


def work_results(request: BatchRequest, fate: Fate, rates: ErrorRates) -> list[OrderResult]:
    """Return the results of the orders that have a city, as the batch comes to them.

    What a fate says of all orders counts those without a city as failed. Else the item's id decides by the rates.
    """
    worked = [item_id_of(order) for order in request.orders if has_city(order)]
    total = len(request.orders)
    failed = {Fate.ALL_FAIL: total, Fate.LOGIN_FAILS: total, Fate.PARTLY_FAIL: (total + 1) // 2}.get(fate, 0)
    forced = max(0, failed - (total - len(worked)))
    return [
        OrderResult(item_id, ErrorType.PORTAL if number < forced else _chance_error(item_id, rates))
        for number, item_id in enumerate(worked)
    ]


def _chance_error(item_id: Any, rates: ErrorRates) -> ErrorType | None:
    place, below = _number_of(item_id) / 2**32, 0.0
    for error, rate in rates.items():
        below += rate
        if place < below:
            return error
    return None


def _number_of(item_id: Any) -> int:
    return zlib.crc32(json.dumps(item_id).encode())


def error_rates(table: Mapping[str, float]) -> ErrorRates:
    """Return the rates of a table by the names of the errors; raise ValueError if they are none."""
    rates = {ErrorType(name): rate for name, rate in table.items()}
    if any(rate < 0 for rate in rates.values()) or sum(rates.values()) > 1:
        raise ValueError("the rates of errors are shares of all orders")
    return rates


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
