"""The program is started in whatever folder, also in one that has packages of the same names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.version import version

PROGRAM = str(Path(sys.executable).with_name("robot-orchestrator"))


@pytest.fixture(params=["a package", "a folder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder with packages, or folders, whose names are those of ours."""
    for name in ("schemas", "streams"):
        (tmp_path / name).mkdir()
        if request.param == "a package":
            (tmp_path / name / "__init__.py").touch()
    return tmp_path


def start(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    others = {name: value for name, value in os.environ.items() if not name.startswith("ROBOT_")}
    return subprocess.run(command, cwd=folder, env=others, capture_output=True, text=True, check=False)


def test_the_command_starts_anywhere(folder: Path) -> None:
    assert start(folder, PROGRAM, "--version").stdout == f"robot-orchestrator {version()}\n"
    assert "ROBOT_COORDINADORA_URL is not set" in start(folder, PROGRAM, "worker").stderr


def test_who_looks_in_the_folder_first_is_told_in_one_line_that_a_package_is_hidden(tmp_path: Path) -> None:
    own = tmp_path / "schemas" / "__init__.py"
    own.parent.mkdir()
    own.touch()
    ended = start(tmp_path, sys.executable, "-m", "faust", "-A", "streams.app", "worker")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"robot-orchestrator: its package `schemas` is hidden by another one ({own}): start")
