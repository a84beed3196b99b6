"""Who sits at this machine."""

import getpass


def os_user() -> str:
    """Return the name of this process's user, "unknown" where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container's user may have no name.
        return "unknown"
