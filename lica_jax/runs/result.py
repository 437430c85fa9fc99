"""What a training run came to, in Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from lica_jax.config import TrainConfig
from lica_jax.errors import UserError
from lica_jax.files import as_path
from lica_jax.policy import WHICH, Critic, Policy
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
      last_params: parameters of the last policies, with a leading axis of seeds; None where a
        directory does not hold them.
      facts: of the "best" and the "last" policies, a dictionary per seed: ``env_steps``, and of the
        best ``score``.
      task: the task itself, where `train` was given an object; its policies play it.
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
    last_params: PyTree = None
    facts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    task: Any = None

    @property
    def stopped(self) -> str:
        """Why a callback or ``stop_at`` ended the run before its budget; "" if none did."""
        return self.summary.get("stopped", "")

    def __repr__(self) -> str:
        return one_line(self.summary, self.run_dir)

    def __getstate__(self) -> dict[str, Any]:
        """A task of somebody's own does not go along: it may not be one to pickle."""
        return self.__dict__ | {"task": None}

    def __fspath__(self) -> str:
        """The run directory, so that a result can be given wherever one is asked for."""
        if self.run_dir is None:
            raise UserError(
                "this result has no run directory: train with run_dir=..., or take what it holds "
                "(.policy(), .evaluations, .frame())"
            )
        return str(self.run_dir)

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

    def policy(self, seed: int | None = None, *, which: str = "best") -> Policy:
        """A policy of a seed; if None, of the best seed.

        Args:
          which: "best", the one with the best periodic evaluation, or "last".
        """
        seeds = self.config.seeds
        if seed is not None and seed not in seeds:
            raise UserError(f"this run has no seed {seed!r}; it has {list(seeds)}")
        if which not in ("best", "last"):
            raise UserError(f"which must be best or last, got {which!r}")
        every = self.params if which == "best" else self.last_params
        if every is None:
            raise UserError(f"{self.run_dir} does not hold the last policies")
        i = seeds.index(self.summary["best_seed"] if seed is None else seed)
        params = jax.tree.map(lambda x: x[i], every)
        facts = self.facts[which][i] if which in self.facts else {}
        policy = Policy.of(
            self.config, self.spec, params, seed=seeds[i], which=which,
            critic=self.critics.get(str(seeds[i])), **facts,
        )  # fmt: skip
        policy.task = self.task
        # Beside its file is its critic; runs that differ in more than their seeds have other names.
        if self.run_dir is not None and "runs" not in self.summary:
            stem = "policy" if which == "best" else "policy_last"
            of_seed = f"_seed{seeds[i]}" if len(seeds) > 1 else ""
            policy.file = self.run_dir.absolute() / f"{stem}{of_seed}.safetensors"
        return policy

    def policies(self, which: str | None = None) -> list[Policy]:
        """What `evaluate` plays of it: the "best" (if None) or the "last" policy of the best seed,
        or every seed's best ("all-seeds") or last one ("all-seeds-last")."""
        if which is not None and which not in WHICH:
            raise UserError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
        kind = "last" if which in ("last", "all-seeds-last") else "best"
        seeds = self.config.seeds if which in ("all-seeds", "all-seeds-last") else (None,)
        return [self.policy(seed, which=kind) for seed in seeds]

    def plot(self, path: str | Path | None = None, *, ax: Any = None) -> Any:
        """Draws the learning curve (matplotlib): greedy and sampled evaluations over env steps.

        Args:
          path: file to write the figure to.
          ax: axes to draw on, such as one of ``plt.subplots(1, 3)``; by default a new figure's.

        Returns:
          The figure, or ``ax`` if that is given.

        Raises:
          UserError: the file cannot be written.
        """
        from lica_jax.runs.figure import save_figure
        from lica_jax.runs.learning_curve import run_figure

        figure = run_figure(
            self.config, self.spec, self.evaluations, self.summary.get("random"), ax
        )
        if path is not None:
            save_figure(figure, as_path(path, "path"))
        return figure if ax is None else ax
