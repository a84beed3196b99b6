"""What is answered to the robot, over real HTTP."""

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
import pytest
from structlog.testing import capture_logs

from streams.bridge import run, server
from streams.dev.loopback import HOST
from streams.wire.callback import CALLBACK_PATH, callback_url
from streams.wire.robot_report import REPORT_MAX_BYTES
from tests.bridge.conftest import FORMER_SECRET
from tests.contract.test_publisher import until
from tests.support.bridge import HEADERS, PATH, FakePublisher, Served, bridge_settings, report, served
from tests.support.builders import CALLBACK_SECRET, NASTY_IDS, TRACE_OF_REPORT


def holds_one(bridge: Served) -> bool:
    return bridge.metrics.registry.get_sample_value("robot_orchestrator_bridge_requests_held") == 1


async def test_a_report_is_answered_when_it_is_in_the_log(bridge: Served, publisher: FakePublisher) -> None:
    answer = await bridge.post(report())
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    (record,) = publisher.log
    assert (record.workspaceId, record.jobId, record.itemId) == ("shop-5", "job-17", "item-1")
    assert (record.status, record.trackingNumber) == ("success", "7300000001")
    assert bridge.count("accepted") == 1
    assert bridge.metrics.registry.get_sample_value("robot_orchestrator_bridge_publish_seconds_count") == 1


@pytest.mark.parametrize(("header", "passed_on"), [(TRACE_OF_REPORT, TRACE_OF_REPORT), ("00-nonsense", None)])
async def test_a_record_is_part_of_the_trace_that_its_report_is(
    bridge: Served, publisher: FakePublisher, header: str, passed_on: str | None
) -> None:
    assert (await bridge.post(report(), headers=HEADERS | {"traceparent": header})).status_code == 200
    assert publisher.traceparents == [passed_on]


async def test_no_connection_is_kept_that_could_be_closed_under_the_next_report(bridge: Served) -> None:
    for answer in [await bridge.post(report()), await bridge.post(b"no JSON"), await bridge.post(report(), headers={})]:
        assert answer.headers["Connection"] == "close"
        assert "Server" not in answer.headers


# Ids


async def test_every_id_survives_the_way(bridge: Served, publisher: FakePublisher) -> None:
    """Two clients that each have their own idea of an address."""
    sent = []
    async with aiohttp.ClientSession() as session:
        for name in NASTY_IDS:
            for key in ((name, "job-17"), ("shop-5", name)):
                assert (await bridge.post(report(), *key)).status_code == 200
                url = callback_url(bridge.url + PATH, *key)
                async with session.post(url, json=report(), headers=HEADERS) as answer:
                    assert answer.status == 200
                sent += [key, key]
    assert [(one.workspaceId, one.jobId) for one in publisher.log] == sent


@pytest.mark.parametrize("rest", ["", "/shop-5/job-17/"])
async def test_a_path_that_names_no_job_is_malformed(bridge: Served, rest: str) -> None:
    answer = await bridge.client.post(bridge.url + CALLBACK_PATH + rest, json=report(), headers=HEADERS)
    assert answer.status_code == 400
    assert bridge.count("malformed") == 1


async def test_a_report_that_goes_astray_is_seen_and_a_stranger_is_not(bridge: Served) -> None:
    """The robot is sent to some other path: every report of it is lost."""
    for path in ("/api/robot-callback/shop-5/job-17", "/", "/livez"):
        assert (await bridge.client.post(bridge.url + path, json=report(), headers=HEADERS)).status_code == 400
        assert (await bridge.client.post(bridge.url + path, json=report())).status_code == 404
    assert bridge.count("malformed") == 3
    assert bridge.count("unauthorized") == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "HEAD", "DELETE"])
async def test_a_report_is_a_post(bridge: Served, publisher: FakePublisher, method: str) -> None:
    url = callback_url(bridge.url + PATH, "shop-5", "job-17")
    answer = await bridge.client.request(method, url, headers=HEADERS)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert publisher.log == []


# Secrets


