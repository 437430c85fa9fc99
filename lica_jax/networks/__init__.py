"""Neural networks: the only flax.linen code of the package.

Modules load when they are first used: ``lica_jax.networks.critics`` needs no import of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    if name in _modules():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return _modules()


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
