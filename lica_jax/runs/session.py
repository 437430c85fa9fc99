"""The host's side of a training run: the clock, the files, the decisions between two chunks.

Everything numerical happens in the jitted chunk of ``loop``.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.algorithms import make_algorithm
from lica_jax.config.schema import TrainConfig, iterations_per_chunk, resolve, steps_per_iteration
from lica_jax.engines.lockstep import Stopped, is_host_task
from lica_jax.engines.make import make_engine
from lica_jax.envs import make_task
from lica_jax.errors import TrainingFailed, UserError, unknown
from lica_jax.runs import directory as run_files
from lica_jax.runs import messages
from lica_jax.runs.checkpoint import Checkpointer
from lica_jax.runs.display import STYLES, Display
from lica_jax.runs.export import export_run
from lica_jax.runs.rows import RowFile, chunk_row, eval_row
from lica_jax.runs.signals import StopRequest, stop_on_signal
from lica_jax.training.evaluation import (
    FINAL_BEST,
    FINAL_LAST,
    PERIODIC,
    RANDOM,
    evaluation_keys,
    random_hparams,
    random_params,
    score,
)
from lica_jax.training.memory import check_fits

PyTree = Any
REPLAYS = "replays"  # of the game, in a run directory


@dataclass
class Counters:
    """Where every run stands, on the host; arrays of shape [R]."""

    env_steps: np.ndarray
    updates: np.ndarray
    failed_at: np.ndarray

    @classmethod
    def of(cls, state: Any) -> Counters:
        arrays = jax.device_get((state.env_steps, state.updates, state.failed_at))
        return cls(*(np.asarray(x).astype(np.int64) for x in arrays))

    @property
    def alive(self) -> np.ndarray:
        return self.failed_at < 0

    @property
    def slowest(self) -> int:
        """Env steps of the seed that has the fewest, among those still running."""
        return int(self.env_steps[self.alive].min() if self.alive.any() else self.env_steps.max())


class Session:
    """One training run: checks and restores when built, trains when ``run`` is called.

    After ``run``: ``summary`` (what ``result.json`` holds), ``evals.rows``, ``metrics.rows``,
    ``best`` and ``interrupted``.
    """

    def __init__(
        self,
        config: TrainConfig,
        run_dir: Path | None,
        *,
        resume: bool = False,
        display: str = "auto",
    ):
        # Everything that can be refused is refused here, before the first compilation.
        if display not in STYLES:
            raise unknown("display", display, STYLES, f"known: {', '.join(STYLES)}")
        if resume and run_dir:
            run_files.check_names(run_dir, config.algorithm, config.task)
        self.task = make_task(config.task)
        self.spec = self.task.spec
        self.config = config = resolve(config, self.spec)
        self.n = len(config.seeds)
        self.algo = make_algorithm(config.algorithm, self.spec, config.algo)
        starts = run_files.starts(run_dir) if resume and run_dir else 0
        self._engine = make_engine(self.algo, self.task, config, salt=f"/{starts}")
        check_fits(self._engine.needs)
        self.run_dir = run_dir
        self._lock = None
        if run_dir is not None:
            (run_files.check_same if resume else run_files.check_new)(run_dir, config)
            self._lock = run_files.lock(run_dir)
        if config.eval.save_replay and run_dir is None:
            raise UserError("eval.save_replay needs a run directory to write to")
        self._iterations = iterations_per_chunk(config, self.spec)
        self._chunk_steps = self._iterations * steps_per_iteration(config.collect, self.spec)
        self._hp = batched_hparams(config.hp, self.n)
        self._keys = jax.vmap(jax.random.key)(jnp.array(config.seeds, jnp.uint32))
        self._display_style = display
        try:
            self._open(resume)
        except BaseException:
            self._engine.close()
            run_files.unlock(self._lock)
            raise

    def _open(self, resume: bool) -> None:
        """Starts the environments, then opens or begins the run directory."""
        run_dir, config = self.run_dir, self.config
        if is_host_task(self.task) and self._display_style != "none":
            print(f"starting {config.collect.envs} games of {config.task} ...", file=sys.stderr)
        self.spec = self._engine.open()
        self._checkpoints = None
        self._restored: tuple[PyTree, dict[str, Any]] | None = None
        if run_dir is not None:
            self._checkpoints = Checkpointer(run_dir / "checkpoints", config.checkpoint.keep)
            # A run killed before its first checkpoint has nothing to lose: it starts again.
            if resume and not (
                self._checkpoints.latest() is None and run_files.never_started(run_dir)
            ):
                self._restored = self._checkpoints.restore(jax.eval_shape(self._fresh))
            # Nothing is written before this: a run that cannot start leaves its directory usable.
            run_files.describe(run_dir, config)
            if config.eval.save_replay:
                replays = run_dir / REPLAYS
                run_files.make_folder(replays, str(replays))

    def _fresh(self) -> dict[str, PyTree]:
        """The arrays of a checkpoint before the first update."""
        state = self._engine.init(self._keys)
        best = {
            "params": jax.tree.map(jnp.copy, self.algo.policy(state.learner)),
            "score": jnp.full(self.n, -jnp.inf),
            "env_steps": jnp.zeros(self.n, jnp.uint32),
        }
        return {"state": state, "best": best}

    # --- the loop --------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end of the budget, or until a signal stops it.

        Raises:
          TrainingFailed: the loss of every seed became non-finite.
        """
        config = self.config
        arrays, host = self._restored or (self._fresh(), {})
        self._restored = None
        self._state, self.best = arrays["state"], arrays["best"]
        self.counters = Counters.of(self._state)
        upto = int(self.counters.updates.max()) if host else None
        self.metrics = RowFile(self._file("metrics.jsonl"), upto)
        self.evals = RowFile(self._file("eval.jsonl"), upto)
        self._seconds_before = host.get("seconds", 0.0)
        self._next_eval = host.get("next_eval", 0)
        self._random = host.get("random")
        self._evaluated_at = max((row["update"] for row in self.evals.rows), default=None)
        self._score = float("nan")
        self._save_seconds = 0.0
        self._complained = -1e9
        self._started = self._last_save = time.monotonic()
        self._display = Display(self._display_style, config.total_steps, self.n)
        try:
            with stop_on_signal() as stop:
                done = self.counters.slowest if host else 0
                self._display.say(messages.start(config, self.spec, self.run_dir, done))
                # Whatever stops the run may have ended its games: none is started again for it.
                self._engine.stop = lambda: stop.number is not None and not self._spent()
                with self._kept(), contextlib.suppress(Stopped):
                    self._before_training()
                    self._train(stop)
                # A signal that comes after the budget is spent changes nothing any more.
                self.interrupted = None if self._spent() else stop.number
                self._finish()
        finally:
            self._engine.close()
            self._display.close()
            if self._checkpoints:
                self._checkpoints.close()
            run_files.unlock(self._lock)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Says how to go on when the environments fail."""
        try:
            yield
        except TrainingFailed as error:
            if self.run_dir is None:
                raise
            raise TrainingFailed(f"{error}\n{messages.resume(self.run_dir)}") from error

    def _before_training(self) -> None:
        if self._random is None:
            params = random_params(self.algo.policy(self._state.learner))
            keys = evaluation_keys(self.config.seeds, RANDOM)
            hp = random_hparams(self._hp)
            episodes = self.config.eval.final_episodes
            summaries = self._engine.evaluate(params, keys, hp, episodes, ("sampled",))
            self._random = summaries[0]["sampled"]
        text = messages.random_policy(self._random, self.spec)
        kind = "nearly uniform" if self.spec.continuous else "uniformly random"
        self._display.say(f"  {kind} policy: {text} ({self._random['episodes']} episodes)")
        if self.counters.slowest >= self._next_eval:
            self._evaluate_now()
        self._save()

    def _train(self, stop: StopRequest) -> None:
        """Runs chunks until the budget is spent, a signal comes, or no seed is left.

        A chunk's metrics are fetched while the next chunk runs, unless its end may be a point of
        decision (evaluation, checkpoint, end): there the host waits, so that decisions depend on
        exact counts only, and a resumed run takes the same ones.
        """
        waiting: PyTree | None = None
        while not self._done(stop):
            try:
                self._state, metrics = self._engine.chunk(self._state, self._hp, self._iterations)
            except Stopped:
                break
            if waiting is not None:
                self._consume(waiting)
            waiting = metrics
            decision = min(self._next_eval, self.config.total_steps)
            certain = self.counters.slowest + self._chunk_steps < decision
            if certain and stop.number is None and not self._save_due():
                continue
            self._consume(waiting)
            waiting = None
            if not self.counters.alive.any():
                break
            # The last policy is a candidate for the best one, whenever the next evaluation is due.
            due = self.counters.slowest >= self._next_eval or self._spent()
            improved = due and self._evaluate_now()
            if improved or self._save_due():
                self._save()
        if waiting is not None:  # a signal came between the two looks at it
            self._consume(waiting)

    def _spent(self) -> bool:
        return self.counters.slowest >= self.config.total_steps

    def _done(self, stop: StopRequest) -> bool:
        return self._spent() or stop.number is not None or not self.counters.alive.any()

    def _consume(self, metrics: PyTree) -> None:
        """Waits for a chunk, moves the counters, and writes a row for every seed."""
        metrics = jax.device_get(metrics)
        self._complain(every=60)
        before = self.counters
        counts = {k: np.asarray(v)[:, -1].astype(np.int64) for k, v in metrics["counts"].items()}
        self.counters = now = Counters(**counts)
        rate = self._display.tick(now.slowest)
        rows = []
        for i, seed in enumerate(self.config.seeds):
            if not now.alive[i]:
                if before.alive[i]:
                    self._display.warn(
                        messages.failed(seed, int(now.failed_at[i]), int(now.env_steps[i]))
                    )
                continue
            rows.append(chunk_row(metrics, i, self.spec.has_win))
            self.metrics.append(self._stamp(i) | {"env_steps_per_second": rate} | rows[-1])
        self._display.show(now.slowest, rows, self.algo.metrics)

    def _complain(self, every: float) -> None:
        """Tells of lost episodes, at most once in ``every`` seconds."""
        now = time.monotonic()
        if now - self._complained >= every and (text := self._engine.complaint()):
            self._complained = now
            self._display.warn(f"  {text}")

    def _stamp(self, i: int) -> dict[str, Any]:
        return {
            "seed": self.config.seeds[i],
            "env_steps": int(self.counters.env_steps[i]),
            "update": int(self.counters.updates[i]),
            "seconds": round(self._seconds(), 3),
        }

    # --- evaluation ------------------------------------------------------------------------------

    def _evaluate(self, params: PyTree, episodes: int, *purpose: int) -> list[messages.Summary]:
        """Greedy and sampled figures of every seed."""
        keys = evaluation_keys(self.config.seeds, *purpose)
        return self._engine.evaluate(params, keys, self._hp, episodes)

    def _evaluate_now(self) -> bool:
        """Evaluates the current policies and keeps the best so far; True when one improved."""
        params = self.algo.policy(self._state.learner)
        update = int(self.counters.updates.max())
        summaries = self._evaluate(params, self.config.eval.episodes, PERIODIC, update)
        self._evaluated_at = update
        self._complain(every=60)
        stats = {f"games/{name}": count for name, count in self._engine.stats().items()}
        for i in np.flatnonzero(self.counters.alive):
            row = eval_row(self._stamp(i), summaries[i], self._engine.genuine)
            self.evals.append(row | stats)
        scores = jnp.array([score(s["greedy"], self.spec) for s in summaries])
        self._score = float(jnp.mean(scores))
        better = (scores >= self.best["score"]) & jnp.asarray(self.counters.alive)
        new = {"params": params, "score": scores, "env_steps": self._state.env_steps}
        self.best = _keep(better, new, self.best)
        interval = self.config.eval.interval
        self._next_eval = (self.counters.slowest // interval + 1) * interval
        text = messages.figures(summaries, self.spec)
        self._display.say(f"  eval at {self.counters.slowest / 1e3:,.0f}k: {text}")
        return bool(better.any())

    # --- files -----------------------------------------------------------------------------------

    def _file(self, name: str) -> Path | None:
        return None if self.run_dir is None else self.run_dir / name

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _save_due(self) -> bool:
        waited = time.monotonic() - self._last_save
        wanted = self.config.checkpoint.every_seconds
        # A large replay takes seconds to write: a tenth of the time at most.
        shortest = max(wanted, 10 * self._save_seconds) if wanted else 0
        return self._checkpoints is not None and waited >= shortest

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        update = int(self.counters.updates.max())
        evaluated = self._evaluated_at == update and np.isfinite(self._score)
        started = time.monotonic()
        self._checkpoints.save(
            update,
            {"state": self._state, "best": self.best},
            {"seconds": self._seconds(), "next_eval": self._next_eval, "random": self._random},
            self._score if evaluated else None,
        )
        self._last_save = time.monotonic()
        self._save_seconds = self._last_save - started

    def _finish(self) -> None:
        now = self.counters
        if not now.alive.any():
            where = ", ".join(
                f"seed {seed} at update {update}"
                for seed, update in zip(self.config.seeds, now.failed_at, strict=True)
            )
            kept = f"; the last checkpoint in {self.run_dir} is kept" if self.run_dir else ""
            raise TrainingFailed(f"the loss of every seed became non-finite ({where}){kept}")
        self._save()
        self.summary = {
            "algorithm": self.config.algorithm, "task": self.config.task,
            "task_source": self.spec.source, "seeds": list(self.config.seeds),
            "env_steps": now.env_steps, "updates": now.updates,
            "failed_at_update": [int(u) if u >= 0 else None for u in now.failed_at],
            "reward_scale": self.config.hp.reward_scale, "random": self._random,
            "interrupted": self.interrupted is not None,
            **({} if self._engine.genuine else {"test_double": True}),
            "best_seed": self.config.seeds[int(np.argmax(self.best["score"]))],
        }  # fmt: skip
        if self.interrupted is None:
            with self._kept():
                self.summary |= self._final_figures()
        else:
            self._display.say(messages.stopped(self.interrupted, now.slowest, self.run_dir))
        self._complain(every=0)
        self.summary["seconds"] = round(self._seconds(), 1)
        if self.run_dir is not None:
            export_run(
                self.run_dir, self.config, self.spec, self.summary, self.evals.rows, self.best
            )
        if self.config.eval.save_replay and self.interrupted is None:  # last: it may fail
            paths, problem = self._engine.save_replays(self._file(REPLAYS))
            text = (
                f"{len(paths)} of {self.config.collect.envs} replays are in {self._file(REPLAYS)}"
            )
            tell = self._display.warn if problem else self._display.say
            tell(text + (f": {problem}" if problem else ""))

    def _final_figures(self) -> dict[str, Any]:
        """The last policy and the best one (the absolute metric), on fresh episodes."""
        episodes = self.config.eval.final_episodes
        last = self._evaluate(self.algo.policy(self._state.learner), episodes, FINAL_LAST)
        best = self._evaluate(self.best["params"], episodes, FINAL_BEST)
        self._display.close()
        n = last[0]["greedy"]["episodes"]
        seeds = f", mean of {self.n} seeds" if self.n > 1 else ""
        self._display.say(
            f"after {self.counters.slowest:,} env steps ({n} episodes per mode{seeds}):\n"
            f"  last policy:   {messages.figures(last, self.spec)}\n"
            f"  best policy:   {messages.figures(best, self.spec)}\n"
            f"  random policy: {messages.random_policy(self._random, self.spec)}"
        )
        steps = np.asarray(self.best["env_steps"])
        ranking = [score(figures["greedy"], self.spec) for figures in best]
        return {
            "best_seed": self.config.seeds[int(np.argmax(ranking))],
            "final": last,
            "best": [dict(figures, env_steps=int(steps[i])) for i, figures in enumerate(best)],
        }


def batched_hparams(hp: Any, n_runs: int) -> Any:
    """Hyper-parameters as arrays ``[R]``: floats float32, counts int32."""
    return jax.tree.map(
        lambda x: jnp.full((n_runs,), x, jnp.int32 if isinstance(x, int) else jnp.float32), hp
    )


@jax.jit
def _keep(better, new, old):
    """``new`` for the runs that are better, ``old`` for the others."""

    def pick(a, b):
        return jnp.where(better.reshape(better.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)
