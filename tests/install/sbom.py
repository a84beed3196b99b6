"""Writes CycloneDX bills of materials of what the production locks name: `make sbom`."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from streams.version import version
from tests.install.locks import PROJECT, ROOT, read_hashes, read_lock

# Of an image without and with all extras, by the names of their bills.
LOCKS = {"sbom.json": "requirements.lock", "sbom-all-extras.json": "deploy/all-extras.lock"}
SPECIFICATION = "1.6"


def bill(lock: str) -> dict[str, Any]:
    """Return the bill of a lock, which is the same for the same lock and version."""
    hashes = read_hashes(lock)
    parts = [_component("library", name, str(locked.version)) for name, locked in sorted(read_lock(lock).items())]
    for part in parts:
        # Of each file that may be installed, as pip checks it; which one it is, the platform decides.
        part["properties"] = [{"name": f"{PROJECT}:sha256", "value": value} for value in hashes[part["name"]]]
    own = _component("application", PROJECT, version())
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{own['purl']} {(ROOT / lock).read_text(encoding='utf-8')}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": own},
        "components": parts,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _component(kind: str, name: str, number: str) -> dict[str, Any]:
    reference = f"pkg:pypi/{name}@{number}"
    return {"type": kind, "bom-ref": reference, "name": name, "version": number, "purl": reference}


def main(folder: Path) -> None:
    """Write them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lock in LOCKS.items():
        (folder / name).write_text(json.dumps(bill(lock), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
