"""Write the generated half of the contract: JSON Schemas by registry subject, TypeScript types, the AsyncAPI document.

`python -m schemas.generate` writes the files, `--check` exits with 1 when they are not what it would write.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas import VALUE_MODELS, DeadLetterHeaders
from schemas.typescript import declarations

CONTRACT_VERSION: Final = "1.2.0"
"""Of the contract, not of the program: the major number rises when an old consumer would break."""

HERE: Final = Path(__file__).parent
ASYNCAPI: Final = Path("asyncapi.yaml")
TYPESCRIPT: Final = Path("records.d.ts")
JSON: Final = Path("json")

Node = dict[str, Any]

_KAFKA = {"bindingVersion": "0.5.0"}

_DESCRIPTION = """\
Runs robot jobs: no batch is handed to the robot twice, and each ends in exactly one outcome. This document
is written from the orchestrator's side: it receives submissions, completions and reports, and sends outcomes,
amendments and dead letters.

**Placement.** All topics here have one and the same partition count. A record belongs in partition
murmur2(workspaceId) % partitions (the hash of the Java client), so that everything about a workspace is in
partitions of one number. Producers use the workspaceId as the record key. Other keys and partitioners work as
well: the ids in the payload decide, and a record that lies elsewhere is forwarded, unchanged.

**Reading.** Outcomes and dead letters are written in transactions: read them with
isolation.level=read_committed. A read_uncommitted reader sees outcomes that never happened.

**Growth.** Fields, reasons and headers may be added: ignore those you don't know. Unknown fields of yours are
ignored here.

