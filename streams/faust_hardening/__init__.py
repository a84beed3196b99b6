"""What stock Faust and aiokafka get wrong for us, replaced in this one folder: see README.md beside this file."""

from streams.faust_hardening.app import HardenedApp, HardenedWorker
from streams.faust_hardening.channel import DurableChannel

__all__ = ["DurableChannel", "HardenedApp", "HardenedWorker"]
