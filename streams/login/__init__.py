"""Tokens to log in to Kafka with: who gives them, and that every client has one that is good."""
