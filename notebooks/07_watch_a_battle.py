# %% [markdown]
# # 7. Watch a battle, and what LICA pays for
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/07_watch_a_battle.ipynb)
#
# LICA never computes anybody's credit: it climbs the slope of one critic, and that slope *is* the
# credit. Here it is made visible: a battle with the probabilities, the critic's value and the slope
# of every action under the picture.
#
# Nothing is overwritten: to run this notebook again from the start, delete `runs/watched` first.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os

import matplotlib.pyplot as plt
import numpy as np
from lica_jax import render, train
from lica_jax.rendering.recording import shares

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
STEPS = 6_000 if FAST else 600_000
SMALL = {"collect": {"envs": 8}, "log_interval": 1_000, "eval": {"final_episodes": 16}}

# %% [markdown]
# ## A policy to watch
#
# Three marines, trained for a minute or two. A run keeps the critic of its last update beside its
# policies; `which="last"` shows policy and critic of the same moment.

# %%
train(
    "lica",
    "smax/3m",
    preset="tuned",
    total_steps=STEPS,
    run_dir="runs/watched",
    display="notebook",
    **(SMALL if FAST else {}),
)

# %% [markdown]
# ## The battle
#
# Play with space, step with the arrow keys, choose a marine with a click. Every step is one
# decision of the team and eight ticks of the world. `render(...).save("battle.html")` writes the
# same page as a file for somebody else; `gif="battle.gif"` the picture alone.

# %%
replay = render("runs/watched", which="last", episodes=1, seed=3)
replay

# %% [markdown]
# ## The numbers behind it
#
# Everything under the picture is in `replay.recording`, as arrays with time in front. The policies'
# probabilities are `[T, N, A]`, and so is dQ/dπ:

# %%
(battle,) = replay.recording.episodes
probs, slope = battle.outlook.policy, battle.outlook.credit
print("probabilities", probs.shape, " dQ/dπ", slope.shape, " Q(s, π)", battle.outlook.value.shape)

# %% [markdown]
# Only differences within an agent's row matter, because probabilities add up to one. Against the
# average under its own policy, the slope says what LICA's update gives probability to (above zero)
# and takes it from (below). Of the first marine, at the step at which it matters most:

# %%
gain = slope - np.sum(probs * slope, axis=-1, keepdims=True)
moves = shares(battle.outlook, battle.avail, continuous=False)
t = int(moves[:, 0].argmax())
names = replay.recording.scene.actions[0]
for action in np.flatnonzero(battle.avail[t, 0]):
    chosen = "<- does it" if battle.action[t, 0] == action else ""
    print(f"{names[action]:12} {probs[t, 0, action]:6.1%} {gain[t, 0, action]:+8.4f} {chosen}")

# %% [markdown]
# ## Who could change the outcome
#
# How far an agent could move Q by choosing its best instead of its worst action, as a share of the
# whole team. It goes to zero for those who have no choice: the dead, and those far from anything.
# Nobody told the critic who is important.

# %%
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 4), dpi=80, sharex=True, layout="constrained")
for agent in range(moves.shape[1]):
    above.plot(moves[:, agent], label=f"marine {agent}")
    below.plot(battle.outlook.entropy[:, agent])
above.set(ylabel="share of the credit", ylim=(0, 1.02))
above.legend(fontsize=8, ncols=3)
below.set(ylabel="entropy (nats)", xlabel="step")
plt.show()
# %% [markdown]
# The lower panel is what adaptive entropy keeps up: LICA divides its bonus by the entropy it
# regulates (notebook 2), so that decided agents go on trying.
#
# ## Others
#
# COMA, QMIX, MAPPO and all others show what they have: advantages, utilities, values
# ([docs/replays.md](../docs/replays.md)). From the shell:
#
# ```
# lica-jax render runs/watched --out battle.html --gif battle.gif
# ```
#
# Next: [from SMAX to StarCraft II](08_starcraft2.ipynb).
