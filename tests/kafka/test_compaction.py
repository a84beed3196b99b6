"""The changelog with the settings it is created with, their hours shortened to seconds, on a broker of its own."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing

import pytest
from aiokafka.admin import NewTopic
from msgspec.structs import replace

from streams.core.job import Job
from streams.dev.kafka import EmbeddedKafka
from streams.engine.clock import Clock
from streams.kafka.admin import admin_client
from streams.kafka.partition_log import KafkaPartitionLog
from streams.kafka.topics import topic_specs
from streams.names import changelog_topic
from streams.telemetry.journal import Journal
from streams.telemetry.metrics import Metrics
from streams.wire.records import NewRecord, TopicPartition
from streams.wire.rows import JobEntry, decode_entry, encode_row, row_key
from tests.core.builders import CALLED, COMPLETED, PENDING
from tests.support.settings import settings_of

JOBS = 2000
AT_ONCE = 50
FORGOTTEN = 200
SHORTENED = 3600
# What a broker has for a topic that says nothing.
DEFAULT_SEGMENT = {"segment.ms": "604800000"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker that looks for something to compact as often as seconds instead of hours need it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("compaction"), config={"log.cleaner.backoff.ms": "100"}) as broker:
        yield broker


class Changelog:
    """One partition of the changelog of an application, with the settings that `topics create` gives it."""

    def __init__(self, bootstrap_servers: str, app_id: str) -> None:
        self._settings = settings_of(bootstrap_servers, ROBOT_ORCHESTRATOR_APP_ID=app_id)
        self._place = TopicPartition(changelog_topic(app_id), 0)

    async def create(self, changes: Mapping[str, str]) -> None:
        (spec,) = [spec for spec in topic_specs(self._settings) if spec.name == self._place.topic]
        hours = {name: str(int(spec.config[name]) // SHORTENED) for name in ("segment.ms", "max.compaction.lag.ms")}
        config = {**spec.config, **hours, **changes}
        async with admin_client(**self._settings.kafka_client_options()) as admin:
            await admin.create_topics([NewTopic(self._place.topic, 1, 1, topic_configs=config)])

    def _log(self) -> KafkaPartitionLog:
        options = self._settings.kafka_client_options()
        return KafkaPartitionLog(options, self._settings.app_id, self._place, Journal(Metrics()), Clock().now)

    async def write(self, transactions: Sequence[Mapping[Job, bytes | None]]) -> None:
        log = self._log()
        async with aclosing(await log.open()) as batches:
            async for _ in batches:
                pass
        for rows in transactions:
            await log.commit([NewRecord(*self._place, row_key(job.key), value) for job, value in rows.items()])
        await log.close()

    async def load(self) -> tuple[int, dict[str, Job]]:
        """Return how many records a new owner reads, and the rows that they leave."""
        log = self._log()
        records, rows = 0, dict[str, Job]()
        async with aclosing(await log.open()) as batches:
            async for batch in batches:
                records += len(batch)
                for raw_key, value in batch:
                    match decode_entry(raw_key, value):
                        case JobEntry(key, None):
                            rows.pop(key.job_id, None)
                        case JobEntry(key, Job() as job):
                            rows[key.job_id] = job
        await log.close()
        return records, rows


@pytest.mark.parametrize("changes", [{}, DEFAULT_SEGMENT], ids=["as created", "with the default segment"])
async def test_a_start_soon_reads_about_one_record_a_job_and_every_job_is_there(
    broker: EmbeddedKafka, changes: dict[str, str]
) -> None:
    changelog = Changelog(broker.bootstrap_servers, f"compacted-{len(changes)}")
    await changelog.create(changes)
    ids = [f"job-{number}" for number in range(JOBS)]
    rows = {job_id: replace(COMPLETED, job_id=job_id) for job_id in ids}
    written = [
        [replace(stage, job_id=job_id) for job_id in ids[first : first + AT_ONCE]]
        for first in range(0, JOBS, AT_ONCE)
        for stage in (PENDING, CALLED, COMPLETED)
    ]
    await changelog.write([{job: encode_row(job) for job in jobs} for jobs in written])
    forgotten = [rows.pop(job_id) for job_id in ids[:FORGOTTEN]]
    await changelog.write([dict.fromkeys(forgotten)])
    # Those that were taken out stay for a day, as tombstones.
    async with asyncio.timeout(60):
        while (loaded := await changelog.load())[0] > JOBS * 1.1:
            assert loaded[1] == rows
            await asyncio.sleep(0.5)
    assert loaded[1] == rows
    assert loaded[0] >= JOBS
