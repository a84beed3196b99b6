"""A worker of a release that does not know what people ask for: `python -m tests.kafka.former_worker`."""

import streams.names
from streams.names import SOURCE_TOPICS, Topic

COMMAND = ("-m", "tests.kafka.former_worker")


def main() -> None:
    """Run the worker."""
    # Before anything else is imported that goes through them.
    streams.names.SOURCE_TOPICS = tuple(topic for topic in SOURCE_TOPICS if topic is not Topic.CONTROL)
    from streams.app import run_worker
    from streams.settings import WorkerSettings, load_settings

    run_worker(load_settings(WorkerSettings))


if __name__ == "__main__":
    main()
