"""The robot of the contract's tests."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.contract.robot_setup import Setup


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    """Run a robot of this process, which a test can replace by one that behaves otherwise."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        setup = Setup(client)
        await setup.robot.start()
        yield setup
        await setup.robot.stop()
