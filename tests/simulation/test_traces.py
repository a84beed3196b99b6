"""What is recorded of a job is one trace, whoever owns it by then."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from streams.core.job import Job, JobKey
from streams.engine.ports import Accepted, Answer, Rejected, Unknown, Unreachable
from streams.names import OUTCOME_TOPICS, TRACEPARENT, Header, Topic
from streams.telemetry.otel import OtelTracing
from streams.wire.records import NewRecord, SourceRecord
from streams.wire.robot_request import RobotRequest
from tests.simulation.worker import Host
from tests.simulation.world import Plan, SimulatedRobot, World, completion, rows, submission
from tests.support.builders import TRACE_OF_PRODUCER, TRACE_OF_REPORT

KEY = JobKey("workspace-0", "job-0")


class CalledRobot(SimulatedRobot):
    """Gives each call the same answer, and keeps the traces of the calls."""

    def __init__(self, world: World, answer: Answer) -> None:
        super().__init__(world)
        self.answer = answer
        self.traces: list[str | None] = []

    async def receive(self, request: RobotRequest, _host: Host) -> Answer:
        self.traces.append(request.traceparent)
        return self.answer


class Scene:
    """A world whose workers record their spans, and one job in it."""

    def __init__(self, answer: Answer = Accepted(202)) -> None:  # noqa: B008 # it is frozen
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.world = World(0, Plan(partitions=1))
        self.world.tracing = OtelTracing(provider, "https://robot.example/api/crear-pedidos-batch")
        self.world.robot = self.robot = CalledRobot(self.world, answer)

    def write(self, topic: Topic, value: bytes, traceparent: str | None) -> None:
        headers = () if traceparent is None else ((TRACEPARENT, traceparent.encode()),)
        self.world.broker.append(NewRecord(topic, 0, None, value, headers))

    async def submit(self, traceparent: str | None = TRACE_OF_PRODUCER) -> None:
        self.world.start_worker()
        self.write(Topic.SUBMITTED, submission(KEY, 1), traceparent)
        await self.until(lambda: any(job.accepted_at or job.ended for job in self.rows()))

    async def end_elsewhere(self) -> None:
        """Let the worker die, and the job end with the next one."""
        self.world.live()[0].host.die()
        self.world.start_worker()
        self.write(Topic.BATCH_COMPLETED, completion(KEY, 1, 0), TRACE_OF_REPORT)
        await self.until(self.outcomes)

    async def until(self, written: Callable[[], object]) -> None:
        """Wait until something is written, and its worker knows that."""
        await self.world.until(written)
        await asyncio.sleep(1)

    def rows(self) -> list[Job]:
        return rows(self.world)

    def outcomes(self) -> Sequence[SourceRecord]:
        return [record for topic in OUTCOME_TOPICS for record in self.world.broker.topic(topic)]

    def spans(self) -> dict[str, ReadableSpan]:
        """Return what was recorded, by name; each is there once."""
        spans = self.exporter.get_finished_spans()
        by_name = {span.name: span for span in spans}
        assert len(by_name) == len(spans)
        return by_name

    def sent(self) -> list[str | None]:
        """Return the traces that went to the robot and to those who read the outcome."""
        headers = (dict(record.headers).get(Header.CE_TRACEPARENT) for record in self.outcomes())
        return [*self.robot.traces, *(None if value is None else value.decode() for value in headers)]


def header_of(context: SpanContext | None) -> str:
    assert context is not None
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


@pytest.mark.parametrize("traceparent", [TRACE_OF_PRODUCER, None])
def test_the_spans_of_two_owners_are_one_trace_from_the_submission_to_the_outcome(traceparent: str | None) -> None:
    scene = Scene()

    async def play() -> None:
        await scene.submit(traceparent)
        await scene.end_elsewhere()

    scene.world.play(play())
    spans = scene.spans()
    taken_in, call, completed, sent = (
        spans.pop(name)
        for name in (
            "process robot.job.submitted",
            "POST /api/crear-pedidos-batch",
            "process robot.job.batch_completed",
            "send robot.job.completed",
        )
    )
    assert spans == {}
    kinds = [span.kind for span in (taken_in, call, completed, sent)]
    assert kinds == [SpanKind.CONSUMER, SpanKind.CLIENT, SpanKind.CONSUMER, SpanKind.PRODUCER]
    if traceparent is None:
        assert taken_in.parent is None
    else:
        assert header_of(taken_in.parent) == traceparent
    assert {span.context.trace_id for span in (taken_in, call, completed, sent)} == {taken_in.context.trace_id}
    assert [header_of(span.parent) for span in (call, completed, sent)] == [header_of(taken_in.context)] * 3
    assert scene.sent() == [header_of(call.context), header_of(sent.context)]
    assert [header_of(link.context) for link in completed.links] == [TRACE_OF_REPORT]
    assert [*taken_in.links, *call.links, *sent.links] == []
    assert call.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 202,
        "url.full": "https://robot.example/api/crear-pedidos-batch",
        "server.address": "robot.example",
        "server.port": 443,
        "robot.job.id": "job-0",
        "robot.workspace.id": "workspace-0",
    }


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (Rejected(500, "the robot's words"), 500, "500"),
        (Unreachable("the robot's words"), None, "unreachable"),
        (Unknown("the robot's words"), None, "unknown"),
    ],
)
def test_of_a_call_that_failed_the_trace_says_how_and_nothing_in_words(
    answer: Answer, status: int | None, error: str
) -> None:
    scene = Scene(answer)
    scene.world.play(scene.submit())
    spans = scene.spans()
    call = spans["POST /api/crear-pedidos-batch"]
    assert call.attributes is not None
    assert (call.attributes.get("http.response.status_code"), call.attributes["error.type"]) == (status, error)
    assert call.status.status_code is StatusCode.ERROR
    outcome = spans["send robot.job.failed"].attributes
    assert outcome is not None
    assert (outcome["robot.job.status"], outcome["robot.job.reason"]) == ("failed", scene.rows()[-1].reason)
    assert not any("words" in span.to_json() for span in spans.values())


def test_a_trace_that_its_producer_does_not_sample_is_passed_on_and_not_recorded() -> None:
    scene = Scene()

    async def play() -> None:
        await scene.submit(TRACE_OF_PRODUCER.removesuffix("01") + "00")
        await scene.end_elsewhere()

    scene.world.play(play())
    assert scene.spans() == {}
    called, told = (traceparent or "" for traceparent in scene.sent())
    assert called[:35] == told[:35] == TRACE_OF_PRODUCER[:35]
    assert called[-3:] == told[-3:] == "-00"


def test_what_was_not_committed_is_not_recorded() -> None:
    """Of a submission that is read again there is one span, that of the worker that took it in."""
    scene = Scene()

    async def play() -> None:
        scene.world.start_worker()
        await scene.world.until(lambda: scene.world.workers[0].worker.partitions.ready)
        scene.world.broker.refusals = 1
        scene.write(Topic.SUBMITTED, submission(KEY, 1), TRACE_OF_PRODUCER)
        await scene.world.until(lambda: scene.world.workers[0].gone)
        assert scene.exporter.get_finished_spans() == ()
        scene.world.start_worker()
        await scene.until(lambda: any(job.accepted_at for job in scene.rows()))

    scene.world.play(play())
    assert list(scene.spans()) == ["process robot.job.submitted", "POST /api/crear-pedidos-batch"]
