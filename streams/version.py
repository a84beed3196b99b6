"""The version of what is installed, which pyproject.toml alone says."""

from functools import cache
from importlib import metadata

DISTRIBUTION = "robot-orchestrator"


@cache
def version() -> str:
    """Return the version."""
    return metadata.version(DISTRIBUTION)
