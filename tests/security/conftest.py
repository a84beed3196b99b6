"""The Kafka of these tests."""

from collections.abc import Iterator

import pytest

from tests.support.secure_kafka import SecureKafka, secure_kafka


@pytest.fixture(scope="package")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Run a Kafka with TLS, SASL and ACLs; nobody may do anything yet."""
    with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        yield running
