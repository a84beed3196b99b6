"""The console: a page and an API over what Kafka has of all jobs (extra `[console]`)."""
