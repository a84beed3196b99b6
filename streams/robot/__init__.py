"""The robot behind the engine's port."""
