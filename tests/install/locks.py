"""The lock files, and which requirements they leave open."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = "robot-orchestrator"

# What a marker may ask for; the project runs where these hold.
PLATFORMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ENVIRONMENTS = tuple(
    {**default_environment(), **platform, "python_version": python, "python_full_version": f"{python}.9"}
    for platform in PLATFORMS
    for python in PYTHONS
)

Environment = Mapping[str, Any]


@dataclass(frozen=True)
class Locked:
    """One line of a lock: a distribution, its only version, and where it is installed."""

    name: str
    version: Version
    marker: Marker | None

    def holds_in(self, environment: Environment) -> bool:
        """Whether it is installed there."""
        return self.marker is None or self.marker.evaluate(dict(environment))


def read_lock(name: str) -> dict[str, Locked]:
    """Return a lock's distributions by their names."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line[:1].isalnum()]
    requirements = [Requirement(line.removesuffix("\\").strip()) for line in lines]
    locked: dict[str, Locked] = {}
    for requirement in requirements:
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        key = canonicalize_name(requirement.name)
        locked[key] = Locked(key, Version(pin.version), requirement.marker)
    return locked


def read_hashes(name: str) -> dict[str, list[str]]:
    """Return the SHA-256 of each file that a lock lets in, by the distributions' names."""
    blocks = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    return {
        canonicalize_name(block.partition("==")[0]): re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
        for block in blocks
    }


def open_requirements(lock: Mapping[str, Locked], extras: frozenset[str], environment: Environment) -> Iterator[str]:
    """Yield what the project with these extras needs, or needs in turn, that the lock does not settle there.

    The requirements are those of the installed distributions.
    """
    waiting = [(PROJECT, extras)]
    seen = set(waiting)
    while waiting:
        name, active = waiting.pop()
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if not _applies(requirement, active, environment):
                continue
            key = canonicalize_name(requirement.name)
            found = lock.get(key)
            if key != PROJECT and not (
                found is not None
                and found.holds_in(environment)
                and requirement.specifier.contains(found.version, prereleases=True)
            ):
                yield f"{name} needs {requirement}"
                continue
            following = (key, frozenset(requirement.extras))
            if following not in seen:
                seen.add(following)
                waiting.append(following)


def _applies(requirement: Requirement, extras: frozenset[str], environment: Environment) -> bool:
    if requirement.marker is None:
        return True
    return any(
        requirement.marker.evaluate(cast(dict[str, str], {**environment, "extra": extra})) for extra in (*extras, "")
    )
