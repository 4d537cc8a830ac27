"""Outcry: an exchange you can run."""
