"""Runs on disk: training and testing them, one by one or in a grid, and what they left."""