@pytest.mark.parametrize("secret", [CALLBACK_SECRET, FORMER_SECRET])
async def test_both_secrets_are_good_during_a_rotation(bridge: Served, secret: str) -> None:
    assert (await bridge.post(report(), headers={"X-Callback-Secret": secret})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Callback-Secret": ""},
        {"X-Callback-Secret": CALLBACK_SECRET[:-1]},
        {"X-Callback-Secret": f"{CALLBACK_SECRET}{FORMER_SECRET}"},
        {"X-Callback-Secret": CALLBACK_SECRET.upper()},
        {"X-Callback-Secret": "ñ".encode()},
        {"Authorization": CALLBACK_SECRET},
    ],
    ids=str,
)
async def test_another_secret_is_refused_counted_and_logged(
    bridge: Served, publisher: FakePublisher, headers: dict[str, Any]
) -> None:
    with capture_logs() as lines:
        answer = await bridge.post(report(), headers=headers)
    assert answer.status_code == 401
    assert publisher.log == []
    assert bridge.count("unauthorized") == 1
    assert lines == [
        {
            "event": "report_refused",
            "log_level": "warning",
            "reason": "unauthorized",
            "error": "the secret is not ours",
            "job_id": "job-17",
            "workspace_id": "shop-5",
        }
    ]


@pytest.mark.parametrize("job", ["shop-5/job-17", "shop-5"])
async def test_who_has_no_secret_and_no_report_is_a_stranger_and_wakes_nobody(bridge: Served, job: str) -> None:
    """A report without a secret may be the robot's, of which something on its way has taken the header."""
    with capture_logs() as lines:
        for body in (b"", b"{}", b"x" * 100_000):
            answer = await bridge.client.post(f"{bridge.url}{CALLBACK_PATH}/{job}", content=body)
            assert answer.status_code == 401
    assert lines == []
    assert bridge.count("unauthorized") == 0


async def test_after_a_rotation_the_former_secret_is_no_good(publisher: FakePublisher) -> None:
    async with served(publisher) as bridge:
        assert (await bridge.post(report(), headers={"X-Callback-Secret": FORMER_SECRET})).status_code == 401


async def test_each_secret_is_compared_whatever_the_others_say(bridge: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, secret: bytes) -> bool:
        compared.append(secret)
        return given == secret

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for secret in (CALLBACK_SECRET, FORMER_SECRET, "neither"):
        compared.clear()
        await bridge.post(report(), headers={"X-Callback-Secret": secret})
        assert compared == [CALLBACK_SECRET.encode(), FORMER_SECRET.encode()]


# Bodies


async def test_a_malformed_report_is_refused_counted_and_logged_with_what_is_wrong(
    bridge: Served, publisher: FakePublisher
) -> None:
    with capture_logs() as lines:
        answer = await bridge.post(report(status="done", errorMessage="hunter2"))
    assert (answer.status_code, answer.json()) == (400, {"error": "malformed"})
    assert publisher.log == []
    assert bridge.count("malformed") == 1
    (line,) = lines
    assert line.pop("error").startswith("status: ")
    assert line == {
        "event": "report_refused",
        "log_level": "warning",
        "reason": "malformed",
        "job_id": "job-17",
        "workspace_id": "shop-5",
        "item_id": "item-1",
    }


async def test_a_body_is_bounded(bridge: Served, publisher: FakePublisher) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000

    largest = json.dumps(report(errorMessage="")).encode().ljust(REPORT_MAX_BYTES)
    assert (await bridge.post(largest)).status_code == 200
    answer = await bridge.post(largest + b" ")
    assert (answer.status_code, answer.json()) == (413, {"error": "too_large"})
    assert (await bridge.post(b" " * server.READ_MAX_BYTES)).status_code == 413
    # It hangs up on somebody who never stops; whether the answer is read then is the network's luck.
    with contextlib.suppress(httpx.TransportError):
        answer = await bridge.client.post(f"{bridge.url}{CALLBACK_PATH}/w/j", content=endless(), headers=HEADERS)
        assert answer.status_code == 413
    await until(lambda: bridge.count("too_large") == 3)
    assert len(publisher.log) == 1


