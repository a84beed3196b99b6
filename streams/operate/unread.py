"""What workers have not read yet: a job may be among it that nobody knows of."""

from collections.abc import Sequence

from aiokafka.errors import KafkaError

from streams.engine.ports import UnreadableError
from streams.kafka.access import describe_topics
from streams.kafka.admin import admin_client
from streams.kafka.reader import KafkaReader
from streams.names import Topic
from streams.settings import KafkaSettings


async def unread_records(settings: KafkaSettings, topics: Sequence[Topic], partitions: int) -> int:
    """Return how many offsets of some topics workers have not committed; markers of transactions are among them.

    Raises UnreadableError and a KafkaError.
    """
    reader = KafkaReader(settings.kafka_client_options(), settings.app_id, partitions)
    try:
        await reader.start()
        return sum(
            [
                sum((await reader.end_offsets(topic)).values()) - sum((await reader.committed_offsets(topic)).values())
                for topic in topics
            ]
        )
    finally:
        await reader.stop()


async def unread_submissions(settings: KafkaSettings) -> int | None:
    """Return how many submissions nobody has read yet; None where that is not known, as for a user who may not ask.

    Of a job that is not in the table it says something only if it was asked before the table was read.
    """
    try:
        async with admin_client(**settings.kafka_client_options()) as admin:
            found = (await describe_topics(admin, [Topic.SUBMITTED])).get(Topic.SUBMITTED)
        if found is None:
            return 0
        # Of a topic that is hidden from this user there are none.
        return await unread_records(settings, [Topic.SUBMITTED], found.partitions) if found.partitions else None
    except (KafkaError, UnreadableError):
        return None
