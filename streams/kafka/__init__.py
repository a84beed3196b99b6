"""Kafka behind the engine's ports, and what is set on the cluster."""
