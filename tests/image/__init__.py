"""The image, built and run without an engine of containers: `make image`, not part of `make test`."""
