"""The public functions: train a policy, evaluate one."""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lica_jax.config import (
    MAX_EPISODES,
    TrainConfig,
    from_dict,
    is_settings_file,
    load_config,
    load_settings,
    merge,
    to_dict,
)
from lica_jax.config.load import plugins_in
from lica_jax.config.schema import coerce
from lica_jax.engines.games import HostTask, is_host_task
from lica_jax.engines.make import make_engine
from lica_jax.envs.registry import is_task, same_task, task_reference
from lica_jax.errors import BudgetOverrun, UserError, first_line
from lica_jax.files import as_path
from lica_jax.loggers import make_loggers
from lica_jax.plugins import load_plugins
from lica_jax.policy import Policy
from lica_jax.runs import directory, messages
from lica_jax.runs.callbacks import StopAt, check_callbacks
from lica_jax.runs.checks import check_played
from lica_jax.runs.compilation_cache import use_compilation_cache
from lica_jax.runs.display import check_style
from lica_jax.runs.evaluating import alike, empty_folder, fitting_task, play
from lica_jax.runs.loading import ended_before
from lica_jax.runs.plan import Plan, make_plan
from lica_jax.runs.result import Result
from lica_jax.runs.rows import eval_entries
from lica_jax.runs.session import Session
from lica_jax.runs.words import check_on_signal, check_resume, whole_number
from lica_jax.training.evaluation import Tell, silent
from lica_jax.types import Collect, Task


def train(
    algorithm: str | Path | TrainConfig | None = None,
    task: str | Task | HostTask | None = None,
    *,
    run_dir: str | Path | None = None, resume: bool | str = False,
    display: str = "auto", on_signal: str = "raise",
    callbacks: Sequence[Any] = (), stop_at: str | None = None, log: str | Sequence[str] = (),
    **overrides: Any,
) -> Result:  # fmt: skip
    """Trains an algorithm on a task.

    Args:
      algorithm: a registered name, a complete ``TrainConfig``, or a YAML file of settings.
      task: name of a registered task, or a task object of your own, which is stored by its import
        path and must be given again to resume.
      run_dir: directory to write to; None writes nothing.
      resume: continue the run in ``run_dir``, with its stored settings and ``overrides`` on top
        (``total_steps``, ``eval`` and ``checkpoint`` may change); ``algorithm`` and ``task`` may be
        left out. "auto": begin this run, or continue the same. One that has ended is returned.
      display: "auto", "bar", "plain", "none", or "notebook", with a live learning curve.
      on_signal: what follows Ctrl-C, SIGTERM or SIGHUP once the checkpoint and files are written.
        "raise": ``KeyboardInterrupt``, or of the others ``SystemExit`` (code 143, 129), so that a
        loop over ``train`` ends too. "return": the result, whose ``interrupted`` is the signal.
      callbacks: objects with ``on_metrics``, ``on_evaluation``, ... (`lica_jax.runs.callbacks`).
      stop_at: ends the run once all seeds reach this in one evaluation: ``"eval/win_rate=0.95"``.
      log: tools that also get the rows: "tensorboard", "wandb", "trackio", "mlflow", or several.
      overrides: fields of ``TrainConfig`` on top of what it says, such as ``seeds=range(3)``,
        ``total_steps=2e6``, ``hp={"gamma": 0.95}`` or, imported first, ``plugins=["my_package"]``.

    Returns:
      The result.

    Raises:
      UserError: bad input. Nothing was compiled or overwritten.
      TrainingFailed: the loss of every seed became non-finite.
      Exception: raised by a callback; a checkpoint was written first.
    """
    check_style(display)
    check_on_signal(on_signal)
    own = task if is_task(task) else None
    path = None if run_dir is None else as_path(run_dir, "run_dir")
    names = algorithm, task if own is None else task_reference(own)
    resume, on_top = _resumes(resume, path, algorithm is not None)
    goal = [] if stop_at is None else [StopAt(stop_at)]
    watchers = [*check_callbacks(callbacks), *make_loggers(log, path), *goal]
    config = (on_top and _stored_config(path, *names, overrides)) or _config(*names, overrides)
    use_compilation_cache()
    config = config if resume else _checked(config)  # held against what is stored first
    plan = make_plan(config, path, resume=resume, task=own)
    _check_start(watchers, plan)
    if (ended := ended_before(plan, display, goal)) is not None:
        return replace(ended, task=own)
    session = Session(plan, display, watchers)
    session.run()
    # Also a signal that came after the budget was spent: the run is whole, the loop around it ends.
    if (stop := session.stop.number) is not None and on_signal == "raise":
        raise messages.exit_by(stop, path)
    if over := messages.overrun(session.plan, session.counters, session.done_before):
        warnings.warn(over, BudgetOverrun, stacklevel=2)
    return replace(session.result, task=own)


