"""Whether `dev` may work on a Kafka that it did not start."""

from typing import NoReturn

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from streams.dev.stack import StackError
from streams.kafka.admin import admin_client
from streams.kafka.consumer import Consumer
from streams.names import SOURCE_TOPICS, changelog_topic, other_changelogs
from streams.settings import KafkaSettings

# The place of the members in a group of an answer to DescribeGroups.
GROUP_MEMBERS = 5


async def check_nobody_else_works_there(settings: KafkaSettings) -> None:
    """Raise StackError unless the cluster's jobs are this application's alone.

    Two applications on the same topics both run every job, and publish two outcomes. A new one begins with all that
    lies there.
    """
    servers = settings.bootstrap_servers

    def refuse(because: str) -> NoReturn:
        raise StackError(f"dev does not work on {servers}: {because} (without --bootstrap-servers it starts a Kafka)")

    own = changelog_topic(settings.app_id)
    try:
        async with admin_client(**settings.kafka_client_options()) as admin:
            topics = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
            # Every application has one, whether its workers run or not.
            if others := other_changelogs(topics, settings.app_id):
                refuse(f"another application's jobs are there, by its topic {others[0]}")
            if own not in topics:
                sources = [TopicPartition(name, n) for name in SOURCE_TOPICS for n in range(topics.get(name, 0))]
                if written := await _written(settings, sources):
                    refuse(f"{written} has or had records of somebody else")
                return
            if await _has_members(admin, settings.app_id):
                refuse(f"its group {settings.app_id} has members, which a killed dev leaves behind for some seconds")
    except KafkaConnectionError:
        refuse("no Kafka without TLS or login answers there")
    except KafkaError as error:
        refuse(str(error) or type(error).__name__)


async def _has_members(admin: AIOKafkaAdminClient, group: str) -> bool:
    # Only for a group that there is: a cluster that never had one has no coordinators to ask either.
    if group not in {name for name, *_ in await admin.list_consumer_groups()}:
        return False
    (response,) = await admin.describe_consumer_groups([group])
    return bool(response.groups[0][GROUP_MEMBERS])


async def _written(settings: KafkaSettings, sources: list[TopicPartition]) -> str | None:
    """Return a topic that was ever written to, None if none was."""
    if not sources:
        return None
    consumer = Consumer(**settings.kafka_client_options())
    await consumer.start()
    try:
        ends = await consumer.end_offsets(sources)
    finally:
        await consumer.stop()
    return next((source.topic for source in sources if ends[source]), None)
