"""Fetched records are read whatever a header's name is, and otherwise as aiokafka reads them."""

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.faust_hardening.records import read_any_header_name
from streams.kafka.messages import instant_of, milliseconds_of
from streams.wire.records import Headers
from tests.core.builders import NOW
from tests.support.hostile import RawName

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
PLAIN: Headers = (("x", b"1"), ("ñ", None), ("x", b""))
RAW: Headers = ((RawName(r"\xff\xfename"), b"1"), ("y", b"\xff"))


def batch(*headers: Headers, base_offset: int = 0, codec: int = 0) -> bytes:
    """Return a batch with a record for each headers, as a broker has it."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=7,
        producer_epoch=0,
        base_sequence=0,
        batch_size=10**6,
    )
    for number, names in enumerate(headers):
        builder.append(number, timestamp=number, key=b"k", value=b"v" * 100, headers=list(names))
    return base_offset.to_bytes(8) + bytes(builder.build())[8:]


def read(records: Any) -> list[tuple[int, int, bytes, Headers]]:
    found = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        assert (one.producer_id, one.is_control_batch, one.is_transactional) == (7, False, False)
        found += [(r.offset, r.timestamp, r.value, tuple(r.headers)) for r in one]
        assert found[-1][0] + 1 == one.next_offset
    return found


@pytest.fixture(autouse=True)
def patched() -> None:
    read_any_header_name()


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_header_name_that_is_no_utf8_is_read_with_escapes_and_its_neighbours_as_ever(codec: int) -> None:
    first, second = batch(PLAIN, RAW, (), RAW, codec=codec), batch(PLAIN, base_offset=4, codec=codec)
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(first))
    escaped = (("\\xff\\xfename", b"1"), ("y", b"\xff"))
    headers = [PLAIN, escaped, (), escaped, PLAIN]
    times = [0, 1, 2, 3, 0]
    expected = [(offset, at, b"v" * 100, names) for offset, (at, names) in enumerate(zip(times, headers, strict=True))]
    assert read(fetcher.MemoryRecords(first + second)) == expected


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("cut", [0, 1, 30])
def test_other_records_are_read_as_aiokafka_reads_them_but_not_a_batch_that_was_cut_off(codec: int, cut: int) -> None:
    data = batch(PLAIN, (), codec=codec) + batch(PLAIN, base_offset=2, codec=codec)
    data = data[: len(data) - cut]
    ours, theirs = fetcher.MemoryRecords(data), MemoryRecords(data)
    assert ours.size_in_bytes() == theirs.size_in_bytes()
    assert read(ours) == read(theirs)


def test_a_fetch_without_records_has_none() -> None:
    assert not fetcher.MemoryRecords(b"").has_next()


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_timestamp_is_an_instant(milliseconds: int) -> None:
    instant = instant_of(milliseconds)
    assert milliseconds_of(instant) == max(0, min(milliseconds, milliseconds_of(instant_of(2**63 - 1))))
    # The engine asks for nothing else of a timestamp.
    assert (instant - NOW) is not None
