"""Settings of an application that calls nobody."""

from streams.settings import Settings


def settings_of(bootstrap_servers: str, **changes: str) -> Settings:
    """Return the settings for a cluster, some variables changed."""
    values = {
        "ROBOT_COORDINADORA_URL": "http://robot",
        "ROBOT_CALLBACK_SECRET": "s",
        "NEXT_PUBLIC_APP_URL": "http://app",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
    }
    return Settings(**values | changes)  # type: ignore[arg-type] # fields come by their variables' names
