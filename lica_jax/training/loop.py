"""The only training loop: collect, update, repeat, as one jittable function."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from lica_jax.core.barriers import held
from lica_jax.core.parts import collecting
from lica_jax.errors import UserError
from lica_jax.training import replay as replays
from lica_jax.training.rollout import learning_view, start_stream, unroll
from lica_jax.types import (
    Algorithm,
    Collect,
    EpisodeStats,
    Progress,
    RunState,
    Task,
    TaskSpec,
    Trajectory,
)

Metrics = dict[str, Any]


def make_run(
    algo: Algorithm,
    task: Task,
    collect: Collect,
    timeout_is_terminal: bool,
    mesh: Mesh | None = None,
) -> tuple[Callable[[PRNGKeyArray], RunState], Callable[..., tuple[RunState, Metrics]]]:
    """Returns ``(init, chunk)``, both pure and unbatched: jit them, and vmap them over runs.

    ``init(key) -> RunState``; ``chunk(state, hp, iterations) -> (state, metrics)`` plays and
    learns ``iterations`` times (static) and stacks every metric along a leading axis. Splitting a
    chunk in two changes nothing.

    With a ``mesh`` of devices (axis `ENVS`) the environments are spread over it and the compiler
    adds up what learning needs of all of them: the same numbers, to the rounding of sums.
    """
    restart = collect.mode == "steps"
    length = collect.length if restart else task.spec.episode_limit

    def fresh_stream(key):
        return start_stream(task, algo.initial_carry(collect.envs), key, collect.envs)

    @collecting()
    def collected(learner, stream, key, hp, progress):
        """A trajectory with the stream behind it and its episodes."""
        explore = jnp.ones(collect.envs, bool)
        act = partial(bound_act, algo, algo.policy(learner), hp, progress, explore)
        stream = stream.replace(ts=spread(stream.ts, mesh, 0))
        stream, trajectory, episodes = unroll(task, act, stream, key, length, restart=restart)
        carry = spread(trajectory.carry, mesh, 0)  # of the first step alone: no axis of time
        trajectory = spread(trajectory.replace(carry=()), mesh, 1).replace(carry=carry)
        return stream, trajectory, episodes

    def empty_replay():
        def play(keys):
            progress = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
            learner, stream = algo.init(keys[0]), fresh_stream(keys[1])
            return collected(learner, stream, keys[2], algo.hparams, progress)[1]

        shapes = jax.eval_shape(play, jax.random.split(jax.random.key(0), 3))
        return replays.empty(algo.replay, shapes)

    def init(key: PRNGKeyArray) -> RunState:
        key, learner_key, stream_key = jax.random.split(key, 3)
        return RunState(
            # Fresh copies: the state is donated, and no buffer can be donated twice, as that of a
            # target network that starts as the online one itself.
            learner=jax.tree.map(jnp.copy, algo.init(learner_key)),
            # Episode mode starts every iteration from reset: nothing to carry over.
            stream=fresh_stream(stream_key) if restart else (),
            replay=empty_replay() if algo.replay else (),
            key=key,
            env_steps=jnp.zeros((), jnp.uint32),
            episodes=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
            failed_at=jnp.full((), -1, jnp.int32),
        )

    learn = make_learn(algo, task.spec, timeout_is_terminal)

    def iteration(state: RunState, hp) -> tuple[RunState, Metrics]:
        key, stream_key, play_key, update_key = jax.random.split(state.key, 4)
        stream = state.stream if restart else fresh_stream(stream_key)
        played = collected(state.learner, stream, play_key, hp, progress_of(state))
        stream, trajectory, episodes = played
        state = state.replace(key=key, stream=stream if restart else ())
        return learn(state, trajectory, episodes, update_key, hp)

    def chunk(state: RunState, hp, iterations: int) -> tuple[RunState, Metrics]:
        return jax.lax.scan(lambda s, _: iteration(s, hp), state, None, length=iterations)

    return init, chunk


def progress_of(state: RunState) -> Progress:
    return Progress(state.env_steps.astype(jnp.float32), state.updates, state.episodes)


def make_learn(algo: Algorithm, spec: TaskSpec, timeout_is_terminal: bool) -> Callable[..., Any]:
    """Returns ``learn(state, trajectory, episodes, key, hp) -> (state, metrics)``: what happens
    after every collection, wherever the trajectory was played.

    ``trajectory`` has unscaled rewards and ``episodes`` are sums over those that ended in it. An
    algorithm whose numbers have no ``reward_scale`` learns from rewards of the task's own.
    """

    def updated(state: RunState, seen: Trajectory, key, hp):
        """``(learner, replay, ready, metrics)`` after a collection."""
        update = partial(algo.update, hp=hp, progress=progress_of(state))
        if algo.replay is None:
            learner, metrics = update(state.learner, seen, key)
            # One step of streams that all begin anew is no batch: moments would move the learner.
            return learner, (), jnp.any(seen.valid), metrics
        buffer = replays.add(state.replay, algo.replay, seen)
        # Beside the fresh batch stand older ones.
        drawn_from = replays.before(buffer, algo.replay, seen) if algo.replay.beside else buffer

        def step(learner, key):
            draw_key, update_key = jax.random.split(jax.random.clone(key))  # as in `unroll`
            drawn = replays.sample(drawn_from, algo.replay, draw_key)
            if algo.replay.beside:
                drawn = replays.side_by_side(seen, drawn)
            return update(learner, drawn, update_key)

        keys = jax.random.split(key, algo.replay.updates)
        learner, metrics = jax.lax.scan(step, state.learner, keys)
        metrics = jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)
        ready = replays.is_ready(drawn_from, algo.replay)
        if algo.replay.beside:
            ready &= jnp.any(seen.valid)  # as above: the policies learn from the fresh batch
        return learner, buffer, ready, metrics

    def learn(state: RunState, trajectory: Trajectory, episodes: EpisodeStats, key, hp):
        scale = getattr(hp, "reward_scale", None)
        scale = spec.reward_scale if scale is None else scale
        seen = learning_view(trajectory, scale, timeout_is_terminal)
        learner, buffer, ready, metrics = updated(state, seen, key, hp)
        # A run whose loss is not finite stops for good at its last sound parameters; the other
        # runs of the batch go on. An update of nothing or before the replay is ready is none.
        sound = all_finite((metrics["loss"], learner))
        going_on = state.failed_at < 0
        alive = going_on & (sound | ~ready)
        learner = jax.tree.map(
            lambda new, old: jnp.where(alive & ready, new, old), learner, state.learner
        )
        played = jnp.where(going_on, jnp.sum(trajectory.valid), 0).astype(jnp.uint32)
        # Seeds that are ahead of the slowest one may come to the counter's end, ~n steps away.
        played = jnp.minimum(played, ~state.env_steps)
        failed_at = jnp.where(alive | ~going_on, state.failed_at, state.updates)
        state = state.replace(
            learner=learner,
            replay=buffer,
            env_steps=state.env_steps + played,
            episodes=state.episodes + jnp.where(going_on, episodes.episodes, 0),
            updates=state.updates + alive,
            failed_at=failed_at,
        )
        counts = {"env_steps": state.env_steps, "updates": state.updates, "failed_at": failed_at}
        shown = {"learn": metrics, "learned": ready, "episodes": episodes, "counts": counts}
        return state, shown

    return learn


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of a tree is finite.

    One answer: as a chain of ands it would be computed again in every `where` that asks for it, one
    per array, which is half of the operations of a compiled update.
    """
    flags = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
    return jnp.all(held(jnp.stack(flags)))


