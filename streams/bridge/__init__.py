"""The callback bridge: an HTTP server that puts the robot's reports into Kafka (extra `[bridge]`)."""
