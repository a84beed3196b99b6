"""The address at which the robot reports the orders of one job."""

from urllib.parse import quote


def callback_url(template: str, workspace_id: str, job_id: str) -> str:
    """Return the address of a template, with both ids percent-encoded."""
    return template.replace("{workspaceId}", _segment(workspace_id)).replace("{jobId}", _segment(job_id))


def _segment(text: str) -> str:
    # A segment of dots alone would be taken for a way through the tree.
    return quote(text, safe="").replace(".", "%2E") if set(text) == {"."} else quote(text, safe="")
