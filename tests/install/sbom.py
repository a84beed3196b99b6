"""Writes a CycloneDX bill of materials of what the production lock names: `make sbom`."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from streams.version import version
from tests.install.locks import PROJECT, ROOT, read_hashes, read_lock

LOCK = "requirements.lock"
SPECIFICATION = "1.6"


def bill() -> dict[str, Any]:
    """Return the bill, which is the same for the same lock and version."""
    hashes = read_hashes(LOCK)
    parts = [_component("library", name, str(locked.version)) for name, locked in sorted(read_lock(LOCK).items())]
    for part in parts:
        # Of each file that may be installed, as pip checks it; which one it is, the platform decides.
        part["properties"] = [{"name": f"{PROJECT}:sha256", "value": value} for value in hashes[part["name"]]]
    own = _component("application", PROJECT, version())
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{own['purl']} {(ROOT / LOCK).read_text(encoding='utf-8')}")
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


def main(path: Path) -> None:
    """Write it to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
