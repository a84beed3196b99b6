"""Where people read: the console, and what may be written there."""

from rich.console import Console

# Without a terminal there is no width to fit into; wide enough for ids of the usual length.
PLAIN_WIDTH = 140


def make_console() -> Console:
    """Return a console on standard output."""
    console = Console(highlight=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, width=PLAIN_WIDTH)


def printable(text: str) -> str:
    """Return a text of somebody else's without what would move the cursor or turn the line around."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