async def test_a_body_that_does_not_come_is_not_waited_for(bridge: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection(HOST, int(bridge.url.rpartition(":")[2]))
    writer.write(request_of(b'{"itemId": "item-1"', length=100))
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    assert bridge.count("malformed") == 1


def request_of(body: bytes, length: int | None = None) -> bytes:
    """Return a request as bytes, with a length that it need not have."""
    lines = (
        f"POST {CALLBACK_PATH}/shop-5/job-17 HTTP/1.1",
        "Host: bridge",
        f"X-Callback-Secret: {CALLBACK_SECRET}",
        f"Content-Length: {len(body) if length is None else length}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


HOSTILE = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "half a line": b"POST /api",
    "a header without end": b"POST / HTTP/1.1\r\nX: " + b"a" * 100_000,
    "two lengths": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: -1\r\n\r\n",
    "a chunk that is none": b"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a path in UTF-8": "POST /ñ HTTP/1.1\r\nHost: b\r\n\r\n".encode(),
    "an upgrade": b"GET /livez HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a body that ends": request_of(b'{"itemId"', length=1000),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
async def test_whatever_is_sent_the_next_report_is_taken(bridge: Served, publisher: FakePublisher, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, int(bridge.url.rpartition(":")[2]))
    writer.write(sent)
    writer.write_eof()
    with contextlib.suppress(ConnectionResetError):
        assert b"200 OK" not in (await reader.read()) or b"upgrade" in sent.lower()
    writer.close()
    assert (await bridge.post(report())).status_code == 200
    assert len(publisher.log) == 1


# Kafka away


async def test_while_kafka_is_away_a_report_is_held(bridge: Served, publisher: FakePublisher) -> None:
    publisher.go_away()
    posted = asyncio.create_task(bridge.post(report()))
    await until(lambda: holds_one(bridge))
    assert not posted.done()
    publisher.come_back()
    assert (await posted).status_code == 200
    assert not holds_one(bridge)


async def test_a_report_is_held_up_to_a_bound_and_then_told_to_be_lost() -> None:
    publisher = FakePublisher(hold_seconds=0.1)
    publisher.go_away()
    async with served(publisher) as bridge:
        with capture_logs() as lines:
            answer = await bridge.post(report())
        assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"})
        assert bridge.count("unavailable") == 1
        (line,) = lines
        assert (line["reason"], line["item_id"]) == ("unavailable", "item-1")
        assert (await bridge.client.get(f"{bridge.url}/readyz")).status_code == 503
        publisher.come_back()
        assert (await bridge.client.get(f"{bridge.url}/readyz")).status_code == 200


async def test_a_report_whose_robot_has_gone_is_published_all_the_same(
    bridge: Served, publisher: FakePublisher
) -> None:
    publisher.go_away()
    posted = asyncio.create_task(bridge.post(report()))
    await until(lambda: holds_one(bridge))
    posted.cancel()
    await asyncio.gather(posted, return_exceptions=True)
    publisher.come_back()
    await until(lambda: len(publisher.log) == 1)


# The end


async def test_a_report_on_a_connection_that_was_there_before_the_stop_is_answered(
    publisher: FakePublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LATE_SECONDS", 3.0)
    async with served(publisher) as bridge:
        reader, writer = await asyncio.open_connection(HOST, int(bridge.url.rpartition(":")[2]))
        # It is known to the server when it has answered something.
        writer.write(b"GET /livez HTTP/1.1\r\nHost: bridge\r\n\r\n")
        assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200 ")
        bridge.server.should_exit = True
        await until(lambda: not listens(bridge))
        writer.write(request_of(json.dumps(report()).encode()))
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert len(publisher.log) == 1


def listens(bridge: Served) -> bool:
    """Whether somebody can still connect."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, int(bridge.url.rpartition(":")[2]))) == 0


# Probes


async def test_the_probes_tell_how_it_is(bridge: Served) -> None:
    await bridge.post(report())
    for path, text in (("/livez", "[+] event loop turns"), ("/readyz", "[+] Kafka takes reports")):
        answer = await bridge.client.get(f"{bridge.url}{path}?verbose")
        assert (answer.status_code, answer.text) == (200, f"{text}\nok\n")
    answer = await bridge.client.get(f"{bridge.url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'robot_orchestrator_bridge_reports_total{result="accepted"} 1.0' in answer.text


async def test_by_default_only_this_machine_can_reach_it() -> None:
    async with served(FakePublisher(), bridge_settings()) as bridge:
        with pytest.raises(OSError, match=r"Connect call failed|unreachable|assign"):
            await asyncio.open_connection("127.0.0.2", int(bridge.url.rpartition(":")[2]))
