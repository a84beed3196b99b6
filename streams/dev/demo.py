"""The demo: about twenty jobs with every fate on a real Kafka, shown live, and checked at the end."""

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.console import Console

from streams.core.job import JobKey
from streams.dev import demo_jobs
from streams.dev.demo_jobs import Case
from streams.dev.demo_report import report
from streams.dev.history import History, Post, read_history, read_posts
from streams.dev.history_check import check
from streams.dev.stack import PARTITIONS, POLL_SECONDS, Plan, RobotOptions, Stack, environment
from streams.dev.violations import Violation
from streams.names import Topic
from streams.operate.live_table import live_jobs, shown_steps
from streams.operate.resubmission import Choice, Group
from streams.operate.resubmit import RefusedError, prepare, send
from streams.wire.placement import partition_of

CALLBACK_SECRET = "demo-callback-secret-2603"  # noqa: S105 # of no bridge; looked for like the password
SECRETS = (demo_jobs.PASSWORD, demo_jobs.USERNAME, CALLBACK_SECRET)
# Short, so that a lost batch times out while one looks on; each leaves a slow machine some room.
VARIABLES = {
    "ROBOT_CALLBACK_SECRET": CALLBACK_SECRET,
    "ROBOT_ORCHESTRATOR_TIMEOUT_BASE_SECONDS": "4",
    "ROBOT_ORCHESTRATOR_TIMEOUT_PER_ORDER_SECONDS": "1",
    "ROBOT_ORCHESTRATOR_ROBOT_TIMEOUT_SECONDS": "3",
    "ROBOT_ORCHESTRATOR_WORKSPACE_PAUSE_SECONDS": "0.5",
    "ROBOT_ORCHESTRATOR_SESSION_TIMEOUT_SECONDS": "3",
    # A busy robot is asked again after 5 s.
    "ROBOT_ORCHESTRATOR_PATIENCE_SECONDS": "7",
}
# The answer takes long enough to kill a worker while it waits for it.
ROBOT = RobotOptions(
    order_seconds=0.5,
    answer_delay_seconds=1.0,
    release_seconds=0.2,
    refuse_status=409,
    busy_attempts=1,
    fates={case.job_id: case.fate for case in demo_jobs.CASES},
)
WORKERS = 2
# Far longer than anything here takes; past it the report says what is missing.
PATIENCE_SECONDS = 40.0


def run_demo(console: Console) -> int:
    """Run the demo and return the exit code: 0 if every job ended as it must and no promise was broken."""
    folder = Path(tempfile.mkdtemp(prefix="robot-orchestrator-demo-"))
    console.print("[bold]robot-orchestrator demo[/]: a Kafka, a robot and two workers, all of them real processes\n")
    try:
        good = _run_in(folder, console)
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    if good:
        shutil.rmtree(folder)
        return 0
    console.print(f"[red]Not as it should be.[/] The data and logs of all parts are in {folder}", soft_wrap=True)
    return 1


def _run_in(folder: Path, console: Console) -> bool:
    # What points to another Kafka or robot must not reach the children.
    with environment({}, without=("KAFKA_", "ROBOT_")), contextlib.ExitStack() as running:
        with shown_steps(console) as tell:
            stack = Stack(folder, Plan(ROBOT, WORKERS, VARIABLES), tell)
            running.enter_context(stack)
        return asyncio.run(_Demo(stack, console).run())


