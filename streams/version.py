"""The version of what is installed, which pyproject.toml alone says."""

from importlib import metadata

DISTRIBUTION = "robot-orchestrator"


def version() -> str:
    """Return the version."""
    return metadata.version(DISTRIBUTION)
