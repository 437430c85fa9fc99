"""Whether somebody's algorithm and task are what the loop needs: from shapes alone, before anything
is compiled or run, and for a task then by a little random play."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from lica_jax.algorithms import find_algorithm
from lica_jax.config import TrainConfig
from lica_jax.engines.games import HostTask, is_host_task
from lica_jax.engines.shapes import ShapeTask
from lica_jax.envs.checks import changes, described, is_row, random_actions, task_problems
from lica_jax.errors import UserError, failure
from lica_jax.runs.rows import name_problems
from lica_jax.training.loop import make_run, stack_hparams
from lica_jax.training.rollout import is_over, reset_batch, step_batch
from lica_jax.types import Algorithm, Progress, Replay, Task, TaskSpec

ENVS = 5
MOST_PLAYED = 1_000  # steps
FUNCTIONS = ("init", "initial_carry", "act", "update", "policy", "scratch_bytes")


class Traced(NamedTuple):
    """What tracing an algorithm told.

    Attributes:
      problems: what is wrong with it, one line each.
      metrics: names of what its update returns; none where it could not be traced so far.
      error: what one of its functions raised.
    """

    problems: list[str]
    metrics: list[str]
    error: Exception | None = None


def check_shapes(task: Task | HostTask) -> None:
    """Refuses somebody's task in JAX whose arrays are not what its spec says; compiles nothing."""
    if _is_somebodys(task):
        _refuse(task, task_problems(task))


def _is_somebodys(task: Task | HostTask) -> bool:
    """Whether it is in JAX, and not this library's own: those are tested."""
    return not is_host_task(task) and not type(task).__module__.startswith("lica_jax.")


def _refuse(task: Task, found: Sequence[str]) -> None:
    """Raises ``UserError`` with the problems of a task, if there are any."""
    if found:
        name = getattr(task.spec, "name", type(task).__name__)
        raise UserError(
            f"task {name} cannot be trained (lica_jax.testing.check_task looks for more):\n"
            + "\n".join(f"  - {line}" for line in found)
        )


def check_played(task: Task | HostTask) -> None:
    """Refuses somebody's task in JAX by whose numbers training would go wrong without a word: the
    greedy choice among no actions is the first one, and a NaN is found in the loss, far from where
    it began.

    Raises:
      UserError: with a line for each fault that a few episodes of random play met.
    """
    if not _is_somebodys(task):
        return
    spec = task.spec
    odd, idle, masked, unmarked, over = np.asarray(
        jax.jit(partial(_faults, task))(jax.random.key(0))
    )
    found = ["obs, state and reward must be finite, always"] * bool(odd)
    # A policy's memory begins anew where `first` is set, and nowhere else.
    found += ["first must be True at reset, and False after every step"] * bool(unmarked)
    found += ["an episode must not be over at reset"] * bool(over)
    if not spec.continuous:
        found += ["every agent must have an available action until its episode ends"] * bool(idle)
        hidden = bool(masked) and not spec.masks_actions
        found += ["some actions are unavailable: spec.masks_actions must be True"] * hidden
    _refuse(task, found)


def _faults(task: Task, key: Array) -> Bool[Array, " 5"]:
    """Whether ENVS episodes of random play met numbers that are not finite, an agent without an
    available action, an unavailable action, a ``first`` that is wrong, an end at reset."""

    def seen(ts, going, first):
        numbers = (ts.obs.reshape(ENVS, -1), ts.state.reshape(ENVS, -1), ts.reward[:, None])
        odd = ~jnp.all(jnp.isfinite(jnp.concatenate(numbers, axis=1)), axis=1)
        acting = going & ~is_over(ts)  # nobody acts on what is behind the end
        idle = jnp.any(~jnp.any(ts.avail, axis=-1), axis=-1)
        masked = jnp.any(~ts.avail, axis=(-2, -1))
        unmarked, over = (ts.first != first) & going, is_over(ts) & first
        faults = [odd & going, idle & acting, masked & acting, unmarked, over]
        return jnp.any(jnp.stack(faults), axis=-1)

    def body(t, loop):
        env, ts, going, found = loop
        act_key, env_key = jax.random.split(jax.random.fold_in(key, t))
        action = random_actions(task.spec, ts.avail, act_key)
        env, ts = step_batch(task, env_key, env, action)
        return env, ts, going & ~is_over(ts), found | seen(ts, going, False)

    reset_key, key = jax.random.split(key)
    env, ts = reset_batch(task, reset_key, ENVS)
    going = jnp.ones(ENVS, bool)
    start = env, ts, going, seen(ts, going, True)
    return jax.lax.fori_loop(0, min(task.spec.episode_limit, MOST_PLAYED), body, start)[-1]


def check_trainable(algo: Any, task: Task | HostTask, config: TrainConfig) -> None:
    """Refuses somebody's algorithm that the loop cannot train.

    Raises:
      UserError: with a line for each fault; it comes from what the algorithm itself raised.
    """
    traced = trace_algorithm(algo, task, config)
    if traced.problems:
        lines = "\n".join(f"  - {line}" for line in traced.problems)
        raise UserError(
            f"algorithm {config.algorithm} cannot be trained on {task.spec.name}:\n{lines}\n"
            "(lica_jax.testing.check_algorithm looks for more)"
        ) from traced.error


