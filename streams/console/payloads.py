"""What may be shown of a dead letter's value, which is read when it is asked for, and kept nowhere."""

import asyncio
from typing import Any

from aiokafka.errors import KafkaError

from streams.core.job import Source
from streams.kafka.access import AccessError
from streams.kafka.topics import TopicsError
from streams.operate.job_rows import NotReadError, record_reader
from streams.operate.letters import letter_of, shown_payload
from streams.settings import ConsoleSettings

# A person waits for it.
READ_SECONDS = 10.0


class UnreadableError(Exception):
    """Kafka did not give the letter; the text is one line."""


async def shown_value(settings: ConsoleSettings, place: Source) -> Any:
    """Return a letter's payload without what may be a credential, None if it is there no more. Raises UnreadableError.

    What has more than that ends here.
    """
    try:
        async with asyncio.timeout(READ_SECONDS), record_reader(settings, place.topic) as reader:
            record = await reader.record(place)
    except (KafkaError, NotReadError, AccessError, TopicsError, TimeoutError) as error:
        raise UnreadableError(str(error) or "Kafka did not answer in time") from None
    letter = None if record is None else letter_of(record)
    return None if letter is None else shown_payload(letter)
