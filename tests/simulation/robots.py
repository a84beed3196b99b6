"""Robots that leave nothing to chance."""

from streams.core.job import JobKey
from streams.dev.history import Post
from streams.engine.ports import Accepted, Answer
from streams.wire.robot_request import RobotRequest
from tests.simulation.worker import Host
from tests.simulation.world import SimulatedRobot


class SilentRobot(SimulatedRobot):
    """Accepts every batch and never reports."""

    async def receive(self, request: RobotRequest, _host: Host) -> Answer:
        self.posts.append(Post(JobKey(request.workspace_id, request.job_id), self.world.now()))
        return Accepted()