def trace_algorithm(algo: Any, task: Task | HostTask, config: TrainConfig) -> Traced:
    """Traces all that the loop asks of an algorithm, in a fraction of a second.

    Args:
      algo: what ``make`` returned, whatever that is.
      task: sound, as `envs.checks` has it.
      config: resolved.
    """
    if not isinstance(algo, Algorithm):
        kind = type(algo).__name__
        return Traced([f"make must return a lica_jax.types.Algorithm, got {kind}"], [])
    if found := _field_problems(algo, config.hp):
        return Traced(found, [])
    task = ShapeTask(task.spec) if is_host_task(task) else task
    tracer = _Tracer(find_algorithm(config.algorithm).plugin)
    learner = _acting(tracer, algo, task, config)
    metrics = [] if tracer.problems else _learning(tracer, algo, task, config, learner)
    return Traced(tracer.problems, metrics, tracer.error)


def _field_problems(algo: Algorithm, hp: Any) -> list[str]:
    """What is no function, no numbers, ...; ``hp``: numbers of the module's ``HParams``."""
    out = [
        f"{name} must be a function, got {type(function).__name__}"
        for name in FUNCTIONS
        if not callable(function := getattr(algo, name))
    ]
    own, kind = algo.hparams, type(hp).__name__
    if isinstance(own, type):
        out.append(f"hparams must be an instance, {own.__name__}(), got the class itself")
    elif not dataclasses.is_dataclass(own) or _names(own) != _names(hp):
        out.append(f"hparams must be an instance of {kind}, got {type(own).__name__}")
    if not (algo.replay is None or isinstance(algo.replay, Replay)):
        kind = type(algo.replay).__name__
        out.append(f"replay must be None or a lica_jax.types.Replay, got {kind}")
    if not isinstance(algo.metrics, tuple | list):
        out.append(f"metrics must be a tuple of names, got {algo.metrics!r}")
    return out


def _names(hp: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(hp)]


class _Tracer:
    """Traces somebody's functions and puts into words what they raise.

    Attributes:
      problems: so far, one line each.
      error: the first that was raised.
    """

    def __init__(self, package: str):
        """``package``: theirs, of whose code the messages name lines."""
        self.problems: list[str] = []
        self.error: Exception | None = None
        self._package = package

    def shapes(self, what: str, call: Callable[..., Any], *args: Any) -> PyTree:
        """The shapes of what a call returns; None, and a problem, where it fails."""
        try:
            return jax.eval_shape(call, *args)
        except Exception as error:
            self.failed(what, error)
            return None

    def failed(self, what: str, error: Exception) -> None:
        self.problems.append(failure(what, error, self._package))
        self.error = self.error or error


# --- acting --------------------------------------------------------------------------------------


def _acting(tracer: _Tracer, algo: Algorithm, task: Task, config: TrainConfig) -> PyTree:
    """Traces everything up to an action; returns the learner's shapes."""
    key, hp = jax.eval_shape(jax.random.key, 0), _numbers(config)
    learner = tracer.shapes("init(key)", algo.init, key)
    carry = tracer.shapes("initial_carry(batch)", partial(algo.initial_carry, ENVS))
    if tracer.problems:
        return learner
    params = tracer.shapes("policy(learner)", algo.policy, learner)
    if any(x.shape[:1] != (ENVS,) for x in jax.tree.leaves(carry)):
        tracer.problems.append(
            "initial_carry(batch) must have a leading axis of that size in every leaf"
        )
    if tracer.problems:
        return learner

    def act(params, carry, ts, key, hp, progress, explore):
        return algo.act(params, carry, ts, key, hp=hp, progress=progress, explore=explore)

    ts = jax.eval_shape(lambda key: reset_batch(task, key, ENVS)[1], key)
    explore = jax.ShapeDtypeStruct((ENVS,), jnp.bool_)
    progress = jax.eval_shape(Progress.finished)
    given = (params, carry, ts, key, hp, progress, explore)
    acted = tracer.shapes("act(params, carry, ts, key, ...)", act, *given)
    if not tracer.problems:
        tracer.problems += _acted_problems(acted, carry, task.spec)
    return learner


def _numbers(config: TrainConfig) -> PyTree:
    """The shapes of a run's numbers, as the loop has them."""
    return jax.eval_shape(lambda: jax.tree.map(lambda x: x[0], stack_hparams([config.hp])))


def _acted_problems(acted: Any, carry: PyTree, spec: TaskSpec) -> list[str]:
    """What is wrong with what ``act`` returned."""
    if not is_row(acted, 3):
        return [f"act must return (carry, action, extras), got {described(acted)}"]
    after, action, extras = acted
    out = changes("act: carry", carry, after)
    weights = spec.weighs_actions and jnp.issubdtype(
        getattr(action, "dtype", jnp.int32), jnp.floating
    )
    out += _action_problems(action, spec, spec.continuous or weights)
    leaves = jax.tree.leaves(extras)
    none = extras is None or extras == ()
    if not (none or isinstance(extras, Mapping)) or any(x.shape[:1] != (ENVS,) for x in leaves):
        out.append("act's extras must be a dictionary of arrays with an entry per environment")
    return out


