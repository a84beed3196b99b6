"""The workers' group, as somebody sees it who is no member."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, for_code

from streams.kafka.access import AccessError, Operation


async def member_ids(admin: AIOKafkaAdminClient, group: str) -> list[str]:
    """Return the client ids of a group's members: those of the workers. Raises AccessError or a KafkaError."""
    try:
        ((code, _, _, _, _, members, *_),) = (await admin.describe_consumer_groups([group]))[0].groups
    except GroupAuthorizationFailedError:
        raise AccessError((Operation.DESCRIBE, f"group {group}")) from None
    if code:
        if for_code(code) is GroupAuthorizationFailedError:
            raise AccessError((Operation.DESCRIBE, f"group {group}"))
        raise for_code(code)(group)
    return sorted(client_id for _, client_id, *_ in members)
