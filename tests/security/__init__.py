"""TLS, authentication, ACLs and secrets, on a Kafka that has all of them."""
