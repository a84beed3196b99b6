"""The console: its file, its pages and its API, in a real browser and over a real Kafka."""
