"""The best policy of every run so far, by its periodic evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PyTree

from lica_jax.training.evaluation import score
from lica_jax.types import TaskSpec


@struct.dataclass
class Best:
    """Leaves have a leading axis of runs."""

    params: PyTree
    score: Float[Array, " R"]
    env_steps: Int[Array, " R"]

    @classmethod
    def before_training(cls, params: PyTree, n_runs: int) -> Best:
        """The policies as they start, which anything that is evaluated beats."""
        # Copies: these are kept while the run's state is donated.
        params = jax.tree.map(jnp.copy, params)
        return cls(params, jnp.full(n_runs, -jnp.inf), jnp.zeros(n_runs, jnp.uint32))

    def updated(
        self, params: PyTree, env_steps: Array, figures: Sequence[dict[str, Any]], spec: TaskSpec,
        alive: Bool[np.ndarray, " R"],
    ) -> tuple[Best, Bool[Array, " R"]]:  # fmt: skip
        """With what has just been evaluated, where that is at least as good; and where it is.

        Args:
          params, env_steps: the policies that were evaluated, and when.
          figures: of every run, by mode; greedy play decides.
          alive: runs whose policies are sound.
        """
        scores = greedy_scores(figures, spec)
        better = (scores >= self.score) & jnp.asarray(alive)
        return _keep(better, Best(params, scores, env_steps), self), better


def greedy_scores(figures: Sequence[dict[str, Any]], spec: TaskSpec) -> Float[Array, " R"]:
    """How good every run's greedy play was."""
    return jnp.array([score(figure["greedy"], spec) for figure in figures])


@jax.jit
def _keep(better, new, old):
    """``new`` for the runs that are better, ``old`` for the others."""

    def pick(a, b):
        return jnp.where(better.reshape(better.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)
