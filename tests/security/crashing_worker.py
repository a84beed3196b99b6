"""A worker that breaks with a request in its hands: `python -m tests.security.crashing_worker`."""

from dataclasses import replace
from functools import partial

from streams.app import run_worker
from streams.engine.ports import Answer
from streams.engine.worker import Ports
from streams.settings import WorkerSettings, load_settings
from streams.wire.robot_request import RobotRequest
from streams.worker import running_worker


class BrokenRobot:
    """A robot that cannot be called."""

    async def create_batch(self, request: RobotRequest) -> Answer:
        raise RuntimeError(f"no call for {request}")


def break_robot(ports: Ports) -> Ports:
    """Put it in the place of the real one."""
    return replace(ports, robot=BrokenRobot())


def main() -> None:
    """Run the worker."""
    run_worker(load_settings(WorkerSettings), partial(running_worker, adapt=break_robot))


if __name__ == "__main__":
    main()
