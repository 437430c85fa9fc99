"""Games of two agents and one step (``two_step``: two): the reward is an entry of a table.

* ``climbing`` and ``penalty`` (Claus and Boutilier, "The dynamics of reinforcement learning in
  cooperative multiagent systems", AAAI 1998): the best joint action lies next to heavy punishment.
  ``penalty`` takes an option ``k``, the reward of the two worst joint actions.
* ``nonmonotonic`` (Son et al., "QTRAN", ICML 2019, Table 1): the best joint action is worth 8, and
  leaving it alone costs 20, which no monotonic combination of utilities can express.
* ``two_step`` (Rashid et al., "QMIX", ICML 2018, Table 1): the first agent chooses between a game
  that pays 7 whatever is played and one that pays up to 8, which a sum of utilities underestimates.
* ``traffic_junction`` (LICA paper, section 4.3.1): wait (0) or pass (1); the reward is 1 if exactly
  one of the two passes. `lica_jax.reproduce.traffic_junction` plays by the same table.

There is nothing to see: every observation and the state are the constant 1 (``two_step``: which
game is being played). Agents that share one
network need their index as an input (``algo.agent_id``, the default) to play differently.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lica_jax.envs.frames import Frame, Scene, disks
from lica_jax.envs.names import Family, name_with
from lica_jax.errors import UserError
from lica_jax.types import Task, TaskSpec, TimeStep

Table = tuple[tuple[float, ...], ...]
OPTIONS = {"k": ("-100", "-75", "-50", "-25", "0")}

# Rewards by the first agent's action, then the second's.
CLIMBING = ((11, -30, 0), (-30, 7, 0), (0, 6, 5))
NONMONOTONIC = ((8, -12, -12), (-12, 0, 0), (-12, 0, 0))
TWO_STEP = (((7, 7), (7, 7)), ((0, 1), (1, 8)))  # by the first agent's first action
JUNCTION = ((0, 1), (1, 0))
_TABLES_AT = (0.0, 4.0)  # x of the first column of the two tables, as they are shown


def penalty_table(k: float) -> Table:
    """The penalty game: two best joint actions (10) that are ``k`` when mixed up, and a safe 2."""
    return ((10, 0, k), (0, 2, 0), (k, 0, 10))


def expected_reward(
    table: Table, first: Float[Array, "*B A"], second: Float[Array, "*B A"]
) -> Float[Array, "*B"]:
    """``sum_uv p(u) q(v) table[u][v]``: with one-hot vectors the reward of a joint action.

    Elementwise and in the type of the probabilities; nothing is gathered.
    """
    joint = first[..., :, None] * second[..., None, :]
    return jnp.sum(joint * jnp.asarray(table, joint.dtype), axis=(-2, -1))


def reward(table: Table, action: Int[Array, "*B 2"]) -> Float[Array, "*B"]:
    """The team's reward of a joint action."""
    one_hot = jax.nn.one_hot(action, len(table))
    return expected_reward(table, one_hot[..., 0, :], one_hot[..., 1, :])


# --- tables that can be looked at ----------------------------------------------------------------


def _cells(table: Table, left: float = 0.0) -> tuple[tuple[float, float, str], ...]:
    """A table with its first column at x = ``left`` and its first row at y = 0, and what the two
    agents play beside it."""
    size = len(table)
    return (
        *((left + v, -float(u), f"{table[u][v]:g}") for u in range(size) for v in range(size)),
        *((left - 1, -float(u), f"a0: {u}") for u in range(size)),
        *((left + v, 1.0, f"a1: {v}") for v in range(size)),
    )


def _entry(action: Int[Array, " 2"], left: Float[Array, ""] | float = 0.0) -> Float[Array, " 2"]:
    """Where a joint action's entry is."""
    return jnp.stack([left + action[1], -1.0 * action[0]])


def table_scene(cells: tuple[tuple[float, float, str], ...], n_actions: int) -> Scene:
    """A token among cells."""
    names = tuple(f"action {u}" for u in range(n_actions))
    xs, ys = [cell[0] for cell in cells], [cell[1] for cell in cells]
    return Scene(
        bounds=(min(xs) - 0.5, min(ys) - 0.5, max(xs) + 0.5, max(ys) + 0.5),
        kinds=("joint action",), team=(-1,), agent=(-1,), frame_seconds=1.0, actions=(names,) * 2,
        cells=cells,
    )  # fmt: skip


# --- games of one step ---------------------------------------------------------------------------


def _timestep(spec: TaskSpec, shown: Float[Array, " S"], t, reward) -> TimeStep:
    """Both agents and the critic see what is ``shown``, ``t`` steps after the start."""
    return TimeStep(
        obs=jnp.stack([shown, shown]),
        state=shown,
        avail=jnp.ones((2, spec.n_actions), bool),
        reward=reward,
        terminated=jnp.asarray(t >= spec.episode_limit),
        truncated=jnp.array(False),
        first=jnp.asarray(t == 0),
        alive=jnp.ones(2, bool),
        info={},
    )


@struct.dataclass
class GameState:
    t: Int[Array, ""]  # 0 before the joint action, 1 behind it


