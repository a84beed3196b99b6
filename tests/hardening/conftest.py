"""Kafkas of one partition: with two workers, one has nothing to do."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from streams.dev.kafka import EmbeddedKafka
from tests.hardening.side import Side
from tests.hardening.stock_worker import Half
from tests.support.scene import Scene


@pytest.fixture(scope="package")
def one_partition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("one-partition")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(params=[Half.PATCHED, pytest.param(Half.STOCK, marks=pytest.mark.stock)])
def half(request: pytest.FixtureRequest) -> Half:
    """Return the half that a test is about: the stock one only if `make hardening` asks for it."""
    return Half(request.param)


@pytest.fixture
async def side(half: Half, one_partition: str, tmp_path: Path) -> AsyncIterator[Side]:
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        yield Side(half, scene)


@pytest.fixture
async def fresh_side(half: Half, tmp_path: Path) -> AsyncIterator[Side]:
    """On a Kafka where nothing was ever written: the offsets begin at 0."""
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        async with Scene(broker.bootstrap_servers, tmp_path, partitions=1) as scene:
            yield Side(half, scene)
