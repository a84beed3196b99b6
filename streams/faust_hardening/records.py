"""aiokafka's reading of fetched records, where one odd record would stop its partition for ever."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

# In front of each batch: its first offset (8 bytes) and the length of what follows (4).
_LENGTH_AT, _LENGTH_END = 8, 12


def read_any_header_name() -> None:
    """Let records with header names that are no UTF-8 be read, by every consumer of this process.

    A broker takes any bytes for a name, and aiokafka raises on them: whoever owns the partition would crash
    again and again. What is no UTF-8 in a name is read as backslash escapes.
    """
    fetcher.MemoryRecords = _Records


class _Records:
    """What a fetch returned of a partition: aiokafka's batches, each with its bytes at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._next = 0
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "_Batch":
        start = self._next
        length = int.from_bytes(self._data[start + _LENGTH_AT : start + _LENGTH_END])
        self._next = start + _LENGTH_END + length
        return _Batch(self._records.next_batch(), self._data[start : self._next])


class _Batch:
    """A batch of aiokafka's compiled kind, read with the one in Python where a header's name asks for it."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_PlainBatch(self._data), read, None)


class _PlainBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # its type says final, and comes without types
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Escaping(self._buffer)


class _Escaping(bytearray):
    """Bytes that can always be decoded."""

    def __getitem__(self, where: Any) -> Any:
        part = super().__getitem__(where)
        return _Escaping(part) if isinstance(part, bytearray) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
