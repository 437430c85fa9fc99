"""Maths only: pure functions of arrays, no networks, no environments, no I/O."""
