"""Weights that others publish: where they are, how they are fetched, and how their files are read."""
