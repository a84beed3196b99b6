"""A workspace's partition is the one that a Java producer picks for its key."""

import pytest
from hypothesis import strategies as st

from streams.wire.placement import partition_of

# Apache Kafka, clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
JAVA_MURMUR2 = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@pytest.mark.parametrize(("key", "murmur2"), JAVA_MURMUR2.items())
@pytest.mark.parametrize("partitions", [1, 2, 7, 8, 64, 1000, 2**31 - 1])
def test_a_workspace_lies_where_the_java_client_puts_its_key(key: str, murmur2: int, partitions: int) -> None:
    to_positive = murmur2 & 0x7FFFFFFF  # as in the client's Utils.toPositive
    assert partition_of(key, partitions) == to_positive % partitions


def test_an_id_beyond_ascii_counts_as_its_utf_8_bytes() -> None:
    """Pinned: another encoding would move workspaces away from their rows."""
    assert [partition_of(name, 1000) for name in ("Peñuela", "Bogotá", "😀")] == [690, 976, 617]
