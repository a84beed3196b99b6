"""Settings of an application that calls nobody."""

from streams.settings import KafkaSettings


def settings_of(bootstrap_servers: str, **changes: str) -> KafkaSettings:
    """Return the settings for a cluster, some variables changed."""
    values = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, **changes}
    return KafkaSettings(**values)  # type: ignore[arg-type] # fields come by their variables' names
