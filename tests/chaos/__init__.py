"""Faults, alone and mixed, on a real Kafka with real processes: `python -m tests.chaos`."""
