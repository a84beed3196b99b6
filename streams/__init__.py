"""The worker side of robot-orchestrator; worker.py says how its parts meet."""
