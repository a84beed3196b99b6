"""The patches reach into private attributes: they are good for the versions they were tested with, no others."""

from importlib import import_module, metadata

TESTED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}


class UntestedVersionError(Exception):
    """A library has a version that the patches were not tested with."""


def check_versions() -> None:
    """Raise UntestedVersionError unless every patched library has the tested version, compiled parts included."""
    for name, tested in TESTED.items():
        found = metadata.version(name)
        if found != tested:
            raise UntestedVersionError(f"{name} {found} is installed, but only {tested} was tested: reinstall it")
    # Faust's pure-Python streams acknowledge messages that they skip after a rebalance; the compiled ones do not.
    # Faust is imported only here: of another version it may not even have this module.
    if import_module("faust.streams")._CStreamIterator is None:
        raise UntestedVersionError(
            "faust-streaming runs without its compiled parts: reinstall it, and do not set NO_CYTHON"
        )
