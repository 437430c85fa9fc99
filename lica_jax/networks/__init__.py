"""Neural networks: the only flax.linen code of the package.

Modules load when they are first used: ``lica_jax.networks.critics`` needs no import of its own.
"""

from __future__ import annotations

from lica_jax.core import on_first_use

__getattr__, __dir__ = on_first_use(__name__, __path__)
