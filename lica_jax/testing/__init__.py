"""Conformance checks for algorithms and tasks of your own."""

from lica_jax.testing.algorithms import check_algorithm
from lica_jax.testing.tasks import check_task

__all__ = ["check_algorithm", "check_task"]
