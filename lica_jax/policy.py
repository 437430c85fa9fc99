"""Trained policies as single files: safetensors with a JSON header, no pickle, no orbax."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from lica_jax.algorithms import algorithm_module, algorithm_names
from lica_jax.algorithms.registry import check_known_algorithm
from lica_jax.config.schema import TrainConfig, merge
from lica_jax.envs.names import is_import_path
from lica_jax.errors import UserError
from lica_jax.files import plain, write_json
from lica_jax.types import Algorithm, Progress, TaskSpec, TimeStep

FORMAT = "lica_jax policy 1"


def save_policy(
    path: Path,
    params: PyTree,
    *,
    algorithm: str,
    config: Any,
    hp: Any,
    spec: TaskSpec,
    **about: Any,
) -> None:
    """Writes ``path`` (safetensors, all facts in its header) and a readable ``.json`` beside it.

    Args:
      path: file name ending in ``.safetensors``.
      params: what the algorithm's ``act`` needs, unbatched.
      algorithm, config, hp, spec: what is needed to rebuild ``act``.
      about: further facts to keep: seed, env_steps, scores.
    """
    from safetensors.numpy import save

    facts = header(algorithm, config, hp, spec, **about)
    scratch = path.with_name(path.name + ".tmp")
    arrays = {name: np.ascontiguousarray(x) for name, x in named_leaves(params).items()}
    scratch.write_bytes(save(arrays, metadata={"lica_jax": json.dumps(plain(facts))}))
    scratch.replace(path)
    write_json(path.with_suffix(".json"), facts)


def header(algorithm: str, config: Any, hp: Any, spec: TaskSpec, **about: Any) -> dict[str, Any]:
    """Everything but the parameters that a policy needs to act, and facts about its making."""
    return {
        "format": FORMAT, "algorithm": algorithm, "task": spec.name,
        "config": dataclasses.asdict(config), "hp": dataclasses.asdict(hp),
        "spec": dataclasses.asdict(spec), **about,
    }  # fmt: skip


def origin(config: TrainConfig, spec: TaskSpec) -> dict[str, Any]:
    """Where a policy's task and code are found again."""
    # An object's own name may be anything; its import path leads back to it.
    task = config.task if is_import_path(config.task) else spec.name
    return {"task": task, "plugins": config.plugins}


