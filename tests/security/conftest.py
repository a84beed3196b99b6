"""The Kafka of these tests."""

import asyncio
import subprocess
from collections.abc import Iterator

import pytest

from tests.security.documented_acls import documented_acls
from tests.security.programs import CREATE_TOPICS, run
from tests.support.secure_kafka import SecureKafka, secure_kafka

Cluster = tuple[SecureKafka, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a Kafka with TLS, SASL and ACLs, on which `topics create` was the first program."""
    with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        asyncio.run(running.allow_only("topics-create", documented_acls("topics create")))
        yield running, run(CREATE_TOPICS, running.login("topics-create"))


@pytest.fixture(scope="package")
def secure(cluster: Cluster) -> SecureKafka:
    """Return that Kafka."""
    return cluster[0]


@pytest.fixture(scope="package")
def created(cluster: Cluster) -> "subprocess.CompletedProcess[str]":
    """Return how the creation of the topics ended."""
    return cluster[1]
