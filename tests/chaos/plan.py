"""What a round does, drawn from its seed alone: the same seed gives the same plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from streams.dev.batches import ANY_JOB, Fate
from streams.dev.stack import RobotOptions

# In a cluster round a broker's absence is noticed after a session of its own.
CLUSTER_EVERY = 5
ALONE_EVERY = 3
BACKLOG_EVERY = 7
BACKLOG_JOBS = 4_000
COMPACTED = 0.5
FOLLOWED = 0.5
MOST_HOLDS = 4
HELD_SECONDS = 8.0
HELD_ALL = 0.3
# It needs a bridge.
BRIDGE_KILLED = "bridge_killed"
# Not one that is made again.
REFUSE_STATUS = 422
WEIGHTS = {
    Fate.COMPLETE: 64,
    Fate.COMPLETE_FIRST: 8,
    Fate.PARTLY_FAIL: 8,
    Fate.ALL_FAIL: 4,
    Fate.REFUSE: 5,
    Fate.CRASH_500: 3,
    Fate.REDIRECT_307: 3,
    Fate.ECHO_SECRETS: 2,
    Fate.CUT: 1,
    Fate.LOSE: 2,
    Fate.BUSY_409: 3,
    Fate.LIMIT_429: 1,
}
PATIENCE_SECONDS = (0.0, 20.0, 900.0)


@dataclass(frozen=True)
class Plan:
    """A round. `faults` are (seconds after the load has begun, name)."""

    seed: int
    brokers: int
    workers: int
    jobs: int
    workspaces: int
    load_seconds: float
    backlog: bool
    compacted: bool
    session_seconds: float
    base_seconds: float
    outage_seconds: float
    patience_seconds: float
    # Whether the robot reports each order to one of two bridges, or the counts of a batch to Kafka.
    followed: bool
    robot: RobotOptions
    faults: Sequence[tuple[float, str]]
    # What somebody holds, as (seconds after the load has begun, for so long, whether everything).
    holds: Sequence[tuple[float, float, bool]] = ()

    def variables(self) -> Mapping[str, str]:
        """Return the workers' settings."""
        values = {
            "TIMEOUT_BASE": self.base_seconds,
            "TIMEOUT_PER_ORDER": 0.5,
            "ROBOT_TIMEOUT": 3,
            "SESSION_TIMEOUT": self.session_seconds,
            "WORKSPACE_PAUSE": 0.3,
            "DRAIN": 10,
            "PATIENCE": self.patience_seconds,
        }
        return {f"ROBOT_ORCHESTRATOR_{name}_SECONDS": str(value) for name, value in values.items()}


def draw(seed: int, single: Sequence[str], cluster: Sequence[str], *, load_seconds: float = 16.0) -> Plan:
    """Return the plan of a seed, out of the faults that one broker or three can have.

    Consecutive seeds go through all faults in turn as the first one of a round.
    """
    rng = Random(seed)
    brokers = 3 if seed % CLUSTER_EVERY == CLUSTER_EVERY - 1 else 1
    backlog = seed % BACKLOG_EVERY == BACKLOG_EVERY - 1
    names = cluster if brokers > 1 else single
    first = names[seed % len(names)]
    chosen = [first] * 3 if seed % ALONE_EVERY == 0 else [first, *rng.choices(names, k=rng.randint(2, 5))]
    faults = sorted((round(rng.uniform(1.0, load_seconds), 1), name) for name in chosen)
    jobs = BACKLOG_JOBS if backlog else rng.randint(200, 700)
    robot = RobotOptions(
        order_seconds=0.02 if backlog else rng.choice((0.05, 0.2, 0.4)),
        answer_delay_seconds=0.0 if backlog else rng.choice((0.0, 0.1, 0.4)),
        refuse_status=REFUSE_STATUS,
        fates={ANY_JOB: {fate.value: weight for fate, weight in WEIGHTS.items()}},
    )
    return Plan(
        seed=seed,
        brokers=brokers,
        workers=rng.randint(1, 4) if brokers == 1 else rng.randint(2, 3),
        jobs=jobs,
        workspaces=jobs if backlog else jobs // rng.randint(1, 3),
        load_seconds=load_seconds,
        backlog=backlog,
        compacted=rng.random() < COMPACTED,
        session_seconds=rng.choice((3.0, 4.0, 6.0)),
        base_seconds=rng.choice((3.0, 5.0)),
        # Longer than anything in a worker waits for a broker: nobody is left who remembers.
        outage_seconds=rng.uniform(35, 75),
        patience_seconds=rng.choice(PATIENCE_SECONDS),
        followed=rng.random() < FOLLOWED or BRIDGE_KILLED in chosen,
        robot=robot,
        faults=faults,
        holds=[
            (rng.uniform(0, load_seconds), rng.uniform(1, HELD_SECONDS), rng.random() < HELD_ALL)
            for _ in range(rng.randint(0, MOST_HOLDS))
        ],
    )


def five_kills(seed: int) -> Plan:
    """Return the round that other systems were measured with: 500 jobs, the worker killed five times meanwhile."""
    return Plan(
        seed=seed,
        brokers=1,
        workers=1,
        jobs=500,
        workspaces=500,
        load_seconds=45.0,
        backlog=False,
        compacted=False,
        session_seconds=6.0,
        # Nothing fails because of the time that the worker is away.
        base_seconds=60.0,
        outage_seconds=0.0,
        patience_seconds=0.0,
        followed=False,
        robot=RobotOptions(order_seconds=0.2, answer_delay_seconds=0.2),
        faults=[(at, "kill_worker") for at in (5.0, 14.0, 23.0, 32.0, 41.0)],
    )
