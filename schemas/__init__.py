"""The contract with every other program: one model per record, in importable form.

`examples/` has values that must be taken and refused, `json/` and `asyncapi.yaml` say the same for other
languages (`python -m schemas.generate` writes them).
"""

from typing import Final

from schemas._base import COUNT_MAX, ID_MAX_LENGTH, Record, explain
from schemas._outcome import OrderOutcome
from schemas.batch_completed import BatchCompleted
from schemas.control import Control
from schemas.dead_letter import DeadLetterHeaders
from schemas.job_amended import JobAmended
from schemas.job_completed import JobCompleted
from schemas.job_failed import ERROR_MAX_LENGTH, JobFailed
from schemas.job_submitted import ORDERS_MAX, Credentials, JobSubmitted, Order
from schemas.order_reported import OrderReported
from streams.names import Topic

VALUE_MODELS: Final[dict[str, type[Record]]] = {
    Topic.SUBMITTED.value: JobSubmitted,
    Topic.BATCH_COMPLETED.value: BatchCompleted,
    Topic.ORDER_REPORTED.value: OrderReported,
    Topic.CONTROL.value: Control,
    Topic.COMPLETED.value: JobCompleted,
    Topic.FAILED.value: JobFailed,
    Topic.AMENDED.value: JobAmended,
}
"""The model of each topic's values. Dead letters have none: theirs are the source record's bytes."""

__all__ = [
    "COUNT_MAX",
    "ERROR_MAX_LENGTH",
    "ID_MAX_LENGTH",
    "ORDERS_MAX",
    "VALUE_MODELS",
    "BatchCompleted",
    "Control",
    "Credentials",
    "DeadLetterHeaders",
    "JobAmended",
    "JobCompleted",
    "JobFailed",
    "JobSubmitted",
    "Order",
    "OrderOutcome",
    "OrderReported",
    "Record",
    "explain",
]
