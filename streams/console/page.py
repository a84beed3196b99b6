"""What every page and every answer of the API is made with."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from streams.console.access import Gate
from streams.console.changes import Changes
from streams.console.follower import Cluster
from streams.console.models import KafkaView
from streams.console.store import Store
from streams.console.views import Moment
from streams.settings import ConsoleSettings


class Followed(Protocol):
    """Kafka, as the pages know it; see Follower."""

    problem: str | None
    behind: int | None
    cluster: Cluster | None


@dataclass(frozen=True, slots=True)
class Console:
    """The parts of a console that its pages need."""

    settings: ConsoleSettings
    store: Store
    followed: Followed
    changes: Changes
    gate: Gate
    allow_actions: bool

    def moment(self) -> Moment:
        """Return what a view needs beside the file."""
        cluster, settings = self.followed.cluster, self.settings
        known = cluster is not None and self.followed.problem is None
        workers = cluster.workers if cluster is not None and known else None
        return Moment(datetime.now(UTC), workers, settings.deadlines, settings.jobs_per_workspace)

    def kafka(self) -> KafkaView:
        """Return how fresh all of this is."""
        cluster = self.followed.cluster
        return KafkaView(
            problem=self.followed.problem,
            behind=self.followed.behind,
            lag={} if cluster is None else dict(cluster.lag),
            lookedAt=None if cluster is None else cluster.looked_at,
        )
