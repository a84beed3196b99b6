"""Programs of Debian that some tests need."""

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """Return the path of a program; without it the test is left out, and in CI it fails."""
    return found(shutil.which(name), f"{name} is not here (apt-get install {package})")


def found(path: str | None, missing: str) -> str:
    """Return the path of a program; without one the test is left out, and in CI it fails."""
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path