def bound_act(algo: Algorithm, params, hp, progress, explore, carry, ts, key):
    """``algo.act`` with everything but the environment's side bound (`partial` of this)."""
    return algo.act(params, carry, ts, key, hp=hp, progress=progress, explore=explore)


def stack_hparams(hps: Sequence[PyTree]) -> PyTree:
    """The numbers of several runs as arrays ``[R]``: floats float32, counts int32.

    Raises:
      UserError: a number is None in some of the runs, which is another program.
    """
    hints = typing.get_type_hints(type(hps[0]))
    kinds = {name: jnp.int32 if hint is int else jnp.float32 for name, hint in hints.items()}
    columns = {name: [getattr(hp, name) for hp in hps] for name in kinds}
    given = {name: {value is not None for value in column} for name, column in columns.items()}
    if mixed := [name for name, kinds_of in given.items() if len(kinds_of) == 2]:
        raise UserError(
            f"hp.{mixed[0]} is none in some runs and a number in others: they are different "
            "programs and cannot be trained side by side; give all of them a number"
        )
    return hps[0].replace(
        **{k: jnp.array(v, kinds[k]) for k, v in columns.items() if given[k] == {True}}
    )


RUNS, ENVS = "runs", "envs"  # what a mesh shares out


def device_mesh(devices: int, what: str) -> Mesh:
    """The first of this process's devices in a row, which share out `RUNS` or `ENVS`."""
    auto = (jax.sharding.AxisType.Auto,)  # the compiler finds out where the rest goes
    local = jax.local_devices()[:devices]
    return jax.make_mesh((devices,), (what,), axis_types=auto, devices=local)


