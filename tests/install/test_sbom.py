"""The bill of materials says what production installs."""

import json
import re
from pathlib import Path

from streams.version import version
from tests.install.locks import read_lock
from tests.install.sbom import LOCK, bill, main


def test_the_bill_has_what_the_lock_names_each_with_its_version() -> None:
    components = {part["name"]: part["version"] for part in bill()["components"]}
    assert components == {name: str(locked.version) for name, locked in read_lock(LOCK).items()}
    assert len(components) == len(bill()["components"])


def test_each_part_has_a_name_that_scanners_know_and_the_hashes_of_its_files() -> None:
    lock = (Path(__file__).parents[2] / LOCK).read_text(encoding="utf-8")
    hashes = []
    for part in bill()["components"]:
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{part['name']}@{part['version']}"
        hashes += [entry["value"] for entry in part["properties"]]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))


def test_the_bill_is_of_this_version_and_needs_every_part() -> None:
    written = bill()
    own = written["metadata"]["component"]
    assert (own["name"], own["version"]) == ("robot-orchestrator", version())
    (needs,) = written["dependencies"]
    assert needs == {"ref": own["bom-ref"], "dependsOn": [part["bom-ref"] for part in written["components"]]}


def test_it_is_written_as_json_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        main(tmp_path / "a-folder" / name)
    first, second = (json.loads((tmp_path / "a-folder" / name).read_text()) for name in ("first", "second"))
    assert first == second == bill()
    assert (first["bomFormat"], first["specVersion"]) == ("CycloneDX", "1.6")
