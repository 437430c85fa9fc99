"""SMAX: StarCraft-like micromanagement in JAX."""
