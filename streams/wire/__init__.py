"""Bytes and their meaning, both ways: pure."""
