"""What somebody asks for, as it lies in the control topic."""

from schemas.control import Control as ControlPayload
from streams.core.controls import Action, Control


def decode_control(value: bytes) -> Control:
    """Return the control in a record's value. Raises pydantic's ValidationError."""
    payload = ControlPayload.model_validate_json(value)
    return Control(
        control_id=payload.controlId,
        action=Action(payload.action),
        workspace_id=payload.workspaceId,
        job_id=payload.jobId,
        actor=payload.actor,
        reason=payload.reason,
        requested_at=payload.requestedAt,
        detail=payload.detail,
    )


def encode_control(control: Control) -> bytes:
    """Return the value of a control's record. Raises pydantic's ValidationError if it breaks the contract."""
    payload = ControlPayload.model_validate(
        {
            "controlId": control.control_id,
            "action": control.action.value,
            "workspaceId": control.workspace_id,
            "jobId": control.job_id,
            "actor": control.actor,
            "reason": control.reason,
            "requestedAt": control.requested_at,
            "detail": control.detail,
        }
    )
    return payload.model_dump_json().encode()
