"""The contract takes and refuses the same values in Python and in JSON Schema, and keeps its secrets."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import ValidationError

import schemas
from schemas import (
    ORDERS_MAX,
    VALUE_MODELS,
    BatchCompleted,
    DeadLetterHeaders,
    JobCompleted,
    JobFailed,
    JobSubmitted,
    explain,
    generate,
)
from schemas.typescript import declarations
from streams.names import OUTCOME_TOPICS, SOURCE_TOPICS, Header, Topic
from tests.support.builders import contract_example

ROOT = Path(schemas.__file__).parent
EXAMPLES = ROOT / "examples"
# asyncapi.yaml declares the older one, the newest that AsyncAPI tools know.
DRAFTS = (Draft202012Validator, Draft7Validator)
SECRETS = ("demo-user", "demo-password", "123456")


def examples(kind: str) -> list[Any]:
    paths = sorted(EXAMPLES.glob(f"*/{kind}/*.json"))
    return [pytest.param(path, id=f"{path.parts[-3]}/{path.stem}") for path in paths]


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def json_schema(topic: str) -> Any:
    return load(ROOT / "json" / f"{topic}-value.json")


def headers() -> list[tuple[str, bytes | None]]:
    return [
        ("traceparent", b"\xff"),
        ("__streams.errors.topic", b"robot.job.submitted"),
        ("__streams.errors.partition", b"3"),
        ("__streams.errors.offset", b"9223372036854775807"),
        ("__streams.errors.exception", b"invalid"),
        ("__streams.errors.message", "orders: vacío".encode()),
        ("__streams.errors.stacktrace", b""),
        ("kafka_dlt-original-topic", b"robot.job.submitted"),
        ("robot.dlq.reason", b"invalid"),
        ("robot.dlq.id", b"robot.job.submitted-3-17"),
        ("robot.dlq.redrive.count", b"0"),
    ]


@pytest.mark.parametrize("path", examples("valid"))
def test_a_valid_example_is_taken_by_model_and_schema(path: Path) -> None:
    topic = path.parts[-3]
    model = VALUE_MODELS[topic]
    record = model.model_validate_json(path.read_bytes())
    assert model.model_validate(load(path)) == record
    for draft in DRAFTS:
        draft(json_schema(topic)).validate(load(path))


@pytest.mark.parametrize("path", examples("invalid"))
def test_an_invalid_example_is_refused_by_model_and_schema(path: Path) -> None:
    topic = path.parts[-3]
    with pytest.raises(ValidationError) as from_json:
        VALUE_MODELS[topic].model_validate_json(path.read_bytes())
    with pytest.raises(ValidationError) as from_python:
        VALUE_MODELS[topic].model_validate(load(path))
    for draft in DRAFTS:
        assert not draft(json_schema(topic)).is_valid(load(path))
    for error in (from_json.value, from_python.value):
        assert not [secret for secret in SECRETS if secret in f"{error} {error!r} {explain(error)}"]


def test_every_topic_with_values_of_its_own_has_a_model_a_schema_and_examples() -> None:
    assert set(VALUE_MODELS) == {*SOURCE_TOPICS, *OUTCOME_TOPICS, Topic.AMENDED}
    for topic in VALUE_MODELS:
        Draft202012Validator.check_schema(json_schema(topic))
        assert any((EXAMPLES / topic / "valid").iterdir())
        assert any((EXAMPLES / topic / "invalid").iterdir())


def test_a_whole_number_written_as_a_fraction_is_refused_by_the_model_alone() -> None:
    """JSON Schema's `integer` takes 1.0 too, and has no way to say otherwise."""
    value = '{"jobId": "j", "workspaceId": "w", "successCount": 1.0, "errorCount": 0}'
    with pytest.raises(ValidationError):
        BatchCompleted.model_validate_json(value)
    assert Draft202012Validator(json_schema(Topic.BATCH_COMPLETED)).is_valid(json.loads(value))


