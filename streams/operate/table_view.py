"""The job table as people ask about it: the rows of a workspace or of all, and what else decides about their calls."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from aiokafka.errors import KafkaError

from streams.core.admission import paused_until, robot_free_at
from streams.core.deadlines import Deadlines
from streams.core.job import Job, JobKey
from streams.kafka.access import describe_group
from streams.kafka.admin import admin_client
from streams.names import changelog_topic
from streams.operate.job_rows import Progress, RecordReader, no_progress
from streams.operate.standing import Around, Hold, holds_in_force
from streams.settings import KafkaSettings
from streams.wire.placement import partition_of
from streams.wire.rows import (
    DecisionEntry,
    JobEntry,
    Owner,
    OwnerEntry,
    decode_entry,
    decode_row,
    is_job,
    is_no_job,
    keys_of,
    row_key,
)

# The client id that Faust gives itself. A worker's own id ends in a dash and eight digits.
_FAUSTS_OWN = re.compile(r"faust-[0-9]+\.[0-9a-z.]+")


class Rows(Mapping[str, Job]):
    """The rows of a workspace by their job ids, kept as bytes: as jobs a million of them would take 4 GB."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def add(self, job_id: str, value: bytes) -> None:
        """Take in a row, which must be one that can be read."""
        self._values[job_id] = value

    def __getitem__(self, job_id: str) -> Job:
        return decode_row(self._values[job_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True)
class TableView:
    """What was read of the job table, by workspace and by partition; a workspace that was not asked for is not there.

    `workers` are the ids of those in the group, None where this user may not ask.
    """

    partitions: int
    workspaces: Mapping[str, Mapping[str, Job]]
    holds: Mapping[int, Collection[Hold]]
    owners: Mapping[int, Owner | None]
    workers: frozenset[str] | None = None

    def jobs(self) -> Iterator[Job]:
        """Go through all rows."""
        return (job for rows in self.workspaces.values() for job in rows.values())

    @property
    def robot_missed_by(self) -> dict[str, tuple[datetime, list[int]]]:
        """Which workers miss the robot, since when, and the partitions that they have.

        Without those that are in the group no more: what they saw is of no use to anybody.
        """
        found: dict[str, tuple[datetime, list[int]]] = {}
        for number, owner in self.owners.items():
            if owner is None or owner.robot_away_since is None:
                continue
            if self.workers is None or owner.worker_id in self.workers:
                since, numbers = found.get(owner.worker_id, (owner.robot_away_since, []))
                found[owner.worker_id] = min(since, owner.robot_away_since), [*numbers, number]
        return found

    def get(self, key: JobKey) -> Job | None:
        """Return a job's row."""
        return self.workspaces.get(key.workspace_id, {}).get(key.job_id)

    def around(self, workspace_id: str, deadlines: Deadlines, jobs_per_workspace: int, now: datetime) -> Around:
        """Return what has a say from now on in when the jobs of a workspace are called: one does for all of them."""

        def counts(job: Job) -> bool:
            ends = paused_until(job), robot_free_at(job, deadlines)
            return not job.ended or any(end is not None and end > now for end in ends)

        partition = partition_of(workspace_id, self.partitions)
        return Around(
            deadlines=deadlines,
            workspace=list(filter(counts, self.workspaces[workspace_id].values())),
            holds=self.holds.get(partition, ()),
            owner=self.owners.get(partition),
            workers=self.workers,
            jobs_per_workspace=jobs_per_workspace,
        )


async def read_view(
    settings: KafkaSettings, reader: RecordReader, workspace_id: str | None, progress: Progress = no_progress
) -> TableView:
    """Return the rows of a workspace, which is one partition's to read, or of all, and who is in the group.

    Raises what the reader does, a KafkaError, and UnreadableRowError for a row of a newer release.
    """
    numbers = range(reader.partitions) if workspace_id is None else [partition_of(workspace_id, reader.partitions)]
    wanted: Callable[[bytes], bool] = _all if workspace_id is None else keys_of(workspace_id)
    values, workers = await asyncio.gather(
        reader.last_values(changelog_topic(settings.app_id), numbers, wanted, progress), workers_of(settings)
    )
    return view_of(values, reader.partitions, workers)


async def read_row(settings: KafkaSettings, reader: RecordReader, key: JobKey) -> Job | None:
    """Return a job as it is now, None if the table does not have it.

    Raises what the reader does, and UnreadableRowError for a row of a newer release.
    """
    partition, own = partition_of(key.workspace_id, reader.partitions), row_key(key)
    values = await reader.last_values(changelog_topic(settings.app_id), [partition], own.__eq__)
    row = values[partition].get(own)
    return None if row is None else decode_row(row)


async def read_holds(settings: KafkaSettings, reader: RecordReader) -> dict[int, Collection[Hold]]:
    """Return the holds in force in every partition. Raises what the reader does, and UnreadableRowError."""
    numbers = range(reader.partitions)
    values = await reader.last_values(changelog_topic(settings.app_id), numbers, is_no_job)
    return dict(view_of(values, reader.partitions, None).holds)


def view_of(values: Mapping[int, Mapping[bytes, bytes]], partitions: int, workers: frozenset[str] | None) -> TableView:
    """Return what the last values of changelog partitions say. Raises UnreadableRowError."""
    workspaces: dict[str, Rows] = defaultdict(Rows)
    holds: dict[int, list[Hold]] = {}
    owners: dict[int, Owner | None] = {}
    for number, entries in values.items():
        decisions = []
        for key, value in entries.items():
            match decode_entry(key, value):
                case JobEntry(job_key, Job()):
                    workspaces[job_key.workspace_id].add(job_key.job_id, value)
                case DecisionEntry(_, decision) if decision is not None:
                    decisions.append(decision)
                case OwnerEntry(owner):
                    owners[number] = owner
        holds[number] = holds_in_force(decisions)
    return TableView(partitions, workspaces, holds, owners, workers)


async def workspaces_of(
    settings: KafkaSettings, reader: RecordReader, job_id: str, progress: Progress = no_progress
) -> list[str]:
    """Return the workspaces that have a job with an id: all partitions are looked through, side by side."""
    values = await reader.last_values(
        changelog_topic(settings.app_id), range(reader.partitions), is_job(job_id), progress
    )
    entries: Iterable[object] = (decode_entry(key, value) for each in values.values() for key, value in each.items())
    return sorted(entry.key.workspace_id for entry in entries if isinstance(entry, JobEntry))


def _all(_key: bytes) -> bool:
    return True


async def workers_of(settings: KafkaSettings) -> frozenset[str] | None:
    """Return the ids of the workers in the group, None where that is not known."""
    try:
        async with admin_client(**settings.kafka_client_options()) as admin:
            group = await describe_group(admin, settings.app_id, patience=1)
    except KafkaError:
        # As while its coordinator moves: what the table says is worth showing all the same.
        return None
    return None if group is None else known_workers(group.members)


def known_workers(members: frozenset[str]) -> frozenset[str] | None:
    """Return the ids of the workers whose client ids a group has, None if one of them does not say who it is."""
    # One of before 0.4 has Faust's name for itself.
    return None if any(map(_FAUSTS_OWN.fullmatch, members)) else members
