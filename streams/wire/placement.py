"""Where a job belongs: all records of a workspace in one partition number, whatever partitioner wrote them."""

from functools import lru_cache

from aiokafka.partitioner import murmur2


@lru_cache(maxsize=16_384)
def partition_of(workspace_id: str, partitions: int) -> int:
    """Return the partition of a workspace: what a Java, aiokafka or kafkajs producer picks for that key."""
    return int(murmur2(workspace_id.encode()) & 0x7FFFFFFF) % partitions
