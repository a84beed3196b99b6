"""Settings of an application that calls nobody, and the environment from which programs take theirs."""

import os
from collections.abc import Mapping

import pytest

from streams.settings import KafkaSettings

OURS = ("ROBOT_", "KAFKA_", "NEXT_PUBLIC_")


def settings_of(bootstrap_servers: str, **changes: str) -> KafkaSettings:
    """Return the settings for a cluster, some variables changed."""
    values = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, **changes}
    return KafkaSettings(**values)  # type: ignore[arg-type] # fields come by their variables' names


def set_all(environment: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set several variables."""
    for name, value in variables.items():
        environment.setenv(name, value)


def only_these(environment: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Leave of the environment's settings only these."""
    for name in list(os.environ):
        if name.startswith(OURS):
            environment.delenv(name)
    set_all(environment, variables)
