# %% [markdown]
# # 4. Compare algorithms with statistics
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/04_compare_algorithms.ipynb)
#
# LICA, QMIX and VDN on two small games, five seeds each: thirty runs, one table with intervals, and
# what may be said from it. The statistics are those of Agarwal et al. (*Deep RL at the Edge of the
# Statistical Precipice*, NeurIPS 2021) and Gorsane et al. (NeurIPS 2022, for teams).
#
# Nothing is overwritten: to run this notebook again from the start, delete `sweeps/compare` and
# `reports/compare` first.

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os

import numpy as np
from lica_jax import report, statistics, sweep
from lica_jax.envs.games import NONMONOTONIC, TWO_STEP

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
ALGORITHMS, TASKS, SEEDS, STEPS = (
    ["lica", "qmix", "vdn"],
    ["game/two_step", "game/nonmonotonic"],
    5,
    30_000,
)
if FAST:
    ALGORITHMS, TASKS, SEEDS, STEPS = ["lica", "vdn"], ["game/two_step"], 3, 1_500

# %% [markdown]
# ## Two games that tell value functions apart
#
# Two agents; rows are the first one's action, columns the second's. In *two_step* the first agent's
# first action chooses which table is played next: a safe 7, or a table with an 8 in it next to 0
# and 1. In *nonmonotonic* the 8 lies next to -12.

# %%
print(*map(np.array, (*TWO_STEP, NONMONOTONIC)), sep="\n\n")

# %% [markdown]
# VDN writes the team's value as a *sum* of one value per agent, QMIX as a function that *rises*
# with each of them. Neither can express these tables in full; QMIX's can express *two_step*. LICA's
# critic is bound by nothing.
#
# ## Train everything
#
# Lists of algorithms and tasks are swept like any other field. Nothing is tuned: these are the
# `fast` presets, and a comparison of untuned algorithms says no more than that.

# %%
result = sweep(
    ALGORITHMS,
    TASKS,
    seeds=range(SEEDS),
    total_steps=STEPS,
    eval={"interval": STEPS / 6, "episodes": 32, "final_episodes": 128},
    log_interval=STEPS / 12,
    wave=SEEDS,
    sweep_dir="sweeps/compare",
    display="none",
)
len(result.table), "runs"

# %% [markdown]
# ## One report
#
# `report` takes folders of runs at any depth, from `train` or `sweep`, finished or not. It groups
# them by algorithm, preset, changed settings and task. With `out=` it writes a page that opens
# offline, figures as PNG and PDF, and tables as CSV, Markdown and LaTeX; alone on a cell's last
# line it shows itself. Here only pieces of it.

# %%
compared = report("sweeps/compare", out="reports/compare")
compared.tables["scores"]

# %% [markdown]
# Tables are also `.frame()` (pandas), `.rows`, `.markdown()` and `.latex()`. What must be known
# before the numbers is said in words:

# %%
print(*compared.notes, sep="\n")

# %% [markdown]
# ## Learning curves
#
# IQM over seeds, its 95 % bootstrap interval as a band, every seed as a thin line. Greedy and
# sampled play are two policies: never average them. On the right the same against seconds, which is
# what you wait for.

# %%
compared.figures["learning_curves_game-two_step"]

# %% [markdown]
# ## Is one better?
#
# Not "do the intervals overlap", but: how likely does a run of one beat a run of the other on the
# same task? Ties count half, so that 0.5 means no difference. An interval that contains 0.5 shows
# none.

# %%
compared.tables["probability_of_improvement"]

# %% [markdown]
# ## The functions behind it
#
# `lica_jax.statistics` works on plain arrays; the last axis are runs, several tasks are a list. The
# *interquartile mean* drops the lowest and highest quarter: less noisy than a median, less bent by
# one lucky seed than a mean.

# %%
scores = np.array([0.93, 0.90, 0.97, 0.88, 0.95, 0.12])  # five good seeds and one that got stuck
print("mean  ", scores.mean().round(3))
print("median", np.median(scores).round(3))
print("IQM   ", statistics.iqm(scores).round(3))

# %% [markdown]
# The stuck seed is gone from the IQM, which is why it goes together with a *performance profile*:
# the share of runs above each threshold. Nothing hides there.

# %%
profile = statistics.performance_profile([scores], np.array([0.1, 0.5, 0.9, 0.94]))
for threshold, share in zip((0.1, 0.5, 0.9, 0.94), profile.value, strict=True):
    print(f"above {threshold}: {100 * share:.0f} % of runs")

# %% [markdown]
# ## How many seeds?
#
# Draw n runs from a pretended algorithm whose scores we know, and look at the interval. Three seeds
# give intervals that are too narrow rather than too wide: they can never be wider than what was
# seen.

# %%
rng = np.random.default_rng(0)
population = np.clip(rng.normal(0.7, 0.15, 10_000), 0, 1)
truth = statistics.iqm(population)
for n in (3, 5, 10, 20):
    drawn = [statistics.interval([rng.choice(population, n)], reps=500) for _ in range(200)]
    width = np.mean([e.high - e.low for e in drawn])
    hit = np.mean([e.low <= truth <= e.high for e in drawn])
    print(f"{n:2} seeds: width {width:.2f}, contains the truth in {100 * hit:.0f} % of 200 studies")

# %% [markdown]
# A "95 %" interval of three seeds is right far less often than its name says. Report the number of
# seeds beside every interval, as the tables above do.
#
# From the shell: `lica-jax report sweeps/compare --out reports/compare`. All columns and
# definitions: [docs/report.md](../docs/report.md). Next: [your own task](05_your_own_task.ipynb).
