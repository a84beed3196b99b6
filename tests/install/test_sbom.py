"""The bills of materials say what production installs."""

import json
import re
from pathlib import Path

import pytest

from streams.version import version
from tests.install.locks import read_lock
from tests.install.sbom import LOCKS, bill, main


@pytest.mark.parametrize("lock", LOCKS.values())
def test_the_bill_has_what_the_lock_names_each_with_its_version(lock: str) -> None:
    components = {part["name"]: part["version"] for part in bill(lock)["components"]}
    assert components == {name: str(locked.version) for name, locked in read_lock(lock).items()}
    assert len(components) == len(bill(lock)["components"])


@pytest.mark.parametrize("lock", LOCKS.values())
def test_each_part_has_a_name_that_scanners_know_and_the_hashes_of_its_files(lock: str) -> None:
    text = (Path(__file__).parents[2] / lock).read_text(encoding="utf-8")
    hashes = []
    for part in bill(lock)["components"]:
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{part['name']}@{part['version']}"
        hashes += [entry["value"] for entry in part["properties"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", text))


def test_the_bill_is_of_this_version_and_needs_every_part() -> None:
    written = bill("requirements.lock")
    own = written["metadata"]["component"]
    assert (own["name"], own["version"]) == ("robot-orchestrator", version())
    (needs,) = written["dependencies"]
    assert needs == {"ref": own["bom-ref"], "dependsOn": [part["bom-ref"] for part in written["components"]]}


def test_it_is_written_as_json_and_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        main(tmp_path / "a-folder" / folder)
    for name, lock in LOCKS.items():
        first, second = (
            json.loads((tmp_path / "a-folder" / folder / name).read_text()) for folder in ("first", "second")
        )
        assert first == second == bill(lock)
    assert (first["bomFormat"], first["specVersion"]) == ("CycloneDX", "1.6")
