"""A trained policy, for use outside training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray, PyTree

from lica_jax.algorithms import algorithm_module, make_algorithm
from lica_jax.config.schema import TrainConfig, merge
from lica_jax.errors import UserError, visible
from lica_jax.files import as_path, as_word
from lica_jax.policy.critics import Critic, load_critic
from lica_jax.policy.exporting import export
from lica_jax.policy.reading import checked_facts, read_header, read_params
from lica_jax.policy.writing import header, origin, write_arrays
from lica_jax.runs.names import check_no_sweep
from lica_jax.types import Algorithm, Progress, TaskSpec, TimeStep


class Policy:
    """A trained policy for use outside training.

    Attributes:
      about: header of the policy file: algorithm, task, config, spec, seed, env_steps, scores.
      spec: sizes of the task that it was trained for.
      params: its parameters.
      task: the task that it was trained on, where `train` was given an object; else None.
      file: its file, beside which its critic is; None if there is none.
    """

    def __init__(self, params: PyTree, about: dict[str, Any], critic: Critic | None = None):
        module = algorithm_module(about["algorithm"])
        self.about = about
        self.spec = TaskSpec(**about["spec"])
        self.params = params
        self.algo = self.algo_for(self.spec)
        self.hp = merge(module.HParams(), about["hp"])
        self._act, self._look = jax.jit(self._acted), jax.jit(self._looked)
        self._any_key = jax.random.key(0)  # of greedy play, which draws nothing
        self._memory = jax.eval_shape(partial(self.algo.initial_carry, 1))
        self.task: Any = None
        self._critic: Critic | None = critic
        self.file: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A critic that is only in memory does not go along; one beside the policy's file does."""
        return _rebuilt, (jax.tree.map(np.asarray, self.params), self.about, self.file)

    def __repr__(self) -> str:
        seed, steps = self.about.get("seed"), self.about.get("env_steps")
        known = [f"seed {seed}"] if seed is not None else []
        known += [f"{steps:,} env steps"] if steps is not None else []
        trained = f"{self.about['algorithm']} on {self.about['task']}"
        return f"<Policy {', '.join([trained, *known])}>"

    def algo_for(self, spec: TaskSpec) -> Algorithm:
        """The policy's algorithm with its settings, for a task of these sizes."""
        name = self.about["algorithm"]
        config = merge(algorithm_module(name).Config(), self.about["config"])
        return make_algorithm(name, spec, config)

    @classmethod
    def of(
        cls, config: TrainConfig, spec: TaskSpec, params: PyTree, *, critic: Critic | None = None,
        **about: Any,
    ) -> Policy:  # fmt: skip
        """Makes a policy from a training run's configuration, task and parameters."""
        about = origin(config, spec) | about
        facts = header(config.algorithm, config.algo, config.hp, spec, **about)
        return cls(jax.tree.map(jnp.asarray, params), facts, critic)

    @property
    def critic(self) -> Critic | None:
        """The critic it was trained with, read from next to the policy file on first access.

        None if no critic was kept. Raises ``UserError`` if its file is damaged.
        """
        if self._critic is None and self.file is not None:
            self._critic = load_critic(self.file, self.algo, self.about)
        return self._critic

    def render(self, task: Any = None, **options: Any) -> Any:
        """Plays a few episodes for viewing, with the outputs of the policy and of its critic.

        Arguments and errors are those of ``lica_jax.render``. Notebooks display the result.
        """
        import lica_jax  # its face: pictures stand above policies

        return lica_jax.render(self, task=task, **options)

    def initial_carry(self, batch: int | None = None) -> PyTree:
        """The memory at the start of an episode; without ``batch``, for one environment."""
        carry = self.algo.initial_carry(1 if batch is None else batch)
        return jax.tree.map(lambda x: x[0], carry) if batch is None else carry

    def act(
        self, obs: ArrayLike, avail: ArrayLike | None = None, carry: PyTree = None, *,
        key: PRNGKeyArray | None = None, params: PyTree = None,
    ) -> tuple[Array, PyTree]:  # fmt: skip
        """Chooses actions: greedily, or by sampling if a PRNG ``key`` is given.

        Args:
          obs: ``[N, O]``, or ``[B, N, O]`` for B environments.
          avail: available actions ``[(B,) N, A]``, bool. May be left out on tasks that mask none
            (``spec.masks_actions`` is False).
          carry: memory returned by the previous step; None starts an episode.
          key: a ``jax.random.key`` for sampling.
          params: parameters of another seed instead of its own: those of all are ``vmap``'s axis
            in ``Result.params``.

        Returns:
          ``(action, carry)``; the action is ``[(B,) N]`` int32, or ``[(B,) N, D]`` float32 in
          (-1, 1) if actions are continuous, or ``[(B,) N, A]`` float32 weights of the actions where
          `plays_weights`.

        Raises:
          UserError: the shapes are not those of the task that the policy was trained for,
            ``avail`` is missing where it matters, ``carry`` is the memory of another number of
            environments, or ``key`` is not a key.
        """
        seen = self._checked(obs, avail, carry)
        if key is not None and not _is_key(key):
            raise UserError(f"key must be a key such as jax.random.key(0), got {key!r}")
        # The rest is in the program: every operation outside of it would cost as much as all of it.
        params = self.params if params is None else params
        return self._act(params, *seen, self._any_key if key is None else key, key is not None)

    def probabilities(
        self, obs: ArrayLike, avail: ArrayLike | None = None, carry: PyTree = None
    ) -> Array:
        """The probability of every action in sampled play, ``[(B,) N, A]``; those of unavailable
        actions are 0.

        Arguments are those of `act`, which returns the memory for the next step.

        Raises:
          UserError: as `act`; or actions are continuous, or weights (`plays_weights`), or the
            algorithm does not say how to look into its policies (`Algorithm.insight`).
        """
        if self.spec.continuous or self.plays_weights:
            raise UserError(f"{self!r} does not choose among actions: it has no probabilities")
        if self.algo.insight is None:
            raise UserError(
                f"algorithm {self.about['algorithm']!r} does not say how to look into its policies "
                "(Algorithm.insight): their probabilities are not known"
            )
        return self._look(self.params, *self._checked(obs, avail, carry))

    def _checked(
        self, obs: ArrayLike, avail: ArrayLike | None, carry: PyTree
    ) -> tuple[PyTree, ArrayLike, ArrayLike]:
        """The memory, the observations and the available actions, as arrays; raises ``UserError``
        as `act` says."""
        if isinstance(obs, Mapping):
            raise UserError(
                "obs must be one array of all agents: jnp.stack([obs[a] for a in env.agents])"
            )
        obs = obs if isinstance(obs, jax.Array | np.ndarray) else jnp.asarray(obs, jnp.float32)
        s = self.spec
        if obs.ndim not in (2, 3) or obs.shape[-2:] != (s.n_agents, s.obs_size):
            raise UserError(
                f"this policy was trained on {s.name}: obs must be [(batch,) {s.n_agents}, "
                f"{s.obs_size}], got {list(obs.shape)}"
            )
        if avail is None and s.masks_actions:
            raise UserError(
                f"{s.name} makes some actions unavailable: give act the time step's avail, too"
            )
        wanted = (*obs.shape[:-1], s.n_actions)
        avail = np.ones(wanted, bool) if avail is None else avail
        avail = avail if isinstance(avail, jax.Array | np.ndarray) else jnp.asarray(avail, bool)
        if avail.shape != wanted:
            raise UserError(f"avail must be {list(wanted)} for {s.name}, got {list(avail.shape)}")
        if carry is None:
            carry = self.initial_carry(None if obs.ndim == 2 else obs.shape[0])
        self._check_carry(carry, obs.shape[:-2])
        return carry, obs, avail

    @cached_property
    def plays_weights(self) -> bool:
        """Whether an action is weights ``[N, A]`` of a choice (MADDPG on the paper's particle
        tasks), which tasks with ``weighs_actions`` alone can take."""
        s = self.spec
        obs = jax.ShapeDtypeStruct((1, s.n_agents, s.obs_size), jnp.float32)
        avail = jax.ShapeDtypeStruct((1, s.n_agents, s.n_actions), bool)
        seen = self._memory, obs, avail
        action, _ = jax.eval_shape(self._acted, self.params, *seen, self._any_key, False)
        return not s.continuous and action.ndim == 3

    def _check_carry(self, carry: PyTree, batch: tuple[int, ...]) -> None:
        """Raises ``UserError`` where a memory is not that of ``batch`` environments."""
        wanted = [batch + x.shape[1:] for x in jax.tree.leaves(self._memory)]
        alike = jax.tree.structure(carry) == jax.tree.structure(self._memory)
        if not alike or [jnp.shape(x) for x in jax.tree.leaves(carry)] != wanted:
            who, n = (f"{batch[0]} environments", batch[0]) if batch else ("one environment", "")
            raise UserError(
                f"carry is not the memory of {who}: it must be what act returned, "
                f"initial_carry({n}), or None; got {jax.tree.map(jnp.shape, carry)}"
            )

    def save(self, path: str | Path) -> None:
        """Writes the policy file ``path``, which ends in ``.safetensors`` and is replaced if it
        exists; `load_policy` reads it. The critic stays behind.

        Raises:
          UserError: another file ending, or a path that cannot be written.
        """
        path = as_path(path, "path")
        if path.suffix != ".safetensors":
            raise UserError(f"a policy is saved as .safetensors, not as {path.name}")
        try:
            write_arrays(path, self.params, self.about)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from None

    def export(self, path: str | Path) -> None:
        """Writes the policy for programs without JAX; docs/policies.md describes both formats.

        Args:
          path: file to write, replaced if it exists: ``.npz`` for `lica_jax.numpy_policy`, one file
            that needs only numpy, or ``.onnx`` for one step of the network in any ONNX runtime.

        Raises:
          UserError: another file ending, a path that cannot be written, an algorithm that does not
            declare how it acts (`Algorithm.acting`), or a missing package (for ONNX).
        """
        export(as_path(path, "path"), self.algo, self.spec, self.hp, self.params, self.about)

    def _acted(self, params, carry, obs, avail, key, sampled):
        """`act` as a pure function."""

        def act(carry, obs, avail):
            ts, explore = self._time_step(obs, avail), jnp.full(obs.shape[0], sampled)
            progress = Progress.finished()
            carry, action, _ = self.algo.act(
                params, carry, ts, key, hp=self.hp, progress=progress, explore=explore
            )
            return action, carry

        return _batched(act, carry, obs, avail)

    def _looked(self, params, carry, obs, avail):
        """`probabilities` as a pure function."""

        def look(carry, obs, avail):
            nothing = jnp.zeros(obs.shape[:2], jnp.int32)  # what was chosen is a critic's concern
            ts = self._time_step(obs, avail)
            return self.algo.insight.look(params, None, carry, ts, nothing, self.hp).policy

        return _batched(look, carry, obs, avail)

    def _time_step(self, obs: Array, avail: Array) -> TimeStep:
        """What actions depend on: observations and masks only (a critic's memory reads more, and is
        not asked here); an episode's start is a fresh carry, not a flag."""
        batch = obs.shape[0]
        off = jnp.zeros(batch, bool)
        return TimeStep(
            obs=obs, state=jnp.zeros((batch, self.spec.state_size)), avail=avail,
            reward=jnp.zeros(batch), terminated=off, truncated=off, first=off,
            alive=jnp.ones(obs.shape[:2], bool), info={},
        )  # fmt: skip


