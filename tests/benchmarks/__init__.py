"""What the worker costs and how fast it is: measured on a real Kafka, printed as one table, nothing asserted."""
