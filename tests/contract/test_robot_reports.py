"""The simulated robot reports as the robot service does: order by order, to whoever takes it, until it dies."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
from aiohttp import web

from streams.dev.batches import ErrorType, Fate, OrderResult, error_rates, parse_request, work_results
from streams.dev.loopback import HOST, free_port
from streams.dev.robot import BATCH_PATH
from tests.contract.robot_setup import A_LONG_TIME, Setup, batch, completion_of, is_refusal, robot_process

CALLBACK_PATH = "/base/api/webhooks/robot-callback"
# Long enough for whatever would wrongly come to have come.
A_MOMENT = 0.2


class Arrived(NamedTuple):
    """A callback as it came."""

    secret: str | None
    body: dict[str, Any]


class Receiver:
    """A real HTTP server that takes callbacks, each when the test lets it, and answers all with one status."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Arrived] = asyncio.Queue()
        # One for each answer.
        self.answers = asyncio.Semaphore(1_000)
        # None for a connection that is closed without an answer.
        self.status: int | None = 200
        app = web.Application()
        app.router.add_post(CALLBACK_PATH, self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._runner.addresses[0][1]}{CALLBACK_PATH}"

    def batch(self, *cities: str, **changes: object) -> dict[str, Any]:
        return batch(*cities, callbackUrl=self.url, **changes)

    def is_slow(self) -> None:
        self.answers = asyncio.Semaphore(0)

    async def _take(self, http: web.Request) -> web.Response:
        self.arrived.put_nowait(Arrived(http.headers.get("X-Callback-Secret"), await http.json()))
        await self.answers.acquire()
        if self.status is None and http.transport is not None:
            http.transport.close()
        return web.Response(status=self.status or 200, headers={"Location": self.url}, text="<html>")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


def items_of(body: dict[str, Any]) -> list[str]:
    return [order["itemId"] for order in body["orders"]]


async def items_reported(receiver: Receiver, count: int) -> list[str]:
    return [(await receiver.arrived.get()).body["itemId"] for _ in range(count)]


async def test_a_done_order_is_posted_to_the_callback_url_with_the_secret_and_names_no_job(
    setup: Setup, receiver: Receiver
) -> None:
    await setup.behaves(call_back=True)
    body = receiver.batch()
    await setup.post(body)
    secret, report = await receiver.arrived.get()
    assert secret == "s3cret"
    assert report.keys() == {"itemId", "status", "trackingNumber"}
    assert (report["itemId"], report["status"]) == (*items_of(body), "success")
    assert isinstance(report["trackingNumber"], str)
    assert report["trackingNumber"]


@pytest.mark.parametrize("error", ["validation", "portal", "timeout", "unknown"])
async def test_a_failed_order_is_posted_with_the_type_of_its_error_and_a_message(
    setup: Setup, receiver: Receiver, error: str
) -> None:
    await setup.behaves(call_back=True, error_rates=error_rates({error: 1.0}))
    body = receiver.batch()
    await setup.post(body)
    _, report = await receiver.arrived.get()
    assert report.keys() == {"itemId", "status", "errorType", "errorMessage"}
    assert (report["itemId"], report["status"], report["errorType"]) == (*items_of(body), "error", error)
    assert report["errorMessage"]


async def test_without_a_secret_there_is_no_header(setup: Setup, receiver: Receiver) -> None:
    await setup.behaves(call_back=True)
    body = receiver.batch()
    del body["callbackSecret"]
    await setup.post(body)
    assert (await receiver.arrived.get()).secret is None


async def test_who_calls_back_leaves_the_completion_to_the_bridge(setup: Setup, receiver: Receiver) -> None:
    await setup.behaves(call_back=True)
    await setup.post(receiver.batch("CALI (VALLE)", ""))
    await setup.robot.wait_until_idle()
    assert receiver.arrived.qsize() == 2
    assert setup.bridge.reports.empty()


async def test_orders_are_reported_in_sequence_and_a_slow_receiver_blocks_its_batch(
    setup: Setup, receiver: Receiver
) -> None:
    receiver.is_slow()
    await setup.behaves(call_back=True)
    body = receiver.batch(*["CALI (VALLE)"] * 3)
    await setup.post(body)
    for item in items_of(body):
        assert await items_reported(receiver, 1) == [item]
        await asyncio.sleep(A_MOMENT)
        # Nothing more comes, and the workspace is busy, for as long as the receiver takes.
        assert receiver.arrived.empty()
        assert is_refusal(await setup.post(receiver.batch(workspaceId=body["workspaceId"])), 409)
        receiver.answers.release()
    await setup.robot.wait_until_idle()
    assert (await setup.post(receiver.batch(workspaceId=body["workspaceId"]))).status_code == 200


@pytest.mark.parametrize("status", [204, 307, 401, 500, None])
async def test_what_the_receiver_answers_is_ignored_and_no_report_is_repeated(
    setup: Setup, receiver: Receiver, status: int | None
) -> None:
    receiver.status = status
    await setup.behaves(call_back=True)
    body = receiver.batch("CALI (VALLE)", "BOGOTA (C/MARCA)")
    await setup.post(body)
    await setup.robot.wait_until_idle()
    assert receiver.arrived.qsize() == 2
    assert await items_reported(receiver, 2) == items_of(body)