def test_half_a_surrogate_pair_is_refused_by_the_model_alone() -> None:
    """It is no text that UTF-8 can carry; JSON's escapes can spell it, and JSON Schema cannot forbid it."""
    value = r'{"jobId": "\ud800", "workspaceId": "w", "successCount": 1, "errorCount": 0}'
    with pytest.raises(ValidationError):
        BatchCompleted.model_validate_json(value)
    with pytest.raises(ValidationError):
        BatchCompleted.model_validate(json.loads(value))


@pytest.mark.parametrize(("count", "taken"), [(ORDERS_MAX, True), (ORDERS_MAX + 1, False)])
def test_the_number_of_orders_is_bounded(count: int, taken: bool) -> None:
    value = contract_example()
    value["orders"] = value["orders"][:1] * count
    assert Draft202012Validator(json_schema(Topic.SUBMITTED)).is_valid(value) is taken
    if taken:
        assert len(JobSubmitted.model_validate(value).orders) == count
    else:
        with pytest.raises(ValidationError):
            JobSubmitted.model_validate(value)


def test_secrets_and_orders_show_in_no_repr_and_no_plain_dump() -> None:
    record = JobSubmitted.model_validate(contract_example())
    shown = f"{record} {record!r} {record.credentials!r} {record.model_dump()} {record.model_dump_json()}"
    assert not [secret for secret in SECRETS if secret in shown]
    assert "Peñuela" not in f"{record} {record!r}"


def test_the_wire_form_carries_the_credentials_and_reads_back_equal() -> None:
    record = JobSubmitted.model_validate(contract_example())
    assert json.loads(record.to_wire()) == contract_example()
    assert JobSubmitted.model_validate_json(record.to_wire()) == record


def test_explain_says_where_and_what_in_one_line() -> None:
    value = contract_example() | {"jobId": 1}
    del value["credentials"]["username"]
    with pytest.raises(ValidationError) as caught:
        JobSubmitted.model_validate(value)
    assert explain(caught.value) == "jobId: Input should be a valid string; credentials.username: Field required"


def test_explain_shows_three_errors_and_counts_the_others() -> None:
    with pytest.raises(ValidationError) as caught:
        JobSubmitted.model_validate(contract_example() | {"orders": [None] * 1000})
    assert explain(caught.value).endswith("; and 997 more")
    assert explain(caught.value).startswith("orders.0: ")


def outcome() -> dict[str, Any]:
    return {
        "jobId": "j",
        "workspaceId": "w",
        "status": "completed",
        "orderCount": 1,
        "submittedAt": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "dispatchedAt": None,
        "acceptedAt": None,
        "endedAt": datetime(2026, 1, 31, 7, 0, 1, 2999, tzinfo=timezone(timedelta(hours=-5))),
        "successCount": 1,
        "errorCount": 0,
        "countsMismatch": False,
    }


def test_times_are_written_in_utc_with_milliseconds_and_read_back_equal() -> None:
    record = JobCompleted.model_validate(outcome())
    written = record.model_dump_json()
    assert json.loads(written)["submittedAt"] == "2026-01-31T12:00:00.000Z"
    assert json.loads(written)["endedAt"] == "2026-01-31T12:00:01.002Z"
    assert JobCompleted.model_validate_json(written) == record
    Draft202012Validator(json_schema(Topic.COMPLETED)).validate(json.loads(written))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 31, tzinfo=UTC).replace(tzinfo=None),
        "2026-02-30T12:00:00.000Z",
        "2026-01-31T12:00:00.000Z\n",
    ],
)
def test_a_time_without_a_zone_or_that_never_was_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        JobCompleted.model_validate(outcome() | {"endedAt": value})


def test_of_several_headers_with_one_name_the_last_counts() -> None:
    pairs = [("robot.dlq.reason", b"conflict"), *headers(), ("robot.dlq.redrive.count", b"2")]
    letter = DeadLetterHeaders.from_headers(pairs)
    assert (letter.reason, letter.redrive_count) == ("invalid", 2)


def test_a_character_cut_in_half_leaves_the_letter_readable() -> None:
    letter = DeadLetterHeaders.from_headers([*headers(), ("__streams.errors.stacktrace", "é".encode()[:1])])
    assert letter.stacktrace == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("name", [name for name, _ in headers()[1:]])
