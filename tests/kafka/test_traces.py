"""Traces of a real worker, on a real Kafka, as a receiver of OTLP over HTTP is sent them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from streams.dev.loopback import HOST, free_port
from streams.dev.robot import Fate
from streams.names import Topic
from streams.wire.placement import partition_of
from tests.kafka.test_reports import bridged
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, report
from tests.support.builders import SECRETS, TRACE_OF_PRODUCER, TRACE_OF_REPORT, submission
from tests.support.scene import PARTITIONS, Scene

CALL = "POST /api/crear-pedidos-batch"


class Receiver:
    """What it was sent: spans, and of each the worker that it is of. Use as `async with`."""

    def __init__(self) -> None:
        self.url = f"http://{HOST}:{free_port()}"
        self.bodies: list[bytes] = []
        self.spans: list[tuple[str, Span]] = []

    async def __aenter__(self) -> "Receiver":
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self._take)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, int(self.url.rpartition(":")[2])).start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def _take(self, http: web.Request) -> web.Response:
        self.bodies.append(await http.read())
        for resource in ExportTraceServiceRequest.FromString(self.bodies[-1]).resource_spans:
            values = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert values["service.name"] == "robot-orchestrator"
            for scope in resource.scope_spans:
                self.spans += [(values["service.instance.id"], span) for span in scope.spans]
        return web.Response()

    async def spans_named(self, *names: str) -> list[tuple[str, Span]]:
        """Return the spans of these names when they are there, each once."""
        async with asyncio.timeout(60):
            while set(names) - {span.name for _, span in self.spans}:
                await asyncio.sleep(0.05)
        found = {span.name: (instance, span) for instance, span in self.spans}
        assert len(found) == len(self.spans)
        return [found[name] for name in names]


def header_of(span: Span) -> str:
    return f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"


async def test_one_trace_goes_from_the_producer_through_two_workers_to_the_outcome(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    async with Receiver() as receiver, bridged(kafka_bootstrap, tmp_path) as scene:
        scene.variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        first = await scene.worker()
        payload = submission(orders=1)
        job_id, workspace_id = payload["jobId"], payload["workspaceId"]
        scene.fates[job_id] = Fate.LOSE
        place, value = partition_of(workspace_id, PARTITIONS), json.dumps(payload).encode()
        await scene.write(Topic.SUBMITTED, value, place, headers=[("traceparent", TRACE_OF_PRODUCER.encode())])
        await scene.row(job_id, lambda job: job.accepted_at is not None)
        (worker, taken_in), (caller, call) = await receiver.spans_named("process robot.job.submitted", CALL)
        await first.kill()
        await scene.worker()
        await report_order(scene, payload["orders"][0]["itemId"], workspace_id, job_id)
        assert (await scene.outcome(job_id)).status == "completed"
        (taker, reported), (teller, told) = await receiver.spans_named(
            "process robot.order.reported", "send robot.job.completed"
        )
        assert worker == caller != taker == teller
        trace_id, parent = TRACE_OF_PRODUCER.split("-")[1:3]
        assert {span.trace_id.hex() for span in (taken_in, call, reported, told)} == {trace_id}
        assert taken_in.parent_span_id.hex() == parent
        assert {span.parent_span_id for span in (call, reported, told)} == {taken_in.span_id}
        assert [post.headers["traceparent"] for post in scene.robot.calls] == [header_of(call)]
        (record,) = await scene.outcomes_of(job_id)
        assert dict(record.headers)["ce_traceparent"].decode() == header_of(told)
        (link,) = reported.links
        assert f"00-{link.trace_id.hex()}-{link.span_id.hex()}-01" == TRACE_OF_REPORT
        assert not any(secret.encode() in body for secret in SECRETS for body in receiver.bodies)


async def report_order(scene: Scene, item_id: str, workspace_id: str, job_id: str) -> None:
    """Report an order to the bridge as a robot does that takes part in a trace."""
    (bridge,) = (process for process in scene.workers if isinstance(process, BridgeProcess))
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        answer = await client.post(
            bridge.callback(workspace_id, job_id),
            json=report(item_id),
            headers=HEADERS | {"traceparent": TRACE_OF_REPORT},
        )
    assert answer.status_code == 200


@contextlib.asynccontextmanager
async def silent_receiver() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Take connections and never answer; yields the address, and what is set when somebody has come."""
    asked, end = asyncio.Event(), asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await end.wait()
        writer.close()

    server = await asyncio.start_server(listen, HOST, 0)
    async with server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}", asked
        end.set()


async def test_a_receiver_that_does_not_answer_keeps_no_job_waiting_and_no_worker_from_its_end(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    """Also when there is no more room for spans, and with a receiver that the SDK would wait for longer than we do."""
    more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    more |= {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    async with silent_receiver() as (url, asked), Scene(kafka_bootstrap, tmp_path, more) as scene:
        worker = await scene.worker(OTEL_EXPORTER_OTLP_ENDPOINT=url)
        await scene.submit(submission())
        await asked.wait()
        jobs = [await scene.submit(submission()) for _ in range(10)]
        assert [(await scene.outcome(job_id)).status for job_id in jobs] == ["completed"] * 10
        assert any(line["event"].startswith("Queue full") for line in worker.log_lines())
        assert await worker.stop() == 0
