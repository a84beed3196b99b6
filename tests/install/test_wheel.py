"""The wheel and what the production lock names are enough to run a worker, a bridge and a console.

It is made as for others: of the archive of sources, and installed by its name from a folder, as from an index.
"""

import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from tests.install.locks import ENVIRONMENTS, ROOT, read_lock
from tests.support.bridge import HEADERS, TIMEOUT, BridgeProcess, create_topic, report
from tests.support.builders import submission
from tests.support.console import ConsoleProcess
from tests.support.scene import Scene


def install_production(folder: Path) -> None:
    """Make an environment of the wheel and the locked distributions, which are taken from this one."""
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    for locked in read_lock("requirements.lock").values():
        if not locked.holds_in(ENVIRONMENTS[0]):
            continue
        distribution = metadata.distribution(locked.name)
        for file in distribution.files or ():
            source, target = Path(str(distribution.locate_file(file))), packages / file
            if ".." in file.parts or not source.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            # With its time, by which what was compiled of it is known to be up to date.
            shutil.copy2(source, target)
    index = folder / "index"
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", index], cwd=ROOT, check=True)
    (sources,) = index.glob("*.tar.gz")
    ours = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    alone = ("--quiet", "--no-index", "--no-deps")
    subprocess.run([*ours, "wheel", *alone, "--no-build-isolation", "--wheel-dir", index, sources], check=True)
    theirs = (*ours, "--python", folder / "bin" / "python")
    by_name = ("--find-links", index, "--only-binary", ":all:", "robot-orchestrator")
    subprocess.run([*theirs, "install", *alone, *by_name], check=True)
    subprocess.run([*theirs, "check"], check=True)


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return that environment."""
    folder = tmp_path_factory.mktemp("wheel") / "production"
    install_production(folder)
    return folder


async def test_a_worker_runs_from_the_wheel_alone(production: Path, kafka_bootstrap: str, tmp_path: Path) -> None:
    """What is asked for and needs an extra is said, and is no reason not to run."""
    async with Scene(kafka_bootstrap, tmp_path, {"OTEL_TRACES_EXPORTER": "otlp"}) as scene:
        python = production / "bin" / "python"
        worker = await scene.worker((str(production / "bin" / "robot-orchestrator"), "worker"), python=str(python))
        (line,) = worker.told("settings_warning")
        assert line["problem"] == "no traces: they need an extra: install robot-orchestrator[otel]"
        payload = submission()
        await scene.submit(payload)
        assert (await scene.outcome(payload["jobId"])).status == "completed"


async def test_a_bridge_runs_from_the_wheel_alone(production: Path, kafka_bootstrap: str, tmp_path: Path) -> None:
    await create_topic(kafka_bootstrap)
    command = (str(production / "bin" / "robot-orchestrator"), "bridge")
    bridge = BridgeProcess(
        kafka_bootstrap, tmp_path / "bridge.log", command=command, python=str(production / "bin" / "python")
    )
    try:
        await bridge.wait_ready()
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            answer = await client.post(bridge.callback("shop-5", "job-17"), json=report(), headers=HEADERS)
        assert answer.status_code == 200
        assert await bridge.stop() == 0
    finally:
        bridge.close()


async def test_a_console_runs_from_the_wheel_alone(production: Path, kafka_bootstrap: str, tmp_path: Path) -> None:
    """With its pages and what they are drawn with."""
    async with Scene(kafka_bootstrap, tmp_path) as scene:
        names = ("KAFKA_BOOTSTRAP_SERVERS", "ROBOT_ORCHESTRATOR_APP_ID")
        console = ConsoleProcess(
            {name: scene.variables[name] for name in names},
            tmp_path,
            (str(production / "bin" / "robot-orchestrator"), "console"),
            str(production / "bin" / "python"),
        )
        try:
            await console.wait_ready()
            for path in ("/", "/api/summary", "/static/console.css", "/static/console.js"):
                assert (await console.get(path))[0] == 200, path
            assert await console.stop() == 0
        finally:
            console.close()
