"""Fixtures for the whole suite, and how it is shared out when it runs in several processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Kafka, Source, running_kafka, source

TESTS = Path(__file__).parent
# Most tests wait for other processes, which need a core too.
PROCESSES = 2
# These wait longest. They come first, so that no process has one left when the other is done.
LONGEST = ("chaos", "faults", "kafka", "simulation", "hardening", "security", "dev")
# Its tests start nothing that they could share, and the worlds need all the processes there are.
UNSHARED = "simulation"


def pytest_report_header() -> str:
    """Say at the head of the run which Kafka the tests use."""
    return f"kafka: {source()}"


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` means; each has a Kafka of its own, unless the tests were given one."""
    return 0 if source() is Source.GIVEN else PROCESSES


# Before xdist, which goes by the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave the tests of a file to one process: they share what it has started."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := _folder(item)) in LONGEST else len(LONGEST))
    for item in items:
        if _folder(item) != UNSHARED:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Run a Kafka from the first test that asks for it to the end; what a test leaves there stays."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: Kafka) -> str:
    """Return the address of the running Kafka."""
    return kafka.bootstrap_servers
