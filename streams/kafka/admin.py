"""The admin client, for as long as it is needed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient


@asynccontextmanager
async def admin_client(**options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a connected admin client and close it again. Raises a KafkaError if no broker answers."""
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
