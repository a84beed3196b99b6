"""The chart's sources, what helm makes of them, and what is kept of that as manifests."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.documents import ROOT

CHART = ROOT / "deploy" / "helm" / "robot-orchestrator"
EXAMPLE = CHART / "ci" / "example-values.yaml"
MANIFESTS = ROOT / "deploy" / "manifests"
RELEASE = "robot-orchestrator"
NAMESPACE = "robot-orchestrator"
# The oldest and the newest Kubernetes that rendered manifests are compared with.
OLDEST, NEWEST = "1.27", "1.37"
# Where what is not applied together with the rest is kept, by the component that it is of.
FILE_OF = {
    "topics": "topics.yaml",
    "alerts": "monitoring.yaml",
    "dashboard": "monitoring.yaml",
}
COMMON = "robot-orchestrator.yaml"
NO_HELM = "helm is not here, and there is no package of it for this machine"
OPERATOR = "monitoring.coreos.com/v1"


@dataclass(frozen=True)
class Manifest:
    """One object for Kubernetes: as it is written, and what it says."""

    text: str
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.content["kind"])

    @property
    def component(self) -> str:
        """Which part of the project it is of: worker, bridge, console, topics, alerts or dashboard."""
        return str(self.content["metadata"]["labels"]["app.kubernetes.io/component"])

    @property
    def file(self) -> str:
        """The file below deploy/manifests that it is kept in."""
        return "monitoring.yaml" if self.content["apiVersion"] == OPERATOR else FILE_OF.get(self.component, COMMON)

    @property
    def pod(self) -> Mapping[str, Any] | None:
        """The specification of its pods, None if it has none."""
        found: Mapping[str, Any] | None = self.content.get("spec", {}).get("template", {}).get("spec")
        return found

    @property
    def settings(self) -> dict[str, str]:
        """The variables of its container."""
        assert self.pod is not None
        return {variable["name"]: variable["value"] for variable in self.pod["containers"][0]["env"]}


def read(text: str) -> list[Manifest]:
    """Return the objects of a file of several."""
    parts = (part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE))
    found = [(part, yaml.safe_load(part)) for part in parts if part]
    return [Manifest(part, content) for part, content in found if content is not None]


def sources_hash() -> str:
    """Return the SHA-256 of everything that the chart is made of, with alerts and dashboard."""
    digest = hashlib.sha256()
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(CHART).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def helm_program() -> str | None:
    """Return the path of helm: the one that is installed with the tests, or the machine's; None if there is neither."""
    return shutil.which("helm", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


def helm(program: str, command: str, *options: str, values: Path = EXAMPLE) -> subprocess.CompletedProcess[str]:
    """Run one of helm's commands on the chart, as for the newest Kubernetes."""
    given = ["--namespace", NAMESPACE, "--values", str(values), "--kube-version", NEWEST]
    return subprocess.run([program, command, *options, *given], capture_output=True, text=True, check=False)


def render(program: str, *options: str) -> list[Manifest]:
    """Return what helm makes of the chart with the example's values and some options."""
    rendered = helm(program, "template", RELEASE, str(CHART), *options)
    assert rendered.returncode == 0, rendered.stderr
    return read(rendered.stdout)


def kept() -> list[Manifest]:
    """Return the manifests that are kept."""
    return [manifest for path in sorted(MANIFESTS.glob("*.yaml")) for manifest in read(path.read_text("utf-8"))]


def files(manifests: list[Manifest]) -> dict[str, str]:
    """Return what is kept of manifests, by the name of the file."""
    head = (
        "# Rendered by `make manifests` of the chart's ci/example-values.yaml: copy it before you change it. "
        f"The chart's sources: sha256:{sources_hash()}\n"
    )
    texts: dict[str, str] = {}
    for manifest in manifests:
        texts.setdefault(manifest.file, head)
        texts[manifest.file] += f"---\n{manifest.text}\n"
    return texts
