"""The console's file: an SQLite database of what Kafka has, and how it is written. SQL is here and in `reader.py`."""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Self

from streams.console.entries import (
    Asked,
    Decided,
    DecisionGone,
    Entry,
    JobChanged,
    JobGone,
    Letter,
    Owned,
    Told,
)
from streams.console.reader import Reader, instant_of, milliseconds
from streams.core.controls import Control, Decision
from streams.wire.records import TopicPartition

# Of another one the file is thrown away: it rises with schema.sql, and with what is kept of a record.
FILE_VERSION = 1
# SQLite's application id, by which a file is known to be a console's, and where it lies.
MARK, MARK_AT = b"RoCo", 68
# Of each connection, in KiB: what makes the console's memory the same however many jobs there are.
CACHE_KIB = 8 * 1024
BUSY_TIMEOUT_SECONDS = 10.0


class StoreError(Exception):
    """The file cannot be used; the text is one line."""


class Store:
    """The file, for one writer and any number of readers, each with a connection of its own.

    Use as a context manager. Raises StoreError where another process has it, or nobody could have it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            try:
                lock = stack.enter_context(os.fdopen(_private(f"{self._path}.lock"), "wb"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._writer = stack.enter_context(contextlib.closing(self._opened()))
            except BlockingIOError:
                raise StoreError(f"another console has {self._path}") from None
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{self._path}: {error}") from error
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _opened(self) -> sqlite3.Connection:
        """Return a connection to the file, made anew if it is another program's or another version's, or broken."""
        self._check_ours()
        self._make_private()
        with contextlib.suppress(sqlite3.DatabaseError):
            connection = self._connect()
            # Which reads the tables' definitions too.
            (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if count and connection.execute("PRAGMA user_version").fetchone()[0] == FILE_VERSION:
                return connection
            connection.close()
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path}{ending}").unlink(missing_ok=True)
        self._make_private()
        connection = self._connect(new=True)
        self._make(connection)
        return connection

    def _check_ours(self) -> None:
        """Raise StoreError for a file that was somebody else's before, which is not ours to throw away."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            head = file.read(MARK_AT + 4)
        if head and head[MARK_AT:] != MARK:
            raise StoreError(f"{self._path} is no file of a console: name another one")

    def _make_private(self) -> None:
        """Let nobody else read the file, or those that SQLite makes beside it, which get its mode.

        Only while there is no connection: whoever closes a file of SQLite's loses the locks of all that have it.
        """
        os.close(_private(str(self._path)))
        self._path.chmod(0o600)

    def _connect(self, *, new: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            if new:
                # Before there is a write-ahead log, so that the file itself has it.
                connection.execute(f"PRAGMA application_id = {int.from_bytes(MARK, 'big')}")
            connection.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last transactions; they are read again.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _make(connection: sqlite3.Connection) -> None:
        """Make the tables, in place of those that are there."""
        there = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        drop = " ".join(f"DROP TABLE {name};" for (name,) in there)
        script = files("streams.console").joinpath("schema.sql").read_text("utf-8")
        connection.executescript(f"BEGIN; {drop} {script} PRAGMA user_version = {FILE_VERSION}; COMMIT;")

    def belongs_to(self, identity: str) -> bool:
        """Whether what is here is of these topics of this cluster."""
        return self._about("identity") == identity

    def begin_anew(self, identity: str, now: datetime) -> None:
        """Forget everything, for these topics of this cluster."""
        with self._writing:
            self._make(self._writer)
            self._writer.execute("INSERT INTO about VALUES ('identity', ?)", (identity,))
            self._note(now)

    def followed_at(self) -> datetime | None:
        """Return when it had last caught up with Kafka, or was begun if it never had; None where nobody has begun it.

        What was in Kafka then, and is not here, is still to be read.
        """
        at = self._about("followed_at")
        return None if at is None else instant_of(int(at))

    def _about(self, name: str) -> str | None:
        row = self._writer.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset of each partition at which reading goes on."""
        rows = self._writer.execute("SELECT topic, partition, next FROM positions")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def apply(
        self,
        entries: Iterable[Entry],
        positions: Mapping[TopicPartition, int],
        followed_at: datetime | None = None,
    ) -> None:
        """Take what records say, and where reading goes on, in one transaction."""
        with self._transaction():
            for entry in entries:
                self._take(entry)
            self._writer.executemany(
                "INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next",
                [(*place, offset) for place, offset in positions.items()],
            )
            self._note(followed_at)

    def forget_before(self, starts: Mapping[TopicPartition, int], followed_at: datetime | None = None) -> None:
        """Forget outcomes and letters that Kafka has no more: those before where each partition begins."""
        places = [(*place, start) for place, start in starts.items()]
        with self._transaction():
            for table in ("outcomes", "letters"):
                self._writer.executemany(
                    f"DELETE FROM {table} WHERE topic = ? AND partition = ? AND place < ?",  # noqa: S608 # a closed list
                    places,
                )
            self._note(followed_at)

    def _note(self, followed_at: datetime | None) -> None:
        if followed_at is not None:
            self._writer.execute(
                "INSERT INTO about VALUES ('followed_at', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (str(milliseconds(followed_at)),),
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def _take(self, entry: Entry) -> None:
        match entry:
            case JobChanged():
                self._put_job(entry)
            case JobGone(key):
                self._writer.execute("DELETE FROM jobs WHERE workspace_id = ? AND job_id = ?", key)
            case Told(topic, partition, offset, key, written_at):
                values = (topic, partition, offset, *key, milliseconds(written_at))
                self._writer.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)", values)
            case Letter():
                self._put_letter(entry)
            case Asked(control, partition):
                self._put_control(control, partition)
            case Decided(decision, partition):
                self._put_control(decision.control, partition)
                self._put_decision(decision, partition)
            case DecisionGone(control_id, partition):
                self._writer.execute(
                    "UPDATE controls SET in_force = 0 WHERE control_id = ? AND partition = ?", (control_id, partition)
                )
            case Owned(partition, owner):
                self._writer.execute("DELETE FROM owners WHERE partition = ?", (partition,))
                if owner is not None:
                    times = (milliseconds(owner.opened_at), milliseconds(owner.robot_away_since))
                    self._writer.execute("INSERT INTO owners VALUES (?, ?, ?, ?)", (partition, owner.worker_id, *times))

    def _put_job(self, entry: JobChanged) -> None:
        job = entry.job
        ends = [at for at in (job.ended_at, job.deadline, job.amended_at) if at is not None]
        self._writer.execute(
            "INSERT INTO jobs (workspace_id, job_id, partition, status, reason, submitted_at, deadline, busy_until,"
            " body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id, workspace_id) DO UPDATE SET"
            " status = excluded.status, reason = excluded.reason, submitted_at = excluded.submitted_at,"
            " deadline = excluded.deadline, busy_until = excluded.busy_until, body = excluded.body",
            (
                *job.key,
                entry.partition,
                job.status.value,
                "" if job.reason is None else job.reason.value,
                milliseconds(job.submitted_at),
                milliseconds(job.deadline),
                milliseconds(max(ends)) if job.ended else None,
                entry.row,
            ),
        )

    def _put_letter(self, letter: Letter) -> None:
        ids = (None, None) if letter.key is None else letter.key
        place = (letter.topic, letter.partition, letter.offset)
        said = (letter.letter_id, letter.reason, letter.message, letter.redrives)
        # Not replaced: a trigger would count it twice.
        self._writer.execute(
            "INSERT OR IGNORE INTO letters VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*place, *said, *ids, milliseconds(letter.written_at)),
        )

    def _put_control(self, control: Control, partition: int) -> None:
        what = (control.control_id, partition, control.action.value, control.workspace_id, control.job_id)
        self._writer.execute(
            "INSERT OR IGNORE INTO controls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, 0)",
            (*what, control.actor, control.reason, control.detail, milliseconds(control.requested_at)),
        )

    def _put_decision(self, decision: Decision, partition: int) -> None:
        refused = None if decision.refused is None else decision.refused.value
        self._writer.execute(
            "UPDATE controls SET decided_at = ?, refused = ?, in_force = ? WHERE control_id = ? AND partition = ?",
            (milliseconds(decision.decided_at), refused, decision.in_force, decision.control.control_id, partition),
        )

    @contextlib.contextmanager
    def reading(self) -> Iterator[Reader]:
        """Give what reads one state of the file, whatever is written meanwhile."""
        with contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            yield Reader(connection)


def _private(path: str) -> int:
    """Open a file, or make one that nobody else may read."""
    return os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
