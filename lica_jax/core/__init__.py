"""Maths only: pure functions of arrays, no networks, no environments, no I/O.

Modules load when they are first used: ``lica_jax.core.returns`` needs no import of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any


def on_first_use(
    package: str, path: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__`` that load its modules when they are asked for."""
    names = sorted(module.name for module in pkgutil.iter_modules(path))

    def load(name: str) -> Any:
        if name in names:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, names.copy


__getattr__, __dir__ = on_first_use(__name__, __path__)
