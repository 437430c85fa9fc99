# %% [markdown]
# # 8. From SMAX to StarCraft II
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/08_starcraft2.ipynb)
#
# SMAX is a simulation; papers report StarCraft II. The same policy file plays both, if it was
# trained in SMAC's layout. This notebook trains on SMAX in that layout, and plays the policy
# through the StarCraft II bridge.
#
# Nothing is overwritten: to run this notebook again from the start, delete `runs/transfer` first.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic(
        "pip", "install -q 'lica_jax[sc2] @ git+https://github.com/YOUR_NAME/lica_jax.git'"
    )

# %%
import os

from lica_jax import evaluate, make_task, train
from lica_jax.starcraft2.testing.install import make_install

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
STEPS, EPISODES = (2_000, 2) if FAST else (200_000, 8)
SMALL = {
    "collect": {"envs": 8},
    "log_interval": 500,
    "eval": {"interval": STEPS, "episodes": 16, "final_episodes": 16},
}

# %% [markdown]
# ## No game on this machine
#
# StarCraft II is Blizzard's and is not downloaded for you (`lica-jax sc2 doctor` says what is
# missing; [docs/starcraft2.md](../docs/starcraft2.md) how to get it). What follows uses
# **FakeSC2**, a test double that speaks the game's protocol and fights toy battles. It shows that
# everything fits together. **Win rates on it mean nothing**, and every figure made on it says so.
#
# With the game, leave this cell out and set `SC2PATH` to its folder.

# %%
make_install("fake")
os.environ["SC2PATH"] = "fake"

# %% [markdown]
# ## Two tasks of one shape
#
# By default SMAX has its own observations and actions (as JaxMARL's). `layout=smac` gives it those
# of the real map, in sizes and order; `stats=sc2` also gives units the real game's health, range
# and speed.

# %%
simulated, real = make_task("smax/3m:layout=smac,stats=sc2"), make_task("smac/3m")
for name in ("n_agents", "n_actions", "obs_size", "state_size", "episode_limit"):
    print(f"{name:14} SMAX {getattr(simulated.spec, name):4}  SMAC {getattr(real.spec, name):4}")

# %% [markdown]
# What differs is said where it matters: SMAX's return is at most 2 and its rewards are scaled for
# learning; SMAC's is about 20 as it is.

# %%
for spec in (simulated.spec, real.spec):
    print(f"{spec.name:32} max return {spec.max_return:g}, rewards x{spec.reward_scale:g}")

# %% [markdown]
# ## Train on the simulation
#
# Thousands of steps per second, without a game.

# %%
result = train(
    "lica",
    "smax/3m:layout=smac,stats=sc2",
    total_steps=STEPS,
    run_dir="runs/transfer",
    display="notebook",
    **(SMALL if FAST else {}),
)
result

# %% [markdown]
# ## Play it on the bridge
#
# Same file, other task. One process per game, stepped together; `envs` is how many. On the real
# game these figures would be the answer to "does it transfer?", which has not been measured. Here
# they only show that the policy loads, acts legally and finishes episodes.

# %%
figures = evaluate("runs/transfer", task="smac/3m", episodes=EPISODES, envs=2)
print("played on:", figures["task_source"])
print("test double:", figures["test_double"], "- finished episodes:", figures["greedy"]["episodes"])

# %% [markdown]
# ## Train on the bridge
#
# The command is the same as for any task; only whole episodes are collected, since games step in
# lock step. A game that crashes costs the episode it was playing and nothing else.

# %%
on_bridge = train(
    "lica",
    "smac/3m",
    total_steps=200,
    collect={"envs": 2},
    log_interval=100,
    eval={"interval": 100_000, "episodes": 2, "final_episodes": 2},
    algo={"hidden": 16, "mixing_embed": 8},
    display="none",
)
{name: on_bridge.summary[name] for name in ("task", "env_steps", "updates")}

# %% [markdown]
# ## On a machine with the game
#
# ```
# pip install 'lica_jax[sc2]'                 # three small packages; no pysc2, no smac
# lica-jax sc2 doctor --launch --workers 8    # starts the game, measures memory and time
# lica-jax train lica smac/5m_vs_6m --envs 8
# lica-jax eval runs/transfer --task smac/3m --envs 8 --save-replay replays
# ```
#
# Win rates depend on the game's version: SMAC's paper used 4.6, LICA's 4.10, and they are not
# comparable. Results name the version they were played on. What has been verified without the game,
# and what only the game can tell: [docs/starcraft2.md](../docs/starcraft2.md).
