"""How long things may take: the one place where a deadline rule lives."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# A claim is called right after its commit; one that is older than this met a paused process and is not called.
CLAIM_WINDOW = timedelta(seconds=30)

# A producer's clock may be wrong by this much; beyond it the timestamp says nothing.
TIMESTAMP_TOLERANCE = timedelta(hours=1)

# A workspace whose call was refused before any effect waits so long for the next one, twice as long after each refusal.
FIRST_BACK_OFF = timedelta(seconds=5)
LONGEST_BACK_OFF = timedelta(seconds=60)
# A robot may ask for a longer time, within reason.
LONGEST_ASKED_FOR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The durations that decide a job's life."""

    per_order: timedelta
    base: timedelta
    call_timeout: timedelta
    workspace_pause: timedelta
    retention: timedelta
    # How long a job may be put off; with none it fails when its first call is refused.
    patience: timedelta = timedelta(0)

    def work(self, order_count: int) -> timedelta:
        """Return how long the robot may work on a batch, from its acceptance."""
        return self.per_order * order_count + self.base

    def after_claim(self, claimed_at: datetime, order_count: int) -> datetime:
        """Return the deadline of a job whose call may not have been made yet."""
        return claimed_at + CLAIM_WINDOW + self.call_timeout + self.work(order_count)

    def after_acceptance(self, accepted_at: datetime, order_count: int) -> datetime:
        """Return the deadline of a job that the robot has accepted."""
        return accepted_at + self.work(order_count)

    def may_still_be_called(self, claimed_at: datetime, now: datetime) -> bool:
        """Whether a claim is still in its window."""
        return now - claimed_at <= CLAIM_WINDOW

    def back_off(self, refusals: int, asked_for: timedelta = timedelta(0)) -> timedelta:
        """Return how long a workspace waits after so many refusals in a row, and as long as the robot asked for."""
        # Doubling ends long before it overflows.
        doubled = FIRST_BACK_OFF * (1 << min(refusals - 1, 10))
        return max(min(doubled, LONGEST_BACK_OFF), min(asked_for, LONGEST_ASKED_FOR))

    def too_old_to_call(self, submitted_at: datetime, now: datetime) -> bool:
        """Whether a submission has passed half of the retention: it is never called."""
        return now - submitted_at > self.retention / 2

    def row_may_be_gone(self, submitted_at: datetime, now: datetime) -> bool:
        """Whether a job submitted then may have ended and left the table, so that no row proves nothing."""
        return now - submitted_at > max(self.retention / 2, self.retention - TIMESTAMP_TOLERANCE)

    def from_the_future(self, submitted_at: datetime, now: datetime) -> bool:
        """Whether a timestamp is so far ahead that no age can be told from it."""
        return submitted_at - now > TIMESTAMP_TOLERANCE
