"""``python -m lica_jax`` is the ``lica-jax`` command."""

from lica_jax.cli.main import entry

if __name__ == "__main__":
    entry()
