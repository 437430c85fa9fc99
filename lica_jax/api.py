"""The public functions: train a policy, evaluate one."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.config.schema import MAX_EPISODES, TrainConfig, load_config
from lica_jax.engines.lockstep import HostRuns, HostTask, is_host_task
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.policy import Policy, load_policy
from lica_jax.runs.directory import make_folder
from lica_jax.runs.session import Session
from lica_jax.training.evaluation import EXPORTED, Evaluator, evaluation_keys
from lica_jax.types import Task, TaskSpec

PyTree = Any


@dataclass(frozen=True)
class Result:
    """What a training run came to.

    Attributes:
      config: the resolved configuration.
      summary: what ``result.json`` holds: final, best and random figures, counts, seconds.
      evaluations: the rows of ``eval.jsonl``.
      metrics: the rows of ``metrics.jsonl``.
      run_dir: where the files are, or None.
      interrupted: number of the signal that ended the run early, or None.
      params: the best policies' parameters, with a leading axis of seeds.
      spec: the task as it was played, with the source of the figures.
    """

    config: TrainConfig
    summary: dict[str, Any]
    evaluations: list[dict[str, Any]] = field(repr=False)
    metrics: list[dict[str, Any]] = field(repr=False)
    run_dir: Path | None
    interrupted: int | None
    params: PyTree = field(repr=False)
    spec: TaskSpec = field(repr=False)

    def policy(self, seed: int | None = None) -> Policy:
        """The best policy of a seed; of the best seed when None."""
        seeds = self.config.seeds
        if seed is not None and seed not in seeds:
            raise UserError(f"this run has no seed {seed}; it has {list(seeds)}")
        i = seeds.index(self.summary["best_seed"] if seed is None else seed)
        params = jax.tree.map(lambda x: x[i], self.params)
        return Policy.of(self.config, self.spec, params, seed=seeds[i])


def train(
    algorithm: str | TrainConfig,
    task: str | None = None,
    *,
    run_dir: str | Path | None = None,
    resume: bool = False,
    display: str = "auto",
    **overrides: Any,
) -> Result:
    """Trains an algorithm on a task.

    Args:
      algorithm: a registered name, or a whole ``TrainConfig``.
      task: a registered task name.
      run_dir: where to write; nothing is written when None.
      resume: go on from the latest checkpoint in ``run_dir``.
      display: "auto", "bar", "plain" or "none".
      overrides: fields of ``TrainConfig`` on top of the preset, such as ``seeds=range(3)``,
        ``total_steps=2e6`` or ``hp={"entropy_coef": 0.1}``.

    Returns:
      The result, also when a signal stopped the run early (``result.interrupted``).

    Raises:
      UserError: bad input; nothing was compiled or overwritten.
      TrainingFailed: the loss of every seed became non-finite.
    """
    if isinstance(algorithm, TrainConfig):
        if task is not None or overrides:
            raise UserError("give either a TrainConfig or names with overrides, not both")
        config = algorithm
    elif task is None:
        raise UserError("train needs a task, for example train('lica', 'smax/3m')")
    else:
        if "seeds" in overrides:
            overrides["seeds"] = _as_tuple(overrides["seeds"])
        config = load_config(algorithm, task, **overrides)
    path = None if run_dir is None else Path(run_dir)
    if resume and path is None:
        raise UserError("resume needs a run_dir")
    session = Session(config, path, resume=resume, display=display)
    session.run()
    return Result(
        config=session.config, summary=session.summary, evaluations=session.evals.rows,
        metrics=session.metrics.rows, run_dir=path, interrupted=session.interrupted,
        params=jax.device_get(session.best["params"]), spec=session.spec,
    )  # fmt: skip


def _as_tuple(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """A seed or several, from whatever counts as integers."""
    with contextlib.suppress(TypeError):
        return (operator.index(seeds),)
    try:
        return tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise UserError(f"seeds must be an integer or several, got {seeds!r}") from None


def evaluate(
    policy: Policy | str | Path, *, task: str | None = None, episodes: int | None = None,
    seed: int = 0, envs: int = 8, save_replay: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluates a policy, greedily and by sampling.

    Args:
      policy: a loaded policy, a policy file or a run directory.
      task: another task with the same sizes; by default the one it was trained on.
      episodes: at least this many per mode, each played to its end; by default 512, on ``smac/``
        tasks 32.
      seed: seed of the episodes.
      envs: games at once, on ``smac/`` tasks.
      save_replay: a folder for the game's own replay files, on ``smac/`` tasks.

    Returns:
      ``{"task", "task_source", "policy": {...}, "greedy": {...}, "sampled": {...}}`` with means
      over finished episodes; returns are unscaled. On ``smac/`` tasks also ``"lost_episodes"``
      (``"lost_because"``: the last one's reason), ``"replays"`` if asked for
      (``"replays_missing"``: why there are fewer than games), and ``"test_double": True`` where it
      was not the real game.

    Raises:
      UserError: no such policy, or it does not fit the task.
    """
    for name, value, low, high in (
        ("episodes", 1 if episodes is None else episodes, 1, MAX_EPISODES),
        ("seed", seed, 0, 2**31 - 1),
        ("envs", envs, 1, 10_000),
    ):
        if not isinstance(value, int | np.integer) or not low <= value <= high:
            raise UserError(f"{name} must be an integer within {low} and {high}, got {value!r}")
    policy = policy if isinstance(policy, Policy) else load_policy(policy)
    target = make_task(task or policy.spec.name)
    for name in ("n_agents", "n_actions", "continuous", "obs_size"):
        have, need = getattr(policy.spec, name), getattr(target.spec, name)
        if have != need:
            raise UserError(
                f"this policy was trained on {policy.spec.name} ({name} {have}) and cannot play "
                f"{target.spec.name} ({name} {need}){_hint(policy.spec.name, target.spec.name)}"
            )
    _check_state(policy, target)
    episodes = episodes or (32 if is_host_task(target) else 512)
    params, hp = jax.tree.map(lambda x: jnp.asarray(x)[None], (policy.params, policy.hp))
    played = params, evaluation_keys((seed,), EXPORTED), hp, episodes
    about = {k: policy.about.get(k) for k in ("algorithm", "task", "seed", "env_steps")}
    if is_host_task(target):
        figures = _evaluate_on_host(policy, target, played, envs, seed, save_replay)
    elif save_replay is not None:
        raise UserError(f"{target.spec.name} has no replay files; smac/ tasks have")
    else:
        figures = {"task_source": target.spec.source}
        figures |= Evaluator(policy.algo, target, 1, episodes)(*played)[0]
    return {"task": target.spec.name, "policy": about, **figures}


