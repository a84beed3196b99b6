"""Going on without a job table that was lost."""

from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError

from streams.kafka_access import AccessError, Operation
from streams.names import CHANGELOG_TABLE_KEY, changelog_topic
from streams.rows import TABLE_MARK
from streams.settings import Settings
from streams.topics import check_topics


async def adopt_table(settings: Settings) -> int:
    """Mark what is in the changelog as the whole table of every partition; return how many there are.

    A worker refuses to open a partition that the group has worked on and that has no such mark. Raises AccessError,
    TopicsError and a KafkaError.
    """
    partitions = (await check_topics(settings)).partitions
    changelog = changelog_topic(settings.app_id)
    try:
        async with AIOKafkaProducer(**settings.kafka_client_options(), acks="all") as producer:
            for partition in range(partitions):
                await producer.send_and_wait(changelog, TABLE_MARK, key=CHANGELOG_TABLE_KEY, partition=partition)
    except TopicAuthorizationFailedError as error:
        raise AccessError((Operation.WRITE, f"topic {changelog}")) from error
    return partitions
