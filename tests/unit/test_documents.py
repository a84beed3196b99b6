"""The documents' tables and examples say what the code does."""

import ast
import json
import re
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.metrics import MetricWrapperBase
from typer.main import get_command

import schemas
from schemas import VALUE_MODELS
from schemas.job_submitted import ID_MAX_LENGTH, ORDERS_MAX
from schemas.order_reported import ERROR_MESSAGE_MAX_LENGTH, ERROR_TYPE_MAX_LENGTH, TRACKING_NUMBER_MAX_LENGTH
from streams.cli import cli
from streams.core.controls import Action
from streams.core.deadlines import CLAIM_WINDOW
from streams.core.effects import CallRobot, IgnoreReason, PublishAmendment
from streams.core.events import Cancelled, Event, GivenUp
from streams.core.job import FailureReason, Job, JobKey, OrderResult, OrderStatus, Source, Status
from streams.core.transition import TABLE, State, transition
from streams.engine.calls import event_of
from streams.engine.ledger import STEP_MAX_BYTES, STEP_MAX_ITEMS
from streams.engine.ports import Answer, Rejected
from streams.engine.rules import PAYLOAD_CACHE_BYTES, WatchdogLimits
from streams.faust_hardening.app import CRASH_EXIT_CODE
from streams.kafka import topic_rules
from streams.kafka.topics import CONFIG_EXIT_CODE
from streams.names import (
    CHANGELOG_OPENED_KEY,
    CHANGELOG_TABLE_KEY,
    DLQ_OF,
    OUTCOME_TOPICS,
    REPORT_TOPICS,
    SOURCE_TOPICS,
    DeadLetterReason,
    Header,
    LogEvent,
    ReportRefusal,
    Topic,
    changelog_topic,
)
from streams.settings import DRAIN_MARGIN_SECONDS, FIELDS, SECRETS_DIR_VARIABLE, WorkerSettings, variable_of
from streams.telemetry.journal import SKEW_WARNING_SECONDS
from streams.telemetry.metrics import BridgeMetrics, DispatchResult, Metrics, SubmissionResult, TransactionResult
from streams.telemetry.otel import JOB_ID, JOB_REASON, JOB_STATUS
from streams.telemetry.tracing import CLOSE_SECONDS
from streams.terminal import NOT_FOUND_EXIT_CODE, UNDECIDED_EXIT_CODE
from streams.version import version
from streams.wire.intake import COMPLETION_MAX_BYTES, SUBMISSION_MAX_BYTES
from streams.wire.outcomes import outcome_record
from streams.wire.robot_report import REPORT_MAX_BYTES
from streams.wire.robot_request import Callback, build_request
from streams.wire.rows import ROW_VERSION
from tests.core.builders import DEADLINES, NOW
from tests.core.test_transition import EVENTS, JOBS
from tests.support.builders import worker_variables
from tests.support.documents import CHANGELOG, DESIGN, DOCUMENTS, EVIDENCE, OPERATING, README, RECORDS, ROOT, codes

DEFAULT_APP_ID = "robot-orchestrator"
COMMANDS = get_command(cli)
# Within the text a command may stand without the program's name.
COMMAND_LINE = r"(?:(?:\.venv/bin/)?robot-orchestrator |(?=topics |dev -))([a-z].*)"


# The life of a job


def test_the_life_table_has_every_state_and_every_event() -> None:
    assert DESIGN.head("state")[1:] == [event.__name__ for event in EVENTS]
    assert [row[0] for row in DESIGN.table("state")] == list(State)


@pytest.mark.parametrize("row", DESIGN.table("state"), ids=lambda row: row[0])
def test_a_cell_of_the_life_table_says_what_the_transition_does(row: list[str]) -> None:
    state = State(row[0])
    for (kind, event), cell in zip(EVENTS.items(), row[1:], strict=True):
        if (state, kind) not in TABLE:
            assert cell == "-", (state, kind)
            continue
        job, effects, ignored = transition(JOBS[state], event, NOW, DEADLINES)
        if ignored is not None:
            assert cell == "ignored", (state, kind)
        else:
            assert job is not None
            told = " + told" if PublishAmendment() in effects else ""
            assert cell == job.status + (" + **call**" if CallRobot() in effects else told), (state, kind)


# What is named


def default_of(name: str) -> str:
    """Return a setting's default as the table should have it."""
    field = FIELDS[name]
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return f"`ROBOT_TIMEOUT_SECONDS` + {DRAIN_MARGIN_SECONDS:g}"
    if field.default is None:
        return "by terminal" if name == "log_format" else ""
    if isinstance(field.default, str):
        return f"`{field.default}`"
    assert int(field.default) == field.default
    return str(int(field.default))


