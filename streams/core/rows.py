"""The rows of a table, packed while a job waits and once it has ended, as they are while it is next or at the robot."""

from collections.abc import Iterator

from streams.core.job import ENDED, Job, Status
from streams.core.packed import Glance, Packer, Values, glance, values_of


class Rows:
    """Rows by the texts of their jobs' keys."""

    def __init__(self) -> None:
        self._rows: dict[str, Job | bytes] = {}
        self._packer = Packer()
        self._pack = self._packer.pack

    def load(self, key: str, values: Values) -> None:
        """Keep a row packed, whatever is the matter with its job."""
        # Behind all that were written before it, so that those that have ended are nearly in the order of their ends.
        self._rows.pop(key, None)
        self._rows[key] = self._pack(values)

    def get(self, key: str) -> Job | None:
        """Return a job's row, None if there is none."""
        return self.read(key) if key in self._rows else None

    def read(self, key: str) -> Job:
        """Return a job's row. Raises KeyError."""
        row = self._rows[key]
        return self._packer.unpack(key, row) if isinstance(row, bytes) else row

    def unpack(self, key: str) -> Job:
        """Return a job's row, which is as it is from now on: it will be needed again soon. Raises KeyError."""
        row = self._rows[key]
        if isinstance(row, bytes):
            row = self._rows[key] = self._packer.unpack(key, row)
        return row

    def put(self, key: str, job: Job) -> None:
        """Set a job's row."""
        if job.status is Status.PROCESSING:
            self._rows[key] = job
        else:
            # The text that others keep of it from now on is the one that is kept here.
            self._rows.pop(key, None)
            self._rows[key] = self._packer.pack(values_of(job))

    def pop(self, key: str) -> None:
        """Take out a job's row, if it is there."""
        self._rows.pop(key, None)

    def is_open(self, key: str) -> bool:
        """Whether there is a job of that key which has not ended."""
        row = self._rows.get(key)
        if isinstance(row, bytes):
            return glance(row).status not in ENDED
        return row is not None and not row.ended

    def glance(self, key: str) -> Glance:
        """Return the first fields of a row, which costs a tenth of the whole. Raises KeyError."""
        row = self._rows[key]
        return glance(row if isinstance(row, bytes) else self._packer.pack(values_of(row)))

    def glances(self) -> Iterator[tuple[str, Glance]]:
        """Return the first fields of all rows; as long as they are gone through, no row may be put or taken out."""
        return ((key, glance(row)) for key, row in self._rows.items() if isinstance(row, bytes))

    def __iter__(self) -> Iterator[str]:
        """Go through the texts of the keys; meanwhile no row may be put or taken out."""
        return iter(self._rows)
