"""Renders deploy/manifests from the chart: `make manifests`."""

import sys

from tests.deploy.chart import MANIFESTS, NO_HELM, files, helm_program, render


def main() -> None:
    """Write the files."""
    program = helm_program()
    if program is None:
        sys.exit(NO_HELM)
    MANIFESTS.mkdir(exist_ok=True)
    for name, text in files(render(program)).items():
        (MANIFESTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
