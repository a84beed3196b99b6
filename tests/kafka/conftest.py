"""What most of these tests begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.scene import Scene


@pytest.fixture
async def scene(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """Return an application of the test's own on the running Kafka."""
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        yield scene
