"""Algorithms: a folder for each family, and a registry of names."""

from lica_jax.algorithms.registry import (
    algorithm_module,
    algorithm_names,
    find_algorithm,
    make_algorithm,
    register_algorithm,
)

__all__ = [
    "algorithm_module",
    "algorithm_names",
    "find_algorithm",
    "make_algorithm",
    "register_algorithm",
]
