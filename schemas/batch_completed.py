"""`robot.job.batch_completed`: the callback bridge has a result for every order of a batch."""

from schemas._base import Count, Id, Record


class BatchCompleted(Record):
    """The robot is done with a batch. That all orders failed is a completion too."""

    jobId: Id
    workspaceId: Id
    """As in the submission: a completion of another workspace changes nothing."""
    successCount: Count
    errorCount: Count
