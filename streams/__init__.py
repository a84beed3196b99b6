"""The worker side of robot-orchestrator; see app.py for how the parts meet."""
