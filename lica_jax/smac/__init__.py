"""SMAC's rules in numpy: maps, options, units, what agents see, rewards. No game, no jax."""
