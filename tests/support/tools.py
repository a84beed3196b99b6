"""Programs of Debian that some tests need."""

import os
import shutil

import pytest


def tool(name: str, package: str) -> str:
    """Return the path of a program; without it the test is left out, and in CI it fails."""
    path = shutil.which(name)
    if path is None:
        missing = f"{name} is not here (apt-get install {package})"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path
