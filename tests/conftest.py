"""Fixtures for the whole suite."""

from collections.abc import Iterator

import pytest

from tests.support.kafka import Kafka, running_kafka, source


def pytest_report_header() -> str:
    """Say at the head of the run which Kafka the tests use."""
    return f"kafka: {source()}"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Run a Kafka from the first test that asks for it to the end; what a test leaves there stays."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: Kafka) -> str:
    """Return the address of the running Kafka."""
    return kafka.bootstrap_servers
