"""Connections on which nothing comes, or not all of it."""

import asyncio

import pytest

from streams import serving
from tests.support.bridge import FakePublisher, report, served


@pytest.mark.parametrize("sent", [b"", b"POST /api/webhooks/robot-callback/shop-5/job-17 HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_whole_head_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    async with served(FakePublisher()) as bridge:
        host, port = bridge.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_a_request_may_take_longer_than_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    publisher = FakePublisher()
    publisher.go_away()
    async with served(publisher) as bridge:
        asyncio.get_running_loop().call_later(0.6, publisher.come_back)
        assert (await bridge.post(report())).status_code == 200
