"""The host's side of training: the clock, the files, the decisions between two chunks.

Everything numerical happens in the engine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lica_jax.engines.games import Stopped, is_host_task
from lica_jax.errors import Diverged, UserError
from lica_jax.files import make_folder
from lica_jax.policy import Critic, kept_critics
from lica_jax.runs import directory, messages
from lica_jax.runs.best import Best, greedy_scores
from lica_jax.runs.callbacks import Callbacks, Started
from lica_jax.runs.display import COMPILING, Display
from lica_jax.runs.export import export_critics, export_policies, export_runs
from lica_jax.runs.failures import in_words
from lica_jax.runs.logs import Logs
from lica_jax.runs.plan import Plan, stored_runs
from lica_jax.runs.result import Result
from lica_jax.runs.saver import Arrays, Saver
from lica_jax.runs.signals import StopRequest, stop_on_signal
from lica_jax.runs.state import Counters, HostState
from lica_jax.runs.summary import Summary, best_run, describe, final_figures
from lica_jax.training.evaluation import (
    FINAL_BEST,
    FINAL_LAST,
    PERIODIC,
    RANDOM,
    evaluation_keys,
    random_hparams,
    random_params,
)


class Session:
    """One go at a plan: starts or restores when built, trains when ``run`` is called.

    After ``run``: ``summary`` (what ``result.json`` holds), the rows of ``logs``, ``best`` and
    ``interrupted`` (the signal that ended it early); `result` puts them together.
    """

    def __init__(
        self, plan: Plan, display: str | Display = "auto", callbacks: Sequence[Any] = ()
    ):  # fmt: skip
        self.plan, self.engine, self.algo = plan, plan.engine, plan.algo
        self.hp, self.keys = plan.hparams, plan.keys
        self.callbacks = Callbacks(callbacks)
        if isinstance(display, str):
            display = Display(display, plan.config.total_steps, len(plan.runs))
        self.display = display
        with in_words(plan.run_dir), ExitStack() as opened:
            opened.callback(self.display.close)
            if plan.run_dir is not None:
                opened.callback(directory.unlock, directory.lock(plan.run_dir))
            opened.callback(self.engine.close)
            if is_host_task(plan.task):
                self.display.notice(messages.starting_games(plan.config))
            self.spec = self.engine.open()
            fresh = plan.run_dir is not None and not plan.resume
            if fresh and directory.clear(plan.run_dir):
                self.display.warn(messages.anew(plan.run_dir))
            self.saver = Saver(plan.run_dir, plan.config.checkpoint)
            opened.callback(self.saver.close)
            restored = self._restored()
            # Nothing is written before this: what cannot start leaves its directory usable.
            if plan.run_dir is not None:
                directory.describe(plan.run_dir, plan.config, plan.task.spec, stored_runs(plan))
                if plan.config.eval.save_replay:
                    replays = plan.run_dir / directory.REPLAYS
                    make_folder(replays, str(replays))
            arrays, self.host, problem = restored or (self._fresh(), HostState(), "")
            if problem:
                self.display.warn(problem)
            self.state, self.best = arrays.state, arrays.best
            self.counters = Counters.of(self.state)
            upto = self.counters.update if restored else None
            self.logs = Logs(
                plan, self.display, self.engine, self.seconds, upto, self.callbacks
            )  # fmt: skip
            rows = self.logs.evals.rows
            self.evaluated_at = max((row["update"] for row in rows), default=None)
            self.score = float("nan")  # of the last evaluation, mean over runs
            self.done_before = self.counters.slowest if restored else 0
            self.summary: dict[str, Any] = {}
            self.interrupted: int | None = None
            self.stop = StopRequest()
            self._started = time.monotonic()
            self._opened = opened.pop_all()

    def _fresh(self) -> Arrays:
        return fresh_arrays(self.plan)

    def _restored(self) -> tuple[Arrays, HostState, str] | None:
        if not self.plan.resume:
            return None
        return self.saver.restore(jax.eval_shape(self._fresh))

    def close(self) -> None:
        """Ends what was started; ``run`` does so itself."""
        self._opened.close()

    # --- the loop --------------------------------------------------------------------------------

    def run(self, *, final: bool = True, export: bool = True) -> None:
        """Trains to the end of the budget, or until a signal stops it.

        Args:
          final: evaluate the last and the best policies and write the files of a run that has
            ended; without it a later session goes on from the last checkpoint.
          export: write those files; whoever does without takes them from this session.

        Raises:
          TrainingFailed: the loss of every run became non-finite (`Diverged`), its games do not
            start, or it can no longer write.
          Exception: what a callback raised; the run can go on from its last checkpoint.
        """
        run_dir = self.plan.run_dir
        try:
            with in_words(run_dir), self._opened, stop_on_signal() as self.stop:
                self._run(final, export)
            self._tell_checkpoints()
            if self.callbacks and self.callbacks.error is None:
                self.callbacks.end(self.result)
        finally:
            self.callbacks.close()
        kept = run_dir is not None and directory.checkpoints(run_dir)
        self.callbacks.raise_error(messages.resume(run_dir) if kept else "")

    def _run(self, final: bool, export: bool) -> None:
        self.display.say(messages.start(self.plan, self.spec, self.done_before))
        self.callbacks.start(self._started_as())
        if not self.callbacks.halt:
            self.engine.check_memory(self.state, self.hp, self.plan.iterations)
            with suppress(Stopped):
                self._before_training()
                if not self._done():
                    self.display.say(f"  {COMPILING}")
                self._train()
        # A signal that comes after the budget is spent changes nothing any more.
        self.interrupted = None if self._spent() else self.stop.number
        if self.callbacks.error is None:
            self._finish(final, export)
        elif self.counters.alive.any():
            self._save()

    def _started_as(self) -> Started:
        plan, now = self.plan, self.counters
        return Started(
            plan.config, self.spec, plan.labels, plan.names, plan.run_dir, now.update,
            now.env_steps.tolist(), self.display.warn,
        )  # fmt: skip

    def _before_training(self) -> None:
        if self.host.random is None:
            params = random_params(self.algo.policy(self.state.learner))
            keys, hp = evaluation_keys(self.plan.seeds, RANDOM), random_hparams(self.hp)
            episodes = self.plan.config.eval.final_episodes
            figures = self.engine.evaluate(params, keys, hp, episodes, ("sampled",), self._give_up)
            self.host.random = [figure["sampled"] for figure in figures]
        ended = all(figure["episodes"] for figure in self.host.random)
        if not ended and not is_host_task(self.plan.task):  # whose games may be lost
            raise UserError(
                f"no episode of {self.spec.name} ended within spec.episode_limit, "
                f"{self.spec.episode_limit} steps: terminated or truncated must be True by then "
                "(lica_jax.testing.check_task says more)"
            )
        self.display.say(messages.random_policy(self.host.random[0], self.spec))
        if self.counters.slowest >= self.host.next_eval:
            self._evaluate_now()
        self._save()

    def _train(self) -> None:
        """Runs chunks until the budget is spent, a signal comes, or no run is left.

        A chunk's metrics are fetched while the next chunk runs, unless its end may be a point of
        decision (evaluation, checkpoint, end): there the host waits, so that decisions depend on
        exact counts only, and a resumed run takes the same ones.
        """
        waiting: PyTree | None = None
        while not self._done():
            try:
                after = self.engine.chunk(self.state, self.hp, self.plan.iterations, self._give_up)
            except Stopped:
                break
            self.state, metrics = after
            if waiting is not None:
                self._consume(waiting)
            waiting = metrics
            decision = min(self.host.next_eval, self.plan.config.total_steps)
            certain = self.counters.slowest + self.plan.chunk_steps < decision
            if certain and not self._asked_to_stop() and not self.saver.due():
                continue
            self._consume(waiting)
            waiting = None
            if not self.counters.alive.any() or self.callbacks.error is not None:
                break
            # The last policy is a candidate for the best one, whenever an evaluation is due.
            due = self.counters.slowest >= self.host.next_eval or self._spent()
            improved = due and self._evaluate_now()
            if improved or self.saver.due():
                self._save()
        if waiting is not None:  # a signal came between the two looks at it
            self._consume(waiting)

    def _spent(self) -> bool:
        return self.counters.slowest >= self.plan.config.total_steps

    def _asked_to_stop(self) -> bool:
        """By a signal or a callback."""
        return self.stop.number is not None or self.callbacks.halt

    def _done(self) -> bool:
        return self._spent() or self._asked_to_stop() or not self.counters.alive.any()

    def _give_up(self) -> bool:
        """Whatever stops the runs may have ended their games: none is started again for it."""
        return self.stop.number is not None and not self._spent()

    def _consume(self, metrics: PyTree) -> None:
        """Waits for a chunk, writes its rows, and moves the counters."""
        metrics = jax.device_get(metrics)
        self.counters = self.logs.chunk(metrics, self.counters, self.algo.metrics)
        self._tell_checkpoints()

    def _tell_checkpoints(self) -> None:
        """Of those that have become complete."""
        for path in self.saver.completed() if self.callbacks else ():
            self.callbacks.checkpoint(path)

    # --- evaluation ------------------------------------------------------------------------------

    def evaluate(self, params: PyTree, episodes: int, *purpose: int) -> list[Summary]:
        """Greedy and sampled figures of every run's policy; ``purpose`` as in `evaluation_keys`."""
        keys = evaluation_keys(self.plan.seeds, *purpose)
        return self.engine.evaluate(params, keys, self.hp, episodes, stop=self._give_up)

    def _evaluate_now(self) -> bool:
        """Evaluates the current policies and keeps the best so far; True when one improved."""
        params, update = self.algo.policy(self.state.learner), self.counters.update
        figures = self.evaluate(params, self.plan.config.eval.episodes, PERIODIC, update)
        self.evaluated_at = update
        self.best, better = self.best.updated(
            params, self.state.env_steps, figures, self.spec, self.counters.alive
        )
        self.score = float(jnp.mean(greedy_scores(figures, self.spec)))
        self.logs.evaluation(figures, self.counters, self.spec, self._due_step())
        interval = self.plan.config.eval.interval
        self.host.next_eval = (self.counters.slowest // interval + 1) * interval
        self.display.draw(self._curve)
        return bool(better.any())

    def _due_step(self) -> int:
        """The env steps at which the evaluation of now was due: a multiple of its interval, or the
        end of the budget. Where the runs really are differs between seeds."""
        if self._spent():
            return self.plan.config.total_steps
        interval = self.plan.config.eval.interval
        return max(self.counters.slowest // interval * interval, self.host.next_eval)

    def _curve(self) -> bytes:
        from lica_jax.runs.learning_curve import run_curve

        config, rows, random = self.plan.config, self.logs.evals.rows, self.host.random
        return run_curve(config, self.spec, rows, random and random[0])

    # --- files -----------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.host.seconds + time.monotonic() - self._started

    def _save(self) -> None:
        update = self.counters.update
        evaluated = self.evaluated_at == update and np.isfinite(self.score)
        host = HostState(self.seconds(), self.host.next_eval, self.host.random)
        score = self.score if evaluated else None
        self.saver.save(update, Arrays(self.state, self.best), host, score)

    def _finish(self, final: bool, export: bool) -> None:
        """The last checkpoint, the last figures, and the files of a run that has ended."""
        self.describe()
        if not self.counters.alive.any():
            if export:
                self._export()
            raise Diverged(messages.all_failed(self.plan, self.counters))
        self._save()
        plan, spec, random = self.plan, self.spec, self.summary["random"]
        stopped = "" if self._spent() or self.interrupted else self.callbacks.stopped
        self.summary |= {"stopped": stopped} if stopped else {}
        if self.interrupted is None and not final:
            self.saver.close()
            return
        if self.interrupted is None:
            episodes = plan.config.eval.final_episodes
            last = self.evaluate(self.algo.policy(self.state.learner), episodes, FINAL_LAST)
            best = self.evaluate(self.best.params, episodes, FINAL_BEST)
            self.summary |= final_figures(plan, spec, self.best, last, best)
            self.display.close()
            chosen = self.best.env_steps.tolist()
            text = messages.final(plan, spec, self.counters.slowest, last, best, random, chosen)
            over = messages.overrun(plan, self.counters, self.done_before)
            early = stopped and messages.stopped_by(stopped, plan)
            self.display.say("\n  ".join(filter(None, (text, over, early))))
        else:
            text = messages.stopped(self.interrupted, self.counters.slowest, plan.run_dir)
            self.display.say(text)
        self.logs.complain(every=0)
        self.summary["seconds"] = round(self.seconds(), 1)
        if export:
            self._export()
        if plan.config.eval.save_replay and self.interrupted is None:  # last: it may fail
            self._save_replays(plan.run_dir / directory.REPLAYS)

    def describe(self) -> None:
        """Sets ``summary`` to what is known without a last evaluation."""
        random = self.host.random and self.host.random[0]  # None: stopped before it was played
        self.summary = describe(
            self.plan, self.spec, self.counters, self.best, random,
            interrupted=self.interrupted is not None, genuine=self.engine.genuine,
        ) | {"seconds": round(self.seconds(), 1)}  # fmt: skip

    def _export(self) -> None:
        """The files of runs that have ended, or failed all of them."""
        plan = self.plan
        if plan.run_dir is None:
            return
        chosen, steps = best_run(self.summary), self.state.env_steps
        last = self.algo.policy(self.state.learner)
        export_policies(plan, self.spec, chosen, self.best, last, steps)
        export_critics(plan, self.algo, chosen, self.state.learner, steps)
        export_runs(plan, self.spec, self.summary, self.logs.evals.rows)

    @property
    def result(self) -> Result:
        """What the session came to."""
        return Result(
            config=self.plan.config, summary=self.summary, evaluations=self.logs.evals.rows,
            metrics=self.logs.metrics.rows, run_dir=self.plan.run_dir,
            interrupted=self.interrupted, params=jax.device_get(self.best.params), spec=self.spec,
            critics=self.critics(), facts=self._facts(),
            last_params=jax.device_get(self.algo.policy(self.state.learner)),
        )  # fmt: skip

    def _facts(self) -> dict[str, list[dict[str, Any]]]:
        """What `export_policies` says of the policies of every run."""
        best, now = self.best, np.asarray(self.state.env_steps)
        scored = zip(np.asarray(best.env_steps), np.asarray(best.score), strict=True)
        return {
            "best": [{"env_steps": int(at), "score": float(score)} for at, score in scored],
            "last": [{"env_steps": int(at)} for at in now],
        }

    def critics(self) -> dict[str, Critic]:
        """The critics as they are now, by the names of the runs, as far as they are kept."""
        runs = {str(seed): i for i, seed in enumerate(self.plan.seeds)}
        kept = kept_critics(self.algo, self.state.learner, runs)
        steps = np.asarray(self.state.env_steps)
        return {name: Critic(critic, int(steps[runs[name]])) for name, critic in kept.items()}

    def _save_replays(self, folder: Path) -> None:
        paths, problem = self.engine.save_replays(folder)
        tell = self.display.warn if problem else self.display.say
        tell(messages.replays(len(paths), self.plan.config.collect.envs, folder, problem))


def fresh_arrays(plan: Plan) -> Arrays:
    """The arrays of a plan's runs before the first update."""
    state = plan.engine.init(plan.keys)
    params = plan.algo.policy(state.learner)
    return Arrays(state, Best.before_training(params, len(plan.runs)))
