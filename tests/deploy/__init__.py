"""The chart, and the manifests that are rendered from it."""