def named_leaves(params: PyTree) -> dict[str, Any]:
    """Leaves by their path, such as ``params/fc1/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(str(getattr(k, "key", k)) for k in path): x for path, x in leaves}


class Policy:
    """A trained policy for use outside training.

    Attributes:
      about: the file's header: algorithm, task, config, spec, seed, env_steps, scores.
      spec: sizes of the task it was trained for.
      params: its parameters.
    """

    def __init__(self, params: PyTree, about: dict[str, Any]):
        module = algorithm_module(about["algorithm"])
        self.about = about
        self.spec = TaskSpec(**about["spec"])
        self.params = params
        self.algo = self.algo_for(self.spec)
        self.hp = merge(module.HParams(), about["hp"])
        self._act = jax.jit(self._act_batch)

    def __repr__(self) -> str:
        seed, steps = self.about.get("seed"), self.about.get("env_steps")
        known = [f"seed {seed}"] if seed is not None else []
        known += [f"{steps:,} env steps"] if steps is not None else []
        trained = f"{self.about['algorithm']} on {self.about['task']}"
        return f"<Policy {', '.join([trained, *known])}>"

    def algo_for(self, spec: TaskSpec) -> Algorithm:
        """The policy's algorithm with its settings, for tasks of these sizes."""
        module = algorithm_module(self.about["algorithm"])
        return module.make(merge(module.Config(), self.about["config"]), spec)

    @classmethod
    def of(cls, config: TrainConfig, spec: TaskSpec, params: PyTree, **about: Any) -> Policy:
        """A policy straight from a training run's configuration, task and parameters."""
        about = origin(config, spec) | about
        facts = header(config.algorithm, config.algo, config.hp, spec, **about)
        return cls(jax.tree.map(jnp.asarray, params), facts)

    def initial_carry(self, batch: int | None = None) -> PyTree:
        """The memory at an episode's start; without ``batch`` for one environment."""
        carry = self.algo.initial_carry(1 if batch is None else batch)
        return jax.tree.map(lambda x: x[0], carry) if batch is None else carry

    def act(self, obs, avail=None, carry=None, *, key=None):
        """Chooses actions: greedily, or by sampling when a PRNG ``key`` is given.

        Args:
          obs: ``[N, O]``, or ``[B, N, O]`` for B environments.
          avail: available actions ``[(B,) N, A]``; all by default, and always when continuous.
          carry: memory from the step before; None starts an episode.
          key: a ``jax.random.key`` to sample with.

        Returns:
          ``(action, carry)``; the action is ``[(B,) N]`` int32, or ``[(B,) N, D]`` float32 in
          (-1, 1) where actions are continuous.

        Raises:
          UserError: the shapes are not those of the task the policy was trained for.
        """
        obs = jnp.asarray(obs, jnp.float32)
        s = self.spec
        single = obs.ndim == 2
        if obs.ndim not in (2, 3) or obs.shape[-2:] != (s.n_agents, s.obs_size):
            raise UserError(
                f"this policy was trained on {s.name}: obs must be [(batch,) {s.n_agents}, "
                f"{s.obs_size}], got {list(obs.shape)}"
            )
        wanted = (*obs.shape[:-1], s.n_actions)
        avail = jnp.ones(wanted, bool) if avail is None else jnp.asarray(avail, bool)
        if avail.shape != wanted:
            raise UserError(f"avail must be {list(wanted)} for {s.name}, got {list(avail.shape)}")
        if carry is None:
            carry = self.initial_carry(None if single else obs.shape[0])
        if single:
            obs, avail, carry = jax.tree.map(lambda x: x[None], (obs, avail, carry))
        explore = jnp.full(obs.shape[0], key is not None)
        key = jax.random.key(0) if key is None else key
        carry, action = self._act(self.params, carry, obs, avail, key, explore)
        if single:
            action, carry = jax.tree.map(lambda x: x[0], (action, carry))
        return action, carry

    def _act_batch(self, params, carry, obs, avail, key, explore):
        batch = obs.shape[0]
        off = jnp.zeros(batch, bool)
        # `act` reads observations and masks only; an episode's start is a fresh carry, not a flag.
        ts = TimeStep(
            obs=obs, state=jnp.zeros((batch, self.spec.state_size)), avail=avail,
            reward=jnp.zeros(batch), terminated=off, truncated=off, first=off,
            alive=jnp.ones(obs.shape[:2], bool), info={},
        )  # fmt: skip
        progress = Progress.finished()
        carry, action, _ = self.algo.act(
            params, carry, ts, key, hp=self.hp, progress=progress, explore=explore
        )
        return carry, action


def load_policy(path: str | Path) -> Policy:
    """Loads a policy file, or the ``policy.safetensors`` of a run directory.

    Raises:
      UserError: the file is missing, damaged, or no lica_jax policy.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir():
        if (path / "config.json").is_file() and not (path / "policy.safetensors").is_file():
            raise UserError(
                f"the run in {path} has not exported its policy yet; finish it with: "
                f"lica-jax train --resume --run-dir {path}"
            )
        path = path / "policy.safetensors"
    if not path.is_file():
        raise UserError(f"no policy at {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("lica_jax", "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({error})") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{path} is a safetensors file, but not a lica_jax policy")
    check_known_algorithm(about["algorithm"], about.get("plugins", ()))
    if about["algorithm"] not in algorithm_names():
        raise UserError(f"{path} needs algorithm {about['algorithm']!r}, which this version lacks")
    policy = Policy(None, about)
    like = jax.eval_shape(lambda key: policy.algo.policy(policy.algo.init(key)), jax.random.key(0))
    wanted = named_leaves(like)
    if {n: a.shape for n, a in arrays.items()} != {n: x.shape for n, x in wanted.items()}:
        raise UserError(f"{path}: its tensors do not fit its own configuration")
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    policy.params = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return policy
