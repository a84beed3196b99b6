"""Dead letters in Kafka: reading them, and sending one in again, once."""

from collections.abc import Collection
from typing import Any

from streams.kafka.messages import source_record
from streams.operate.job_rows import Progress, RecordReader, no_progress
from streams.operate.letters import Letter, by_id, letter_of


async def read_letters(
    reader: RecordReader, topics: Collection[str], numbers: Collection[int], progress: Progress = no_progress
) -> dict[str, Letter]:
    """Return the letters in some partitions of dead-letter topics, by their ids. Raises what the reader does."""
    letters: list[Letter] = []

    def take(message: Any) -> None:
        if (letter := letter_of(source_record(message, message.timestamp))) is not None:
            letters.append(letter)

    for topic in topics:
        await reader.scan(topic, numbers, take, progress)
    return by_id(letters)
