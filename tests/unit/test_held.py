"""What nobody is called of for now."""

import dataclasses
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from streams.core.deadlines import FIRST_BACK_OFF
from streams.core.job import Job
from streams.operate.held import Held, held_now
from streams.operate.standing import Hold, WaitKind
from streams.operate.table_view import TableView
from streams.wire.rows import Owner
from tests.core.builders import ACCEPTED, ENDED_AT, FAILED, KEY, NOW, PUT_OFF

SECOND = timedelta(seconds=1)


def view(*jobs: Job, **more: Any) -> TableView:
    rows = {job.job_id: job for job in jobs}
    return TableView(3, {KEY.workspace_id: rows}, more.get("holds", {}), more.get("owners", {}))


def test_a_hold_of_everything_is_one_however_many_partitions_it_is_in_and_one_of_a_workspace_another() -> None:
    of_all = [Hold(workspace_id=None, actor="ana", reason="portal", since=NOW + n * SECOND) for n in range(3)]
    of_one = Hold(workspace_id="shop-5", actor="ana", reason="portal", since=NOW)
    found = held_now(view(holds={0: [of_all[2]], 1: [of_all[1], of_one], 2: [of_all[0]]}), NOW)
    whole = Held(by=WaitKind.PERSON, workspace_id=None, partitions=3, since=NOW, actor="ana", reason="portal")
    assert found == [whole, dataclasses.replace(whole, workspace_id="shop-5", partitions=1)]


def test_a_robot_that_is_away_holds_the_partitions_of_each_worker_that_misses_it() -> None:
    missing, other = Owner("worker-1", NOW, NOW + SECOND), Owner("worker-2", NOW)
    (away,) = held_now(view(owners={0: missing, 1: missing, 2: other}), NOW)
    assert (away.by, away.workspace_id, away.partitions) == (WaitKind.ROBOT_AWAY, None, 2)
    assert (away.since, away.until) == (NOW + SECOND, None)
    assert "worker-1" in away.reason


def test_what_a_worker_saw_that_has_left_the_group_counts_no_more() -> None:
    missing = Owner("worker-1", NOW, NOW + SECOND)
    for workers, found in ((frozenset({"worker-1"}), 1), (frozenset({"worker-2"}), 0), (frozenset[str](), 0)):
        assert len(held_now(dataclasses.replace(view(owners={0: missing}), workers=workers), NOW)) == found


def test_a_busy_robot_holds_a_workspace_until_it_is_called_again_with_patience_and_without() -> None:
    assert PUT_OFF.put_off is not None
    until = PUT_OFF.put_off.until
    refused, other = replace(FAILED, robot_status=409), replace(ACCEPTED, job_id="other")
    for job, over in ((PUT_OFF, until), (refused, ENDED_AT + FIRST_BACK_OFF)):
        (busy,) = held_now(view(job, other), over - SECOND)
        assert (busy.by, busy.workspace_id, busy.until) == (WaitKind.ROBOT_BUSY, KEY.workspace_id, over)
        assert held_now(view(job), over) == []
