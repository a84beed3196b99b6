"""Which transactions of a partition are open: DescribeProducers, which aiokafka lacks. It needs READ on the topic."""

from collections.abc import Iterable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

_TEXT = CompactString("utf-8")
# What a producer without an open transaction has as its start.
_NONE = -1


class _DescribeProducersResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 61
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", _TEXT),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("start_offset", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeProducersStruct(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 61
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _DescribeProducersResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("name", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class _DescribeProducers(Request[_DescribeProducersStruct]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 61

    def __init__(self, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition

    def build(self, request_struct_class: type[_DescribeProducersStruct]) -> _DescribeProducersStruct:
        return request_struct_class([(self._topic, [self._partition], {})], {})


async def describe_open(admin: AIOKafkaAdminClient, topic: str, partition: int) -> Iterable[tuple[int, int, int]]:
    """Return (producer id, start offset, time of the last write in milliseconds) of each. Raises a KafkaError."""
    (described,) = await admin.describe_topics([topic])
    leaders = {row["partition"]: row["leader"] for row in described["partitions"]}
    response: Any = await admin._send_request(_DescribeProducers(topic, partition), leaders.get(partition))
    ((_, answers, _),) = response.topics
    ((_, code, message, producers, _),) = answers
    if code:
        raise for_code(code)(message)
    return [(producer, start, last) for producer, _, _, last, _, start, _ in producers if start != _NONE]
