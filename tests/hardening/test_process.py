"""What stock Faust does to the process, and which libraries a worker refuses."""

import signal
from pathlib import Path

from streams.faust_hardening.app import CRASH_EXIT_CODE
from streams.faust_hardening.versions import TESTED
from streams.names import LogEvent
from tests.hardening.side import Side, eventually
from tests.hardening.stock_worker import WORKING_FOLDER, Patch
from tests.support.scene import Scene

WITHOUT_CONNECTION = """
import sys
from aiokafka.errors import KafkaConnectionError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from streams.cli import main

async def refused(thread):
    raise KafkaConnectionError("nobody is there")

AIOKafkaConsumerThread.on_start = refused
sys.argv = ["robot-orchestrator", "worker"]
main()
"""


async def test_a_worker_makes_no_folder_and_ignores_the_debugger_s_signal(side: Side, tmp_path: Path) -> None:
    """Stock Faust makes a data folder, and stops everything for a debugger."""
    folder = tmp_path / "working-folder"
    folder.mkdir()
    side.scene.variables[WORKING_FOLDER] = str(folder)
    worker = await side.worker(Patch.DIRECTORIES, Patch.SIGUSR2)
    made = [path.name for path in folder.iterdir()]
    worker.signal(signal.SIGUSR2)
    if side.stock:
        assert made == [f"{side.scene.app_id}-data"]
        await eventually(lambda: "(Pdb)" in worker.log_path.read_text())
        await side.submit()
        await side.nothing_is_called()
    else:
        assert made == []
        await side.submit()
        await side.all_called()


async def test_a_worker_refuses_libraries_that_were_not_tested(one_partition: str, tmp_path: Path) -> None:
    """Another version is put first on the path, as a wrong image would have it; or the compiled parts are off."""
    wrong: dict[str, dict[str, str]] = {"compiled parts": {"NO_CYTHON": "1"}}
    for name in TESTED:
        information = tmp_path / name / f"{name.replace('-', '_')}-99.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
        wrong[f"{name} 99.0"] = {"PYTHONPATH": str(tmp_path / name)}
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        workers = [(text, await scene.worker(ready=False, **variables)) for text, variables in wrong.items()]
        for text, worker in workers:
            assert await worker.wait_ended() == 1
            (line,) = worker.log_path.read_text().splitlines()
            assert line.startswith("robot-orchestrator: ")
            assert text in line


async def test_a_consumer_that_cannot_start_ends_the_process_as_any_failure_does(
    one_partition: str, tmp_path: Path
) -> None:
    async with Scene(one_partition, tmp_path, partitions=1) as scene:
        worker = await scene.worker(("-c", WITHOUT_CONNECTION), ready=False)
        assert await worker.wait_ended() == CRASH_EXIT_CODE
        last = worker.log_lines()[-1]
        assert (last["event"], last["level"]) == (LogEvent.WORKER_EXIT, "critical")
