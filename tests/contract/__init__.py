"""One suite for each fake and the real thing."""
