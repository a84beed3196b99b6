"""That the project can be installed: complete locks, and a wheel that needs nothing else."""
