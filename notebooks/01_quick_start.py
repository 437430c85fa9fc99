# %% [markdown]
# # 1. Quick start
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/01_quick_start.ipynb)
#
# Train a team of three marines with LICA, look at its learning curve, evaluate it, play an episode
# with it, and read the run back from its files. A laptop's CPU is enough: training takes a few
# minutes.
#
# Nothing is overwritten: to run this notebook again from the start, delete `runs/first` first.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os

import jax
import matplotlib.pyplot as plt
from lica_jax import evaluate, load_policy, load_runs, make_task, train

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
STEPS, EPISODES = (6_000, 16) if FAST else (400_000, 512)
SMALL = {"collect": {"envs": 8}, "log_interval": 1_000, "eval": {"final_episodes": 16}}

# %% [markdown]
# ## The task
#
# `smax/3m` is SMAC's map 3m (three marines against three) as a JAX simulation. A task is a pair of
# pure functions, `reset` and `step`, with fixed sizes:

# %%
task = make_task("smax/3m")
task.spec

# %% [markdown]
# Arrays, no dictionaries of agents: an observation of the whole team is `[n_agents, obs_size]`, a
# joint action `[n_agents]`. `avail` says which actions each agent may take; a marine cannot shoot
# at what is out of its range.

# %%
state, ts = jax.jit(task.reset)(jax.random.key(0))
print("obs", ts.obs.shape, "state", ts.state.shape)
print(ts.avail.astype(int))

# %% [markdown]
# ## Training
#
# Three seeds are trained side by side in one compiled program, each with environments of its own.
# `step` counts transitions of one seed.

# %%
result = train(
    "lica",
    "smax/3m",
    preset="tuned",
    seeds=range(3),
    total_steps=STEPS,
    run_dir="runs/first",
    display="notebook",
    **(SMALL if FAST else {}),
)

# %% [markdown]
# *Greedy* play takes every agent's most likely action, *sampled* play draws from the policies as
# training does. They are different policies and are never averaged: LICA keeps its policies
# stochastic on purpose (notebook 2), and what they win on average is not what they win at their
# most decided.
#
# `last` is the policy at the end, `best` the one with the best evaluation on the way; both were
# played again on fresh episodes, so that `best` is no lucky draw.

# %%
result

# %% [markdown]
# ## A table, and a figure of your own
#
# Evaluations are rows: `frame()` gives them as a `pandas.DataFrame`. `step` is the same for all
# seeds.

# %%
rows = result.frame()
rows[["seed", "step", "eval/win_rate", "eval/sampled/win_rate", "eval/return_mean"]].tail(3)

# %%
fig, ax = plt.subplots(figsize=(5, 3), dpi=80, layout="constrained")
for name, label in (("eval/win_rate", "greedy"), ("eval/sampled/win_rate", "sampled")):
    mean = rows.groupby("step")[name].mean()
    ax.plot(mean.index, 100 * mean, marker="o", ms=3, label=label)
ax.set(xlabel="env steps of a seed", ylabel="win rate (%), mean of 3 seeds", ylim=(0, 100))
ax.legend()
plt.show()
# %% [markdown]
# ## Evaluating
#
# On as many fresh episodes as you like, from the run's folder. Of several seeds it takes the best
# one.

# %%
figures = evaluate("runs/first", episodes=EPISODES)
{mode: figures[mode]["win_rate"] for mode in ("greedy", "sampled")}

# %% [markdown]
# ## Acting
#
# `policy.safetensors` in the run's folder is all that playing needs. A policy has a memory (a GRU),
# which you hand from step to step; `None` begins an episode.

# %%
policy = load_policy("runs/first")
step = jax.jit(task.step)
carry, total, length = None, 0.0, 0

while not (ts.terminated | ts.truncated):
    action, carry = policy.act(ts.obs, ts.avail, carry)  # greedy; key=... samples
    state, ts = step(jax.random.key(length), state, action)
    total, length = total + float(ts.reward), length + 1

print(f"{policy!r}: {length} steps, return {total:.2f} of 2, won: {bool(ts.info['won'])}")

# %% [markdown]
# ## Going on
#
# A run can be continued, with a larger budget too. What it computes then is, bit for bit, what one
# run with that budget would have computed.

# %%
result = train(run_dir="runs/first", resume=True, total_steps=1.2 * STEPS, display="none")
result

# %% [markdown]
# ## Reading runs back
#
# `load_runs` puts any number of run folders into one table, with a column for every setting in
# which they differ. `metrics=True` reads the rows of training instead of those of evaluations. Here
# the mean entropy of the policies (in nats) at the beginning and at the end of training; a uniform
# choice among 8 actions would have ln 8 = 2.08:

# %%
training = load_runs("runs/first", metrics=True)
training.groupby("step")["entropy"].mean().iloc[[0, -1]]

# %% [markdown]
# ## From the shell
#
# The same run, with the same files: `lica-jax train lica smax/3m --preset tuned --seeds 0:3
# --total-steps 400000 --run-dir runs/first`. `lica-jax list` shows algorithms and tasks, `lica-jax
# train lica smax/3m --help` every setting.
#
# Next: [what LICA does](02_lica_explained.ipynb), [sweeps](03_sweeps.ipynb).