class _Demo:
    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console
        self._options = stack.settings().kafka_client_options()
        self._app_id = stack.settings().app_id
        # Until it has its id, the report misses it.
        self._again = demo_jobs.AGAIN

    async def run(self) -> bool:
        async with (
            AIOKafkaProducer(**self._options) as self._producer,
            live_jobs(self._options, self._app_id, self._console) as self._board,
        ):
            await self._play()
            history, posts, violations = await self._come_to_rest()
        return report(self._console, [*demo_jobs.CASES, self._again], history, posts, violations)

    async def _play(self) -> None:
        self._say("1. What a robot can do with a batch, and records that nobody likes")
        await self._submit(*demo_jobs.ROBOT_FATES, demo_jobs.LATE, demo_jobs.FIRST, demo_jobs.SECOND, demo_jobs.BAD)
        await self._submit_oddly()
        await self._report_in_the_wrong_partition(demo_jobs.REPORTED_ELSEWHERE)
        await self._ended(demo_jobs.LATE)
        await self._complete(demo_jobs.LATE, self._home(demo_jobs.LATE))
        await self._ended(*demo_jobs.QUIET_CASES)
        self._say("2. Of a job that ended, the order that failed is tried again (jobs resubmit)")
        await self._try_again(demo_jobs.PARTLY_FAILED)
        self._say("3. kill -9 of a worker while its calls are in flight")
        await self._kill_a_worker()
        self._say("4. The robot is down")
        await asyncio.to_thread(self._stack.robot.stop)
        await self._submit(demo_jobs.ROBOT_DOWN)
        await self._ended(demo_jobs.ROBOT_DOWN)

    async def _submit(self, *cases: Case) -> None:
        for case in cases:
            await self._send(Topic.SUBMITTED, case.submission(), self._home(case), case.key.workspace_id)

    async def _submit_oddly(self) -> None:
        await self._send(Topic.SUBMITTED, demo_jobs.POISON, 0, "poison")
        await self._submit(demo_jobs.TWICE, demo_jobs.TWICE, demo_jobs.CONFLICT, demo_jobs.REPORTED_ELSEWHERE)
        conflict, misplaced = demo_jobs.CONFLICT, demo_jobs.MISPLACED
        other = conflict.submission(carrier="another")
        await self._send(Topic.SUBMITTED, other, self._home(conflict), conflict.key.workspace_id)
        await self._send(Topic.SUBMITTED, misplaced.submission(), (self._home(misplaced) + 1) % PARTITIONS, None)

    async def _report_in_the_wrong_partition(self, case: Case) -> None:
        await self._posted(case)
        await self._complete(case, (self._home(case) + 1) % PARTITIONS)

    async def _try_again(self, failed: Case) -> None:
        settings = self._stack.settings()
        try:
            prepared = await prepare(settings, failed.key, Choice(group=Group.FAILED), datetime.now(UTC))
        except RefusedError as error:
            self._say(str(error), style="red")
            return
        await send(settings, prepared)
        self._again = replace(demo_jobs.AGAIN, job_id=prepared.plan.new_job_id)
        await self._ended(self._again)

    async def _kill_a_worker(self) -> None:
        await self._submit(*demo_jobs.KILLED_WORKER)
        await self._posted(*demo_jobs.KILLED_WORKER)
        killed = self._stack.workers[0]
        killed.kill()
        replacement = self._stack.add_worker()
        self._say(f"{killed.name} killed; {replacement.name} takes its place", style="yellow")
        await asyncio.to_thread(replacement.wait_until_ready)
        await self._ended(*demo_jobs.KILLED_WORKER)

    async def _complete(self, case: Case, partition: int) -> None:
        """Report a batch as the callback bridge would."""
        ids = {"jobId": case.key.job_id, "workspaceId": case.key.workspace_id}
        value = json.dumps(ids | {"successCount": case.orders, "errorCount": 0}).encode()
        await self._send(Topic.BATCH_COMPLETED, value, partition, case.key.workspace_id)

    async def _send(self, topic: Topic, value: bytes, partition: int, key: str | None) -> None:
        encoded = None if key is None else key.encode()
        await self._producer.send_and_wait(topic, value, key=encoded, partition=partition)

    async def _posted(self, *cases: Case) -> None:
        """Wait until the robot has received the jobs."""
        wanted = {case.key for case in cases}
        give_up = time.monotonic() + PATIENCE_SECONDS
        # Another process writes the file.
        while wanted - self._posts_of_robot() and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def _ended(self, *cases: Case) -> None:
        """Wait until the jobs have ended; one that does not is for the report to tell."""
        jobs = self._board.jobs
        await self._board.wait_for(
            lambda: all(case.key in jobs and jobs[case.key].ended for case in cases), PATIENCE_SECONDS
        )

    async def _come_to_rest(self) -> tuple[History, list[Post], list[Violation]]:
        """Wait until nothing is open any more, stop the workers, and return what there is then."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        # Only reading the topics again tells.
        while (await self._check())[2] and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(self._stack.stop_workers)
        return await self._check()

    async def _check(self) -> tuple[History, list[Post], list[Violation]]:
        history, posts = await read_history(self._options, self._app_id), read_posts(self._stack.posts_file)
        return history, posts, check(history, posts, SECRETS)

    def _posts_of_robot(self) -> set[JobKey]:
        return {post.key for post in read_posts(self._stack.posts_file)}

    @staticmethod
    def _home(case: Case) -> int:
        return partition_of(case.key.workspace_id, PARTITIONS)

    def _say(self, text: str, style: str = "bold") -> None:
        self._console.print(f"\n{text}", style=style)
