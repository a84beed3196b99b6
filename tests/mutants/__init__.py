"""The engine with one thing wrong at a time, to see what the fast tests miss: `python -m tests.mutants`."""
