"""What `lica-jax sc2` does: looking for problems, recording play, playing it again."""
