"""Tasks in JAX: everything in compiled programs, nothing to open."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from lica_jax.engines.base import Engine, Stop, never
from lica_jax.training.evaluation import MODES, Evaluator, Tell, silent
from lica_jax.training.loop import ENVS, RUNS, batch_runs, device_mesh, make_run
from lica_jax.training.memory import Estimate, check_program, estimate
from lica_jax.types import Algorithm, Collect, Task, TaskSpec


class CompiledEngine(Engine):
    """Runs of a task in JAX. Compiles each program when it is first used."""

    def __init__(
        self, algo: Algorithm, task: Task, *, collect: Collect, n_runs: int,
        timeout_is_terminal: bool, eval_episodes: int, devices: int = 1, shard: str = RUNS,
    ):  # fmt: skip
        """``n_runs`` runs, as many on each of ``devices`` devices; or, with ``shard`` `ENVS`, as
        many environments of each run."""
        shared = n_runs if shard == RUNS else collect.envs
        if shared % devices:
            raise ValueError(f"{shared} {shard} cannot be shared out evenly to {devices} devices")
        mesh = device_mesh(devices, ENVS) if devices > 1 and shard == ENVS else None
        devices = devices if shard == RUNS else 1
        self._algo, self._task, self._collect, self._n = algo, task, collect, n_runs
        self._place: NamedSharding | None = None
        if devices > 1:
            self._place = NamedSharding(device_mesh(devices, RUNS), PartitionSpec(RUNS))
        self._run = make_run(algo, task, collect, timeout_is_terminal, mesh)
        self._init, self._chunk = batch_runs(*self._run, n_runs, devices)
        self._compiled: dict[int, jax.stages.Compiled] = {}  # by the iterations of a chunk
        self._evaluate = Evaluator(algo, task, n_runs, eval_episodes, devices)

    @cached_property
    def estimate(self) -> Estimate:
        return estimate(
            self._algo, self._task, self._collect, self._run[0], eval_episodes=self._evaluate.wave
        )

    @property
    def programs(self) -> tuple[str, ...]:
        return ("the start", "a chunk of updates", "the evaluation of both modes")

    def open(self) -> TaskSpec:
        return self._task.spec

    def init(self, keys: PRNGKeyArray) -> PyTree:
        return self._init(keys)

    def check_memory(self, states: PyTree, hps: PyTree, iterations: int) -> None:
        check_program(self.compiled(states, hps, iterations))

    def compiled(self, states: PyTree, hps: PyTree, iterations: int) -> jax.stages.Compiled:
        """The program that ``chunk`` runs with these arguments, compiled once for both."""
        if iterations not in self._compiled:
            lowered = self._chunk.lower(*self._placed((states, hps)), iterations)
            self._compiled[iterations] = lowered.compile()
        return self._compiled[iterations]

    def chunk(
        self, states: PyTree, hps: PyTree, iterations: int, stop: Stop = never
    ) -> tuple[PyTree, PyTree]:
        del stop  # a compiled call is not interrupted
        return self._chunk(*self._placed((states, hps)), iterations)

    def evaluate(
        self, params: PyTree, keys: PRNGKeyArray, hp: PyTree, episodes: int,
        modes: tuple[str, ...] = MODES, stop: Stop = never, tell: Tell = silent,
    ) -> list[dict[str, Any]]:  # fmt: skip
        del stop
        return self._evaluate(*self._placed((params, keys, hp)), episodes, modes, tell)

    def _placed(self, arrays: PyTree) -> PyTree:
        """Arrays of all runs on the devices of their runs: those of a checkpoint are on none."""
        return arrays if self._place is None else jax.device_put(arrays, self._place)
