"""What is measured does its work, and what it uses is counted where it belongs."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.benchmarks.application import Cluster, Pace, Program, existing_partitions
from tests.benchmarks.runs import run
from tests.benchmarks.usage import cpu_seconds, jvm_cpu, open_sockets, rss_bytes
from tests.support.kafka import Kafka
from tests.support.scene import PARTITIONS

# Many of the steps in which the kernel tells it.
BUSY_SECONDS = 0.2


@pytest.mark.parametrize("programs", [[Program.LIMIT], 2 * [Program.WORKER]], ids=["limit", "workers"])
async def test_every_job_is_called_once_and_has_one_outcome(
    kafka: Kafka, tmp_path: Path, programs: list[Program]
) -> None:
    """Of the limit as of workers: else there would be nothing to compare."""
    partitions = await existing_partitions(kafka.bootstrap_servers) or PARTITIONS
    cluster = Cluster(kafka.bootstrap_servers, partitions, tmp_path, kafka.broker.pid if kafka.broker else None)
    one = await run(cluster, programs, 20, rate=0, pace=Pace(0))
    assert one.check == "20 jobs: 20 POSTed, 0 again; 20 outcomes, 0 again"
    assert one.submitted.keys() <= one.completions.keys()
    assert one.transactions > 0
    assert one.jobs_a_second > 0


def test_sockets_are_counted_and_other_files_are_not() -> None:
    before = open_sockets(os.getpid())
    with socket.socket(), Path(os.devnull).open():
        assert open_sockets(os.getpid()) == before + 1
    assert open_sockets(os.getpid()) == before


def test_threads_that_compile_are_counted_apart() -> None:
    """By the name that the JVM gives them, which another thread may have as well."""
    busy, done = threading.Event(), threading.Event()

    def compile_something() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("C1 CompilerThre")
        while time.thread_time() < BUSY_SECONDS:
            pass
        busy.set()
        done.wait()

    before = jvm_cpu(os.getpid())
    thread = threading.Thread(target=compile_something)
    thread.start()
    busy.wait()
    used = jvm_cpu(os.getpid())
    done.set()
    thread.join()
    assert before.compiler == 0
    assert used.compiler >= BUSY_SECONDS / 2
    assert used.compiler + used.rest <= cpu_seconds(os.getpid())
    assert rss_bytes(os.getpid()) > 0
