"""A whole world in one seed: cluster, group, robot, producers, workers, and what goes wrong."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from streams.core.controls import Action, Decision
from streams.core.deadlines import FIRST_BACK_OFF, Deadlines
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.dev.history import History, Post
from streams.dev.history_check import check
from streams.dev.violations import Violation
from streams.engine.ports import Accepted, Answer, Health, PartitionLog, Rejected, Unknown, Unreachable
from streams.names import OUTCOME_TOPICS, SOURCE_TOPICS, Topic, changelog_topic
from streams.telemetry.metrics import Metrics
from streams.telemetry.tracing import NO_SPANS, Tracing
from streams.wire.placement import partition_of
from streams.wire.records import NewRecord
from streams.wire.robot_request import RobotRequest
from streams.wire.rows import DecisionEntry, decode_entry, job_in
from tests.simulation.broker import SimulatedBroker, State
from tests.simulation.group import SimulatedGroup
from tests.simulation.loop import VirtualTimeLoop
from tests.simulation.worker import Host, SimulatedWorker

START = datetime(2026, 1, 1, tzinfo=UTC)
SESSION_SECONDS = 6.0
BUSY = 409
REFUSAL_SECONDS = 0.05
# By then every deadline has passed twice over, whatever went wrong.
SETTLE_SECONDS = 1_500.0
POLL_SECONDS = 0.5
# Longer than workers do while they ask the robot.
STOOD_STILL = timedelta(seconds=5 * SESSION_SECONDS)
INTRUSION = "a batch sent while the robot had another of its workspace"
BURNT = "a job that failed because the robot was busy or not there, before its time"
FALSE_ALARM = "a batch that is said to be lost, by a robot that was not started again"
REPORT_IGNORED = "a batch that had been reported when its call broke, and failed"


@dataclass(frozen=True)
class Plan:
    """How large a world is, and how often what goes wrong in it."""

    jobs: int = 10
    workspaces: int = 5
    partitions: int = 3
    workers: int = 2
    busy_seconds: float = 20.0
    faults: int = 3
    # How long ended jobs stay in the table; with a replay everything is read again once they have left it.
    retention_seconds: float = 604_800.0
    replay: bool = False
    # How long a job may be put off.
    patience_seconds: float = 0.0
    # Whether the robot reports to an address of each job, so that batches are followed order by order.
    followed: bool = False
    # What an order takes at most, and how long a batch may take beside its orders.
    order_seconds: float = 1.0
    base_seconds: float = 3.0
    # Whether the robot is started again, among the faults.
    restarts: bool = False
    # How often somebody stops a job, or holds a workspace or everything for a while.
    controls: int = 0

    @classmethod
    def of(cls, seed: int) -> "Plan":
        """Return one of many plans."""
        rng = random.Random(seed)
        replay = rng.random() < 0.1
        plan = cls(
            jobs=rng.choice((6, 10, 20)),
            workspaces=rng.choice((1, 3, 8)),
            partitions=rng.choice((1, 2, 4)),
            workers=rng.choice((1, 2, 3)),
            busy_seconds=rng.choice((5.0, 20.0, 40.0)),
            faults=rng.choice((0, 2, 4, 8)),
            retention_seconds=120.0 if replay else cls.retention_seconds,
            replay=replay,
            patience_seconds=rng.choice((0.0, 20.0, 900.0)),
            followed=rng.random() < 0.5,
        )
        if rng.random() < 0.25:
            plan = replace(plan, order_seconds=10.0, base_seconds=60.0, restarts=True)
        return replace(plan, controls=rng.choice((0, 0, 3, 8)))


@dataclass
class SimulatedRobot:
    """The robot service: one batch a workspace, let go of shortly after its last report. All is lost with it."""

    world: "World"
    posts: list[Post] = field(default_factory=list)
    busy: dict[str, str] = field(default_factory=dict)
    # Second batches that an orchestrator whose workers never stood still should not have sent.
    intrusions: list[str] = field(default_factory=list)
    broke_at: dict[JobKey, datetime] = field(default_factory=dict)
    # What it has begun.
    taken: set[JobKey] = field(default_factory=set)
    # Nobody listens at its address.
    away: bool = False
    # When it was started; the first time long ago.
    starts: list[datetime] = field(default_factory=lambda: [START - timedelta(days=1)])
    batches: dict[JobKey, "asyncio.Task[None]"] = field(default_factory=dict)

    def health(self) -> Health | None:
        """Say for how long it has run, if it is there."""
        return None if self.away else Health(self.world.now() - self.starts[-1])

    def die(self) -> None:
        """End: what it was at nobody will report."""
        self.away = True
        for batch in self.batches.values():
            batch.cancel()
        for memory in (self.batches, self.busy, self.taken):
            memory.clear()

    def start(self) -> None:
        """Begin anew, and know nothing."""
        self.away = False
        self.starts.append(self.world.now())

    async def receive(self, request: RobotRequest, host: Host) -> Answer:
        """Take a POST; what becomes of it is chance."""
        world = self.world
        key = JobKey(request.workspace_id, request.job_id)
        if self.away or world.rng.random() < 0.02:
            return Unreachable("no connection")
        if key not in self.taken and (request.workspace_id in self.busy or world.rng.random() < 0.05):
            # Also somebody else may hold the workspace.
            self.posts.append(Post(key, world.now(), BUSY))
            return self._refuse(request, host)
        self.posts.append(Post(key, world.now()))
        if key in self.taken:
            # It remembers what it has answered, before it looks at anything else.
            return Accepted()
        fate = world.rng.random()
        if fate > 0.98:
            return Rejected(500, "Robot service error 500: a bug")
        items = [order["itemId"] for order in json.loads(request.body)["orders"]]
        orders = len(items)
        if fate < 0.06:
            # It has reported every order as failed, and says so afterwards.
            world.tell(key, dict.fromkeys(items, "error"))
            await asyncio.sleep(REFUSAL_SECONDS)
            return Rejected(400, "Robot service error 400: no")
        self.busy[request.workspace_id] = request.job_id
        self.taken.add(key)
        work = orders * world.rng.uniform(0.1, 1.0) * world.plan.order_seconds
        if fate < 0.12:
            # Slower than it may be: its completion comes late, or never.
            world.doubtful.add(request.job_id)
            work += world.rng.uniform(5, 40)
        early = fate > 0.85
        batch = world.spawn(self._work(key, items, work * (0 if early else 1), lost=0.06 < fate < 0.08))
        self.batches[key] = batch
        if early:
            await asyncio.wait([batch])
        await asyncio.sleep(world.latency())
        died = self.batches.get(key) is not batch
        if died or world.rng.random() < (0.3 if early else 0.05):
            world.doubtful.add(request.job_id)
            self.broke_at[key] = world.now()
            return Unknown("the connection broke")
        return Accepted()

    def _refuse(self, request: RobotRequest, host: Host) -> Answer:
        world, running = self.world, self.busy.get(request.workspace_id)
        # With patience it is left to the robot to say whether it is still at work.
        cautious = not host.was_paused and not world.plan.patience_seconds
        if cautious and running is not None and running not in world.doubtful:
            self.intrusions.append(f"{request.job_id} while {running} was running")
        wait = timedelta(seconds=world.rng.choice((0, 0, 10)))
        return Rejected(BUSY, "Robot service error 409: busy", wait)

    async def _work(self, key: JobKey, items: list[str], seconds: float, *, lost: bool) -> None:
        world = self.world
        statuses = [world.rng.choice(("success", "success", "error")) for _ in items]
        if world.plan.followed:
            for item, status in zip(items, statuses, strict=True):
                await asyncio.sleep(seconds / len(items))
                if not lost:
                    world.tell(key, {item: status})
        else:
            await asyncio.sleep(seconds)
            for _ in range(0 if lost else 2 if world.rng.random() < 0.1 else 1):
                world.tell(key, dict(zip(items, statuses, strict=True)))
        await asyncio.sleep(world.rng.uniform(0, 0.8) * world.pause_seconds)
        if self.busy.get(key.workspace_id) == key.job_id:
            del self.busy[key.workspace_id]


class World:
    """One run. Everything that is left to chance comes from the seed."""

    app_id = "simulated"
    pause_seconds = 2.0
    drain_seconds = 10.0
    max_bytes: Mapping[str, int] = dict.fromkeys(map(str, Topic), 1_000_000)
    tracing: Tracing = NO_SPANS

    def __init__(
        self, seed: int, plan: Plan, make_log: Callable[[PartitionLog], PartitionLog] = lambda log: log
    ) -> None:
        self.rng = random.Random(seed)
        self.plan = plan
        self.make_log = make_log
        self.loop = VirtualTimeLoop()
        self.deadlines = Deadlines(
            per_order=timedelta(seconds=1),
            base=timedelta(seconds=plan.base_seconds),
            call_timeout=timedelta(seconds=2),
            workspace_pause=timedelta(seconds=self.pause_seconds),
            retention=timedelta(seconds=plan.retention_seconds),
            patience=timedelta(seconds=plan.patience_seconds),
        )
        self.jobs_per_workspace = 1
        self.broker = SimulatedBroker(plan.partitions, self.now)
        self.broker.refuse_prefix = self.app_id
        self.graveyard: list[asyncio.Future[None]] = []
        self.group = SimulatedGroup(plan.partitions, SESSION_SECONDS, self.time)
        self.robot = SimulatedRobot(self)
        self.doubtful: set[str] = set()
        self.workers: list[SimulatedWorker] = []
        self.submitted: list[JobKey] = []
        # Reports that are on their way.
        self.told: set[asyncio.Task[None]] = set()
        self._names = iter(range(10_000))

    def time(self) -> float:
        """Return the seconds since the start."""
        return self.loop.time()

    def now(self) -> datetime:
        """Return the time as everybody's clock shows it."""
        return START + timedelta(seconds=self.loop.time())

    def latency(self) -> float:
        """Return how long the next trip takes: milliseconds, seldom much more."""
        return self.rng.uniform(0.001, 0.02) if self.rng.random() < 0.97 else self.rng.uniform(0.02, 0.8)

    def jitter(self) -> float:
        """Return a factor around 1."""
        return self.rng.uniform(0.8, 1.2)

    def spawn(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Let something happen at the same time."""
        return self.loop.create_task(work)

    def play(self, scene: Coroutine[None, None, None]) -> None:
        """Run a scene, then end everything that is still going on."""
        try:
            self.loop.run_until_complete(scene)
        finally:
            while tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(tasks))
            self.loop.close()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while not holds():
                await asyncio.sleep(POLL_SECONDS)

    def run(self) -> list[Violation]:
        """Run to the end and return what is wrong."""
        self.play(self._main())
        topics = (*map(str, Topic), changelog_topic(self.app_id))
        history = History(self.app_id, self.plan.partitions, {topic: self.broker.topic(topic) for topic in topics})
        return check(history, self.robot.posts, ("the-password",))

    async def _main(self) -> None:
        for _ in range(self.plan.workers):
            self.start_worker()
        supervisor = self.spawn(self._replace_workers())
        await asyncio.gather(self._produce(), self._cause_faults(), self._take_control())
        await self._settle()
        if self.plan.replay:
            await asyncio.sleep(2 * self.plan.retention_seconds)
            await self._read_again()
            await self._settle()
        supervisor.cancel()

    async def _settle(self) -> None:
        give_up = self.time() + SETTLE_SECONDS
        while self.time() < give_up and not self._settled():
            await asyncio.sleep(POLL_SECONDS)

    def _settled(self) -> bool:
        decided = {record.key for topic in OUTCOME_TOPICS for record in self.broker.topic(topic)}
        behind = any(
            self.broker.last_stable_offset(place) < self.broker.high_watermark(place)
            or self.broker.committed(place, self.broker.committed_offsets.get(place, 0))
            for place in self.broker.places(SOURCE_TOPICS)
        )
        return not behind and not self.told and {key.job_id.encode() for key in self.submitted} <= decided

    def make_worker(self) -> SimulatedWorker:
        """Return one more worker, which is not up yet."""
        worker = SimulatedWorker(self, f"worker-{next(self._names)}", concurrency=self.rng.choice((1, 2, 32)))
        self.workers.append(worker)
        return worker

    def start_worker(self) -> None:
        """Bring up one more worker."""
        self.spawn(self.make_worker().run())

    def live(self) -> list[SimulatedWorker]:
        """Return the workers that are up."""
        return [worker for worker in self.workers if not worker.gone]

    async def _replace_workers(self) -> None:
        """Do what a supervisor does: what has ended is started again."""
        while True:
            await asyncio.sleep(self.rng.uniform(0.5, 2))
            while len(self.live()) < self.plan.workers:
                self.start_worker()

    async def _produce(self) -> None:
        for number in range(self.plan.jobs):
            await asyncio.sleep(self.rng.uniform(0, 2 * self.plan.busy_seconds / self.plan.jobs))
            key = JobKey(f"workspace-{self.rng.randrange(self.plan.workspaces)}", f"job-{number}")
            value = submission(key, orders=self.rng.randint(1, 3))
            self.submitted.append(key)
            for _ in range(2 if self.rng.random() < 0.2 else 1):
                self.publish(Topic.SUBMITTED, key, value)
            if self.rng.random() < 0.3:
                self.spawn(self._leave_transaction_open(key))

    async def _leave_transaction_open(self, key: JobKey) -> None:
        """Be a foreign producer that dawdles in a transaction of its own and then gives it up."""
        name = f"foreign-{next(self._names)}"
        epoch = self.broker.fence(name)
        stray = JobKey(key.workspace_id, f"never-{key.job_id}")
        for topic, value in (
            (Topic.SUBMITTED, submission(stray, 1)),
            (Topic.BATCH_COMPLETED, completion(key, 77, 0)),
        ):
            self.broker.produce(name, epoch, NewRecord(topic, self._place(key), None, value))
        await asyncio.sleep(self.rng.uniform(0, 12 if self.rng.random() < 0.8 else 60))
        self.broker.end_transaction(name, epoch, State.ABORTED)

    def publish(self, topic: Topic, key: JobKey, value: bytes) -> None:
        """Write a record."""
        self.broker.append(NewRecord(topic, self._place(key), key.workspace_id.encode(), value))

    def _place(self, key: JobKey) -> int:
        """Return where a record belongs, or, as some producers do, any partition."""
        if self.rng.random() < 0.25:
            return self.rng.randrange(self.plan.partitions)
        return partition_of(key.workspace_id, self.plan.partitions)

    def tell(self, key: JobKey, statuses: Mapping[str, str]) -> None:
        """Be where the robot reports to: a bridge of one's own, which counts, or ours."""
        if not self.plan.followed:
            errors = sum(status == "error" for status in statuses.values())
            self.complete(key, len(statuses) - errors, errors)
            return
        for item, status in statuses.items():
            if self.rng.random() < 0.01:
                # Killed before it was written down: the robot was not told that it was.
                self.doubtful.add(key.job_id)
                continue
            # Also twice, and out of order.
            for _ in range(2 if self.rng.random() < 0.1 else 1):
                task = self.spawn(self._report(key, item, status))
                self.told.add(task)
                task.add_done_callback(self.told.discard)
        if self.rng.random() < 0.05:
            # A bridge of one's own is there as well, and has counted wrong, and too early.
            self.doubtful.add(key.job_id)
            self.complete(key, self.rng.randint(0, 3), 0)

    async def _report(self, key: JobKey, item: str, status: str) -> None:
        late = self.rng.random() < 0.05
        if late:
            self.doubtful.add(key.job_id)
        await asyncio.sleep(self.rng.uniform(0, 60) if late else self.latency())
        self.publish(Topic.ORDER_REPORTED, key, report(key, item, status))

    def complete(self, key: JobKey, success: int, error: int) -> None:
        """Be a callback bridge of one's own, which may write in a transaction and then stand still."""
        if self.rng.random() < 0.1:
            self.spawn(self._complete_undecided(key, success, error))
        else:
            self.publish(Topic.BATCH_COMPLETED, key, completion(key, success, error))

    async def _complete_undecided(self, key: JobKey, success: int, error: int) -> None:
        name = f"bridge-{next(self._names)}"
        epoch = self.broker.fence(name)
        place = self._place(key)
        self.broker.produce(name, epoch, NewRecord(Topic.BATCH_COMPLETED, place, None, completion(key, success, error)))
        await asyncio.sleep(self.rng.uniform(0, 40))
        self.broker.end_transaction(name, epoch)

    async def _take_control(self) -> None:
        """Be the people on call."""
        asked = []
        for _ in range(self.plan.controls):
            await asyncio.sleep(self.rng.uniform(0, 2 * self.plan.busy_seconds / self.plan.controls))
            workspace_id = f"workspace-{self.rng.randrange(self.plan.workspaces)}"
            kind = self.rng.choice((Action.CANCEL, Action.GIVE_UP, Action.HOLD))
            if kind is Action.HOLD:
                place = self.rng.randrange(self.plan.partitions)
                held = (None, place) if self.rng.random() < 0.3 else (workspace_id, None)
                asked.append(self.spawn(self._hold(*held)))
            elif self.submitted:
                self.ask(kind, *self.rng.choice(self.submitted))
        await asyncio.gather(*asked)

    async def _hold(self, workspace_id: str | None, place: int | None) -> None:
        """Hold something for a while, and do not leave before it is released."""
        decision = await self._decided(self.ask(Action.HOLD, workspace_id, place=place))
        await asyncio.sleep(self.rng.uniform(0, 15))
        # A release that waited for longer than the table remembers must be said again.
        refused: IgnoreReason | None = IgnoreReason.TOO_OLD
        while decision is not None and refused is IgnoreReason.TOO_OLD:
            decision = await self._decided(self.ask(Action.RELEASE, workspace_id, place=place))
            refused = None if decision is None else decision.refused

    def ask(
        self, action: Action, workspace_id: str | None, job_id: str | None = None, *, place: int | None = None
    ) -> str:
        """Write down what somebody asks for, now and then twice; return its id."""
        control_id = f"control-{next(self._names)}"
        for _ in range(2 if self.rng.random() < 0.2 else 1):
            at = self._place(JobKey(workspace_id, "")) if workspace_id is not None else place or 0
            self.broker.append(NewRecord(Topic.CONTROL, at, None, control(control_id, action, workspace_id, job_id)))
        return control_id

    async def _decided(self, control_id: str) -> Decision | None:
        """Return what came of a control, as soon as it is written down; None if it never is."""
        give_up = self.time() + SETTLE_SECONDS
        while self.time() < give_up:
            for record in self.broker.topic(changelog_topic(self.app_id)):
                match decode_entry(record.key or b"", record.value):
                    case DecisionEntry(decided, Decision() as decision) if decided == control_id:
                        return decision
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _cause_faults(self) -> None:
        for fault in self._faults():
            await asyncio.sleep(self.rng.uniform(0, 2 * self.plan.busy_seconds / max(1, self.plan.faults)))
            await fault()

    def _faults(self) -> Iterator[Callable[[], Coroutine[None, None, None]]]:
        kinds = (
            *(self._crash_one, self._crash_one, self._pause_one, self._pause_one),
            *(self._stop_one, self._add_one, self._refuse, self._read_again, self._forget, self._robot_leaves),
        )
        restarts = (self._robot_restarts, self._robot_restarts) if self.plan.restarts else ()
        for _ in range(self.plan.faults):
            yield self.rng.choice((*kinds, *restarts))

    async def _crash_one(self) -> None:
        if live := self.live():
            self.rng.choice(live).host.die()

    async def _pause_one(self) -> None:
        if live := self.live():
            host = self.rng.choice(live).host
            host.pause()
            self.spawn(self._resume(host))

    async def _resume(self, host: Host) -> None:
        await asyncio.sleep(self.rng.uniform(0.1, 2.5) * SESSION_SECONDS)
        host.resume()

    async def _stop_one(self) -> None:
        if live := self.live():
            self.rng.choice(live).stop()

    async def _add_one(self) -> None:
        self.start_worker()

    async def _refuse(self) -> None:
        self.broker.refusals = self.rng.randint(1, 2)

    async def _robot_leaves(self) -> None:
        self.robot.away = True
        await asyncio.sleep(self.rng.uniform(1, 30))
        self.robot.away = False

    async def _robot_restarts(self) -> None:
        self.robot.die()
        await asyncio.sleep(self.rng.uniform(0.1, 8))
        self.robot.start()

    async def _forget(self) -> None:
        if live := self.live():
            self.rng.choice(live).forget_what_comes()

    async def _read_again(self) -> None:
        """Lose the group's offsets: everything is read again."""
        for worker in self.live():
            worker.host.die()
        self.broker.committed_offsets.clear()


def submission(key: JobKey, orders: int) -> bytes:
    """Return the bytes of a submission."""
    return json.dumps(
        {
            "jobId": key.job_id,
            "workspaceId": key.workspace_id,
            "credentials": {"username": "somebody", "password": "the-password"},
            "orders": [{"itemId": f"i{n}", "orderId": f"o{n}", "pedidoInput": {"n": n}} for n in range(orders)],
        }
    ).encode()


def control(control_id: str, action: Action, workspace_id: str | None, job_id: str | None) -> bytes:
    """Return the bytes of what somebody asks for."""
    asked = {"controlId": control_id, "action": action, "workspaceId": workspace_id, "jobId": job_id}
    who = {"actor": "somebody", "reason": "because", "requestedAt": "2026-01-01T00:00:00.000Z"}
    return json.dumps(asked | who).encode()


def completion(key: JobKey, success: int, error: int) -> bytes:
    """Return the bytes of a completion."""
    return json.dumps(
        {"jobId": key.job_id, "workspaceId": key.workspace_id, "successCount": success, "errorCount": error}
    ).encode()


def report(key: JobKey, item: str, status: str) -> bytes:
    """Return the bytes of a report, which repeats what was typed in where the order failed."""
    ids = {"jobId": key.job_id, "workspaceId": key.workspace_id, "itemId": item}
    told = {"trackingNumber": f"tn-{item}"} if status == "success" else {"errorMessage": "no, the-password"}
    return json.dumps(ids | told | {"status": status, "reportedAt": "2026-01-01T00:00:00.000Z"}).encode()


def ignored_reports(world: World) -> list[str]:
    """Return the jobs that failed because their call broke, although a completion was in the log by then."""
    failed = {record.key for record in world.broker.topic(Topic.FAILED)}
    reported: dict[bytes, datetime] = {}
    for record in world.broker.topic(Topic.BATCH_COMPLETED):
        job_id = json.loads(record.value or b"{}")["jobId"].encode()
        reported[job_id] = min(record.timestamp, reported.get(job_id, record.timestamp))
    return [
        f"{key.job_id}: reported at {reported[key.job_id.encode()]}, its call broke at {broke_at}"
        for key, broke_at in world.robot.broke_at.items()
        if key.job_id.encode() in failed and reported.get(key.job_id.encode(), broke_at) < broke_at
    ]


def burnt_jobs(world: World) -> list[str]:
    """Return the jobs that failed as refused before their patience was over, or right after another of the workspace.

    Without patience a robot that is not there costs one job of each worker, which is not counted here. One that
    somebody has given up ends at a refusal, whatever patience there is.
    """
    patience = timedelta(seconds=world.plan.patience_seconds)
    burnt, last_failed = [], dict[str, datetime]()
    for job in failed_rows(world):
        assert job.ended_at is not None
        if patience:
            refused = job.robot_status == BUSY or job.reason is FailureReason.ROBOT_UNREACHABLE
            if refused and job.stop is None and (job.put_off is None or job.ended_at < job.put_off.since + patience):
                burnt.append(f"{job.job_id}: {job.error}, with patience")
        elif job.robot_status == BUSY:
            before = last_failed.get(job.workspace_id)
            if before is not None and job.ended_at < before + FIRST_BACK_OFF:
                burnt.append(f"{job.job_id}: {job.error}, {job.ended_at - before} after another one")
            last_failed[job.workspace_id] = job.ended_at
    return burnt


def false_alarms(world: World) -> list[str]:
    """Return the jobs of which a row says that the robot was started again after it had accepted them, and it was not.

    A worker that stood still while it asked takes the start for an earlier one.
    """

    def is_true(accepted_at: datetime | None, told: datetime) -> bool:
        started = any(told <= start <= told + STOOD_STILL for start in world.robot.starts)
        return started and accepted_at is not None and accepted_at < told

    return [
        f"{job.job_id}: accepted at {job.accepted_at}, started again at {job.robot_restarted_at}"
        for job in rows(world)
        if job.robot_restarted_at is not None and not is_true(job.accepted_at, job.robot_restarted_at)
    ]


def rows(world: World) -> list[Job]:
    """Return all rows that were ever written, in the order of each partition."""
    found = (job_in(record.key, record.value) for record in world.broker.topic(changelog_topic(world.app_id)))
    return [job for job in found if job is not None]


def failed_rows(world: World) -> list[Job]:
    """Return the rows with which jobs failed, the earliest first."""
    failed = {job.key: job for job in rows(world) if job.status is Status.FAILED}
    return sorted(failed.values(), key=lambda job: job.ended_at or START)


def kinds_of(seed: int) -> set[str]:
    """Run the world of a seed; return what kinds of things are wrong."""
    world = World(seed, Plan.of(seed))
    kinds = {violation.kind.value for violation in world.run()}
    more = {
        INTRUSION: world.robot.intrusions,
        REPORT_IGNORED: ignored_reports(world),
        BURNT: burnt_jobs(world),
        FALSE_ALARM: false_alarms(world),
    }
    return kinds | {kind for kind, cases in more.items() if cases}


def problems_of(seed: int) -> list[str]:
    """Run the world of a seed; return what is wrong, in words. The same seed always says the same."""
    world = World(seed, Plan.of(seed))
    found = [*map(str, world.run()), *world.robot.intrusions, *ignored_reports(world), *burnt_jobs(world)]
    return found + false_alarms(world) + new_series(world)


def new_series(world: World) -> list[str]:
    """Return the series of counters and histograms that a worker did not have from its start."""
    begun = _first_series()
    return [f"a new series: {name}" for worker in world.workers for name in sorted(_series(worker.metrics) - begun)]


@cache
def _first_series() -> set[str]:
    return _series(Metrics())


def _series(metrics: Metrics) -> set[str]:
    families = (family for family in metrics.registry.collect() if family.type in ("counter", "histogram"))
    return {f"{sample.name} {sample.labels}" for family in families for sample in family.samples}
