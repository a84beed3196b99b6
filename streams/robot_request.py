"""The body of the POST: the submission's orders cut to three fields, each value's bytes as they came."""

import msgspec


class _Credentials(msgspec.Struct):
    username: str
    password: str


class _Order(msgspec.Struct):
    itemId: msgspec.Raw  # the name on the wire
    orderId: msgspec.Raw  # the name on the wire
    pedidoInput: msgspec.Raw  # the name on the wire


class _Submission(msgspec.Struct):
    workspaceId: str  # the name on the wire
    jobId: str  # the name on the wire
    credentials: _Credentials
    orders: list[_Order]


_submissions = msgspec.json.Decoder(_Submission)


class RobotRequest(msgspec.Struct, frozen=True):
    """A POST to the robot: its body, and every secret in it, to be kept out of what is written about it."""

    job_id: str
    workspace_id: str
    body: bytes
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<RobotRequest {self.job_id}>"


def build_request(payload: bytes, callback_url: str, callback_secret: str) -> RobotRequest:
    """Return the request for a submission's bytes. Raises msgspec's errors for bytes that are no submission."""
    submission = _submissions.decode(payload)
    body = {
        "workspaceId": submission.workspaceId,
        "credentials": submission.credentials,
        "callbackUrl": callback_url,
        "callbackSecret": callback_secret,
        "jobId": submission.jobId,
        "orders": submission.orders,
    }
    credentials = submission.credentials
    return RobotRequest(
        job_id=submission.jobId,
        workspace_id=submission.workspaceId,
        body=msgspec.json.encode(body),
        secrets=(credentials.password, credentials.username, callback_secret),
    )
