"""What the benchmarks go by without a clock: the limit's table, the units of figures, the document, the picture."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any, cast
from xml.etree import ElementTree

import msgspec
import pytest
from aiokafka import ConsumerRecord

from streams.core.job import JobKey
from streams.names import Topic
from tests.benchmarks.application import Program
from tests.benchmarks.chart import COLOURS, draw
from tests.benchmarks.document import document, surroundings
from tests.benchmarks.jobs import make_submissions
from tests.benchmarks.limit_table import Table
from tests.benchmarks.report import JOBS_A_SECOND, Row, percentiles, several, single, spread

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
_offsets: Iterator[int] = count()


@dataclass(frozen=True)
class Record:
    """As much of a record as the table looks at."""

    value: bytes
    topic: str = Topic.SUBMITTED
    partition: int = 3
    timestamp: int = 1_769_860_800_000
    offset: int = -1


def submissions(number: int, workspaces: tuple[str, ...] = ()) -> list[ConsumerRecord]:
    return [
        cast(ConsumerRecord, Record(submission.value, offset=next(_offsets)))
        for submission in make_submissions(number, workspaces)
    ]


def completion(key: JobKey) -> ConsumerRecord:
    ids = {"jobId": key.job_id, "workspaceId": key.workspace_id}
    value = json.dumps({**ids, "successCount": 1, "errorCount": 1}).encode()
    return cast(ConsumerRecord, Record(value, Topic.BATCH_COMPLETED))


def test_the_limit_claims_up_to_its_bound_until_the_robot_has_answered() -> None:
    table = Table(bound=2)
    for record in submissions(3):
        table.submit(record)
    first, _ = table.claim(NOW)
    assert table.claim(NOW) == []
    table.answer(first.key, NOW)
    assert len(table.claim(NOW)) == 1


def test_the_limit_takes_a_job_and_its_completion_once() -> None:
    table = Table(bound=2)
    (record,) = submissions(1)
    assert table.submit(record) is not None
    assert table.submit(record) is None
    (claim,) = table.claim(NOW)
    assert table.complete(completion(claim.key), NOW) is not None
    assert table.complete(completion(claim.key), NOW) is None
    assert table.submit(record) is None


def test_the_limit_completes_no_job_that_it_has_not_claimed() -> None:
    table = Table(bound=0)
    (record,) = submissions(1)
    job = table.submit(record)
    assert job is not None
    assert table.complete(completion(job.key), NOW) is None
    assert job.status == "pending"


def test_the_limit_calls_one_batch_at_a_time_of_a_workspace() -> None:
    table = Table(bound=9)
    jobs = [table.submit(record) for record in submissions(4, ("a", "b"))]
    order = [job.key for job in jobs if job is not None]
    assert [claim.key for claim in table.claim(NOW)] == order[:2]
    table.complete(completion(order[1]), NOW)
    assert [claim.key for claim in table.claim(NOW)] == [order[3]]


def test_the_limit_posts_the_orders_and_the_ids_that_were_submitted() -> None:
    table = Table(bound=1)
    (record,) = submissions(1)
    table.submit(record)
    (claim,) = table.claim(NOW)
    body, submitted = msgspec.json.decode(claim.body), msgspec.json.decode(record.value)
    same = ("jobId", "workspaceId", "orders", "credentials")
    assert {name: body[name] for name in same} == {name: submitted[name] for name in same}


def test_percentiles_of_a_single_value_are_none() -> None:
    assert percentiles([1.0]) == {}
    assert several("paced", "waits", percentiles([1.0]), JOBS_A_SECOND).value == "-"
    assert percentiles([1.0, 3.0])["p50"] == 2.0


def burst_figures(partitions: tuple[int, ...]) -> list[Row]:
    return [
        several(f"burst, {number}", name, spread([1.0, 2.0, 4.0]), JOBS_A_SECOND, partitions=number, program=program)
        for number in partitions
        for program in Program
        for name in ("speed", "CPU a job")
    ]


def test_the_document_has_every_figure_with_its_unit_and_what_it_was_measured_on() -> None:
    rows = [single("no jobs", "memory", 1234.5, JOBS_A_SECOND, partitions=8), *burst_figures((8,))]
    whole = json.loads(json.dumps(document(surroundings(), {"only": None}, rows)))
    assert {"machine", "versions", "commit", "measured_at", "arguments"} <= whole.keys()
    assert whole["figures"][0] == {
        "benchmark": "no jobs",
        "figure": "memory",
        "text": "1,234 jobs/s",
        "unit": "jobs/s",
        "numbers": {"value": 1234.5},
        "labels": {"partitions": 8},
    }
    assert len(whole["figures"]) == len(rows)


def bars(picture: str) -> list[dict[str, str]]:
    """Return the bars of a picture, without the squares of its legend."""
    boxes = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect")
    return [box.attrib for box in boxes][len(Program) :]


def test_the_picture_has_a_bar_for_each_program_and_count_in_each_panel() -> None:
    figures: list[dict[str, Any]] = document({}, {}, burst_figures((8, 2)))["figures"]
    drawn = bars(draw(figures))
    assert len(drawn) == 2 * 2 * len(Program)
    assert {bar["fill"] for bar in drawn} == set(COLOURS.values())


@pytest.mark.parametrize(
    "rows", [[], [Row("burst, 8", "check", "400 jobs")], [single("x", "speed", 1.0, JOBS_A_SECOND)]]
)
def test_what_is_no_burst_is_not_drawn(rows: list[Row]) -> None:
    assert bars(draw(document({}, {}, rows)["figures"])) == []
