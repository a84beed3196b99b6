"""Source records and payloads for tests."""

import json
from datetime import datetime
from typing import Any

from streams.names import Topic
from streams.wire.records import Headers, SourceRecord
from tests.core.builders import NOW

PASSWORD = "p4ssw0rd-of-the-portal"  # made up


def payload(**changes: Any) -> dict[str, Any]:
    """Return a good submission with some fields changed; None takes a field out."""
    fields = {
        "jobId": "job-1",
        "workspaceId": "workspace-1",
        "carrier": "coordinadora",
        "credentials": {"username": "portal-user", "password": PASSWORD},
        "orders": [{"itemId": "i1", "orderId": "o1", "pedidoInput": {"ciudad": "MEDELLÍN", "unidades": 2}}],
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def encoded(**changes: Any) -> bytes:
    """Return the bytes of such a submission."""
    return json.dumps(payload(**changes), ensure_ascii=False).encode()


def with_pedido(pedido: str) -> bytes:
    """Return a good submission whose one pedidoInput is written exactly so."""
    return encoded(orders=[{"itemId": "i1", "orderId": "o1", "pedidoInput": "HERE"}]).replace(
        b'"HERE"', pedido.encode()
    )


def completion(**changes: Any) -> bytes:
    """Return the bytes of a good completion with some fields changed; None takes a field out."""
    fields = {"jobId": "job-1", "workspaceId": "workspace-1", "successCount": 1, "errorCount": 0} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def record(
    value: bytes | None,
    *,
    topic: str = Topic.SUBMITTED,
    partition: int = 0,
    offset: int = 41,
    timestamp: datetime = NOW,
    key: bytes | None = b"workspace-1",
    headers: Headers = (),
) -> SourceRecord:
    """Return a record as it would be read."""
    return SourceRecord(topic, partition, offset, timestamp, key, value, headers)
