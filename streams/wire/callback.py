"""The address to which the robot reports the orders of a job: it names the job, which the report does not."""

import re
from urllib.parse import quote, unquote_to_bytes

from schemas import ID_MAX_LENGTH
from streams.core.job import JobKey

CALLBACK_PATH = "/api/webhooks/robot-callback"
# What a template has in the place of the ids.
WORKSPACE_ID, JOB_ID = "{workspaceId}", "{jobId}"

# Clients and proxies resolve the segments `.` and `..`, also percent-encoded: an id that is one gets this before it,
# and so does one that begins with it.
_NO_DOTS = "~"
_DOTS = (".", "..")
_SEGMENT = r"((?:[^/%]|%[0-9A-Fa-f]{2})+)"
_PATH = re.compile(f"{re.escape(CALLBACK_PATH)}/{_SEGMENT}/{_SEGMENT}".encode())


def callback_url(template: str, workspace_id: str, job_id: str) -> str:
    """Return the address for a job: the template with both ids, each as one segment of the path."""
    # What is put in has no braces.
    return template.replace(WORKSPACE_ID, _segment(workspace_id)).replace(JOB_ID, _segment(job_id))


def ids_of(raw_path: bytes) -> JobKey | None:
    """Return the job that a request's path names, as it came, before anybody has decoded it; None if it names none."""
    found = _PATH.fullmatch(raw_path)
    if found is None:
        return None
    workspace_id, job_id = map(_identifier, found.groups())
    return JobKey(workspace_id, job_id) if workspace_id and job_id else None


def _segment(identifier: str) -> str:
    shield = _NO_DOTS if identifier in _DOTS or identifier.startswith(_NO_DOTS) else ""
    return quote(shield + identifier, safe="")


def _identifier(segment: bytes) -> str | None:
    try:
        identifier = unquote_to_bytes(segment).decode().removeprefix(_NO_DOTS)
    except UnicodeDecodeError:
        return None
    return identifier if 1 <= len(identifier) <= ID_MAX_LENGTH else None