def spread(tree: PyTree, mesh: Mesh | None, axis: int) -> PyTree:
    """A tree with ``axis`` of every array, that of environments, over the devices of a mesh."""
    if mesh is None:
        return tree
    spec = PartitionSpec(*[None] * axis, ENVS)
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, spec))


def over_runs(
    one: Callable[..., PyTree], n_runs: int, devices: int = 1, in_turn: bool = False
) -> Callable[..., PyTree]:
    """``one`` of a single run as a function of arrays with a leading axis of runs: side by side, or
    ``in_turn``.

    A run that is alone on its device skips the vmap: the arrays keep the axis, the program does not
    pay for it. Devices have programs of their own that do not talk to each other: loops over
    conditions end on each when its own runs are done.
    """

    def alone(*args):
        return jax.tree.map(lambda x: x[None], one(*jax.tree.map(lambda x: x[0], args)))

    def one_by_one(*args):
        return jax.lax.map(lambda each: one(*each), args)

    together = one_by_one if in_turn else jax.vmap(one)
    several = alone if n_runs == devices else together
    if devices == 1:
        return several
    spec = PartitionSpec(RUNS)
    return jax.shard_map(
        several, mesh=device_mesh(devices, RUNS), in_specs=spec, out_specs=spec, check_vma=False
    )


# For a program that runs once: optimising it takes several times as long as it saves.
_QUICKLY: dict[str, Any] = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # later ones do not know it
    _QUICKLY["xla_cpu_use_fusion_emitters"] = False


def batch_runs(init, chunk, n_runs: int, devices: int = 1):
    """Jitted ``(init, chunk)`` over a leading axis of runs; ``chunk`` donates its state."""
    on_cpu = jax.default_backend() == "cpu"
    options = _QUICKLY if on_cpu else None

    def init_all(keys):
        # In turn: jaxlib's QR decompositions of several matrices each (orthogonal initialisers, as
        # in flax's GRUCell) wait for each other for ever where there are few cores.
        return over_runs(init, n_runs, devices, in_turn=on_cpu)(keys)

    def chunk_all(states, hps, iterations):
        return over_runs(partial(chunk, iterations=iterations), n_runs, devices)(states, hps)

    compiled = jax.jit(init_all, compiler_options=options)

    def start(keys):
        # Whoever asks for shapes alone traces it, and JAX has options for whole programs only.
        return (init_all if isinstance(keys, jax.core.Tracer) else compiled)(keys)

    return start, jax.jit(chunk_all, static_argnums=2, donate_argnums=0)