class MatrixGame(Task):
    """Two agents choose once, at the same time."""

    def __init__(self, name: str, table: Table, source: str):
        self.table = table
        self.spec = TaskSpec(
            name=f"game/{name}", n_agents=2, n_actions=len(table), obs_size=1, state_size=1,
            episode_limit=1, max_return=float(np.max(table)), source=source,
        )  # fmt: skip

    @property
    def scene(self) -> Scene:
        """The table, and a token on the entry that is played."""
        return table_scene(_cells(self.table), len(self.table))

    def frames(self, key, state, action) -> Frame:
        """The token after the joint action; leading axis 1."""
        del key, state
        return disks(_entry(action)[None], (0.3,), (0,))

    def reset(self, key):
        del key  # nothing is random
        return GameState(t=jnp.int32(0)), _timestep(self.spec, jnp.ones(1), 0, jnp.zeros(()))

    def step(self, key, state, action):
        del key
        state = state.replace(t=state.t + 1)
        return state, _timestep(self.spec, jnp.ones(1), state.t, reward(self.table, action))


@struct.dataclass
class TwoStepState:
    game: Int[Array, ""]  # 0 before the first agent has chosen, then 1 or 2
    t: Int[Array, ""]


class TwoStepGame(Task):
    """The first agent's first action decides which of two tables both play next."""

    def __init__(self, name: str):
        self.spec = TaskSpec(
            name=f"game/{name}", n_agents=2, n_actions=2, obs_size=3, state_size=3,
            episode_limit=2, max_return=8.0, source="QMIX paper",
        )  # fmt: skip

    @property
    def scene(self) -> Scene:
        """Both tables below their names, and a token."""
        names = tuple((left + 0.5, 2.0, f"game {i}") for i, left in enumerate(_TABLES_AT, 1))
        tables = zip(TWO_STEP, _TABLES_AT, strict=True)
        return table_scene(sum((_cells(table, left) for table, left in tables), names), 2)

    def frames(self, key, state, action) -> Frame:
        """The token on the game that is chosen, then on the entry played; leading axis 1."""
        del key
        chosen = jnp.stack([jnp.array(_TABLES_AT)[action[0]] + 0.5, 2.0])
        entry = _entry(action, jnp.array(_TABLES_AT)[jnp.maximum(state.game - 1, 0)])
        return disks(jnp.where(state.t == 0, chosen, entry)[None], (0.3,), (0,))

    def reset(self, key):
        del key  # nothing is random
        state = TwoStepState(game=jnp.int32(0), t=jnp.int32(0))
        return state, self._timestep(state, jnp.zeros(()))

    def step(self, key, state, action):
        del key
        paid = jnp.stack([reward(table, action) for table in TWO_STEP])
        value = jnp.where(state.t == 0, 0.0, paid[jnp.maximum(state.game - 1, 0)])
        game = jnp.where(state.t == 0, action[0].astype(jnp.int32) + 1, state.game)
        state = TwoStepState(game=game, t=state.t + 1)
        return state, self._timestep(state, value)

    def _timestep(self, state: TwoStepState, reward) -> TimeStep:
        """Which game is being played is all there is to see."""
        shown = (jnp.arange(3) == state.game).astype(float)
        return _timestep(self.spec, shown, state.t, reward)


# Where the vehicles of the junction are: they come from the west and from the south.
_WAITING = ((-1.0, 0.0), (0.0, -1.0))
_THROUGH = ((1.0, 0.0), (0.0, 1.0))
_STUCK = ((-0.25, 0.0), (0.0, -0.25))  # both pass, so neither gets through


class TrafficJunction(MatrixGame):
    """The junction, which can be looked at."""

    scene = Scene(
        bounds=(-1.5, -1.5, 1.5, 1.5), kinds=("vehicle",), team=(0, 0), agent=(0, 1),
        frame_seconds=1.0, actions=(("wait", "pass"),) * 2,
    )  # fmt: skip

    def frames(self, key, state, action) -> Frame:
        """Where both vehicles are after the joint action; leading axis 1."""
        del key, state
        passes = (jnp.asarray(action) == 1)[:, None]
        moved = jnp.where(jnp.all(passes), jnp.array(_STUCK), jnp.array(_THROUGH))
        position = jnp.where(passes, moved, jnp.array(_WAITING))
        return disks(position, (0.2, 0.2), (0, 0))


def describe(name: str) -> str:
    return {
        "climbing": "the climbing game: 11 for (0, 0), next to -30",
        "penalty": "the penalty game: 10 for (0, 0) or (2, 2), k when mixed up; k=-100",
        "nonmonotonic": "8 for (0, 0), -12 for leaving it alone (QTRAN paper)",
        "two_step": "choose a game worth 7, or one worth 8 to those who agree (QMIX paper)",
        "traffic_junction": "reward 1 iff exactly one of two agents passes",
    }[name] + (", two steps" if name == "two_step" else ", one step")


def make(name: str, **options: str) -> MatrixGame | TwoStepGame:
    if name == "penalty":
        k = options.get("k", OPTIONS["k"][0])
        return MatrixGame(
            name_with(name, OPTIONS, options), penalty_table(float(k)), "Claus & Boutilier 1998"
        )
    if options:
        raise UserError(f"game/{name}: only penalty takes the option {next(iter(options))}")
    if name == "climbing":
        return MatrixGame(name, CLIMBING, "Claus & Boutilier 1998")
    if name == "nonmonotonic":
        return MatrixGame(name, NONMONOTONIC, "QTRAN paper")
    if name == "two_step":
        return TwoStepGame(name)
    return TrafficJunction(name, JUNCTION, "LICA paper 4.3.1")


FAMILY = Family(
    shared=True,
    names=("climbing", "penalty", "nonmonotonic", "two_step", "traffic_junction"), make=make,
    describe=describe, options=OPTIONS, options_of="penalty",
)  # fmt: skip
