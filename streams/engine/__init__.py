"""The engine: it knows Kafka and the robot as ports only."""