def _batched(
    function: Callable[..., PyTree], carry: PyTree, obs: ArrayLike, avail: ArrayLike
) -> PyTree:
    """``function(carry, obs, avail)``, which takes a batch, also of one environment."""
    obs, avail = jnp.asarray(obs, jnp.float32), jnp.asarray(avail, bool)
    if obs.ndim == 3:
        return function(carry, obs, avail)
    of_one = function(*jax.tree.map(lambda x: x[None], (carry, obs, avail)))
    return jax.tree.map(lambda x: x[0], of_one)


def _rebuilt(params: PyTree, about: dict[str, Any], path: Path | None) -> Policy:
    """A policy out of a pickle of one's own."""
    policy = Policy(jax.tree.map(jnp.asarray, params), about)
    policy.file = path
    return policy


def _is_key(key: Any) -> bool:
    """Whether it is one PRNG key, of either kind."""
    kind = getattr(key, "dtype", None)
    if kind is not None and jnp.issubdtype(kind, jax.dtypes.prng_key):
        return key.shape == ()
    return kind == jnp.uint32 and getattr(key, "ndim", 0) == 1


def read_policy(path: Path) -> Policy:
    """The policy of a file, or of a run directory's ``policy.safetensors``. Raises ``UserError`` as
    `load_policy` does."""
    if path.is_dir():
        if not (path / "policy.safetensors").is_file():
            _tell_of_no_policy(path)
        path = path / "policy.safetensors"
    if not path.is_file():
        raise UserError(f"no policy at {path}")
    try:
        about, tensors = read_header(path)
        policy, shapes = _without_params(checked_facts(about))
        policy.params = read_params(path, tensors, shapes)
        policy.file = path.absolute()
    except UserError as error:
        raise UserError(visible(f"{path} cannot be loaded: {error}")) from None
    return policy


def _tell_of_no_policy(path: Path) -> None:
    """Raises ``UserError`` for a directory whose policies are elsewhere, or not there yet."""
    check_no_sweep(path)
    if (path / "config.json").is_file():
        raise UserError(
            f"the run in {path} has not exported its policy yet; finish it with: "
            f"lica-jax train --resume --run-dir {as_word(path)} (with --total-steps N to end it "
            "sooner)"
        )


def _without_params(about: dict[str, Any]) -> tuple[Policy, PyTree]:
    """A policy that lacks its parameters, and their shapes and types; allocates none of them."""
    try:
        policy = Policy(None, about)
        algo, key = policy.algo, jax.random.key(0)
        return policy, jax.eval_shape(lambda key: algo.policy(algo.init(key)), key)
    # What a file asks for may fail anywhere in a network, or in a plugin.
    except Exception as error:
        raise UserError(f"its network cannot be built: {type(error).__name__}: {error}") from error
