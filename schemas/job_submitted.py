"""`robot.job.submitted`: a producer asks for a batch of orders to be typed in."""

from typing import Annotated, Any, Final

from pydantic import Field, SecretStr, SerializationInfo, field_serializer

from schemas._base import ID_MAX_LENGTH, Id, Record

__all__ = ["ID_MAX_LENGTH", "ORDERS_MAX", "Credentials", "JobSubmitted", "Order"]

ORDERS_MAX: Final = 10_000
"""Far above any batch seen (50): a bound on what one record can make a worker do."""

CREDENTIAL_MAX_LENGTH: Final = 500
"""Each is looked for, in many forms, in what the robot answers."""

_REVEAL: Final = "reveal"


class Credentials(Record):
    """The login at the courier's portal. Neither part shows in a repr, an error text or a plain dump."""

    username: Annotated[SecretStr, Field(max_length=CREDENTIAL_MAX_LENGTH)]
    password: Annotated[SecretStr, Field(max_length=CREDENTIAL_MAX_LENGTH)]

    @field_serializer("username", "password", when_used="json")
    def _serialize(self, secret: SecretStr, info: SerializationInfo) -> str:
        return secret.get_secret_value() if info.context == _REVEAL else str(secret)


class Order(Record):
    """One order of the batch."""

    itemId: Id
    orderId: Id
    # Hidden because it holds names and addresses of people.
    pedidoInput: Annotated[dict[str, Any], Field(repr=False)]
    """What the robot types in: any JSON object, passed through uninterpreted."""


class JobSubmitted(Record):
    """A job: identified by workspaceId and jobId together, done at most once. Use workspaceId as the key."""

    jobId: Id
    """Unique in its workspace; known for a retention after the job's end. Trying a failed job again takes a new one."""
    workspaceId: Id
    """Decides the partition; a workspace's jobs run one after the other."""
    carrier: str | None = None
    """The courier. Informative."""
    credentials: Credentials
    orders: Annotated[list[Order], Field(min_length=1, max_length=ORDERS_MAX)]
    resubmissionOf: Id | None = None
    """The jobId, in this workspace, of the ended job whose orders these are. It can be tried again once."""

    def to_wire(self) -> bytes:
        """Return the record's value as JSON **with the credentials**, which `model_dump_json` masks."""
        return self.model_dump_json(context=_REVEAL, exclude_unset=True).encode()
