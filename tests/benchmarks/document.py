"""All figures of a run as one JSON document, with what they were measured on."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from streams.dev.kafka_jars import KAFKA_VERSION
from tests.benchmarks.report import Row
from tests.support.kafka import Source, source

ROOT = Path(__file__).parents[2]
# What the figures depend on most.
PACKAGES = ("robot-orchestrator", "faust-streaming", "aiokafka", "httpx", "aiohttp", "msgspec", "pydantic")

Document = dict[str, Any]


def surroundings() -> Document:
    """Return machine, versions and commit; to be asked for before our own load is part of it."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
            "load_before": round(os.getloadavg()[0], 1),
        },
        "versions": {
            "python": platform.python_version(),
            "kafka": "given" if source() is Source.GIVEN else KAFKA_VERSION,
            **{name: version(name) for name in PACKAGES},
        },
        "kafka": str(source()),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain")),
    }


def document(around: Mapping[str, Any], arguments: Mapping[str, Any], rows: Sequence[Row]) -> Document:
    """Return the document: `numbers` of a figure are of its `unit`, `text` is as the table has it."""
    return {**around, "arguments": dict(arguments), "figures": [_figure(row) for row in rows]}


def in_words(around: Mapping[str, Any]) -> str:
    """Return what the figures depend on, as one line."""
    machine, versions = around["machine"], around["versions"]
    return (
        f"{machine['cores']} cores (load {machine['load_before']} before), Python {versions['python']}, "
        f"{machine['architecture']}, {around['kafka']}"
    )


def _figure(row: Row) -> Document:
    told = {"benchmark": row.benchmark, "figure": row.figure, "text": row.value, "unit": row.unit}
    return told | {"numbers": dict(row.numbers), "labels": dict(row.labels)}


def _git(*arguments: str) -> str | None:
    """Return what git says, None where this is no repository."""
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stdout.strip() if ran.returncode == 0 else None
