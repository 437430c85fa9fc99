# %% [markdown]
# # 5. Your own task
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/05_your_own_task.ipynb)
#
# A task is a pair of pure functions and a table of sizes. This notebook writes one, lets the
# library check it, trains on it, and registers it under a name.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os

import jax
import jax.numpy as jnp
from flax import struct
from lica_jax import Family, UserError, register_family, train
from lica_jax.envs.names import name_with
from lica_jax.testing import check_task
from lica_jax.types import TaskSpec, TimeStep

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
STEPS = 2_400 if FAST else 60_000

# %% [markdown]
# ## The game
#
# Two agents in a corridor, each with a switch at its end. The team is paid 1 when both stand on
# theirs, and the episode is over. An agent moves left, stays or moves right.
#
# ## Its state
#
# Arrays only: everything that changes is in here, and `step` returns a new one.


# %%
@struct.dataclass
class State:
    """Where both agents are, and how many steps have been made."""

    position: jax.Array  # [2]
    t: jax.Array


# %% [markdown]
# ## What is seen of it
#
# A `TimeStep` is one environment at one moment. `obs` are the agents' own views `[N, O]`, `state`
# is what a centralised critic may see `[S]`, and `avail` says which actions exist now: nobody walks
# through a wall.
#
# Two ends are told apart: `terminated` (the game is over, the future is worth 0) and `truncated`
# (time is up, which is not the game's business). Whatever you put into `info` is averaged over
# episodes at their last step and appears in every row, figure and evaluation; `won` becomes the win
# rate.


# %%
def seen(state, spec, length, first):
    end = jnp.array([0, length - 1])
    away = jnp.abs(end - state.position)
    solved = jnp.all(away == 0)
    place = state.position / (length - 1)
    return TimeStep(
        obs=jnp.stack([place, place[::-1], jnp.array([0.0, 1.0])], axis=-1),
        state=jnp.append(place, state.t / spec.episode_limit),
        avail=jnp.stack(
            [state.position > 0, jnp.ones(2, bool), state.position < length - 1], axis=-1
        ),
        reward=solved.astype(jnp.float32),
        terminated=solved,
        truncated=~solved & (state.t >= spec.episode_limit),
        first=jnp.array(first),
        alive=jnp.ones(2, bool),
        info={"won": solved, "distance": jnp.sum(away).astype(jnp.float32)},
    )


# %% [markdown]
# ## The task
#
# For *one* environment: no batch axis, and no reset at the end of an episode. The library vmaps it
# over environments and seeds, and resets it.


# %%
class Switches:
    """Two agents, each to stand on the switch at its end of a corridor."""

    def __init__(self, length=5, name="grid/switches"):
        self.length = length
        self.spec = TaskSpec(
            name=name, n_agents=2, n_actions=3, obs_size=3, state_size=3, episode_limit=4 * length,
            max_return=1.0, has_win=True, masks_actions=True,
        )  # fmt: skip

    def reset(self, key):
        position = jax.random.randint(key, (2,), 1, self.length - 1)
        state = State(position, jnp.int32(0))
        return state, seen(state, self.spec, self.length, first=True)

    def step(self, key, state, action):
        moved = jnp.clip(state.position + action - 1, 0, self.length - 1)
        state = State(moved, state.t + 1)
        return state, seen(state, self.spec, self.length, first=False)


# %% [markdown]
# ## Does it keep the rules?
#
# `check_task` plays a few episodes: shapes and types are those of the spec, equal keys give equal
# episodes, an environment alone does what it does in a batch, episodes end where they should.
# Silence is consent.

# %%
task = Switches()
check_task(task)

# %% [markdown]
# A task that breaks one: it promises a largest return that its rewards exceed.


# %%
class Modest(Switches):
    """Pays in every step that somebody is on a switch, and does not say so."""

    def step(self, key, state, action):
        state, ts = super().step(key, state, action)
        return state, ts.replace(reward=ts.reward + (ts.info["distance"] < self.length))


try:
    check_task(Modest())
except UserError as error:
    print(error)

# %% [markdown]
# ## Training on it
#
# The object goes where a task's name would. There is no preset for it, so that numbers are given
# here; every algorithm takes it the same way, and so does `sweep`.

# %%
numbers = {
    "total_steps": STEPS,
    "collect": {"envs": 32, "length": 16},
    "log_interval": STEPS / 10,
    "algo": {"hidden": 32, "mixing_embed": 32},
    "eval": {"interval": STEPS / 6, "episodes": 64, "final_episodes": 128},
}
result = train(
    "lica", task, seeds=range(2), hp={"entropy_coef": 0.1}, display="notebook", **numbers
)
result

# %% [markdown]
# The figure of our own, beside the win rate: steps that were missing at the end of an episode.

# %%
rows = result.frame()
rows.groupby("step")[["eval/win_rate", "eval/distance_mean", "eval/episode_length_mean"]].mean()

# %% [markdown]
# ## Watching it play

# %%
policy, carry = result.policy(), None
state, ts = task.reset(jax.random.key(1))
while True:
    where = [int(x) for x in state.position]
    print("".join("AB"[where.index(i)] if i in where else "." for i in range(task.length)), where)
    if ts.terminated or ts.truncated:
        break
    action, carry = policy.act(ts.obs, ts.avail, carry)
    state, ts = task.step(None, state, action)

# %% [markdown]
# (`A` belongs to the left, `B` to the right; where both stand on one cell only `A` is drawn.)
#
# ## A name of its own
#
# A *family* makes tasks from names; options are part of the name, so that files and policies find
# the same game again.

# %%
OPTIONS = {"length": ("5", "9")}  # as in grid/switches:length=9, the default first


def make(name, **options):
    length = int(options.get("length", OPTIONS["length"][0]))
    return Switches(length, name_with(f"grid/{name}", OPTIONS, options))


register_family(
    "grid",
    Family(names=("switches",), make=make, options=OPTIONS, describe=lambda name: "switches"),
)
try:
    train("lica", "grid/switches:length=6")
except UserError as error:
    print(error)

# %% [markdown]
# In a package of yours the same lines, found through an entry point or `--plugin`, make `lica-jax
# train lica grid/switches:length=9` work from the shell, with presets in files:
# [docs/extending.md](../docs/extending.md). Next: [your own
# algorithm](06_your_own_algorithm.ipynb).
