"""What people ask for, in a ledger's transactions."""

import json
from datetime import datetime, timedelta
from typing import Any

from streams.core.controls import Action, Decision
from streams.core.effects import IgnoreReason
from streams.core.events import DeadlinePassed
from streams.core.job import Status
from streams.names import Topic, changelog_topic
from streams.wire.records import TopicPartition
from streams.wire.rows import DecisionEntry, decode_entry
from tests.core.builders import NOW
from tests.support.engine import APP
from tests.unit.partition import HERE, Partition, key_of, opened

SECOND = timedelta(seconds=1)


def ask(
    partition: Partition, action: Action, job_id: str | None = None, at: datetime | None = None, **changes: Any
) -> str:
    """Write down what somebody asks for, and hand it to the ledger; return its id."""
    control_id = f"{action}-{len(partition.broker.topic(Topic.CONTROL))}"
    workspace_id, _ = key_of("")
    asked = {"controlId": control_id, "action": action, "workspaceId": workspace_id, "jobId": job_id}
    who = {"actor": "ana", "reason": "wrong address", "requestedAt": "2026-01-31T12:00:00.000Z"}
    partition.write(Topic.CONTROL, json.dumps(asked | who | changes).encode(), at)
    return control_id


def decision(partition: Partition, control_id: str) -> Decision:
    """Return the last decision of a control in the changelog."""
    entries = (decode_entry(r.key or b"", r.value) for r in partition.broker.topic(changelog_topic(APP)))
    found = [entry.decision for entry in entries if isinstance(entry, DecisionEntry) and entry.control_id == control_id]
    assert found[-1] is not None
    return found[-1]


def outcomes(partition: Partition, topic: Topic) -> list[Any]:
    return [json.loads(record.value or b"") for record in partition.broker.topic(topic)]


async def test_a_job_that_is_cancelled_before_its_turn_is_never_called_and_its_outcome_says_who_and_why() -> None:
    partition = await opened()
    partition.submit("job")
    cancelled = ask(partition, Action.CANCEL, "job")
    await partition.work()
    assert partition.called == []
    (outcome,) = outcomes(partition, Topic.FAILED)
    assert (outcome["reason"], outcome["robotMayHaveReceived"]) == ("cancelled", False)
    assert outcome["control"] == {"controlId": cancelled, "actor": "ana", "reason": "wrong address"}
    assert decision(partition, cancelled).refused is None


async def test_a_cancel_that_comes_after_the_claim_is_refused_and_the_job_goes_on() -> None:
    partition = await opened()
    await partition.call("job")
    cancelled = ask(partition, Action.CANCEL, "job")
    await partition.work()
    assert decision(partition, cancelled).refused is IgnoreReason.AT_ROBOT
    partition.complete("job")
    await partition.work()
    assert [outcome["status"] for outcome in outcomes(partition, Topic.COMPLETED)] == ["completed"]
    assert outcomes(partition, Topic.FAILED) == []


async def test_a_job_that_is_given_up_is_due_and_a_new_owner_knows_it() -> None:
    partition = await opened()
    await partition.call("job")
    ask(partition, Action.GIVE_UP, "job")
    await partition.work()
    assert outcomes(partition, Topic.FAILED) == []
    await partition.move()
    assert partition.ledger.take_due(partition.now) == [key_of("job")]
    assert partition.ledger.deadline_of(key_of("job")) == partition.now
    partition.ledger.tell(DeadlinePassed(key_of("job")))
    await partition.work()
    (outcome,) = outcomes(partition, Topic.FAILED)
    assert (outcome["reason"], outcome["robotMayHaveReceived"]) == ("given_up", True)
    assert outcome["control"]["actor"] == "ana"


async def test_what_completes_a_job_that_was_given_up_before_it_has_ended_counts_and_what_comes_later_is_told() -> None:
    partition = await opened()
    await partition.call("first")
    partition.accept("first")
    ask(partition, Action.GIVE_UP, "first")
    partition.complete("first")
    await partition.work()
    partition.ledger.tell(DeadlinePassed(key_of("first")))
    await partition.work(after=10 * SECOND)
    assert [outcome["jobId"] for outcome in outcomes(partition, Topic.COMPLETED)] == ["first"]
    await partition.call("second")
    ask(partition, Action.GIVE_UP, "second")
    await partition.work()
    partition.ledger.tell(DeadlinePassed(key_of("second")))
    partition.complete("second")
    await partition.work()
    (amendment,) = outcomes(partition, Topic.AMENDED)
    assert (amendment["jobId"], amendment["reason"], amendment["successCount"]) == ("second", "given_up", 1)


async def test_a_workspace_that_is_held_is_not_called_by_its_next_owner_either_until_it_is_released() -> None:
    partition = await opened()
    held = ask(partition, Action.HOLD)
    partition.submit("job")
    await partition.work()
    for topic in (Topic.CONTROL, Topic.SUBMITTED):
        partition.broker.committed_offsets[TopicPartition(topic, HERE)] = 1
    await partition.move()
    await partition.work(after=SECOND)
    assert partition.called == []
    assert decision(partition, held).in_force
    ask(partition, Action.RELEASE)
    await partition.work()
    assert partition.called == ["job"]
    assert not decision(partition, held).in_force


async def test_what_was_decided_is_not_decided_again_when_everything_is_read_again() -> None:
    partition = await opened()
    held, released = ask(partition, Action.HOLD), ask(partition, Action.RELEASE)
    await partition.work()
    await partition.move()
    written = len(partition.broker.topic(changelog_topic(APP)))
    for record in partition.broker.topic(Topic.CONTROL):
        partition.ledger.deliver(record, lambda: None)
    await partition.work()
    assert len(partition.broker.topic(changelog_topic(APP))) == written
    assert (decision(partition, held).in_force, decision(partition, released).refused) == (False, None)


async def test_another_control_under_a_known_id_is_a_dead_letter_and_does_nothing() -> None:
    partition = await opened()
    held = ask(partition, Action.HOLD)
    partition.submit("job")
    await partition.work()
    ask(partition, Action.RELEASE, controlId=held)
    await partition.work()
    assert decision(partition, held).in_force
    (letter,) = partition.broker.topic(Topic.DLQ_CONTROL)
    assert dict(letter.headers)["robot.dlq.reason"] == b"conflict"


async def test_a_note_is_no_decision_however_late_it_is_read() -> None:
    partition = await opened()
    written = len(partition.broker.topic(changelog_topic(APP)))
    ask(partition, Action.RESUBMIT, "job", NOW - partition.rules.deadlines.retention)
    await partition.work()
    assert len(partition.broker.topic(changelog_topic(APP))) == written


async def test_a_control_that_nobody_read_for_as_long_as_decisions_are_remembered_is_refused() -> None:
    partition = await opened()
    partition.submit("job")
    retention = partition.rules.deadlines.retention
    old = ask(partition, Action.CANCEL, "job", NOW - retention)
    await partition.work()
    assert decision(partition, old).refused is IgnoreReason.TOO_OLD
    assert partition.job("job").status is Status.PROCESSING


async def test_a_decision_is_taken_out_of_the_changelog_when_it_is_forgotten_and_a_hold_in_force_never() -> None:
    partition = await opened()
    held, cancelled = ask(partition, Action.HOLD), ask(partition, Action.CANCEL, "nobody's")
    await partition.work()
    await partition.work(after=partition.rules.deadlines.retention + SECOND)
    last = {r.key: r.value for r in partition.broker.topic(changelog_topic(APP))}
    assert last[json.dumps([cancelled]).encode()] is None
    assert last[json.dumps([held]).encode()] is not None
