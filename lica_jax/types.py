"""The array types and contracts that every task, algorithm and loop shares.

Axis order is ``[R] [T] [B] [N] [...]``: runs, time, parallel environments, agents. Arrays, never
dictionaries of agents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

MANY = 2**31 - 1  # what the arrays of a run count with


@dataclass(frozen=True)
class TaskSpec:
    """Static facts about a task.

    Attributes:
      name: registered name, such as ``"smax/3m"``.
      n_agents: N, number of agents.
      n_actions: A, size of one agent's (padded) discrete action set; for continuous actions, their
        dimension D.
      obs_size: O, length of one agent's observation.
      state_size: S, length of the state that critics read.
      episode_limit: exact number of transitions after which an episode is truncated.
      reward_scale: factor on rewards for *learning*; reported returns are always unscaled.
      timeout_is_terminal: whether, by default, reaching the limit is a terminal state of value 0
        (SMAC's convention) or is bootstrapped.
      max_return: largest possible unscaled return; None if unbounded.
      has_win: whether ``TimeStep.info["won"]`` is meaningful.
      continuous: actions are points in (-1, 1)^D, ``[N, D]`` floats, instead of indices ``[N]``.
      masks_actions: some actions may be unavailable (``TimeStep.avail``).
      weighs_actions: ``step`` takes not only indices ``[N]``, but also weights of the actions ``[N,
        A]``.
      state_has_actions: the state already contains all agents' last actions (SMAC's does).
      source: where the task comes from; shown with results.
    """

    name: str
    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    episode_limit: int
    reward_scale: float = 1.0
    timeout_is_terminal: bool = False
    max_return: float | None = None
    has_win: bool = False
    continuous: bool = False
    masks_actions: bool = False
    weighs_actions: bool = False
    state_has_actions: bool = False
    source: str = ""

    def unlike(self, other: TaskSpec) -> str:
        """The differences to another spec, as text: ``episode_limit 28, not 20``."""
        names = [f.name for f in dataclasses.fields(self)]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return ", ".join(f"{name} {a!r}, not {b!r}" for name, a, b in pairs if a != b)

    def __repr__(self) -> str:
        """A call that makes this spec: only the fields that differ from their defaults."""
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        said = ", ".join(f"{k}={v!r}" for k, (v, default) in values.items() if v != default)
        return f"TaskSpec({said})"


@struct.dataclass
class TimeStep:
    """One environment at one time step; leading axes come from vmap and scan."""

    obs: Float[Array, "N O"]
    state: Float[Array, " S"]
    avail: Bool[Array, "N A"]
    reward: Float[Array, ""]  # team reward received on arriving here; 0 at reset
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]
    first: Bool[Array, ""]
    alive: Bool[Array, " N"]
    # Scalars of the episode so far, under fixed keys: {"won": ..., "distance": ...}. Their values
    # at an episode's last step are averaged over episodes for every figure (`metric_name`).
    info: dict[str, Array]


class Task(Protocol):
    """A pure, jittable, unbatched environment that never resets itself.

    A task whose natural layout is batched may also have ``reset_batch``, ``step_batch`` and
    ``step_or_reset_batch``, with a leading axis B on every argument except the state, and
    ``batch_axis`` (0 or -1), which says where B is in the leaves of the state; ``rollout`` uses
    them if present. A task that can be rendered has ``scene`` and ``frames`` (`envs/frames.py`).
    """

    spec: TaskSpec

    def reset(self, key: PRNGKeyArray) -> tuple[PyTree, TimeStep]: ...

    def step(
        self, key: PRNGKeyArray, state: PyTree, action: Int[Array, " N"] | Float[Array, "N D"]
    ) -> tuple[PyTree, TimeStep]: ...

    def __repr__(self) -> str:
        return task_in_words(self)


def task_in_words(task: Any) -> str:
    """``<Smax smax/3m: 3 agents, 8 actions, limit 60>``, for every kind of task."""
    s = task.spec
    actions = f"{s.n_actions}-dimensional actions" if s.continuous else f"{s.n_actions} actions"
    kind = type(task).__name__
    return f"<{kind} {s.name}: {s.n_agents} agents, {actions}, limit {s.episode_limit}>"


@struct.dataclass
class Trajectory:
    """A time-major batch of experience; slot T is the bootstrap slot.

    ``valid[t]`` says whether the transition from slot t to slot t+1 really happened: it is False
    after the end of an episode and where a finished environment was reset.
    """

    steps: TimeStep  # leaves [T+1, B, ...]
    action: Int[Array, "T+1 B N"] | Float[Array, "T+1 B N D"]
    valid: Bool[Array, "T B"]
    carry: PyTree  # the policy's memory before slot 0
    extras: dict[str, Array]  # what `act` returned beside the action, [T+1, B, ...]

    def endings(self) -> tuple[Bool[Array, "T B"], Bool[Array, "T B"], Bool[Array, "T B"]]:
        """``(terminal, cut, valid)`` of every transition, as the functions in `core.returns` take
        them: whether it ended in a state of value 0, ended the episode, and really happened."""
        terminal = self.steps.terminated[1:]
        return terminal, terminal | self.steps.truncated[1:], self.valid


@struct.dataclass
class Progress:
    """Progress of training, for schedules. Only counts, so that a longer budget changes nothing."""

    env_steps: Float[Array, ""]
    updates: Int[Array, ""]
    episodes: Int[Array, ""] | int = 0  # that have finished

    @classmethod
    def finished(cls) -> Progress:
        """Training that is over, however long it took: every schedule is at its end.

        An evaluated policy thus explores as little as at the end of its training.
        """
        last = jnp.int32(jnp.iinfo(jnp.int32).max)
        return cls(jnp.array(jnp.inf, jnp.float32), last, last)


@dataclass(frozen=True)
class Number:
    """Facts about a number apart from its default; made by `number`.

    Attributes:
      low, high: range, both ends included; None for no bound.
      start, steps: for the final value of a linear schedule: the names of the fields with its
        initial value and with the number of env steps it takes. If the final value is None,
        ``start`` stays. Without ``start``, the schedule begins at 1.
      epsilon: whether it is the probability of a random action.
    """

    low: float | None = None
    high: float | None = None
    start: str = ""
    steps: str = ""
    epsilon: bool = False


def number(
    default: float | None, low: float | None = None, high: float | None = None, **facts: Any
) -> Any:
    """Declares a number as a dataclass field: its default, its range, and more facts (`Number`).

    For example ``gamma: float = number(0.99, 0, 1)``. A field with a plain default has no bounds.
    """
    return struct.field(default=default, metadata={"number": Number(low, high, **facts)})


def numbers(hp: Any) -> dict[str, Number]:
    """The facts of every field of an instance or class, by name."""
    return {f.name: f.metadata.get("number", Number()) for f in dataclasses.fields(hp)}


@dataclass(frozen=True)
class Collect:
    """How experience is gathered between two updates.

    Attributes:
      mode: ``"episode"``: each environment plays one whole episode from reset (the paper's
        protocol); ``"steps"``: each environment continues where it stopped, for ``length`` steps.
      envs: B, number of parallel environments.
      length: T, steps per environment in ``"steps"`` mode; ignored in ``"episode"`` mode.
    """

    mode: Literal["episode", "steps"] = "steps"
    envs: int = number(64, 1, MANY)
    length: int = number(16, 1, MANY)


@dataclass(frozen=True)
class Replay:
    """The replay buffer of an off-policy algorithm, and how its updates draw from it.

    Attributes:
      unit: what one item is: the ``"segment"`` that one environment played between two updates (in
        episode mode a whole episode), or a single ``"transition"``, which contains no memory of the
        policy.
      capacity: number of items; the oldest are overwritten.
      batch: items in a minibatch, drawn uniformly without replacement. Learning begins once the
        buffer holds that many.
      draws: minibatches given to one update, side by side along B.
      updates: updates after each collection.
      beside: if True, an update is given the fresh trajectory and, after its streams along B, items
        drawn from those stored before it, of which the capacity must hold a batch beside it.
    """

    unit: Literal["segment", "transition"]
    capacity: int
    batch: int
    draws: int = 1
    updates: int = 1
    beside: bool = False


class Layer(NamedTuple):
    """One layer of the agents' network.

    Attributes:
      kind: ``"linear"`` or ``"gru"``, as in `networks.layers`.
      name: path of its parameters among those of the network.
      relu: whether a ReLU follows.
    """

    kind: Literal["linear", "gru"]
    name: str
    relu: bool = False


@dataclass(frozen=True)
class Acting:
    """How a policy acts, as data: enough to act without this library (`policy.exporting`).

    Attributes:
      layers: layers of the agents' network, from the input on; names are paths in what
        `Algorithm.policy` returns, such as ``"params/fc1"``.
      shared: one network for all agents; otherwise parameters have a leading axis N.
      last_action, agent_id: what is appended to the observation, in this order.
      choice: how outputs become actions: ``"softmax"``; ``"epsilon_floor"`` (`core.exploration`)
        over the available actions, or ``"epsilon_floor_over_all"``; ``"epsilon_greedy"``;
        ``"gumbel_softmax"``, weights instead of indices; ``"gaussian"`` (`core.gaussian`).
      number: the hyper-parameter that the choice depends on: its epsilon or temperature.
    """

    layers: tuple[Layer, ...]
    shared: bool
    last_action: bool = False
    agent_id: bool = False
    choice: str = "softmax"
    number: str = ""

    def under(self, name: str) -> Acting:
        """The same with its parameters one level further down."""
        layers = tuple(layer._replace(name=f"{name}/{layer.name}") for layer in self.layers)
        return dataclasses.replace(self, layers=layers)


@struct.dataclass
class Outlook:
    """An algorithm's view of one time step, for rendering; leading axes as in `TimeStep`.

    A field that the algorithm does not have is None.
    """

    policy: Float[Array, "N A"]  # probabilities of the actions; the mean of continuous ones
    entropy: Float[Array, " N"]  # in nats
    # What the critic expects, in units of the scaled reward: for the team (K = 1) or every agent.
    value: Float[Array, " K"] | None = None
    credit: Float[Array, "N A"] | None = None  # what it says of each action
    weight: Float[Array, " N"] | None = None  # of each agent's credit in the team's value


class Climb(NamedTuple):
    """What policies climb, and what they would climb without a critic.

    Attributes:
      value: the critic's value of the policies themselves.
      log_policy: log-probability of the joint action taken.
      entropy: mean over the agents, in nats.
    """

    value: Float[Array, "T+1 B"]
    log_policy: Float[Array, "T+1 B"]
    entropy: Float[Array, "T+1 B"]


class Insight(NamedTuple):
    """How to look into an algorithm's decisions at one time step (for `rendering` and `diagnosis`).

    Attributes:
      look: ``(params, critic, carry, ts[B], action[B, N], hp) -> Outlook[B]``, with the memory from
        before the time step and the action that was chosen. If ``critic`` is None, of the policy
        alone.
      critic: ``learner -> critic``, what ``look`` needs in addition to the policy.
      value, credit: names of these two fields of the `Outlook`; "" if there are none.
      deviations: the arguments of ``look`` -> [B, N, A], what according to the critic the team gets
        if one agent takes another action than was chosen and the others do not, up to a constant
        per agent (the same for all its actions); None if the critic does not say (`diagnosis`).
      climb: ``(params, critic, trajectory) -> Climb``, for an algorithm whose policies follow the
        gradient of their critic at the policies; None otherwise (`diagnosis`).
    """

    look: Callable[..., Outlook]
    critic: Callable[[PyTree], PyTree]
    value: str = ""
    credit: str = ""
    deviations: Callable[..., Array] | None = None
    climb: Callable[..., Climb] | None = None


class Algorithm(NamedTuple):
    """An algorithm as pure functions of arrays; built by ``make_algorithm(name, spec, config)``.

    Attributes:
      init: ``key -> learner``, a struct of arrays.
      initial_carry: ``batch -> carry``, the policy's memory at the start of an episode.
      act: ``(params, carry, ts[B], key, *, hp, progress, explore) -> (carry, action[B, N],
        extras)``. ``explore`` is a bool per environment [B]: sample where True, act greedily where
        False.
      update: ``(learner, trajectory, key, *, hp, progress) -> (learner, metrics)`` with scalar
        metrics. ``metrics["loss"]`` must become non-finite if the update went wrong.
      policy: ``learner -> params``, the part of the learner that ``act`` needs.
      metrics: names of the metrics to show to a user, in order.
      scratch_bytes: ``rows -> {name: bytes}``, the largest temporary arrays of one update on that
        many (time, environment) rows, for the memory check.
      hparams: the default numbers that ``act`` and ``update`` take as ``hp``.
      replay: the replay buffer that it learns from; None if it learns from the fresh trajectory
        alone (on-policy).
      acting: how ``act`` works, as data, for exports to programs without JAX; None if there are
        none.
      insight: how to look into its decisions, for rendering and diagnosis; None if that is not
        possible.
    """

    init: Callable[..., PyTree]
    initial_carry: Callable[[int], PyTree]
    act: Callable[..., tuple[PyTree, Array, dict[str, Array]]]
    update: Callable[..., tuple[PyTree, dict[str, Array]]]
    policy: Callable[[PyTree], PyTree]
    hparams: PyTree
    scratch_bytes: Callable[[int], dict[str, int]] = lambda rows: {}
    metrics: tuple[str, ...] = ()
    replay: Replay | None = None
    acting: Acting | None = None
    insight: Insight | None = None


@struct.dataclass
class EpisodeStats:
    """Sums over the episodes that finished; divide by ``episodes`` for means."""

    episodes: Int[Array, ""]
    return_sum: Float[Array, ""]  # unscaled
    length_sum: Float[Array, ""]
    info_sums: dict[str, Float[Array, ""]]  # of `TimeStep.info` at the last step of each


def metric_name(key: str) -> str:
    """What the mean over episodes of an entry of `TimeStep.info` is called."""
    return "win_rate" if key == "won" else f"{key}_mean"


@struct.dataclass
class EnvStream:
    """B environments in flight: what `steps` mode carries from one segment to the next."""

    env: PyTree
    ts: TimeStep  # [B, ...]
    carry: PyTree
    episode_return: Float[Array, " B"]  # unscaled return of the running episode
    episode_length: Int[Array, " B"]


@struct.dataclass
class RunState:
    """Everything one run needs to go on; a leading axis R makes it a batch of runs."""

    learner: PyTree
    stream: EnvStream | tuple[()]  # () in episode mode
    replay: PyTree  # `replay.Buffer`, () when on-policy
    key: PRNGKeyArray
    env_steps: Int[Array, ""]  # uint32: transitions that really happened
    episodes: Int[Array, ""]  # that have finished
    updates: Int[Array, ""]  # collections, those too that there was nothing to learn from
    failed_at: Int[Array, ""]  # update whose loss was not finite, or -1


def differing(hps: Sequence[Any]) -> list[str]:
    """The numbers in which several runs differ; not the ends of schedules that stay where they
    start."""
    facts = numbers(hps[0])

    def follows(name: str) -> bool:
        start = facts[name].start if name in facts else None
        return bool(start) and all(getattr(hp, name) == getattr(hp, start) for hp in hps)

    names = [f.name for f in dataclasses.fields(hps[0])]
    return [k for k in names if len({getattr(hp, k) for hp in hps}) > 1 and not follows(k)]
