"""The Kafka that the tests use: the one they are given, else Docker's, else the embedded one."""

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from docker.errors import DockerException  # type: ignore[import-untyped]  # no type information is published
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from streams.dev.kafka import SERVER_CONFIG, EmbeddedKafka, replication
from streams.dev.kafka_jars import KAFKA_VERSION
from streams.dev.loopback import free_port

GIVEN = "KAFKA_BOOTSTRAP_SERVERS"


class Source(StrEnum):
    """Where the broker comes from, in words for the head of the test run."""

    GIVEN = f"the one {GIVEN} names"
    DOCKER = f"apache/kafka:{KAFKA_VERSION} in Docker"
    EMBEDDED = f"embedded Apache Kafka {KAFKA_VERSION}"


@dataclass(frozen=True)
class Kafka:
    """A running Kafka; `broker` is the embedded one, for tests that stop it, or None."""

    bootstrap_servers: str
    broker: EmbeddedKafka | None


@cache
def source() -> Source:
    """Return where this run's Kafka comes from."""
    if os.environ.get(GIVEN):
        return Source.GIVEN
    return Source.DOCKER if docker_answers() else Source.EMBEDDED


def docker_answers() -> bool:
    """Return whether there is a Docker engine to start containers on."""
    with warnings.catch_warnings():
        # The client leaves its socket open when nobody answers; collected here, it is no error elsewhere.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = DockerClient().client
            client.ping()
            client.close()
        except DockerException:
            return False
        finally:
            gc.collect()
    return True


@contextmanager
def running_kafka(data_dir: Path) -> Iterator[Kafka]:
    """Run a Kafka for the length of the block, or use the given one."""
    match source():
        case Source.GIVEN:
            yield Kafka(os.environ[GIVEN], None)
        case Source.DOCKER:
            container, address = kafka_container()
            with container:
                yield Kafka(address, None)
        case Source.EMBEDDED:
            with EmbeddedKafka(data_dir) as broker:
                yield Kafka(broker.bootstrap_servers, broker)


def as_environment(config: dict[str, str]) -> dict[str, str]:
    """Return broker settings as the environment variables that the apache/kafka image takes them from."""
    return {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in config.items()}


def kafka_container() -> tuple[DockerContainer, str]:
    """Return a container of the official image with the embedded broker's settings, and its address.

    testcontainers' own KafkaContainer runs Confluent's image, with other settings and an older Kafka.
    """
    # A broker tells its clients where to find it, so the port is the same inside and outside.
    port = free_port()
    address = f"{DockerClient().host()}:{port}"
    config = SERVER_CONFIG | replication(brokers=1)
    config |= {
        "node.id": "1",
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{address}",
        "controller.quorum.voters": "1@localhost:9093",
    }
    container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(port, port)
    for name, value in as_environment(config).items():
        container = container.with_env(name, value)
    return container.waiting_for(LogMessageWaitStrategy("Kafka Server started")), address