def _resumes(resume: bool | str, run_dir: Path | None, named: bool) -> tuple[bool, bool]:
    """Whether there is a run to go on with, where that is asked; and whether what else is asked
    goes on top of its settings: with "auto", what is ``named`` says all of them once more."""
    check_resume(resume)
    if resume == "auto" and run_dir is None:
        raise UserError('resume="auto" needs the run_dir of a run that may be there')
    if resume != "auto":
        return bool(resume), bool(resume)
    there = directory.status(run_dir) != "new"
    return there, there and not named


def _check_start(watchers: Sequence[Any], plan: Plan) -> None:
    """Refuses to wait for an entry that no evaluation has, and a task whose numbers mislead."""
    for watcher in watchers:
        if isinstance(watcher, StopAt):
            watcher.check(eval_entries(plan.task))
    if not plan.resume:
        check_played(plan.task)


def _stored_config(
    run_dir: Path | None, algorithm: str | Path | TrainConfig | None, task: str | None,
    overrides: dict[str, Any],
) -> TrainConfig | None:  # fmt: skip
    """The configuration of a run that is resumed by its names, or by none; else None."""
    named = isinstance(algorithm, str) and task is not None
    if run_dir is None:
        return None
    if not (run_dir / directory.CONFIG).is_file():
        if (algorithm, task) == (None, None):
            directory.read_config(run_dir)  # says what is there instead
        return None
    if not named and (algorithm, task) != (None, None):
        return None  # a whole configuration or a file
    load_plugins(plugins_in(overrides))
    config = directory.read_config(run_dir)
    if named:
        directory.check_names(run_dir, algorithm, task)
        config = replace(config, task=task)  # its time-outs may have changed
    return merge(config, _with_seeds(overrides))


def _config(
    algorithm: str | Path | TrainConfig | None, task: str | None, overrides: dict[str, Any]
) -> TrainConfig:
    """The configuration that the arguments of `train` ask for, not yet resolved."""
    if algorithm is None:
        raise UserError(
            "train needs an algorithm and a task, for example train('lica', 'smax/3m'); only "
            "with resume=True and the run_dir of a run they are known"
        )
    if isinstance(algorithm, TrainConfig):
        named = {} if task is None or same_task(task, algorithm.task) else {"task": task}
        if asked := [k for k in named | overrides if k in ("algorithm", "task", "preset")]:
            raise UserError(
                f"a TrainConfig has its {asked[0]} already: begin with load_config for another one"
            )
        config = algorithm if task is None else replace(algorithm, task=task)
        return merge(config, _with_seeds(overrides))
    if is_settings_file(algorithm) and task is None:
        return load_settings(algorithm, overrides=_with_seeds(overrides))[0]
    if task is None:
        raise UserError("train needs a task, for example train('lica', 'smax/3m')")
    return load_config(algorithm, task, **_with_seeds(overrides))


def _checked(config: TrainConfig) -> TrainConfig:
    """A configuration that somebody has put together; raises ``UserError`` where its fields are of
    other types than they must be."""
    try:
        return from_dict(to_dict(config))
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(f"this is no sound TrainConfig: {first_line(error)}") from None


