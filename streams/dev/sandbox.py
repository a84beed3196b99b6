"""The development environment: everything on one machine, and a live table of jobs, until Ctrl-C."""

import asyncio
import contextlib
import math
import os
import sys
from collections.abc import Mapping

from rich.console import Console

from streams.dev.batches import ANY_JOB, Fate
from streams.dev.kafka_jars import default_cache_dir
from streams.dev.stack import RobotOptions, Stack
from streams.dev.table import live_jobs, shown_steps

DEFAULT_SERVERS = ("127.0.0.1:9092", "localhost:9092")
CALLBACK_SECRET = "dev-callback-secret"  # noqa: S105 # no bridge checks it here

# How soon one hears of a part that has ended.
CHECK_SECONDS = 1.0


def fates_of(every: Mapping[Fate, int]) -> dict[str, Mapping[str, int]]:
    """Return the robot's table by which one job in N has a fate, on average; 0 stands for none.

    Raises ValueError if that is more than every job.
    """
    wanted = {fate: n for fate, n in every.items() if n}
    if not wanted:
        return {}
    whole = math.lcm(*wanted.values())
    weights = {fate.value: whole // n for fate, n in wanted.items()}
    rest = whole - sum(weights.values())
    if rest < 0:
        raise ValueError("the fates ask for more than every job")
    return {ANY_JOB: weights | {Fate.COMPLETE.value: rest}}


def run_sandbox(console: Console, robot: RobotOptions, workers: int) -> None:
    """Run the environment until it is interrupted. Raises StackError or EmbeddedKafkaError."""
    folder = default_cache_dir() / "dev-data"
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    secret = {"ROBOT_CALLBACK_SECRET": os.environ.get("ROBOT_CALLBACK_SECRET") or CALLBACK_SECRET}
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as running:
        with shown_steps(console) as tell:
            stack = Stack(folder, robot=robot, workers=workers, variables=secret, tell=tell, bootstrap_servers=given)
            running.enter_context(stack)
        _welcome(console, stack)
        if given:
            console.print(f"Every job that is submitted on {given} goes to the simulated robot.\n", style="yellow")
        asyncio.run(_show(console, stack))
    console.print("\nEverything that was started here has been stopped; the data stays in")
    console.print(f"  {folder}", soft_wrap=True)


async def _show(console: Console, stack: Stack) -> None:
    settings = stack.settings()
    ended: set[str] = set()
    async with live_jobs(settings.kafka_client_options(), settings.app_id, console):
        while True:
            for part in (stack.robot, *stack.workers):
                if part.exit_code is not None and part.name not in ended:
                    ended.add(part.name)
                    text = f"{part.name} has ended with exit code {part.exit_code}: see {part.log_file}"
                    console.print(text, style="red", soft_wrap=True)
            await asyncio.sleep(CHECK_SECONDS)


def _welcome(console: Console, stack: Stack) -> None:
    servers = stack.bootstrap_servers
    say = "" if servers in DEFAULT_SERVERS else f"KAFKA_BOOTSTRAP_SERVERS={servers} "
    lines = [("Kafka", servers), ("robot", f"{stack.robot.url}, which notes its POSTs in {stack.posts_file}")]
    lines += [(worker.name, f"{worker.url}/readyz?verbose and {worker.url}/metrics") for worker in stack.workers]
    lines += [("logs", str(stack.logs))]
    console.print()
    for name, text in lines:
        console.print(f"  [bold]{name:<10}[/]{text}", soft_wrap=True)
    console.print("\nSubmit a job from another terminal, a new one each time:")
    console.print(f"  {sys.argv[0]} example | {say}{sys.argv[0]} submit -", style="cyan", soft_wrap=True)
    console.print("Ctrl-C stops everything.\n")