def _check_state(policy: Policy, target: Task | HostTask) -> None:
    """Some policies carry a critic that takes the state; the others do not mind its size."""
    have, need = policy.spec.state_size, target.spec.state_size
    if have == need:
        return
    algo = policy.algo_for(target.spec)
    wanted = jax.eval_shape(lambda key: algo.policy(algo.init(key)), jax.random.key(0))
    if jax.tree.map(jnp.shape, policy.params) != jax.tree.map(jnp.shape, wanted):
        raise UserError(
            f"this policy was trained on {policy.spec.name} (state_size {have}), which its critic "
            f"takes, and cannot play {target.spec.name} (state_size {need})"
        )


def _hint(trained: str, target: str) -> str:
    """smax/ tasks take what was trained on smac/, in SMAC's layout."""
    both = {name.partition("/")[0] for name in (trained, target)} == {"smac", "smax"}
    return "; SMAX tasks have SMAC's sizes with layout=smac" if both else ""


def _evaluate_on_host(
    policy: Policy, target: HostTask, played: tuple, envs: int, seed: int, save_replay: Any
) -> dict[str, Any]:
    """What `evaluate` adds for a task outside JAX; ``played`` are `HostRuns.evaluate`'s arguments,
    the number of episodes last."""
    target.check()
    folder = None if save_replay is None else Path(save_replay)
    if folder is not None:
        make_folder(folder, str(folder))
        if any(folder.iterdir()):
            raise UserError(f"{folder} is not empty: choose another folder for the replays")
    envs = min(envs, played[-1])
    runs = HostRuns(policy.algo, target, envs, 1, True, f"eval/{seed}")
    try:
        games = runs.games
        figures: dict[str, Any] = {"task_source": games.source}
        figures |= {} if games.genuine else {"test_double": True}
        figures |= runs.evaluate(*played)[0]
        figures["lost_episodes"] = runs.lost
        figures |= {"lost_because": games.reason} if runs.lost else {}
        if folder is not None:
            figures["replays"], problem = games.save_replays(folder)
            figures |= {"replays_missing": problem} if problem else {}
        return figures
    finally:
        runs.close()