def test_every_setting_is_documented_with_its_default() -> None:
    documented: dict[str, str] = {}
    for cell, default, _ in OPERATING.table("variable"):
        names = codes(cell)
        defaults = default.split(", ") if default else [""] * len(names)
        documented |= dict(zip(names, defaults, strict=True))
    assert documented == {variable_of(name): default_of(name) for name in FIELDS}


@pytest.mark.parametrize("name", ["security_protocol", "sasl_mechanism", "log_format", "log_level"])
def test_every_value_of_a_setting_that_is_one_of_several_is_documented(name: str) -> None:
    kind: Any = FIELDS[name].annotation
    (values,) = (one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, StrEnum))
    (row,) = (row for row in OPERATING.table("variable") if variable_of(name) in codes(row[0]))
    assert set(codes(row[1])) | set(codes(row[2])) == set(values)


def test_every_variable_that_a_document_names_is_one() -> None:
    known = {SECRETS_DIR_VARIABLE, *map(variable_of, FIELDS)}
    short = {name.removeprefix("ROBOT_ORCHESTRATOR_") for name in known}
    for document in DOCUMENTS:
        for name in re.findall(r"\b(?:KAFKA|ROBOT|NEXT_PUBLIC)_[A-Z_]+(?![A-Z_*])", document.text):
            assert name in known | short, (document.path, name)


def test_the_worker_that_the_readme_runs_has_the_settings_that_a_worker_needs() -> None:
    exported = re.findall(r"([A-Z_]+)=", README.section("Run it"))
    required = {variable_of(name) for name, field in WorkerSettings.model_fields.items() if field.is_required()}
    more = ("bootstrap_servers", "patience_seconds", "callback_template")
    assert set(exported) == required | set(map(variable_of, more))
    assert "Three settings" in README.section("Run it")
    assert len(required) == 3


def test_every_topic_is_documented_with_its_direction() -> None:
    documented = {name: row[1] for row in RECORDS.table("topic") for name in codes(row[0])}
    declared: dict[str, str] = dict.fromkeys(SOURCE_TOPICS, "in")
    declared |= dict.fromkeys((*OUTCOME_TOPICS, Topic.AMENDED, *DLQ_OF.values()), "out")
    assert documented == declared | {changelog_topic(DEFAULT_APP_ID): "own"}
    (own,) = (row for row in RECORDS.table("topic") if row[1] == "own")
    assert {mark.decode() for mark in (CHANGELOG_OPENED_KEY, CHANGELOG_TABLE_KEY)} <= set(codes(own[3]))


