"""What a training run came to, in Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from lica_jax.config import TrainConfig
from lica_jax.errors import UserError
from lica_jax.policy import Critic, Policy
from lica_jax.runs.in_words import one_line, table
from lica_jax.types import TaskSpec


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a training run.

    Attributes:
      config: the resolved configuration.
      summary: contents of ``result.json``: figures of the final, the best and the random policy,
        counts, seconds.
      evaluations: the rows of ``eval.jsonl``.
      metrics: the rows of ``metrics.jsonl``.
      run_dir: where the files are, or None.
      interrupted: number of the signal that ended the run early, or None.
      params: parameters of the best policies, with a leading axis of seeds.
      critics: critics after the last update, by seed, if they are small enough to be kept.
      spec: the task as it was played, including the source of its figures.
    """

    config: TrainConfig
    summary: dict[str, Any]
    evaluations: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    run_dir: Path | None
    interrupted: int | None
    params: PyTree
    spec: TaskSpec
    critics: dict[str, Critic] = field(default_factory=dict)

    @property
    def stopped(self) -> str:
        """Why a callback or ``stop_at`` ended the run before its budget; "" if none did."""
        return self.summary.get("stopped", "")

    def __repr__(self) -> str:
        return one_line(self.summary, self.run_dir)

    def _repr_html_(self) -> str:
        return table(self.summary, self.run_dir)

    def frame(self, *, metrics: bool = False) -> Any:
        """The evaluations as a ``pandas.DataFrame``, with columns for the algorithm and the task.
        With ``metrics``, the rows of metrics instead.

        ``seaborn.lineplot(result.frame(), x="step", y="eval/win_rate")`` draws the mean over seeds.
        """
        from lica_jax.runs.tables import as_frame, as_rows

        rows = self.metrics if metrics else self.evaluations
        return as_frame(as_rows([(self.config, rows)])[0])

    def policy(self, seed: int | None = None) -> Policy:
        """The best policy of a seed; if None, of the best seed."""
        seeds = self.config.seeds
        if seed is not None and seed not in seeds:
            raise UserError(f"this run has no seed {seed}; it has {list(seeds)}")
        i = seeds.index(self.summary["best_seed"] if seed is None else seed)
        params = jax.tree.map(lambda x: x[i], self.params)
        critic = self.critics.get(str(seeds[i]))
        return Policy.of(self.config, self.spec, params, seed=seeds[i], critic=critic)