def _action_problems(action: Any, spec: TaskSpec, points: bool) -> list[str]:
    """What is wrong with the shape and type of actions; ``points``: not indices, but ``[N, A]``."""
    if not hasattr(action, "shape"):
        return [f"act must choose actions as an array, got {type(action).__name__}"]
    out, shape = [], (ENVS, spec.n_agents, *((spec.n_actions,) if points else ()))
    if action.shape != shape:
        axes = "environments, n_agents" + (", n_actions" if points else "")
        out.append(
            f"act must choose actions {list(shape)} ({axes}), got {list(action.shape)}"
            + ("" if points else ": an index for every agent")
        )
    if jnp.issubdtype(action.dtype, jnp.integer) == points:
        kind = "floating-point numbers" if points else "integers"
        out.append(f"actions of {spec.name} must be {kind}, got {action.dtype}")
    return out


# --- learning ------------------------------------------------------------------------------------


def _learning(
    tracer: _Tracer, algo: Algorithm, task: Task, config: TrainConfig, learner: PyTree
) -> list[str]:
    """Traces an update inside of the loop, as it will be; returns its metrics' names."""
    returned: list[Any] = []

    def update(learner, *args, **more):
        try:
            returned.append(_as_stored(algo.update(learner, *args, **more), learner))
        except Exception as error:
            tracer.failed("update(learner, trajectory, key, ...)", error)
        return learner, {"loss": jnp.zeros(())}  # whatever was returned: the loop itself is sound

    init, chunk = make_run(
        algo._replace(update=update), task, config.collect, config.timeout_is_terminal
    )
    state = tracer.shapes("the start of a run", init, jax.eval_shape(jax.random.key, 0))
    if not tracer.problems:
        once = partial(chunk, iterations=1)
        tracer.shapes("an iteration of the loop", once, state, _numbers(config))
    _scratch_problems(tracer, algo)
    if not returned:
        return []
    if wrong := _pair_problem(returned[0], learner):
        tracer.problems.append(wrong)
        return []
    after, metrics = returned[0]
    tracer.problems += changes("update: learner", learner, after)
    tracer.problems += _metric_problems(metrics, algo.metrics)
    return list(metrics) if isinstance(metrics, Mapping) else []


def _as_stored(returned: Any, learner: PyTree) -> Any:
    """What an update returned as shapes; a new learner's as the loop stores them, which gives
    numbers without a type of their own that of the old ones."""

    def settled(x: Any, old: Any) -> Any:
        weak = getattr(x, "weak_type", isinstance(x, bool | int | float))
        return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x, old)) if weak else _shape(x)

    if is_row(returned, 2) and jax.tree.structure(returned[0]) == jax.tree.structure(learner):
        after, metrics = returned
        return jax.tree.map(settled, after, learner), jax.tree.map(_shape, metrics)
    return jax.tree.map(_shape, returned)


def _shape(x: Any) -> Any:
    """A leaf without its values; what is no array stays as it is."""
    if isinstance(x, bool | int | float):
        return jax.ShapeDtypeStruct((), jnp.result_type(x))
    return jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "dtype") else x


def _pair_problem(returned: Any, learner: PyTree) -> str:
    """What an update returned instead of a learner and metrics; "" where it did not."""
    like = jax.tree.structure(learner)
    if jax.tree.structure(returned) == like:
        got = "the learner alone"
    elif not is_row(returned, 2):
        got = described(returned)
    elif jax.tree.structure(returned[1]) == like != jax.tree.structure(returned[0]):
        got = "them in the other order"
    else:
        return ""
    return f"update must return (learner, metrics), got {got}"


def _metric_problems(metrics: Any, shown: tuple[str, ...]) -> list[str]:
    """What is wrong with what an update tells; ``shown``: names that must be there."""
    if not isinstance(metrics, Mapping):
        return [f"update's metrics must be a dictionary, got {described(metrics)}"]
    out = []
    if "loss" not in metrics:
        out.append('update\'s metrics must have "loss", which is not finite when it went wrong')
    out += [
        f"metric {name!r} must be a scalar, got {described(x)}"
        for name, x in metrics.items()
        if getattr(x, "shape", None) != ()
    ]
    missing = [name for name in shown if name not in metrics]
    out += [f"metrics names {missing}, which update does not return"] if missing else []
    return out + name_problems(metrics)


def _scratch_problems(tracer: _Tracer, algo: Algorithm) -> None:
    """Whether the memory check can ask for an update's temporaries."""
    try:
        told = algo.scratch_bytes(ENVS)
    except Exception as error:
        tracer.failed("scratch_bytes(rows)", error)
        return
    if not isinstance(told, Mapping) or not all(isinstance(n, Real) for n in told.values()):
        tracer.problems.append(f"scratch_bytes must return {{name: bytes}}, got {told!r}")