def _with_seeds(overrides: dict[str, Any]) -> dict[str, Any]:
    if "seeds" in overrides:
        overrides = overrides | {"seeds": _as_tuple(overrides["seeds"])}
    return overrides


def _as_tuple(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """A seed or several, from whatever counts as integers, or a text such as ``"0:8"``."""
    if isinstance(seeds, str):
        return coerce("seeds", seeds, tuple[int, ...])
    if isinstance(seeds, bytes | bytearray | Mapping):  # iterated they are other numbers
        raise UserError(f"seeds must be an integer or several, got {seeds!r}")
    with contextlib.suppress(TypeError):
        return (_integer(seeds),)
    try:
        return tuple(map(_integer, seeds))
    except TypeError:
        raise UserError(f"seeds must be an integer or several, got {seeds!r}") from None


def _integer(seed: Any) -> int:
    """A seed; raises ``TypeError`` for what is none, as True is, which counts as 1."""
    if isinstance(seed, bool | np.bool_):
        raise TypeError("a truth value")
    return operator.index(seed)


def evaluate(
    policy: Policy | Result | str | Path, *, which: str | None = None,
    task: str | Task | HostTask | None = None, episodes: int | None = None,
    seed: int = 0, envs: int = 8, save_replay: str | Path | None = None, tell: Tell = silent,
) -> dict[str, Any]:  # fmt: skip
    """Evaluates a policy, or the policies of several seeds, with greedy and with sampled play.

    Args:
      policy: a loaded policy, a policy file, a run directory or ``zoo:NAME``, or what `train`
        returned.
      which: which policies of a run: of its best seed the "best" (default) or the "last"
        one, or of every seed the best ("all-seeds") or the last one ("all-seeds-last").
      task: another task with the same sizes, or a task of your own; by default the task of
        training.
      episodes: minimum number of episodes per mode and policy, each played to its end; by default
        512, on ``smac/`` tasks 32.
      seed: seed of the episodes. Every policy plays episodes of its own.
      envs: number of games in parallel, on ``smac/`` tasks.
      save_replay: folder to write the game's own replay files to, on ``smac/`` tasks.
      tell: called with the number of episodes per mode played so far, and the total.

    Returns:
      ``{"task", "task_source", "policy": {...}, "greedy": {...}, "sampled": {...}}``. The figures
      are means over finished episodes with 95 % intervals (``..._ci95``, see `training.figures`);
      returns are unscaled. With several policies, ``"policies"`` lists the last three entries for
      each of them, and at the top level they are means over the seeds with intervals over the seeds
      (absent if hyper-parameters differ too). On ``smac/`` tasks there are also
      ``"lost_episodes"`` (with ``"lost_because"``, the reason for the last one), ``"replays"`` if
      asked for (with ``"replays_missing"``, why there are fewer than games), and ``"test_double":
      True`` if it was not the real game.

    Raises:
      UserError: there is no such policy, or it does not fit the task.
    """
    if episodes is not None:
        episodes = whole_number("episodes", episodes, 1, MAX_EPISODES)
    seed, envs = whole_number("seed", seed, 0, 2**31 - 1), whole_number("envs", envs, 1, 10_000)
    if isinstance(policy, Result):
        policies = policy.policies(which)
    else:
        policies = alike(policy if isinstance(policy, Policy) else as_path(policy, "policy"), which)
    target = fitting_task(policies[0], task)
    games = is_host_task(target)
    if save_replay is not None and not games:
        raise UserError(f"{target.spec.name} has no replay files; smac/ tasks have")
    episodes = episodes or (32 if games else 512)
    use_compilation_cache()
    engine = make_engine(
        policies[0].algo, target, collect=Collect("episode", min(envs, episodes) if games else 1),
        n_runs=len(policies), eval_episodes=episodes, seed=f"eval/{seed}",
    )  # fmt: skip
    folder = None if save_replay is None else empty_folder(as_path(save_replay, "save_replay"))
    try:
        return {"task": target.spec.name} | play(engine, policies, seed, episodes, folder, tell)
    finally:
        engine.close()
