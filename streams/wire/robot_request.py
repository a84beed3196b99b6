"""The body of the POST: the submission's orders cut to three fields, each value's bytes as they came."""

from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the robot reports a batch, and the secret by which it shows who it is."""

    url: str
    secret: str = field(repr=False)


# Every field is raw: intake has checked the last value of each, which is the one that counts where a field
# comes twice, and a type here would look at the others too.
class _Credentials(msgspec.Struct):
    username: msgspec.Raw
    password: msgspec.Raw


class _Order(msgspec.Struct):
    itemId: msgspec.Raw  # the name on the wire
    orderId: msgspec.Raw  # the name on the wire
    pedidoInput: msgspec.Raw  # the name on the wire


class _Submission(msgspec.Struct):
    workspaceId: msgspec.Raw  # the name on the wire
    jobId: msgspec.Raw  # the name on the wire
    credentials: msgspec.Raw
    orders: msgspec.Raw


_submissions = msgspec.json.Decoder(_Submission)
_credentials = msgspec.json.Decoder(_Credentials)
_orders = msgspec.json.Decoder(list[_Order])
_texts = msgspec.json.Decoder(str)


class RobotRequest(msgspec.Struct, frozen=True):
    """A POST to the robot: its body, and every secret in it, to be kept out of what is written about it."""

    job_id: str
    workspace_id: str
    body: bytes
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<RobotRequest {self.job_id}>"


def build_request(payload: bytes, callback: Callback) -> RobotRequest:
    """Return the request for a submission's bytes. Raises msgspec's errors for bytes that are no submission."""
    submission = _submissions.decode(payload)
    credentials = _credentials.decode(submission.credentials)
    body = {
        "workspaceId": submission.workspaceId,
        "credentials": credentials,
        "callbackUrl": callback.url,
        "callbackSecret": callback.secret,
        "jobId": submission.jobId,
        "orders": _orders.decode(submission.orders),
    }
    return RobotRequest(
        job_id=_texts.decode(submission.jobId),
        workspace_id=_texts.decode(submission.workspaceId),
        body=msgspec.json.encode(body),
        secrets=(_texts.decode(credentials.password), _texts.decode(credentials.username), callback.secret),
    )
