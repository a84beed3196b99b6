"""The embedded broker and the other parts for development."""
