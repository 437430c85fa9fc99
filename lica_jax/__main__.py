"""``python -m lica_jax`` is the ``lica-jax`` command."""

import sys

from lica_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
