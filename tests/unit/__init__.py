"""The shell's functions without I/O: rows, intake, letters, outcomes, secrets, settings."""
