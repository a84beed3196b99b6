"""One round: load, faults meanwhile, everything healed, the verdict."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.faults import ALL
from tests.chaos.plan import Plan
from tests.chaos.verdict import Verdict, settle
from tests.chaos.world import World

# Every fault ends by itself before that, an outage aside, or something stands still that should not.
FAULTS_SECONDS = 180.0


@dataclass(frozen=True)
class Round:
    """What was done in a round, and what came of it."""

    plan: Plan
    done: Counter[str]
    exits: Counter[str]
    verdict: Verdict
    sent: Counter[str]
    seconds: float

    def __str__(self) -> str:
        faults = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(self.done.items()))
        exits = ", ".join(f"{reason} x{count}" for reason, count in sorted(self.exits.items()))
        outcomes = ", ".join(f"{kind} {count}" for kind, count in self.verdict.outcomes.most_common())
        plan = self.plan
        changelog = f"changelog {'compacted to' if plan.compacted else 'of'} {self.verdict.rows_left} records"
        return (
            f"seed {plan.seed}: {len(self.verdict.violations)} violations; {self.verdict.jobs} jobs,"
            f" {self.verdict.posts} POSTs, {self.seconds:.0f} s; {plan.brokers} brokers, {plan.workers} workers,"
            f" {changelog}{', backlog' if plan.backlog else ''};"
            f" {faults or 'no faults'}\n    exits: {exits}\n    outcomes: {outcomes}"
        )


async def run_round(plan: Plan, folder: Path) -> Round:
    """Run the round of a plan; its data and logs are in the folder."""
    started = time.monotonic()
    done: Counter[str] = Counter()
    proxied = any(ALL[name].proxied for _, name in plan.faults)
    moving = any(ALL[name].moving for _, name in plan.faults)
    async with World(plan, folder, proxied=proxied, moving=moving) as world:
        if plan.backlog:
            await world.publish_load()
        for _ in range(plan.workers):
            world.add_worker()
        async with asyncio.timeout(FAULTS_SECONDS + plan.outage_seconds), asyncio.TaskGroup() as tasks:
            if not plan.backlog:
                tasks.create_task(world.publish_load())
            for nth, (at, seconds, everything) in enumerate(plan.holds):
                tasks.create_task(world.hold(nth, at, seconds, everything=everything))
            for at, name in plan.faults:
                tasks.create_task(_fault(world, at, name, done))
        await world.producers.flush()
        verdict = await settle(world)
        verdict.violations += world.problems + await _stop_cleanly(world)
    return Round(plan, done, world.fleet.exits, verdict, world.load.sent, time.monotonic() - started)


async def _fault(world: World, at: float, name: str, done: Counter[str]) -> None:
    await asyncio.sleep(at)
    await ALL[name].run(world)
    done[name] += 1


async def _stop_cleanly(world: World) -> list[str]:
    """Stop the workers as a deployment does; return what was wrong with that."""
    world.fleet.held = True
    problems = []
    for slot in world.fleet.slots:
        slot.stops_itself = False
        slot.signal(signal.SIGTERM)
    for slot in world.fleet.slots:
        process = slot.process
        with contextlib.suppress(TimeoutError):
            await slot.ended()
        if process is not None and process.running:
            problems.append(f"worker {slot.number} does not stop on SIGTERM")
    return problems
