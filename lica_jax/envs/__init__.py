"""Tasks: one family per module, resolved by name such as ``smax/3m`` or ``mpe/simple_spread``."""

from lica_jax.envs.names import Family
from lica_jax.envs.registry import (
    describe_task,
    make_task,
    register_family,
    same_task,
    task_names,
    task_options,
)

__all__ = [
    "Family",
    "describe_task",
    "make_task",
    "register_family",
    "same_task",
    "task_names",
    "task_options",
]
