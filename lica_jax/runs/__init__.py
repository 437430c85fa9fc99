"""Runs on the host's side: plans, sessions, checkpoints, rows and files."""
