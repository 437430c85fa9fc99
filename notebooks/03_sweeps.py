# %% [markdown]
# # 3. Sweep seeds and entropy coefficients
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/03_sweeps.ipynb)
#
# How much should LICA explore? Its entropy coefficient ξ decides, and the right one depends on the
# task. Here: 5 coefficients x 8 seeds, 40 runs, trained side by side in one compiled program.
#
# Nothing is overwritten: to run this notebook again from the start, delete `sweeps/entropy` first.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from lica_jax import load_runs, make_task, sweep
from lica_jax.envs.games import CLIMBING

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
STEPS, SEEDS, COEFFICIENTS = 30_000, range(8), [0.003, 0.01, 0.03, 0.1, 0.3]
if FAST:
    STEPS, SEEDS, COEFFICIENTS = 1_500, range(3), [0.003, 0.3]
EVAL = {"interval": STEPS / 6, "episodes": 64, "final_episodes": 128}

# %% [markdown]
# ## A game in which exploring matters
#
# Climbing (Claus and Boutilier, 1998): two agents choose one of three actions, once. Rows are the
# first agent's choice, columns the second's. The best pair pays 11, but whoever tries it alone
# costs the team 30.

# %%
print(np.array(CLIMBING))
make_task("game/climbing")

# %% [markdown]
# ## The sweep
#
# `hp.*` are numbers that are *traced*: another value is the same program, so a grid over them costs
# one compilation. Everything else (`algo.hidden`, `collect.envs`, the task) is *static*: it may be
# swept too, and every value is a program of its own.
#
# The plan is printed first. `wave` is how many runs train side by side; left out, it is found by
# measuring.

# %%
result = sweep(
    "lica",
    "game/climbing",
    seeds=SEEDS,
    grid={"hp.entropy_coef": COEFFICIENTS},
    total_steps=STEPS,
    eval=EVAL,
    log_interval=STEPS / 30,  # a row of figures so often
    wave=len(SEEDS) * len(COEFFICIENTS),
    sweep_dir="sweeps/entropy",
)

# %% [markdown]
# ## Every run, one row
#
# A *setting* is one assignment of the swept fields, a *run* a setting with a seed. `final/*` are of
# the policy at the end, on fresh episodes; greedy and sampled play apart.

# %%
table = result.frame()
table[["run", "seed", "hp.entropy_coef", "final/return_mean", "final/sampled/return_mean"]].head(4)

# %% [markdown]
# Over the seeds of each setting. Count what the greedy policies ended on rather than trust a mean:
# 11 is the best pair, 7 and 5 are the safe ones.

# %%
found = table.assign(greedy=table["final/return_mean"].round(1))
found.groupby(["hp.entropy_coef", "greedy"]).size().unstack(fill_value=0)

# %% [markdown]
# The summary has mean, interquartile mean (IQM: the mean of the middle half) and a 95 % bootstrap
# interval over seeds. "Best" is the best mean; look at the intervals before you believe it. Here
# they are all alike: eight seeds tell apart no two of these coefficients.

# %%
for setting in result.summary["settings"]:
    low, high = setting["interval"]
    xi = setting["values"]["hp.entropy_coef"]
    print(f"ξ {xi:<6} mean {setting['mean']:6.2f}  IQM {setting['iqm']:6.2f}", end="")
    print(f"  95 % interval {low:6.2f} to {high:6.2f}")
print("best:", result.best["values"])

# %%
result.plot()

# %% [markdown]
# ## Why: the entropy itself
#
# Each run left a folder like any other, so `load_runs` reads them. LICA divides ξ by the entropy it
# regulates (notebook 2), so each ξ holds the policies near an entropy of its own instead of letting
# them collapse. A uniform choice among three actions has ln 3 = 1.10 nats.

# %%
training = load_runs(sorted(Path("sweeps/entropy/runs").iterdir()), metrics=True)
fig, ax = plt.subplots(figsize=(5, 3), dpi=80, layout="constrained")
for xi, rows in training.groupby("hp.entropy_coef"):
    mean = rows.groupby("step")[["env_steps", "entropy"]].mean()
    ax.plot(mean["env_steps"], mean["entropy"], label=f"ξ = {xi:g}")
ax.axhline(np.log(3), color="0.6", lw=1, ls=":")
ax.set(xlabel="env steps", ylabel="entropy (nats), mean of seeds", ylim=(0, 1.2))
ax.legend(fontsize=8)
plt.show()
# %% [markdown]
# ## One run of it
#
# `result.run(n)` is what `train` would have returned: rows, figures and the policy. What do the
# agents of the best run choose?

# %%
best = result.run(int(table["final/return_mean"].idxmax()))
_, ts = make_task("game/climbing").reset(None)
action, _ = best.policy().act(ts.obs)
print(best.config.hp.entropy_coef, "->", action, "pays", CLIMBING[action[0]][action[1]])

# %% [markdown]
# ## More seeds
#
# A sweep is a folder that survives being killed: `resume=True` goes on with whatever is left, and
# may ask for more seeds. Runs that have ended are not touched.

# %%
more = sweep(
    sweep_dir="sweeps/entropy", resume=True, seeds=range(len(SEEDS) + 1), wave=8, display="none"
)
len(result.table), len(more.table)

# %% [markdown]
# ## On battles, and on larger machines
#
# The same from the shell; `--dry-run` shows the plan and what memory it needs, before anything is
# compiled:
#
# ```
# lica-jax sweep lica smax/3m --seeds 0:8 --grid hp.entropy-coef=0.03,0.1,0.3 --dry-run
# lica-jax sweep lica smax/3m --seeds 0:4 --search hp.actor-lr=log:1e-4:1e-2 --trials 64
# lica-jax report sweeps/... --out reports/3m
# ```
#
# Searches, halving, several GPUs, Slurm and Ray: [docs/sweeps.md](../docs/sweeps.md). Next:
# [comparing algorithms](04_compare_algorithms.ipynb).
