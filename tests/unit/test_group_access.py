"""A group is asked after where its coordinator is, which on a new cluster is nowhere yet."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from streams.kafka.access import AccessError, DescribedGroup, Operation, check_group, describe_group
from tests.simulation.loop import in_virtual_time

MAY_READ = 1 << Operation.READ
NOT_YET, NOT_HERE = GroupCoordinatorNotAvailableError.errno, NotCoordinatorForGroupError.errno
NOT_LET_IN = GroupAuthorizationFailedError.errno


class Admin:
    """Answers with these error codes one after the other, and goes on with the last one."""

    def __init__(self, finding: list[int], describing: list[int], operations: int = MAY_READ) -> None:
        self._finding, self._describing, self._operations = finding, describing, operations

    async def find_coordinator(self, group: str) -> int:
        code = self._finding.pop(0) if len(self._finding) > 1 else self._finding[0]
        if code:
            raise GroupCoordinatorNotAvailableError(group)
        return 1

    async def _send_request(self, _request: Any, _coordinator: int) -> Any:
        code = self._describing.pop(0) if len(self._describing) > 1 else self._describing[0]
        members = [("member-1", "worker-1", "host", b"", b"")]
        return SimpleNamespace(groups=[(code, "group", "Stable", "consumer", "range", members, self._operations)])


@in_virtual_time
async def test_a_coordinator_that_is_being_found_is_waited_for() -> None:
    admin: Any = Admin([NOT_YET, NOT_YET, 0], [NOT_HERE, 0])
    assert await describe_group(admin, "group") == DescribedGroup("Stable", frozenset({"worker-1"}))


@in_virtual_time
async def test_a_coordinator_that_does_not_come_is_not_waited_for_for_ever() -> None:
    for admin in (Admin([NOT_YET], [0]), Admin([0], [NOT_HERE])):
        for patience in (0, 10):
            with pytest.raises(KafkaError):
                await describe_group(admin, "group", patience)


@in_virtual_time
async def test_who_may_not_ask_is_no_member() -> None:
    for admin in (Admin([0], [NOT_LET_IN]), Admin([0], [0], operations=0)):
        with pytest.raises(AccessError, match="READ on group group"):
            await check_group(admin, "group")
    assert await describe_group(Admin([0], [NOT_LET_IN]), "group") is None
