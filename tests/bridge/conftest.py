"""The bridge of these tests."""

from collections.abc import AsyncIterator

import pytest

from streams.bridge import run
from tests.support.bridge import FakePublisher, Served, bridge_settings, served

FORMER_SECRET = "former-s3cret"  # made up


@pytest.fixture(autouse=True)
def stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nobody who comes late, but where that is what is tested."""
    monkeypatch.setattr(run, "LATE_SECONDS", 0.0)


@pytest.fixture
def publisher() -> FakePublisher:
    """Return a publisher that takes everything."""
    return FakePublisher()


@pytest.fixture
async def bridge(publisher: FakePublisher) -> AsyncIterator[Served]:
    """Serve it, in the middle of a rotation of the secret."""
    async with served(publisher, bridge_settings(ROBOT_CALLBACK_SECRET_PREVIOUS=FORMER_SECRET)) as running:
        yield running
