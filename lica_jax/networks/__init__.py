"""Neural networks: the only flax.linen code of the package."""
