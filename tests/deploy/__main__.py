"""Renders deploy/manifests from the chart: `make manifests`."""

import sys

from tests.deploy.chart import MANIFESTS, files, helm_program, render


def main() -> None:
    """Write the files."""
    program = helm_program()
    if program is None:
        sys.exit("helm is not here, and there is no package of it for this machine")
    MANIFESTS.mkdir(exist_ok=True)
    for name, text in files(render(program)).items():
        (MANIFESTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