def test_a_dead_letter_header_that_is_missing_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(name)):
        DeadLetterHeaders.from_headers([pair for pair in headers() if pair[0] != name])


@pytest.mark.parametrize("text", [b"", b" 3", b"+3", b"-1", b"3.0", b"1_0", "\u0663".encode(), b"9" * 19, b"\0\0\0\3"])
def test_numbers_in_dead_letter_headers_are_decimal_text(text: bytes) -> None:
    with pytest.raises(ValidationError):
        DeadLetterHeaders.from_headers([*headers(), ("__streams.errors.offset", text)])


def test_the_contract_documents_every_header_that_the_worker_writes() -> None:
    aliases = {field.alias for field in DeadLetterHeaders.model_fields.values()}
    documented = set(generate.asyncapi()["components"]["schemas"]["cloudEventHeaders"]["properties"])
    assert aliases | documented == set(Header)


def test_an_unknown_failure_reason_is_taken() -> None:
    assert (
        JobFailed.model_validate(load(EXAMPLES / Topic.FAILED / "valid" / "timeout.json") | {"reason": "new"}).reason
        == "new"
    )


def test_generated_files_have_not_drifted() -> None:
    assert generate.main(["--check"]) == 0


def test_a_record_is_an_interface_by_its_topic_with_what_may_be_left_out() -> None:
    schema = {
        "title": "Sent",
        "description": "Something\n  that is sent.",
        "properties": {
            "id": {"type": "string", "description": "Its name."},
            "kind": {"enum": ["a", "b"], "type": "string"},
            "one": {"const": 1},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
            "more": {"anyOf": [{"type": "object"}, {"type": "null"}]},
        },
        "required": ["id", "parts"],
        "$defs": {"Part": {"title": "Part", "properties": {"count": {"type": "integer"}}}},
    }
    assert (
        declarations({"a.topic": schema})
        == """\
export interface Part {
  count?: number
}

/** Something that is sent. */
export interface Sent {
  /** Its name. */
  id: string
  kind?: "a" | "b"
  one?: 1
  parts: Array<Part>
  more?: Record<string, unknown> | null
}

/** The record of each topic. */
export interface Records {
  "a.topic": Sent
}
"""
    )


def test_of_what_no_type_is_known_nothing_is_guessed() -> None:
    schema = {"title": "Sent", "properties": {"id": {"oneOf": [{"type": "string"}]}}}
    with pytest.raises(ValueError, match="no type for"):
        declarations({"a.topic": schema})


def test_check_names_the_files_that_drifted_and_writing_repairs_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([], tmp_path) == 0
    (tmp_path / "json" / "robot.job.old-value.json").touch()
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 2.0.0", encoding="utf-8")
    assert generate.main(["--check"], tmp_path) == 1
    reported = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert reported == ["schemas/asyncapi.yaml", "schemas/json/robot.job.old-value.json"]
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0


def references(node: object) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if "$ref" in node else []
        return here + [ref for child in node.values() for ref in references(child)]
    return [ref for child in node for ref in references(child)] if isinstance(node, list) else []


def test_the_asyncapi_document_names_every_topic_once_and_all_its_references_lead_somewhere() -> None:
    document = yaml.safe_load((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"))
    assert sorted(channel["address"] for channel in document["channels"].values()) == sorted(Topic)
    actions = {
        document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["address"]: operation["action"]
        for operation in document["operations"].values()
    }
    assert actions == {topic: "receive" if topic in SOURCE_TOPICS else "send" for topic in Topic}
    for reference in references(document):
        if reference.startswith("#/"):
            node = document
            for step in reference[2:].split("/"):
                node = node[step]
        else:
            assert (ROOT / reference).is_file()


def test_importing_the_contract_brings_in_nothing_of_the_worker_but_its_names() -> None:
    code = "import schemas, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    imported = set(done.stdout.split())
    ours = {name for name in imported if name.split(".")[0] == "streams"}
    assert ours == {"streams", "streams.names", "streams.core", "streams.core.job"}
    assert imported.isdisjoint({"yaml", "faust", "aiokafka", "httpx"})
