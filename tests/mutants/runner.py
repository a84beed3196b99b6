"""Runs mutants, each in a fork of this process, which has the libraries loaded but not the project."""

import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import hypothesis
import pytest

from tests.mutants.mutate import Mutant
from tests.mutants.selection import lots_for

DOCUMENTS = ("docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
PARTS = ("streams", "schemas", "tests", *DOCUMENTS, "Makefile", "pyproject.toml")
# Imported before any fork: together they take longer than most mutants.
LIBRARIES = (
    *("aiohttp", "aiokafka", "hypothesis.stateful", "httpx", "msgspec", "prometheus_client", "pydantic"),
    *("pydantic_settings", "pytest_asyncio", "pytest_timeout", "structlog", "testcontainers.core.container", "typer"),
)
EXAMPLES = 50
# In these something shows in a second, if it shows at all; the tests that come after them take ten.
FIRST_WORLDS = 10
# A test that hangs is one that fails; none of them takes a second of its own.
TEST_SECONDS = 10
# Processor time, so that a busy machine kills nothing; waiting is bounded by the time for each test.
LIMIT_FACTOR, LIMIT_EXTRA_SECONDS = 3, 20
MEMORY_BYTES = 3_000_000_000
# Plugins are among the libraries.
IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
POLL_SECONDS = 0.01
# How a simulated worker may end in a world in which things go wrong.
EXPECTED_ENDS = {"FencedError", "LostRecordsError", "RefusedError", "StuckPartitionError"}


Lots = Sequence[Sequence[str]]


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Result:
    """A mutant, what became of it, and by what or why."""

    mutant: Mutant
    fate: Fate
    by: str


@dataclass(slots=True)
class _Slot:
    """A copy of the tree in which one mutant at a time takes the place of its module."""

    root: Path
    mutant: Mutant | None = None
    pid: int = 0
    give_up_at: float = 0.0

    @property
    def report(self) -> Path:
        return self.root / "killed-by"


class Runner:
    """Runs mutants of the tree at `root` in copies below `scratch`, `processes` at a time.

    Beside the tests each mutant is run in so many simulated worlds. `quick`: only the tests named after its module.
    """

    def __init__(self, root: Path, scratch: Path, processes: int, worlds: int, *, quick: bool) -> None:
        self._root = root
        self._worlds = 0 if quick else worlds
        self._lots_used = 1 if quick else None
        self._slots = [_Slot(_copied(root, scratch / str(number))) for number in range(processes)]
        for name in LIBRARIES:
            importlib.import_module(name)
        gc.freeze()
        self._limit_seconds = float(LIMIT_EXTRA_SECONDS)

    def check(self, modules: Sequence[str]) -> str:
        """Run the tests of modules as they are; return what fails, and take from it how long a mutant may take."""
        tests = [path for module in modules for lot in self._lots(module) for path in lot]
        unchanged = Mutant(modules[0], 0, "", "", "", (self._root / modules[0]).read_text(encoding="utf-8"))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._limit_seconds = 600.0
        (result,) = self._run([(unchanged, [list(dict.fromkeys(tests))])])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self._limit_seconds = LIMIT_FACTOR * used + LIMIT_EXTRA_SECONDS
        return result.by

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Result]:
        """Run mutants, and yield each as soon as its fate is known."""
        lots = {module: self._lots(module) for module in {mutant.module for mutant in mutants}}
        return self._run([(mutant, lots[mutant.module]) for mutant in mutants])

    def _lots(self, module: str) -> Lots:
        return lots_for(self._root, module)[: self._lots_used]

    def _run(self, work: Sequence[tuple[Mutant, Lots]]) -> Iterator[Result]:
        waiting = list(reversed(work))
        try:
            while waiting or any(slot.mutant for slot in self._slots):
                for slot in self._slots:
                    if slot.mutant is None and waiting:
                        self._start(slot, *waiting.pop())
                    elif slot.mutant is not None and (result := self._ended(slot)):
                        yield result
                time.sleep(POLL_SECONDS)
        finally:
            for slot in self._slots:
                if slot.mutant is not None:
                    self._stop(slot)

    def _start(self, slot: _Slot, mutant: Mutant, lots: Lots) -> None:
        _put(slot.root / mutant.module, mutant.source)
        slot.report.unlink(missing_ok=True)
        slot.mutant = mutant
        slot.give_up_at = time.monotonic() + 4 * self._limit_seconds
        sys.stdout.flush()
        slot.pid = os.fork()
        if slot.pid == 0:
            _be_the_child(slot, lots, self._worlds, int(self._limit_seconds))

    def _ended(self, slot: _Slot) -> Result | None:
        assert slot.mutant is not None
        pid, status = os.waitpid(slot.pid, os.WNOHANG)
        if pid == 0:
            if time.monotonic() < slot.give_up_at:
                return None
            os.kill(slot.pid, signal.SIGKILL)
            _, status = os.waitpid(slot.pid, 0)
        result = Result(slot.mutant, *self._fate(slot, status))
        self._put_back(slot)
        return result

    def _fate(self, slot: _Slot, status: int) -> tuple[Fate, str]:
        if status == 0:
            return Fate.SURVIVED, ""
        if slot.report.exists():
            return Fate.KILLED, slot.report.read_text(encoding="utf-8")
        if os.WIFSIGNALED(status):
            return Fate.KILLED, f"the limit of {self._limit_seconds:.0f} s"
        last_words = (slot.root / "output").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Fate.KILLED, f"an error: {last_words[-1] if last_words else status}"

    def _stop(self, slot: _Slot) -> None:
        os.kill(slot.pid, signal.SIGKILL)
        os.waitpid(slot.pid, 0)
        self._put_back(slot)

    def _put_back(self, slot: _Slot) -> None:
        assert slot.mutant is not None
        _put(slot.root / slot.mutant.module, (self._root / slot.mutant.module).read_text(encoding="utf-8"))
        slot.mutant = None


