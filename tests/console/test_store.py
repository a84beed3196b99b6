"""The console's file: what it counts, when it is thrown away, and that no question reads all of it."""

import random
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.console import store as stores
from streams.console.entries import Asked, Decided, JobGone, Letter
from streams.console.reader import Filter, Reader, cursor_of_name
from streams.console.store import Store, StoreError
from streams.core.controls import Action, Control, Decision
from streams.core.job import FailureReason, Job, JobKey, Status
from streams.names import Topic
from streams.wire.records import TopicPartition
from tests.support.console import NOW, changed, job

PLACE = TopicPartition("changelog", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "console.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


def states(number: int) -> Iterator[Job]:
    """Yield a job in each state that it can be in."""
    ended = NOW + timedelta(minutes=1)
    yield job(number)
    yield job(number, status=Status.PROCESSING, claimed_at=NOW, deadline=NOW + timedelta(minutes=number + 1))
    yield job(number, status=Status.COMPLETED, ended_at=ended, success_count=2, error_count=0)
    yield from (
        job(number, status=Status.FAILED, ended_at=ended, reason=reason, error="no")
        for reason in (FailureReason.TIMEOUT, FailureReason.ROBOT_REJECTED)
    )


def test_the_counts_are_those_of_the_rows_whatever_has_come_and_gone(store: Store) -> None:
    choose, rows = random.Random(17), dict[JobKey, Job]()
    for _ in range(50):
        entries: list[Any] = []
        for number in choose.choices(range(20), k=10):
            one = choose.choice(list(states(number)))
            if choose.random() < 0.2:
                rows.pop(one.key, None)
                entries.append(JobGone(one.key))
            else:
                rows[one.key] = one
                entries.append(changed(one))
        store.apply(entries, {})
    with store.reading() as reader:
        counted = {(status, reason): count for status, reason, count in reader.counts()}
    assert counted == Counter((row.status, row.reason or "") for row in rows.values())


def test_rows_and_positions_are_one_transaction(store: Store) -> None:
    def entries() -> Iterator[Any]:
        yield changed(job(1))
        raise RuntimeError("in the middle")

    store.apply([changed(job(0))], {PLACE: 5})
    with pytest.raises(RuntimeError):
        store.apply(entries(), {PLACE: 6})
    with store.reading() as reader:
        assert [one.job.job_id for one in reader.jobs(Filter(), None, 10)] == ["job-0"]
    assert store.positions() == {PLACE: 5}


def test_another_opening_finds_what_there_was(path: Path) -> None:
    with Store(path) as store:
        store.begin_anew("these topics", NOW)
        store.apply([changed(job(1))], {PLACE: 6})
        assert store.followed_at() == NOW
        store.apply([], {}, NOW + timedelta(hours=1))
    with Store(path) as store, store.reading() as reader:
        assert store.belongs_to("these topics")
        assert store.positions() == {PLACE: 6}
        assert store.followed_at() == NOW + timedelta(hours=1)
        assert reader.job(JobKey("shop-5", "job-1")) == (job(1), 0)


def is_empty(store: Store) -> bool:
    with store.reading() as reader:
        return not store.positions() and not reader.counts() and not store.belongs_to("these topics")


@pytest.mark.parametrize("break_it", ["version", "bytes", "killed while it was made"])
def test_a_file_of_another_version_or_a_broken_one_is_thrown_away(
    path: Path, break_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(path) as store:
        store.begin_anew("these topics", NOW)
        store.apply([changed(job(1))], {PLACE: 6})
    head = path.read_bytes()[:100]
    if break_it == "version":
        monkeypatch.setattr(stores, "FILE_VERSION", stores.FILE_VERSION + 1)
    elif break_it == "bytes":
        path.write_bytes(head + b"no database" * 1_000)
    else:
        path.write_bytes(b"")
    with Store(path) as store:
        assert is_empty(store)


def test_a_file_that_is_somebody_elses_is_left_alone(path: Path) -> None:
    for content in (b"a letter to grandmother" * 9, b"x"):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="is no file of a console"), Store(path):
            pass
        assert path.read_bytes() == content
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE jobs (a)")
    other.close()
    with pytest.raises(StoreError, match="is no file of a console"), Store(path):
        pass


def test_a_file_of_other_topics_is_begun_anew_in_place(store: Store) -> None:
    store.begin_anew("these topics", NOW)
    store.apply([changed(job(1))], {PLACE: 6})
    with store.reading() as reader:
        before = reader.counts()
        store.begin_anew("others", NOW)
        # Who reads meanwhile is not disturbed.
        assert reader.counts() == before == [(Status.PENDING, "", 1)]
    assert store.belongs_to("others")
    assert is_empty(store)


def test_nobody_else_may_read_the_file_and_two_consoles_do_not_share_it(store: Store, path: Path) -> None:
    store.apply([changed(job(1))], {})
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes.keys() >= {"console.sqlite3", "console.sqlite3-wal"}
    assert set(modes.values()) == {0o600}
    with pytest.raises(StoreError, match="another console has"), Store(path):
        pass


def test_a_list_goes_on_behind_its_cursor_in_both_directions(store: Store) -> None:
    # Two were submitted in the same millisecond.
    store.apply([changed(job(number, submitted_at=NOW + timedelta(seconds=number // 2))) for number in range(7)], {})
    with store.reading() as reader:
        for oldest in (True, False):
            wanted, cursor, found = Filter(oldest=oldest), None, list[str]()
            while page := reader.jobs(wanted, cursor, 2):
                found += [one.job.job_id for one in page]
                cursor = page[-1].cursor
            assert found == [f"job-{number}" for number in sorted(range(7), reverse=not oldest)]
        with pytest.raises(ValueError, match="invalid literal"):
            reader.jobs(Filter(), "somewhere", 2)


def test_an_expired_letter_is_forgotten_and_counted_no_more(store: Store) -> None:
    store.apply([letter(offset) for offset in range(4)], {})
    store.forget_before({TopicPartition(Topic.DLQ_SUBMITTED, 0): 3})
    with store.reading() as reader:
        assert reader.letter_counts() == [(Topic.DLQ_SUBMITTED, "invalid", 1)]
        assert [one.offset for one in reader.letters(Topic.DLQ_SUBMITTED, "invalid", 9)] == [3]


def letter(offset: int) -> Letter:
    return Letter(
        topic=Topic.DLQ_SUBMITTED.value,
        partition=0,
        offset=offset,
        letter_id=f"robot.job.submitted-0-{offset}",
        reason="invalid",
        message="orders: Input should be a valid array",
        redrives=0,
        key=JobKey("shop-5", "job-17"),
        written_at=NOW,
    )


def control(action: Action, number: int, **fields: Any) -> Control:
    given = {"workspace_id": "shop-5", "job_id": None, "actor": "alice", "reason": "wrong address"}
    return Control(control_id=f"control-{number}", action=action, requested_at=NOW, **{**given, **fields})


def test_a_decision_may_come_before_what_it_decides(store: Store) -> None:
    """They lie in different topics, which are read side by side."""
    hold = control(Action.HOLD, 1)
    decided, asked = Decided(Decision(hold, NOW, in_force=True), 0), Asked(hold, 0)
    orders: list[list[Any]] = [[decided, asked], [asked, decided], [asked]]
    for entries in orders:
        store.apply(entries, {})
        with store.reading() as reader:
            (audited,) = reader.holds()
            assert audited.decision == decided.decision
            assert reader.controls(9) == [audited]


QUESTIONS: dict[str, Callable[[Reader], Any]] = {
    "jobs": lambda reader: [
        reader.jobs(Filter(status=status, reason=reason, workspace_id=workspace, oldest=oldest), after, 50)
        for status in (None, Status.FAILED)
        for reason in ((None, "timeout") if status else (None,))
        for workspace in (None, "shop-5")
        for oldest in (False, True)
        for after in (None, "5-5")
    ],
    "job": lambda reader: reader.job(JobKey("shop-5", "job-17")),
    "jobs_named": lambda reader: reader.jobs_named("job-1", cursor_of_name(JobKey("shop-5", "job-1")), 50),
    "due": lambda reader: reader.due(10),
    "beside": lambda reader: reader.beside(JobKey("shop-5", "job-17"), NOW, 50),
    "letters": lambda reader: reader.letters("topic", "reason", 50),
    "letters_of": lambda reader: reader.letters_of(JobKey("shop-5", "job-17"), 50),
    "outcomes_of": lambda reader: reader.outcomes_of(JobKey("shop-5", "job-17"), 50),
    "holds": lambda reader: reader.holds(),
    "controls": lambda reader: reader.controls(50),
    "controls_of": lambda reader: reader.controls_of(JobKey("shop-5", "job-17"), 50),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered_from_an_index_and_sorts_nothing(store: Store, path: Path, name: str) -> None:
    asked: list[str] = []
    connection = sqlite3.connect(path)
    connection.set_trace_callback(asked.append)
    QUESTIONS[name](Reader(connection))
    connection.set_trace_callback(None)
    assert asked
    for question in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}")]
        assert all("USING" in step and "TEMP B-TREE" not in step for step in plan), (question, plan)
    connection.close()
