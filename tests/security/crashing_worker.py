"""A worker that breaks with a request in its hands: `python -m tests.security.crashing_worker`."""

from streams.app import Parts, run_worker
from streams.engine.ports import Answer, Robot
from streams.settings import WorkerSettings, load_settings
from streams.wire.robot_request import RobotRequest


class BrokenRobot:
    """A robot that cannot be called."""

    def __init__(self, _robot: Robot) -> None:
        pass

    async def create_batch(self, request: RobotRequest) -> Answer:
        raise RuntimeError(f"no call for {request}")


def main() -> None:
    """Run the worker."""
    run_worker(load_settings(WorkerSettings), Parts(wrap_robot=BrokenRobot))


if __name__ == "__main__":
    main()