@pytest.mark.parametrize("url", ["http://{host}:{port}/nobody", "no URL"])
async def test_a_report_that_nobody_takes_is_lost_and_the_batch_goes_on(setup: Setup, url: str) -> None:
    await setup.behaves(call_back=True)
    body = batch("CALI (VALLE)", "", callbackUrl=url.format(host=HOST, port=free_port()))
    assert (await setup.post(body)).status_code == 200
    await setup.robot.wait_until_idle()
    assert (await setup.post(batch(workspaceId=body["workspaceId"]))).status_code == 200


async def test_an_order_with_an_empty_or_blank_city_is_reported_as_an_error_before_the_200(
    setup: Setup, receiver: Receiver
) -> None:
    receiver.is_slow()
    await setup.behaves(call_back=True)
    body = receiver.batch("CALI (VALLE)", "", "  ")
    first, empty, blank = items_of(body)
    answer = asyncio.create_task(setup.post(body))
    for item in (empty, blank):
        _, report = await receiver.arrived.get()
        assert (report["itemId"], report["status"], report["errorType"]) == (item, "error", "validation")
        await asyncio.sleep(A_MOMENT)
        assert not answer.done()
        receiver.answers.release()
    assert (await answer).status_code == 200
    assert await items_reported(receiver, 1) == [first]


async def test_a_batch_without_any_city_is_a_400_after_each_order_was_reported(
    setup: Setup, receiver: Receiver
) -> None:
    receiver.is_slow()
    await setup.behaves(call_back=True)
    body = receiver.batch("", "  ")
    answer = asyncio.create_task(setup.post(body))
    for item in items_of(body):
        _, report = await receiver.arrived.get()
        assert (report["itemId"], report["status"]) == (item, "error")
        await asyncio.sleep(A_MOMENT)
        assert not answer.done()
        # No other batch comes between.
        assert is_refusal(await setup.post(receiver.batch(workspaceId=body["workspaceId"])), 409)
        receiver.answers.release()
    assert is_refusal(await answer, 400)
    assert (await setup.post(receiver.batch(workspaceId=body["workspaceId"]))).status_code == 200


@pytest.mark.parametrize("pedido_input", [{"ciudad": ""}, {"ciudad": " "}, {"ciudad": None}, {}, None, []])
async def test_all_orders_failed_is_a_completion_also_of_a_batch_that_is_then_refused(
    setup: Setup, pedido_input: object
) -> None:
    setup.bridge.open.clear()
    order = {"itemId": "i", "orderId": "o", "pedidoInput": pedido_input}
    body = batch(orders=[order, order, "no order"])
    answer = asyncio.create_task(setup.post(body))
    assert await setup.bridge.reports.get() == completion_of(body, 0, 3)
    assert not answer.done()
    setup.bridge.open.set()
    assert is_refusal(await answer, 400)
    assert setup.bridge.reports.empty()


async def test_a_batch_dies_with_the_process_without_a_report_and_is_forgotten(receiver: Receiver) -> None:
    body = receiver.batch("CALI (VALLE)", "BOGOTA (C/MARCA)")
    port = str(free_port())
    async with httpx.AsyncClient(trust_env=False) as client:
        with robot_process("--call-back", "--port", port, "--order-seconds", str(A_LONG_TIME)) as (url, process):
            assert (await client.post(url + BATCH_PATH, json=body)).status_code == 200
            process.kill()
            process.wait()
        with robot_process("--call-back", "--port", port, "--error-rates", '{"timeout": 1}') as (url, _):
            assert receiver.arrived.empty()
            # Neither remembered nor locked: it is worked as if it had never been there.
            assert (await client.post(url + BATCH_PATH, json=body)).status_code == 200
            reports = [(await receiver.arrived.get()).body for _ in body["orders"]]
    assert [(report["itemId"], report["errorType"]) for report in reports] == [
        (item, "timeout") for item in items_of(body)
    ]
    assert receiver.arrived.empty()


def test_rates_of_errors_share_the_orders_out_by_their_items() -> None:
    request = parse_request(json.loads(json.dumps(batch(*["CALI (VALLE)"] * 1_000))))
    rates = error_rates({"portal": 0.25, "timeout": 0.25})
    results = work_results(request, Fate.COMPLETE, rates)
    assert results == work_results(request, Fate.COMPLETE, rates)
    counts = Counter(result.error for result in results)
    assert counts.keys() == {None, ErrorType.PORTAL, ErrorType.TIMEOUT}
    assert all(200 < counts[error] < 300 for error in (ErrorType.PORTAL, ErrorType.TIMEOUT))
    assert work_results(request, Fate.COMPLETE, {}) == [OrderResult(order["itemId"]) for order in request.orders]


@pytest.mark.parametrize("table", [{"explosion": 0.1}, {"portal": -0.1}, {"portal": 0.6, "timeout": 0.6}])
def test_rates_of_errors_are_shares(table: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"explosion|shares"):
        error_rates(table)
