"""Where tokens come from, and that there is always a good one."""
