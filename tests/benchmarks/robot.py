"""A robot that costs next to nothing: it answers 200, and publishes the completion later, or never.

Prints its URL; when its standard input ends, when each POST arrived and each completion was published (seconds
since 1970), and ends.
"""

import argparse
import asyncio
import sys
import time

import msgspec
from aiohttp import web
from aiokafka import AIOKafkaProducer

from streams.dev.loopback import HOST
from streams.dev.robot import BATCH_PATH, MAX_BODY_BYTES
from streams.names import Topic
from tests.benchmarks.lines import say

ORDERS = 2  # as in every job of the benchmarks


class _Ids(msgspec.Struct):
    jobId: str  # the name on the wire
    workspaceId: str  # the name on the wire


class CheapRobot:
    """Takes any body with the two ids and keeps no track of workspaces. `delay_seconds` None: reports nothing."""

    def __init__(self, answer_seconds: float, delay_seconds: float | None) -> None:
        self.posts: list[tuple[str, float]] = []
        self.completions: list[tuple[str, float]] = []
        self._answer_seconds = answer_seconds
        self._delay_seconds = delay_seconds
        self._decoder = msgspec.json.Decoder(_Ids)
        self._ended: asyncio.Queue[_Ids] = asyncio.Queue()

    async def create_batch(self, request: web.Request) -> web.Response:
        """Accept a batch."""
        arrived_at = time.time()
        ids = self._decoder.decode(await request.read())
        self.posts.append((ids.jobId, arrived_at))
        if self._answer_seconds:
            await asyncio.sleep(self._answer_seconds)
        if self._delay_seconds is not None:
            asyncio.get_running_loop().call_later(self._delay_seconds, self._ended.put_nowait, ids)
        return web.Response(body=b'{"success":true}', content_type="application/json")

    async def report(self, producer: AIOKafkaProducer) -> None:
        """Publish the completions as they become due."""
        while True:
            ids = await self._ended.get()
            completion = {
                "jobId": ids.jobId,
                "workspaceId": ids.workspaceId,
                "successCount": ORDERS,
                "errorCount": 0,
            }
            self.completions.append((ids.jobId, time.time()))
            await producer.send(Topic.BATCH_COMPLETED, msgspec.json.encode(completion), ids.workspaceId.encode())


async def serve(bootstrap_servers: str, answer_seconds: float, delay_seconds: float | None) -> None:
    """Run until the standard input ends."""
    robot = CheapRobot(answer_seconds, delay_seconds)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post(BATCH_PATH, robot.create_batch)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all") as producer:
        reporting = asyncio.create_task(robot.report(producer))
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        say({"url": f"http://{HOST}:{runner.addresses[0][1]}"})
        await asyncio.to_thread(sys.stdin.buffer.read)
        await runner.cleanup()
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    say({"posts": robot.posts, "completions": robot.completions})


def main() -> None:
    """Run the robot as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--answer-seconds", type=float, default=0.0, help="from a POST to its answer")
    parser.add_argument("--delay-seconds", type=float, help="from the answer to the completion; none without it")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.bootstrap_servers, arguments.answer_seconds, arguments.delay_seconds))


if __name__ == "__main__":
    main()
