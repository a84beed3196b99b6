"""The development environment: everything on one machine, and a live table of jobs, until Ctrl-C."""

import asyncio
import contextlib
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from streams.dev.batches import ANY_JOB, Fate
from streams.dev.other_cluster import check_nobody_else_works_there
from streams.dev.running import ELSEWHERE, dev_folder, only_dev, own_app_id
from streams.dev.stack import Plan, RobotOptions, Stack, environment
from streams.operate.live_table import live_jobs, shown_steps

CALLBACK_SECRET = "dev-callback-secret"  # noqa: S105 # of the bridge here, which nobody else can reach

# How soon one hears of a service that has ended.
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


def run_sandbox(
    console: Console, robot: RobotOptions, workers: int, *, bootstrap_servers: str | None, port: int | None
) -> None:
    """Run the environment until it is interrupted, on a Kafka that is given, or on one of its own at a port.

    Raises StackError, EmbeddedKafkaError or SettingsError.
    """
    folder = dev_folder()
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as running:
        running.enter_context(environment({}, without=ELSEWHERE))
        announce = running.enter_context(only_dev(folder))
        with shown_steps(console) as tell:
            variables = {"ROBOT_CALLBACK_SECRET": CALLBACK_SECRET, "ROBOT_ORCHESTRATOR_APP_ID": own_app_id(folder)}
            plan = Plan(robot, workers, variables, console=True)
            stack = Stack(folder, plan, tell, bootstrap_servers=bootstrap_servers, port=port)
            if bootstrap_servers:
                asyncio.run(check_nobody_else_works_there(stack.settings()))
            running.enter_context(stack)
        announce(stack.variables)
        _welcome(console, stack, folder)
        if bootstrap_servers:
            everything = f"Every job that is submitted on {bootstrap_servers} goes to the simulated robot.\n"
            console.print(everything, style="yellow")
        asyncio.run(_show(console, stack))
    console.print("\nEverything that was started here has been stopped; the data stays in")
    console.print(f"  {folder}", soft_wrap=True)


async def _show(console: Console, stack: Stack) -> None:
    settings = stack.settings()
    ended: set[str] = set()
    async with live_jobs(settings.kafka_client_options(), settings.app_id, console):
        while True:
            for service in stack.services:
                if service.exit_code is not None and service.name not in ended:
                    ended.add(service.name)
                    text = f"{service.name} has ended with exit code {service.exit_code}: see {service.log_file}"
                    console.print(text, style="red", soft_wrap=True)
            await asyncio.sleep(CHECK_SECONDS)


def _welcome(console: Console, stack: Stack, folder: Path) -> None:
    lines = [("console", stack.console.url)] if stack.console else []
    lines += [
        ("Kafka", stack.bootstrap_servers),
        ("robot", f"{stack.robot.url}, which notes its POSTs in {stack.posts_file}"),
    ]
    lines += [("bridge", f"{stack.bridge.url}/readyz?verbose and {stack.bridge.url}/metrics")]
    lines += [(worker.name, f"{worker.url}/readyz?verbose and {worker.url}/metrics") for worker in stack.workers]
    lines += [("logs", str(stack.logs)), ("data", f"{folder}, kept between runs: to begin anew, remove it in between")]
    console.print()
    for name, text in lines:
        console.print(f"  [bold]{name:<10}[/]{text}", soft_wrap=True)
    console.print("\nSubmit a job from another terminal, a new one each time:")
    console.print(f"  {sys.argv[0]} example | {sys.argv[0]} submit --dev -", style="cyan", soft_wrap=True)
    if not stack.workers:
        values = " ".join(f"{name}={shlex.quote(value)}" for name, value in stack.variables.items())
        console.print("A worker of your own, in another terminal:")
        console.print(f"  export {values}\n  {sys.argv[0]} worker", style="cyan", soft_wrap=True)
    console.print("Ctrl-C stops everything.\n")