def test_every_topic_name_in_a_document_is_one() -> None:
    known = {*Topic, changelog_topic(DEFAULT_APP_ID), JOB_ID, JOB_STATUS, JOB_REASON}
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:dlq\.)?robot\.(?:job|order)\.[\w.]+)`", document.text):
            assert name in known, (document.path, name)


def test_every_failure_reason_is_documented() -> None:
    assert sorted(code for row in RECORDS.table("`reason`") for code in codes(row[0])) == sorted(FailureReason)


def test_which_answers_say_that_the_robot_has_begun_nothing_is_documented() -> None:
    (cell,) = (row[2] for row in RECORDS.table("`reason`") if row[0] == "`robot_rejected`")
    found = re.fullmatch(
        r"false: 4xx except (\d+), and (\d+), (\d+), (\d+); true: everything else, and where an order was reported",
        cell,
    )
    assert found is not None
    but, *also = map(int, found.groups())
    for status in range(300, 1000):
        event = event_of(JobKey("w", "j"), Rejected(status, ""), NOW)
        begun = not ((400 <= status < 500 and status != but) or status in also)
        assert (event.robot_may_have_received, status) == (begun, status)  # type: ignore[union-attr] # a failed call


def test_every_dead_letter_reason_is_documented() -> None:
    documented = [code for row in RECORDS.table("`robot.dlq.reason`") for code in codes(row[0])]
    assert sorted(documented) == sorted(DeadLetterReason)


def test_every_span_is_documented() -> None:
    taken_in, told = (Topic.SUBMITTED, *REPORT_TOPICS), (*OUTCOME_TOPICS, Topic.AMENDED)
    spans = {f"process {topic.value}" for topic in taken_in} | {f"send {topic.value}" for topic in told}
    settings = WorkerSettings(**cast(Any, worker_variables()))
    spans.add(f"POST {urlsplit(settings.robot_endpoint).path}")
    assert {code for row in OPERATING.table("span") for code in codes(row[0])} == spans


def test_every_header_is_documented() -> None:
    tables = ("header of a letter", "header of an outcome or amendment")
    assert sorted(code for table in tables for row in RECORDS.table(table) for code in codes(row[0])) == sorted(Header)


def test_every_action_of_people_and_every_reason_against_one_is_documented() -> None:
    assert [code for row in RECORDS.table("`action`") for code in codes(row[0])] == list(Action)
    said = [code for row in RECORDS.table("refused because") for code in codes(row[0])]
    table = {ignored for state in State for kind in (Cancelled, GivenUp) if (ignored := _ignored(state, kind))}
    own = {IgnoreReason.ALREADY_GIVEN_UP, IgnoreReason.ALREADY_HELD, IgnoreReason.NOT_HELD, IgnoreReason.TOO_OLD}
    assert set(said) == table | own


def _ignored(state: State, kind: type[Event]) -> IgnoreReason | None:
    return transition(JOBS[state], EVENTS[kind], NOW, DEADLINES).ignored


def test_the_largest_values_are_documented() -> None:
    (cell,) = (row[1] for row in RECORDS.table("`robot.dlq.reason`") if "too_large" in row[0])
    assert (
        f"over {SUBMISSION_MAX_BYTES / 1e6:g} MB (a completion, report or control {COMPLETION_MAX_BYTES / 1e3:g} kB)"
        in cell
    )
    assert f"up to {SUBMISSION_MAX_BYTES / 1e6:g} MB" in RECORDS.section("For producers")


def test_every_log_event_is_documented() -> None:
    assert sorted(code for row in OPERATING.table("`event`") for code in codes(row[0])) == sorted(LogEvent)


def test_a_log_event_is_documented_with_the_level_at_which_it_is_written() -> None:
    written: dict[str, set[str]] = {}
    for path in (ROOT / "streams").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for level, name in re.findall(r"\b(debug|info|warning|critical)(?:\(|,)\s*LogEvent\.(\w+)", text):
            written.setdefault(LogEvent[name], set()).add(level)
    for row in OPERATING.table("`event`"):
        (event,) = codes(row[0])
        others = {
            level for level in ("debug", "info", "warning", "critical") if re.search(rf"\b(a|level) {level}\b", row[2])
        }
        assert {row[1]} | others == written[event], event


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    documented = {codes(row[0])[0]: (row[1], codes(row[2])) for row in OPERATING.table("metric")}
    declared = {}
    for metric in (*vars(Metrics()).values(), *vars(BridgeMetrics()).values()):
        if isinstance(metric, MetricWrapperBase):
            name = f"{metric._name}_total" if metric._type == "counter" else metric._name
            declared[name] = (metric._type, list(metric._labelnames))
    assert documented == declared


def test_the_values_of_a_label_are_documented() -> None:
    """Topics and reasons are in tables of their own."""
    checked = set()
    for family in (*Metrics().registry.collect(), *BridgeMetrics().registry.collect()):
        for label, value in {pair for sample in family.samples for pair in sample.labels.items()}:
            if label in ("result", "outcome", "state"):
                name = f"{family.name}_total" if family.type == "counter" else family.name
                (row,) = (row for row in OPERATING.table("metric") if row[0] == f"`{name}`")
                assert value in codes(row[3]), (name, value)
                checked.add(value)
    assert checked >= {*SubmissionResult, *DispatchResult, *TransactionResult, *Status, *ReportRefusal}
    assert {answer.__name__.lower() for answer in get_args(Answer)} == set(DispatchResult)


def test_every_metric_that_a_document_names_is_one() -> None:
    known = {codes(row[0])[0] for row in OPERATING.table("metric")}
    for document in DOCUMENTS:
        for name in re.findall(r"robot_orchestrator_\w+", document.text):
            assert name in known, (document.path, name)
    for name in ("deadlines_held_seconds", "completions_behind_seconds"):
        assert f"robot_orchestrator_{name}" in known
        assert f"`{name}`" in DESIGN.text


def test_every_exit_code_is_documented() -> None:
    """Those of the command line are written where it ends, as numbers."""
    ends = {0, 1, NOT_FOUND_EXIT_CODE, UNDECIDED_EXIT_CODE, CONFIG_EXIT_CODE, CRASH_EXIT_CODE}
    for path in (ROOT / "streams/cli.py", *(ROOT / "streams/commands").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "fail"):
                ends |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, int)}
    assert [int(row[0]) for row in OPERATING.table("code")] == sorted(ends)
    for code in re.findall(r"\((\d+)\)", OPERATING.text):
        assert int(code) in ends


def test_every_topic_setting_that_is_looked_at_is_documented() -> None:
    looked_at = {
        value
        for name, value in vars(topic_rules).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str) and "." in value
    }
    documented = {code for row in OPERATING.table("setting") for code in codes(row[0])}
    assert documented == looked_at
    assert topic_rules.REPLICAS in {row[0] for row in OPERATING.table("setting")}


def test_the_version_of_the_rows_that_are_written_is_documented() -> None:
    assert f"This release writes version {ROW_VERSION}" in DESIGN.text


def test_the_changelog_has_the_version() -> None:
    assert f"\n## {version()} - " in CHANGELOG.text


@pytest.mark.parametrize(
    ("text", "document"),
    [
        (f"a claim older than {CLAIM_WINDOW.total_seconds():g} s", DESIGN),
        (f"up to {STEP_MAX_ITEMS} queued records and events, or {STEP_MAX_BYTES / 1e6:g} MB", DESIGN),
        (f"{PAYLOAD_CACHE_BYTES / 1e6:g} MB of payloads of jobs that wait for their call", OPERATING),
        (f"stands still for {WatchdogLimits().stuck_after.total_seconds():g} s", OPERATING),
        (f"a skew of over {SKEW_WARNING_SECONDS:g} s", OPERATING),
        (f"A stop takes up to {CLOSE_SECONDS:g} s longer", OPERATING),
        (f"names no job; its body has over {REPORT_MAX_BYTES / 1e3:g} kB", OPERATING),
        (f"report below, up to {REPORT_MAX_BYTES / 1e3:g} kB", RECORDS),
        (f"{TRACKING_NUMBER_MAX_LENGTH}, {ERROR_TYPE_MAX_LENGTH} and {ERROR_MESSAGE_MAX_LENGTH} characters", RECORDS),
        (f"Ids have 1 to {ID_MAX_LENGTH} characters, a job has 1 to {ORDERS_MAX:,} orders", RECORDS),
    ],
)
def test_a_bound_that_a_document_names_is_the_codes(text: str, document: Any) -> None:
    assert text in " ".join(document.text.split())


# Commands


def commands() -> dict[str, Any]:
    """Return the commands of the command line by their whole names."""
    found: dict[str, Any] = {}
    for name, command in COMMANDS.commands.items():  # type: ignore[attr-defined] # it is a group
        parts = getattr(command, "commands", None)
        found |= {f"{name} {part}": below for part, below in parts.items()} if parts else {name: command}
    return found


def test_every_command_is_documented() -> None:
    assert sorted(code for row in OPERATING.table("command") for code in codes(row[0])) == sorted(commands())


def command_lines() -> list[Any]:
    """Return the command lines of all documents: those in blocks, and those within the text."""
    lines = []
    for document in DOCUMENTS:
        texts = [*document.code_spans(), *(line for block in document.blocks("") for line in block.text.splitlines())]
        parts = (part.strip() for text in texts for part in re.split(r"[|#]|&&", text))
        found = (re.fullmatch(COMMAND_LINE, part) for part in parts)
        lines += [pytest.param(line[1].split(), id=f"{document.path}: {line[1]}") for line in found if line]
    return lines


@pytest.mark.parametrize("words", command_lines())
def test_every_command_line_in_a_document_is_one_that_can_be_given(words: list[str]) -> None:
    name = next(name for name in (" ".join(words[:2]), words[0]) if name in commands())
    arguments = words[len(name.split()) :]
    # Reads the options and arguments, and raises what wrong usage does; nothing is run. A bare name is only named.
    assert not arguments or commands()[name].make_context(name, arguments)


# Examples

EXAMPLES = [
    pytest.param(document, block, id=f"{document.path}: {block.name}")
    for document in (README, RECORDS)
    for block in document.blocks("json")
    if block.name in VALUE_MODELS
]


@pytest.mark.parametrize(("document", "block"), EXAMPLES)
def test_an_example_keeps_the_contract(document: Any, block: Any) -> None:
    VALUE_MODELS[block.name].model_validate_json(block.text)
    schema = json.loads((Path(schemas.__file__).parent / "json" / f"{block.name}-value.json").read_text())
    Draft202012Validator(schema).validate(json.loads(block.text))


def test_the_readme_shows_a_submission_its_call_and_its_outcome() -> None:
    assert [block.name for block in README.blocks("json")] == [Topic.SUBMITTED, "POST", Topic.COMPLETED]


def test_the_call_in_the_readme_is_that_of_the_submission_above_it() -> None:
    submitted, posted, _ = README.blocks("json")
    body = json.loads(posted.text)
    urls = dict(re.findall(r"(ROBOT_COORDINADORA_URL|\w+_APP_URL|\w+_CALLBACK_URL)=(\S+)", README.section("Run it")))
    secret = body["callbackSecret"]
    settings = WorkerSettings(**cast(Any, urls | {"ROBOT_CALLBACK_SECRET": secret}))
    request = build_request(submitted.text.encode(), Callback(settings.callback_url, secret, per_job=True))
    assert json.loads(request.body) == body
    assert list(json.loads(request.body)) == list(body)
    assert f"`POST {settings.robot_endpoint}`" in README.text
    for passed_through in re.findall(r'"pedidoInput": \{[^}]*\}', submitted.text):
        assert passed_through in posted.text
        assert passed_through.removeprefix('"pedidoInput": ').encode() in request.body


def order_of(shown: dict[str, Any]) -> OrderResult:
    texts = (shown.get(name) for name in ("trackingNumber", "errorType", "errorMessage"))
    return OrderResult(shown["itemId"], OrderStatus(shown["status"]), *texts)


def job_of(outcome: dict[str, Any]) -> Job:
    """Return a job that ends in an outcome."""

    def at(name: str) -> datetime:
        return datetime.fromisoformat(outcome[name])

    return Job(
        workspace_id=outcome["workspaceId"],
        job_id=outcome["jobId"],
        status=Status(outcome["status"]),
        submitted_at=at("submittedAt"),
        source=Source(Topic.SUBMITTED, 0, 0),
        fingerprint="",
        order_count=outcome["orderCount"],
        orders=tuple(order_of(order) for order in outcome["orders"] or ()),
        claimed_at=at("dispatchedAt"),
        accepted_at=at("acceptedAt"),
        ended_at=at("endedAt"),
        success_count=outcome.get("successCount"),
        error_count=outcome.get("errorCount"),
        reason=FailureReason(outcome["reason"]) if "reason" in outcome else None,
        error=outcome.get("error"),
        robot_status=outcome.get("robotStatus"),
        robot_may_have_received=outcome.get("robotMayHaveReceived", False),
    )


@pytest.mark.parametrize(
    ("document", "topic"), [(README, Topic.COMPLETED), (RECORDS, Topic.FAILED)], ids=["completed", "failed"]
)
def test_an_outcome_in_a_document_is_what_a_job_ends_in(document: Any, topic: Topic) -> None:
    outcome = json.loads(document.block("json", topic).text)
    record = outcome_record(job_of(outcome), 0, DEFAULT_APP_ID)
    assert record.topic == topic
    assert list(json.loads(record.value or b"").items()) == list(outcome.items())


def test_the_credentials_in_the_documents_are_those_of_nobody() -> None:
    for document in DOCUMENTS:
        found = re.findall(r"[\"']?(username|password|callbackSecret)[\"']?: [\"']([^\"']+)", document.text)
        for name, secret in found:
            assert secret in ("demo-user", "demo-password", "an-example-and-no-secret"), (document.path, name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path)
def test_every_python_block_can_be_compiled(document: Any) -> None:
    for block in document.blocks("python"):
        compile(block.text, f"{document.path}: {block.name}", "exec")


def test_each_reader_has_a_snippet_in_python_and_in_node() -> None:
    assert [block.name for block in RECORDS.blocks("python")] == ["produce.py", "bridge.py", "consume.py"]
    assert [block.name for block in RECORDS.blocks("js")] == ["produce.mjs", "bridge.mjs", "consume.mjs"]


# Figures


def test_every_figure_of_the_readme_is_in_the_evidence() -> None:
    known = set(re.findall(r"\d+(?:\.\d+)?", EVIDENCE.text.replace(",", "")))
    shown = re.findall(r"\d+(?:\.\d+)?", README.section("Evidence").replace(",", ""))
    # What is a percentile's name there, too.
    assert set(shown) - known - {"0"} == set()
    assert len(shown) > 20


def test_the_faults_of_the_evidence_add_up() -> None:
    *faults, every = EVIDENCE.table("fault")
    assert every[0] == "all"
    assert sum(int(row[2]) for row in faults) == int(every[2])
    assert sum(int(row[4]) for row in faults) == int(every[4]) == 0
