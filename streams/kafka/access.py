"""Why Kafka does not let us in, or not do something, in one line that a person can act on."""

import asyncio
import ssl
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    NotCoordinatorForGroupError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from streams.login.tokens import TokenError
from streams.settings import KafkaSettings, variable_of

# One more attempt to connect, only to learn why the others failed.
ATTEMPT_TIMEOUT_MS = 5_000
# Long enough for a coordinator that is being elected.
COORDINATOR_SECONDS = 10.0
COORDINATOR_POLL_SECONDS = 0.2
_NO_COORDINATOR_YET = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    # Its broker has just gone.
    KafkaConnectionError,
    NodeNotReadyError,
)
# In the place of the allowed operations: the broker was not asked for them, or it has no ACLs.
UNKNOWN_OPERATIONS = -(2**31)
_TEXT = String("utf-8")


class Operation(IntEnum):
    """What an ACL allows, by Kafka's codes."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


class AccessError(Exception):
    """ACLs are missing; the text is one line that names each operation and its resource, as `lacks` has them."""

    def __init__(self, *lacks: tuple[Operation, str]) -> None:
        self.lacks = lacks
        listed = ", ".join(f"{operation.name} on {resource}" for operation, resource in lacks)
        super().__init__(f"missing ACLs: {listed}")


@dataclass(frozen=True, slots=True)
class DescribedTopic:
    """A topic: how many replicas each partition has, and what we may do with it (a bit an operation)."""

    replicas: tuple[int, ...]
    operations: int

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.replicas)

    def allows(self, operation: Operation) -> bool:
        """Whether the broker would let us; True if it cannot say."""
        return _allows(self.operations, operation)


def _allows(operations: int, operation: Operation) -> bool:
    return operations == UNKNOWN_OPERATIONS or bool(operations >> operation & 1)


async def describe_topics(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, DescribedTopic]:
    """Return those of the topics that are there, and those that we may not even describe, which allow nothing."""
    response = await admin._send_request(_Metadata(names))
    topics = {}
    for code, name, _, partitions, operations in response.topics:
        error = for_code(code)
        if error is TopicAuthorizationFailedError:
            topics[name] = DescribedTopic((), 0)
        elif error is not UnknownTopicOrPartitionError:
            replicas = tuple(len(replicas) for *_, replicas, _in_sync, _offline in partitions)
            topics[name] = DescribedTopic(replicas, operations)
    return topics


@dataclass(frozen=True, slots=True)
class VisibleCluster:
    """How many brokers are up, and the topics that we may see: of the others no broker tells."""

    brokers: int
    topics: frozenset[str]


async def visible_cluster(admin: AIOKafkaAdminClient) -> VisibleCluster:
    """Return the cluster as this user sees it."""
    response = await admin._send_request(_Metadata(None))
    return VisibleCluster(len(response.brokers), frozenset(name for _, name, *_ in response.topics))


async def _group_as_its_coordinator_has_it(admin: AIOKafkaAdminClient, group: str, patience: float) -> Any:
    """Return what a group's coordinator answers. A new cluster has none until it was asked for one, for so long.

    Raises GroupAuthorizationFailedError if this user may not ask, another KafkaError if there is none in time.
    """
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            coordinator = await admin.find_coordinator(group)
            ((code, *found),) = (await admin._send_request(_DescribeGroup(group), coordinator)).groups
            if code:
                raise for_code(code)(group)
        except _NO_COORDINATOR_YET:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(COORDINATOR_POLL_SECONDS)
        else:
            return found


async def check_group(admin: AIOKafkaAdminClient, group: str) -> None:
    """Raise AccessError unless we may be a member of the group."""
    try:
        *_, operations = await _group_as_its_coordinator_has_it(admin, group, COORDINATOR_SECONDS)
    except GroupAuthorizationFailedError:
        operations = 0
    if not _allows(operations, Operation.READ):
        raise AccessError((Operation.READ, f"group {group}"))


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    """A consumer group: its state in Kafka's words, and the client id of each member."""

    state: str
    members: frozenset[str]


async def describe_group(
    admin: AIOKafkaAdminClient, group: str, patience: float = COORDINATOR_SECONDS
) -> DescribedGroup | None:
    """Return a group as it is now, None if this user may not ask.

    `patience`: how many seconds a coordinator may take to be there.
    """
    try:
        _, state, _, _, members, _ = await _group_as_its_coordinator_has_it(admin, group, patience)
    except GroupAuthorizationFailedError:
        return None
    return DescribedGroup(state, frozenset(client_id for _, client_id, *_ in members))


async def connection_problem(settings: KafkaSettings) -> str:
    """Return why the bootstrap servers cannot be talked to.

    aiokafka says that to its log only, and raises that it could not connect to any.
    """
    options = settings.kafka_client_options() | {"request_timeout_ms": ATTEMPT_TIMEOUT_MS}
    servers = [(host, port) for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False)]
    login = settings.login_fields
    problems = await asyncio.gather(*(_attempt(host, port, options, login) for host, port in servers))
    lines = (
        f"no connection to Kafka at {host}:{port}: {problem}"
        for (host, port), problem in zip(servers, problems, strict=True)
    )
    return "; ".join(lines)


async def _attempt(host: str, port: int, options: dict[str, Any], login: tuple[str, ...]) -> str:
    try:
        connection = await create_conn(host, port, **options)
    except TokenError as error:
        return f"{error} ({_names(*error.fields or login)})"
    except SaslAuthenticationFailed:
        what = "token" if "sasl_oauth_token_provider" in options else "login"
        return f"it refuses the {what} ({_names(*login)})"
    except UnsupportedSaslMechanismError:
        return f"it does not know this way to log in ({_names('sasl_mechanism')})"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message} ({_names('ssl_ca_file')})"
    except (ssl.SSLError, KafkaError, ConnectionResetError) as error:
        # As a TLS listener and a client without, or the other way round, or without the certificate it wants.
        cause = error if isinstance(error, ssl.SSLError) else error.__cause__
        alert = f": {cause.reason}" if isinstance(cause, ssl.SSLError) else ""
        return f"it breaks off{alert} ({_names('security_protocol', 'ssl_cert_file')})"
    except OSError as error:
        return f"{error.strerror or 'no answer in time'} ({_names('bootstrap_servers')})"
    await connection.close()
    return "it is back"


def _names(*fields: str) -> str:
    return ", ".join(map(variable_of, fields))


class _MetadataResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("in_sync_replicas", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_MetadataStruct]):  # type: ignore[misc] # aiokafka has no types
    """Topics (None: all) and what we may do with them; aiokafka's own requests are older than that question."""

    API_KEY = 3

    def __init__(self, names: list[str] | None) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        create = False  # Brokers may do that by themselves when somebody asks.
        return request_struct_class(self._names, create, False, True)


class _DescribeGroupStruct(DescribeGroupsRequest_v3):  # type: ignore[misc] # aiokafka has no types
    # aiokafka reads the answer as that of an older version, without what we ask for.
    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _DescribeGroup(Request[_DescribeGroupStruct]):  # type: ignore[misc] # aiokafka has no types
    """A group and what we may do with it."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_DescribeGroupStruct]) -> _DescribeGroupStruct:
        return request_struct_class([self._group], True)
