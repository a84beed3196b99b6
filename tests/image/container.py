"""Building the image, and what starts a container of it as a cluster would."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.documents import ROOT
from tests.support.tools import tool

BASE = "localhost/debian:bookworm-slim"
IMAGE = "localhost/robot-orchestrator:built"
SECRETS_DIR = "/run/secrets/robot-orchestrator"
# Where the build finds the certificates of this machine, which may know a proxy between it and the registry.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# As Debian's slim image leaves it out.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def podman() -> tuple[str, ...]:
    """Return the beginning of each command; runc works within a container, where others want more rights."""
    return (tool("podman", "podman"), "--runtime", tool("runc", "runc"))


def make_base(folder: Path) -> None:
    """Make what the official image of Debian is, of the same packages, unless it is there from a former run."""
    if subprocess.run([*podman(), "image", "exists", BASE], check=False).returncode == 0:
        return
    archive = folder / "base.tar"
    without = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
    clean = '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/*'
    maker = (tool("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase")
    # Else a package that merges /usr comes in, and Perl with it.
    merged = ("--include=usr-is-merged", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")
    subprocess.run([*maker, *merged, *without, clean, "bookworm", archive], check=True)
    subprocess.run([*podman(), "import", "--quiet", archive, BASE], check=True)


def build(folder: Path, revision: str, tag: str = IMAGE, *options: str) -> None:
    """Build deploy/Dockerfile on that base."""
    make_base(folder)
    command = [
        *(tool("buildah", "buildah"), "build", "--isolation=chroot", "--network=host", "--layers", "--quiet"),
        *(f"--build-arg=BASE={BASE}", f"--build-arg=REVISION={revision}"),
        *(f"--volume={CERTIFICATES}:/run/certificates.crt:ro", "--build-arg=PIP_CERT=/run/certificates.crt"),
        *("--ignorefile=deploy/Dockerfile.dockerignore", "--file=deploy/Dockerfile", *options, f"--tag={tag}", "."),
    ]
    subprocess.run(command, cwd=ROOT, check=True)


def run(name: str, *options: str, variables: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the command that runs a container, with the variables of this process that are named.

    Its root is read-only and nothing else can be written; the image says as whom it runs.
    """
    limits = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=1000:1000")
    strict = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    return (
        *(*podman(), "run", "--rm", f"--name={name}", "--network=host", *limits, *strict),
        *(f"--env={variable}" for variable in variables),
        *(*options, IMAGE),
    )


def output(command: Sequence[str]) -> str:
    """Return what a command prints; it has to end well."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def secrets_folder(folder: Path, secrets: dict[str, str]) -> str:
    """Write secrets as files that the image's user may read, and return the option that mounts them."""
    folder.mkdir()
    for name, value in secrets.items():
        (folder / name).write_text(value, encoding="utf-8")
    os.chmod(folder, 0o755)
    return f"--volume={folder}:{SECRETS_DIR}:ro"
