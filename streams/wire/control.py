"""What somebody asks for, as it lies in the control topic."""

from schemas.control import Control as ControlPayload
from streams.core.controls import Control


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
