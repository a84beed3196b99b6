"""The body of the POST: the submission's orders cut to three fields, each value's bytes as they came."""

from dataclasses import dataclass, field

import msgspec

from streams.wire.callback import callback_url


@dataclass(frozen=True, slots=True)
class Callback:
    """Where the robot reports a batch, and the secret by which it shows who it is.

    `per_job`: the url is a template for the ids of the job (see callback.py), so that its reports can be told from
    those of another job with the same orders.
    """

    url: str
    secret: str = field(repr=False)
    per_job: bool = False

    def url_of(self, workspace_id: str, job_id: str) -> str:
        """Return where the robot reports a job's batch."""
        return callback_url(self.url, workspace_id, job_id) if self.per_job else self.url


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
    """A POST to the robot: its body, and every secret in it, to be kept out of what is written about it.

    `traceparent`: the trace that it is part of.
    """

    job_id: str
    workspace_id: str
    body: bytes
    secrets: tuple[str, ...]
    traceparent: str | None = None

    def __repr__(self) -> str:
        return f"<RobotRequest {self.job_id}>"

    def in_trace(self, traceparent: str | None) -> "RobotRequest":
        """Return the request as a part of a trace, if there is one."""
        return msgspec.structs.replace(self, traceparent=traceparent)


def build_request(payload: bytes, callback: Callback) -> RobotRequest:
    """Return the request for a submission's bytes. Raises msgspec's errors for bytes that are no submission."""
    submission = _submissions.decode(payload)
    credentials = _credentials.decode(submission.credentials)
    workspace_id, job_id = _texts.decode(submission.workspaceId), _texts.decode(submission.jobId)
    body = {
        "workspaceId": submission.workspaceId,
        "credentials": credentials,
        "callbackUrl": callback.url_of(workspace_id, job_id),
        "callbackSecret": callback.secret,
        "jobId": submission.jobId,
        "orders": _orders.decode(submission.orders),
    }
    return RobotRequest(
        job_id=job_id,
        workspace_id=workspace_id,
        body=msgspec.json.encode(body),
        secrets=_secrets(credentials, callback),
    )


def secrets_of(payload: bytes, callback: Callback) -> tuple[str, ...]:
    """Return every secret that the robot gets with a submission. Raises msgspec's errors as `build_request` does."""
    return _secrets(_credentials.decode(_submissions.decode(payload).credentials), callback)


def _secrets(credentials: _Credentials, callback: Callback) -> tuple[str, ...]:
    return _texts.decode(credentials.password), _texts.decode(credentials.username), callback.secret
