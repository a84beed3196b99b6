"""A worker that breaks with a request in its hands: `python -m tests.security.crashing_worker`."""

from streams.app import Parts, build_app
from streams.faust_hardening import HardenedWorker
from streams.logs import configure_logging
from streams.robot import Answer, Robot
from streams.robot_request import RobotRequest
from streams.settings import load_settings


class BrokenRobot:
    """A robot that cannot be called."""

    def __init__(self, _robot: Robot) -> None:
        pass

    async def create_batch(self, request: RobotRequest) -> Answer:
        raise RuntimeError(f"no call for {request}")


def main() -> None:
    """Run the worker."""
    settings = load_settings()
    configure_logging(settings.log_format, settings.log_level)
    app = build_app(settings, Parts(wrap_robot=BrokenRobot))
    app.finalize()
    HardenedWorker(app, quiet=True, loglevel="DEBUG").execute_from_commandline()


if __name__ == "__main__":
    main()
