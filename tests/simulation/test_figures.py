"""What a worker shows of its jobs while they wait."""

import asyncio

from streams.core.controls import Action
from streams.core.job import JobKey
from streams.names import Topic
from tests.simulation.world import Plan, World, submission

FIRST, SECOND = JobKey("workspace-0", "job-0"), JobKey("workspace-0", "job-1")


def test_it_shows_what_is_held_and_since_when_the_oldest_job_waits() -> None:
    world = World(0, Plan(partitions=2))

    def shown(name: str, **labels: str) -> float | None:
        (worker,) = world.workers
        return worker.metrics.registry.get_sample_value(f"robot_orchestrator_{name}", labels)

    async def main() -> None:
        world.start_worker()
        world.ask(Action.HOLD, FIRST.workspace_id)
        world.ask(Action.HOLD, None, place=0)
        world.ask(Action.HOLD, None, place=1)
        await world.until(lambda: shown("holds", scope="workspace") == 1 and shown("holds", scope="partition") == 2)
        assert shown("oldest_waiting_job_age_seconds") == 0
        world.publish(Topic.SUBMITTED, FIRST, submission(FIRST, 1))
        await asyncio.sleep(100)
        world.publish(Topic.SUBMITTED, SECOND, submission(SECOND, 1))
        await asyncio.sleep(1)
        assert 99 < (shown("oldest_waiting_job_age_seconds") or 0) <= 101
        assert shown("jobs", state="pending") == 2
        for place in (0, 1):
            world.ask(Action.RELEASE, None, place=place)
        world.ask(Action.RELEASE, FIRST.workspace_id)
        await world.until(lambda: shown("oldest_waiting_job_age_seconds") == 0)
        assert shown("holds", scope="workspace") == shown("holds", scope="partition") == 0
        waited = (shown("submission_to_call_seconds_count"), shown("submission_to_call_seconds_bucket", le="60.0"))
        assert waited[0] == 2
        assert waited[1] == 1

    world.play(main())
