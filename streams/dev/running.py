"""The `dev` that runs: the one in its folder, where it tells clients how to find it, and its application id."""

import contextlib
import fcntl
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from streams.dev.kafka_jars import default_cache_dir
from streams.dev.stack import StackError
from streams.settings import SECRETS_DIR_VARIABLE, variable_of

# Beginnings of the variables that name a Kafka, a robot or an application, or a file that does. The others say how
# workers work, which may be tried out on dev's own.
ELSEWHERE = (
    "KAFKA_",
    *map(variable_of, ("robot_url", "callback_secret", "app_url", "app_id")),
    SECRETS_DIR_VARIABLE,
)
# Locked for as long as dev runs; the lock ends with the process, however that ends.
RUNNING_FILE = "running.json"
APP_ID_FILE = "app-id"


def dev_folder() -> Path:
    """Return where the data of `dev` stays between runs."""
    return default_cache_dir() / "dev-data"


@contextlib.contextmanager
def only_dev(folder: Path) -> Iterator[Callable[[Mapping[str, str]], None]]:
    """Be the only dev of a folder; yields what tells clients their variables. Raises StackError if one runs there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / RUNNING_FILE).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"another dev runs already, with its data in {folder}: use it with --dev, or end it with Ctrl-C"
            ) from None
        # A dev that was killed has left its address.
        file.truncate(0)

        def announce(variables: Mapping[str, str]) -> None:
            file.write(json.dumps(dict(variables)))
            file.flush()

        try:
            yield announce
        finally:
            file.truncate(0)


def variables_of_dev(folder: Path) -> dict[str, str]:
    """Return the variables by which a client finds the dev that runs. Raises StackError if none does."""
    with contextlib.suppress(FileNotFoundError), (folder / RUNNING_FILE).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if text := file.read():
                variables: dict[str, str] = json.loads(text)
                return variables
            raise StackError("dev is still starting, or stopping") from None
    raise StackError("no dev runs here (robot-orchestrator dev starts one)")


def own_app_id(folder: Path) -> str:
    """Return the application id of this folder's dev, the same in every run and nobody else's."""
    file = folder / APP_ID_FILE
    app_id = file.read_text("utf-8") if file.exists() else ""
    # An empty variable would stand for the default.
    if not app_id:
        app_id = f"robot-orchestrator-dev-{secrets.token_hex(8)}"
        file.write_text(app_id, "utf-8")
    return app_id
