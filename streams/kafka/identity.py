"""Which cluster, and which topics: a topic that was made anew has its name, and another id."""

import uuid
from collections.abc import Iterable
from io import BytesIO

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_TEXT = CompactString("utf-8")
_NO_TAGS: dict[int, bytes] = {}


async def identity_of(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> str:
    """Return one line that is another one for another cluster, or where one of the topics was made anew.

    Needs brokers of 2.8 or newer. Raises a KafkaError.
    """
    response = await admin._send_request(_Metadata(sorted(topics)))
    ids = []
    for code, name, topic_id, *_ in response.topics:
        if code:
            raise for_code(code)(name)
        ids.append(f"{name}={topic_id}")
    return " ".join([response.cluster_id, *sorted(ids)])


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc] # aiokafka has no types
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


_INTS = CompactArray(Int32)


class _Response(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", _INTS),
                        ("in_sync_replicas", _INTS),
                        ("offline_replicas", _INTS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _Struct(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_Struct]):  # type: ignore[misc] # aiokafka has no types
    """Topics with their ids, which aiokafka's own requests are too old for."""

    API_KEY = 3

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        topics = [(uuid.UUID(int=0), name, _NO_TAGS) for name in self._names]
        return request_struct_class(topics, False, False, False, _NO_TAGS)
