"""What a JVM worked out in one run of Kafka, kept beside the jars: with it the next start takes half the work.

It is the JVM's own AOT cache. A JVM to which the file is missing, strange or damaged starts as it would without one.
"""

import fcntl
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from streams.dev.kafka_jars import EmbeddedKafkaError

# With C1 alone two stubs of the cache do not fit, of which the JVM warns at each start.
_NO_WARNINGS = "-Xlog:aot*=error"


def cache_of(jars: Path, java: Path, flags: Sequence[str]) -> Path:
    """Return where the cache of these jars is kept, for this Java and its flags."""
    # What the Java is, not where: every environment of a machine has one of its own.
    release = java.parents[1] / "release"
    made_by = (release.read_bytes() if release.is_file() else b"") + " ".join(flags).encode()
    return jars / f"start-{hashlib.sha256(made_by).hexdigest()[:16]}.aot"


def flags_to_record(cache: Path) -> tuple[str, ...]:
    """Return the flags with which a JVM writes a cache when it ends in good order."""
    return (f"-XX:AOTCacheOutput={cache}", _NO_WARNINGS)


def flags_to_use(cache: Path) -> tuple[str, ...]:
    """Return the flags with which a JVM uses a cache, if it is whole."""
    return (f"-XX:AOTCache={cache}", "-XX:+UnlockDiagnosticVMOptions", "-XX:+VerifySharedSpaces", _NO_WARNINGS)


def is_made(cache: Path, record: Callable[[Path], None]) -> bool:
    """Whether there is a cache to use; if nobody has tried to make it yet, `record` does.

    It appears whole or not at all, and one process at a time makes it, while others go without. Where it cannot be
    made, an empty file says so, and nobody tries again.
    """
    try:
        if not cache.exists():
            _make(cache, record)
        return cache.stat().st_size > 0
    except OSError:
        return False


def _make(cache: Path, record: Callable[[Path], None]) -> None:
    with cache.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if cache.exists():
            return
        part = cache.with_suffix(".part")
        part.unlink(missing_ok=True)
        try:
            record(part)
        except EmbeddedKafkaError:
            part.unlink(missing_ok=True)
        part.touch()
        part.rename(cache)
