"""Kafkas of one partition: with two workers, one has nothing to do."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streams.dev.kafka import EmbeddedKafka
from tests.hardening.halves import Halves
from tests.support.scene import Scene


@asynccontextmanager
async def both_halves(bootstrap_servers: str, folder: Path) -> AsyncIterator[Halves]:
    async with (
        Scene(bootstrap_servers, folder, partitions=1) as patched,
        Scene(bootstrap_servers, folder, partitions=1) as stock,
    ):
        yield Halves(patched, stock)


@pytest.fixture(scope="package")
def one_partition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("one-partition")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture
async def halves(one_partition: str, tmp_path: Path) -> AsyncIterator[Halves]:
    async with both_halves(one_partition, tmp_path) as halves:
        yield halves


@pytest.fixture
async def fresh_halves(tmp_path: Path) -> AsyncIterator[Halves]:
    """On a Kafka where nothing was ever written: the offsets begin at 0."""
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        async with both_halves(broker.bootstrap_servers, tmp_path) as halves:
            yield halves
