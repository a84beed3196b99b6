"""The documented table of the least ACLs, as ACLs."""

import re

from streams.kafka.access import Operation
from streams.names import Topic, changelog_topic
from tests.support.documents import OPERATING
from tests.support.secure_kafka import Acl, Pattern, Resource

DEFAULT_APP_ID = "robot-orchestrator"
TOPICS = (*Topic, changelog_topic(DEFAULT_APP_ID))
# How the table names kinds of resources.
_KINDS = {
    "topics": (Resource.TOPIC, Pattern.LITERAL),
    "topic": (Resource.TOPIC, Pattern.LITERAL),
    "group": (Resource.GROUP, Pattern.LITERAL),
    "transactional id": (Resource.TRANSACTIONAL_ID, Pattern.LITERAL),
    "transactional ids that begin with": (Resource.TRANSACTIONAL_ID, Pattern.PREFIXED),
}


def documented_acls(program: str, app_id: str = DEFAULT_APP_ID) -> list[Acl]:
    """Return what docs/operating.md lets a program do, for an application."""
    acls = []
    for name, resource, operations in OPERATING.table("program"):
        if name != f"`{program}`":
            continue
        everything = resource == "all these topics"
        names = TOPICS if everything else re.findall(r"`([^`]+)`", resource)
        kind, pattern = _KINDS["topics" if everything else resource.partition(" `")[0]]
        for one in names:
            own = one.replace(DEFAULT_APP_ID, app_id)
            acls += [Acl(kind, own, Operation[operation], pattern) for operation in operations.split(", ")]
    return acls
