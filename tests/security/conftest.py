"""The one Kafka of these tests, and the README's ACLs."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.scene import PARTITIONS
from tests.support.secure_kafka import Acl, SecureKafka, secure_kafka

CLI = (sys.executable, "-m", "streams.cli")