def _copied(root: Path, to: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, to / part, ignore=ignored)
        elif (root / part).exists():
            to.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / part, to / part)
    return to


def _put(module: Path, source: str) -> None:
    module.write_text(source, encoding="utf-8")
    # Two mutants can have one size and one second of change, by which Python would take them for the same.
    for compiled in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        compiled.unlink()


class _FirstFailure:
    """A plugin for pytest that remembers what failed first, and that it failed is enough."""

    def __init__(self) -> None:
        self.name = "the collection of the tests"

    def pytest_pycollect_makemodule(self) -> None:
        """Try fewer examples, and have none made smaller: the folder's conftest has loaded its profile by now."""
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate)
        mine = hypothesis.settings(hypothesis.settings(), phases=phases, max_examples=EXAMPLES)
        hypothesis.settings.register_profile("mutants", mine)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.name = report.nodeid


def _be_the_child(slot: _Slot, lots: Lots, worlds: int, limit_seconds: int) -> None:
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_seconds, limit_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        _enter(slot.root)
        first = min(worlds, FIRST_WORLDS)
        killer = _failing_test(lots[:1]) or _failing_world(range(first))
        killer = killer or _failing_test(lots[1:]) or _failing_world(range(first, worlds))
        if killer is None:
            code = 0
        else:
            slot.report.write_text(killer, encoding="utf-8")
    except BaseException:  # noqa: BLE001 # whatever it is, the parent must not go on twice
        traceback.print_exc()
    finally:
        os._exit(code)


def _enter(root: Path) -> None:
    """Be a process that begins in the copy."""
    output = os.open(root / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(root)
    sys.path.insert(0, str(root))
    for name in list(sys.modules):
        if name.split(".")[0] in ("streams", "schemas", "tests"):
            del sys.modules[name]
    importlib.invalidate_caches()


def _failing_test(lots: Lots) -> str | None:
    paths = [path for lot in lots for path in lot]
    if not paths:
        return None
    first = _FirstFailure()
    quick = ("-x", "-q", "-m", "not thorough", f"--timeout={TEST_SECONDS}")
    options = (*quick, "-p", "no:cacheprovider", "-W", IMPORTED, "--hypothesis-seed=0")
    return first.name if pytest.main([*options, *paths], plugins=[first]) else None


def _failing_world(seeds: range) -> str | None:
    if not seeds:
        return None
    simulation = importlib.import_module("tests.simulation.world")
    for seed in seeds:
        world = simulation.World(seed, simulation.Plan.of(seed))
        if world.run() or world.robot.intrusions:
            return f"the world of seed {seed}"
        ends = {type(worker.crashed_by).__name__ for worker in world.workers if worker.crashed_by is not None}
        if ends - EXPECTED_ENDS:
            return f"the world of seed {seed}: {sorted(ends - EXPECTED_ENDS)}"
    return None