**Security.** robot.job.submitted and dlq.robot.job.submitted carry portal credentials: give both a short
retention and an ACL of their own. robot.order.reported and its dead letters carry the robot's own words, which
could repeat them. No other topic carries them.
"""

_CREDENTIALS_NOTE = "Carries credentials: short retention, and an ACL that admits only those who need them."
_READ_COMMITTED = "Readers must use isolation.level=read_committed."
_LARGER = "Its max.message.bytes must be above its source's."


class _Channel(NamedTuple):
    action: str
    topic: str
    message: str
    description: str


_CHANNELS: Final = {
    "jobSubmitted": _Channel("receive", "robot.job.submitted", "jobSubmitted", _CREDENTIALS_NOTE),
    "batchCompleted": _Channel(
        "receive",
        "robot.job.batch_completed",
        "batchCompleted",
        "Completions, one a batch, from the callback bridge.",
    ),
    "orderReported": _Channel(
        "receive",
        "robot.order.reported",
        "orderReported",
        "What the robot reports of each order, from the callback bridge. Its words stand there as it sent them: an ACL "
        "that admits only those who need them.",
    ),
    "control": _Channel(
        "receive",
        "robot.job.control",
        "control",
        "What people ask for: jobs are cancelled or given up, workspaces held or released. It is kept for years and "
        "says who did what. Without a workspaceId a record is meant for the partition in which it lies.",
    ),
    "jobCompleted": _Channel(
        "send",
        "robot.job.completed",
        "jobCompleted",
        f"Jobs that ended in time. A job has one record over this topic and the failures. {_READ_COMMITTED}",
    ),
    "jobFailed": _Channel(
        "send",
        "robot.job.failed",
        "jobFailed",
        f"Jobs that failed. A job has one record over this topic and the completions. {_READ_COMMITTED}",
    ),
    "jobAmended": _Channel(
        "send",
        "robot.job.amended",
        "jobAmended",
        f"What became known of a job after its outcome, which stays as it was. {_READ_COMMITTED}",
    ),
    "deadSubmission": _Channel(
        "send",
        "dlq.robot.job.submitted",
        "deadLetter",
        f"Submissions that could not be used. {_CREDENTIALS_NOTE} {_LARGER} {_READ_COMMITTED}",
    ),
    "deadCompletion": _Channel(
        "send",
        "dlq.robot.job.batch_completed",
        "deadLetter",
        f"Completions that could not be used. {_LARGER} {_READ_COMMITTED}",
    ),
    "deadReport": _Channel(
        "send",
        "dlq.robot.order.reported",
        "deadLetter",
        f"Reports that could not be used, with the robot's words as it sent them. {_LARGER} {_READ_COMMITTED}",
    ),
    "deadControl": _Channel(
        "send",
        "dlq.robot.job.control",
        "deadLetter",
        f"Controls that could not be used. {_LARGER} {_READ_COMMITTED}",
    ),
}


class _Schema(GenerateJsonSchema):
    """JSON Schema without a title a field, which would only repeat the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Dumper(yaml.SafeDumper):
    """YAML that people read: text of several lines as a block, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def json_schema(model: type[BaseModel]) -> Node:
    """Return the JSON Schema (2020-12) of what the model accepts."""
    schema = model.model_json_schema(mode="validation", schema_generator=_Schema)
    return {"$schema": _Schema.schema_dialect, **schema}


def asyncapi() -> Node:
    """Return the AsyncAPI 3.1.0 document; payloads refer to the JSON Schema files."""
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "robot-orchestrator", "version": CONTRACT_VERSION, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {
            "production": {
                "host": "{bootstrapServers}",
                "protocol": "kafka-secure",
                "description": "Any Apache Kafka from 3.x on.",
                "variables": {"bootstrapServers": {"description": "host:port of the cluster's listener"}},
                "security": [_ref("components", "securitySchemes", "sasl")],
            },
        },
        "channels": {name: _channel(channel) for name, channel in _CHANNELS.items()},
        "operations": {
            f"{channel.action}{name[0].upper()}{name[1:]}": {
                "action": channel.action,
                "channel": _ref("channels", name),
                "messages": [_ref("channels", name, "messages", channel.message)],
            }
            for name, channel in _CHANNELS.items()
        },
        "components": _components(),
    }


def _components() -> Node:
    return {
        "messages": {
            "jobSubmitted": _source_message("robot.job.submitted"),
            "batchCompleted": _source_message("robot.job.batch_completed"),
            "orderReported": _source_message("robot.order.reported"),
            "control": _source_message("robot.job.control"),
            "jobCompleted": _outcome_message("robot.job.completed"),
            "jobFailed": _outcome_message("robot.job.failed"),
            "jobAmended": _outcome_message("robot.job.amended"),
            "deadLetter": {
                "title": "Dead letter",
                "summary": "A record that could not be used: its key, value and headers, and why.",
                "description": "One that is too large to be copied has no key, and as its value a "
                "short JSON object with the topic, partition and offset of the original.",
                "contentType": "application/octet-stream",
                "headers": _ref("components", "schemas", "deadLetterHeaders"),
                "bindings": _key("The key of the original record, whatever it was; may be absent."),
            },
        },
        "schemas": {
            "traceHeaders": _trace_headers(),
            "cloudEventHeaders": _cloud_event_headers(),
            "deadLetterHeaders": _dead_letter_headers(),
        },
        "correlationIds": {
            "job": {
                "description": "With workspaceId beside it, names the job in every record about it.",
                "location": "$message.payload#/jobId",
            }
        },
        "securitySchemes": {
            "sasl": {
                "type": "scramSha512",
                "description": "SASL over TLS; the mechanism is a setting. ACLs: see the channels.",
            }
        },
    }


def _ref(*path: str) -> Node:
    return {"$ref": "#/" + "/".join(path)}


def _channel(channel: _Channel) -> Node:
    return {
        "address": channel.topic,
        "description": channel.description,
        "messages": {channel.message: _ref("components", "messages", channel.message)},
        "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": ["delete"]}, **_KAFKA}},
    }


def _key(description: str) -> Node:
    return {"kafka": {"key": {"type": "string", "description": description}, **_KAFKA}}


def _message(topic: str) -> Node:
    model = VALUE_MODELS[topic]
    return {
        "name": model.__name__,
        "title": topic,
        "summary": model.__doc__,
        "contentType": "application/json",
        "correlationId": _ref("components", "correlationIds", "job"),
        # AsyncAPI tools know draft-07; the keywords in these files mean the same in both drafts.
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./{_schema_file(topic).as_posix()}"},
        },
    }


def _source_message(topic: str) -> Node:
    return _message(topic) | {
        "headers": _ref("components", "schemas", "traceHeaders"),
        "bindings": _key("The workspaceId as UTF-8 text: recommended, not required."),
    }


def _outcome_message(topic: str) -> Node:
    return _message(topic) | {
        "headers": _ref("components", "schemas", "cloudEventHeaders"),
        "bindings": _key("The jobId as UTF-8 text. The partition is still that of the workspaceId."),
    }


def _trace_headers() -> Node:
    traceparent = {"type": "string", "description": "The trace that it is part of (W3C Trace Context)."}
    return {"type": "object", "properties": {"traceparent": traceparent}}


def _cloud_event_headers() -> Node:
    headers: dict[str, Node] = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"description": "Made from submission and outcome, so the same in every copy: drop doubles by it."},
        "ce_source": {"description": "The orchestrator that sent it.", "examples": ["/robot-orchestrator"]},
        "ce_type": {
            "description": "The topic and the version of its record.",
            "enum": ["robot.job.completed.v1", "robot.job.failed.v1", "robot.job.amended.v1"],
        },
        "ce_time": {"description": "endedAt, or amendedAt.", "format": "date-time"},
        "ce_subject": {"description": "The jobId."},
        "ce_partitionkey": {"description": "The workspaceId."},
        "content-type": {"const": "application/json"},
    }
    more: dict[str, Node] = {"ce_traceparent": {"description": "The trace that it is part of, where there is one."}}
    return {
        "type": "object",
        "description": "CloudEvents 1.0 in binary mode: the value is the record alone. All are UTF-8 text.",
        "properties": {name: {"type": "string", **schema} for name, schema in (headers | more).items()},
        "required": list(headers),
    }


def _dead_letter_headers() -> Node:
    schema = json_schema(DeadLetterHeaders)
    # A schema inside the document has the document's dialect.
    del schema["$schema"]
    return schema


def _schema_file(topic: str) -> Path:
    return JSON / f"{topic}-value.json"


def files() -> dict[Path, str]:
    """Return the text of every generated file by its path below `schemas/`."""
    texts = {
        _schema_file(topic): json.dumps(json_schema(model), indent=2, ensure_ascii=False) + "\n"
        for topic, model in VALUE_MODELS.items()
    }
    types = declarations({topic: json_schema(model) for topic, model in VALUE_MODELS.items()})
    texts[TYPESCRIPT] = f"// Written by `python -m schemas.generate`; edit that instead.\n\n{types}"
    document = yaml.dump(asyncapi(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    texts[ASYNCAPI] = f"# Written by `python -m schemas.generate`; edit that instead.\n{document}"
    return texts


def drift(root: Path) -> list[Path]:
    """Return the generated files below `root` that are missing, differ, or should not be there."""
    wanted = files()
    there = {path.relative_to(root) for path in (root / JSON).glob("*")}
    differing = {
        path
        for path, text in wanted.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    }
    return sorted(differing | (there - wanted.keys()))


def main(arguments: list[str] | None = None, root: Path = HERE) -> int:
    """Write the generated files, or with `--check` only compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 when a file has drifted")
    drifted = drift(root)
    if parser.parse_args(arguments).check:
        for path in drifted:
            sys.stderr.write(f"schemas/{path.as_posix()} has drifted: run python -m schemas.generate\n")
        return 1 if drifted else 0
    (root / JSON).mkdir(exist_ok=True)
    for path in drifted:
        (root / path).unlink(missing_ok=True)
    for path, text in files().items():
        (root / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
