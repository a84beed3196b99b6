"""What a developer runs on one machine: a real broker, a simulated robot and the demo."""
