"""Conformance suites: whether an algorithm or a task of your own is what the library relies on."""

from lica_jax.testing.algorithms import check_algorithm
from lica_jax.testing.tasks import check_task

__all__ = ["check_algorithm", "check_task"]
