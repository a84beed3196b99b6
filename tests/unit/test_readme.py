"""The README's tables say what the code does."""

import re

import pytest

from streams.core.events import (
    Admitted,
    BatchCompleted,
    CallFailed,
    DeadlinePassed,
    InvalidSubmission,
    JobSubmitted,
    PayloadGone,
    RobotAccepted,
)
from streams.core.job import FailureReason
from streams.core.transition import TABLE, State
from streams.names import DeadLetterReason, Topic
from streams.rows import ROW_VERSION
from streams.settings import Settings, variable_of
from tests.support.readme import README, table

EVENTS = (
    JobSubmitted,
    InvalidSubmission,
    Admitted,
    PayloadGone,
    RobotAccepted,
    CallFailed,
    BatchCompleted,
    DeadlinePassed,
)


@pytest.mark.parametrize("row", table("state")[2:], ids=lambda row: row[0])
def test_the_life_of_a_job_is_the_transition_table(row: list[str]) -> None:
    assert table("state")[0][1:] == [event.__name__ for event in EVENTS]
    state = State(row[0])
    for event, cell in zip(EVENTS, row[1:], strict=True):
        assert (cell != "-") == ((state, event) in TABLE)


def test_every_state_is_in_the_readme() -> None:
    assert [row[0] for row in table("state")[2:]] == list(State)


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    documented = {name: row[1] for row in table("variable")[2:] for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert documented.keys() == {variable_of(field) for field in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = documented[variable_of(name)]
        if field.is_required():
            assert default == "required"
        elif isinstance(field.default, int | float):
            assert f"{field.default:g}" in default or str(int(field.default)) in default


def test_every_failure_reason_dead_letter_reason_and_topic_is_in_the_readme() -> None:
    reasons = {row[0].strip("`") for row in table("`reason`")[2:]}
    assert reasons == set(FailureReason)
    letters = {name for row in table("`robot.dlq.reason`")[2:] for name in re.findall(r"`(\w+)`", row[0])}
    assert letters == set(DeadLetterReason)
    assert all(f"`{topic}`" in README for topic in Topic)


def test_the_version_of_the_rows_that_are_written_is_in_the_readme() -> None:
    assert f"This release writes version {ROW_VERSION}" in README
