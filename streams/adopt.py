"""Going on without a job table that was lost."""

from aiokafka import AIOKafkaProducer

from streams.names import CHANGELOG_TABLE_KEY, changelog_topic
from streams.rows import TABLE_MARK
from streams.settings import Settings
from streams.topics import check_topics


async def adopt_table(settings: Settings) -> int:
    """Mark what is in the changelog as the whole table of every partition; return how many there are.

    A worker refuses to open a partition that the group has worked on and that has no such mark. Raises as
    `check_topics` does, and a KafkaError.
    """
    partitions = (await check_topics(settings)).partitions
    async with AIOKafkaProducer(**settings.kafka_client_options(), acks="all") as producer:
        for partition in range(partitions):
            await producer.send_and_wait(
                changelog_topic(settings.app_id), TABLE_MARK, key=CHANGELOG_TABLE_KEY, partition=partition
            )
    return partitions
