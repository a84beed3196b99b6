"""Renders deploy/manifests from the chart: `make manifests`; it needs helm."""

import shutil
import sys

from tests.deploy.chart import MANIFESTS, files, render


def main() -> None:
    """Write the files."""
    program = shutil.which("helm")
    if program is None:
        sys.exit("helm is not here; with Go: go install helm.sh/helm/v3/cmd/helm@v3.22.0")
    MANIFESTS.mkdir(exist_ok=True)
    for name, text in files(render(program)).items():
        (MANIFESTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
