"""What became of what people asked for: decided once, and seen in rows and outcomes; nobody was called in a hold."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from schemas import Control as Asked
from streams.core.controls import NOTES, Action, Decision
from streams.core.effects import IgnoreReason
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.dev.history import History, copies_of, copy_in, position, workspace_of
from streams.dev.violations import Violation, ViolationKind, name_of
from streams.names import OUTCOME_TOPICS, Topic, changelog_topic
from streams.wire.placement import partition_of
from streams.wire.records import SourceRecord
from streams.wire.rows import DecisionEntry, JobEntry, decode_entry

# How a job may end of which a control was applied: the control's own reason, or a completion that came before.
_ENDS = {Action.CANCEL: (FailureReason.CANCELLED,), Action.GIVE_UP: (FailureReason.GIVEN_UP, Status.COMPLETED)}
_STOPPED = (FailureReason.CANCELLED, FailureReason.GIVEN_UP)


def check_controls(history: History) -> Iterator[Violation]:
    """Yield every control that was not decided once, or whose decision was not kept to."""
    decisions: dict[tuple[int, str], list[Decision]] = defaultdict(list)
    # What is held in each partition, by the control that holds it.
    held: dict[int, dict[str, str | None]] = defaultdict(dict)
    claims: dict[JobKey, datetime] = {}
    for record in history.of(changelog_topic(history.app_id)):
        match decode_entry(record.key or b"", record.value):
            case DecisionEntry(control_id, decision):
                held[record.partition].pop(control_id, None)
                if decision is not None:
                    decisions[record.partition, control_id].append(decision)
                    if decision.in_force:
                        held[record.partition][control_id] = decision.control.workspace_id
            case JobEntry(key, Job(status=Status.PROCESSING, claimed_at=datetime() as at)) if claims.get(key) != at:
                claims[key] = at
                if {None, key.workspace_id} & {*held[record.partition].values()}:
                    yield Violation(ViolationKind.CLAIMED_IN_A_HOLD, name_of(key), f"at {at}")
    yield from _undecided(history, decisions)
    for made in decisions.values():
        yield from _decided_again(made)
    yield from _not_kept_to(history, [made[0] for made in decisions.values()])


def _undecided(history: History, decisions: Container[tuple[int, str]]) -> Iterator[Violation]:
    records = history.of(Topic.CONTROL)
    copies, letters = copies_of(records), history.letters()
    for record in records:
        asked, workspace_id = _read(record), workspace_of(record)
        home = record.partition if workspace_id is None else partition_of(workspace_id, history.partitions)
        if position(record) in letters or (home != record.partition and copy_in(record, home) in copies):
            continue
        if asked is None or (asked.action not in NOTES and (home, asked.controlId) not in decisions):
            yield Violation(ViolationKind.UNACCOUNTED, position(record), "not decided, and not dead-lettered")


def _read(record: SourceRecord) -> Asked | None:
    """Return what was asked for; None if the contract forbids it."""
    try:
        return Asked.model_validate_json(record.value or b"")
    except ValidationError:
        return None


def _decided_again(made: Sequence[Decision]) -> Iterator[Violation]:
    """Yield a control that was decided in two ways; that a hold is released, or one forgotten, is none."""
    first = made[0]
    for later in made[1:]:
        released = replace(later, in_force=first.in_force) == first and not later.in_force
        if later != first and not released and later.refused is not IgnoreReason.TOO_OLD:
            yield Violation(ViolationKind.DECIDED_AGAIN, f"control {first.control.control_id}", f"{later.refused}")


def _not_kept_to(history: History, decisions: Iterable[Decision]) -> Iterator[Violation]:
    outcomes = history.values(*OUTCOME_TOPICS)
    applied: set[tuple[JobKey | None, str]] = set()
    for decision in decisions:
        control = decision.control
        wanted = _ENDS.get(control.action)
        if wanted is None or decision.refused is not None or control.job is None:
            continue
        applied.add((control.job, control.control_id))
        ends = [outcome.get("reason") or outcome["status"] for outcome in outcomes.get(control.job, ())]
        if not set(ends) & set(wanted):
            yield Violation(ViolationKind.CONTROL_IGNORED, name_of(control.job), f"{control.action}, but {ends}")
    for key, of_job in outcomes.items():
        for outcome in of_job:
            stopped_by = (outcome.get("control") or {}).get("controlId", "")
            if outcome.get("reason") in _STOPPED and (key, stopped_by) not in applied:
                yield Violation(ViolationKind.CONTROL_IGNORED, name_of(key), f"{outcome['reason']}, by nobody")
