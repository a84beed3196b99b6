"""Fixtures for the whole suite, and how it is shared out when it runs in several processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.kafka import Kafka, Source, running_kafka, source

TESTS = Path(__file__).parent
# Most tests wait. Four of them keep two cores busy, with the processes that they start.
PROCESSES = 4
# These wait longest. They come first, so that no process has one left when the other is done.
LONGEST = (
    *("chaos", "upgrade", "faults", "kafka", "simulation", "hardening", "security"),
    *("bridge", "console", "dev", "benchmarks"),
)
# Its tests start nothing that they could share, and its worlds keep every core busy.
UNSHARED = "tests/simulation/test_simulation.py"


def pytest_report_header() -> str:
    """Say at the head of the run which Kafka the tests use."""
    return f"kafka: {source()}"


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` means; each has a Kafka of its own, unless the tests were given one."""
    return 0 if source() is Source.GIVEN else PROCESSES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(TESTS).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=place)


class Shares(LoadScopeScheduling):  # type: ignore[misc] # xdist is not typed where it counts
    """Leaves the tests of a file to one process, for they share what it has started."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = nodeid.partition("::")[0]
        return nodeid if file == UNSHARED else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    """Return how tests are handed out to the processes."""
    return Shares(config, log)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Run a Kafka from the first test that asks for it to the end; what a test leaves there stays."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: Kafka) -> str:
    """Return the address of the running Kafka."""
    return kafka.bootstrap_servers
