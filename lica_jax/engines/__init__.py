"""How runs are played: compiled, or in lock step with environments outside JAX."""
