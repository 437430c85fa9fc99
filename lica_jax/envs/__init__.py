"""Tasks: one family per module, resolved by name such as ``smax/3m`` or ``mpe/simple_spread``."""

from __future__ import annotations

import importlib

from lica_jax.errors import unknown
from lica_jax.types import Task

# Each module offers `NAMES: tuple[str, ...]`, `describe(name) -> str` and `make(name) -> Task`,
# and may accept further names through `match(name) -> bool` (simple_spread for any n).
FAMILIES: dict[str, str] = {
    "smax": "lica_jax.envs.smax.jaxmarl",
    "mpe": "lica_jax.envs.mpe.jaxmarl",
    "probe": "lica_jax.envs.probe",
}


def task_names() -> list[str]:
    """All registered task names; imports no environment library."""
    return [
        f"{family}/{name}"
        for family, module in FAMILIES.items()
        for name in importlib.import_module(module).NAMES
    ]


def make_task(name: str) -> Task:
    """Builds the task ``name``; raises ``UserError`` with the nearest names for an unknown one."""
    family, _, short = name.partition("/")
    if family in FAMILIES and short:
        module = importlib.import_module(FAMILIES[family])
        if short in module.NAMES or getattr(module, "match", lambda _: False)(short):
            return module.make(short)
    raise unknown("task", name, task_names())


def describe_task(name: str) -> str:
    """One line about a registered task."""
    family, _, short = name.partition("/")
    return importlib.import_module(FAMILIES[family]).describe(short)
