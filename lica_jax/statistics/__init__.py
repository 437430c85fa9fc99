"""Statistics of runs: estimates, confidence intervals, performance profiles, comparisons.

Runs are the last axis of every array of scores. A *stratum* holds the runs of one task. Several
tasks are a list of strata, whose scores should be on the same scale (`normalise`); a single task
may be its array of runs. Random draws depend on a seed only, and the order of runs does not matter.

A score that is NaN makes a statistic NaN, and its bounds with it: a run without a score counts
neither as the best nor as a failure. Leave the run out, or give it the score that it deserves.

Sources: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
NeurIPS 2021 (IQM, optimality gap, stratified bootstrap, profiles, probability of improvement,
sample efficiency); Gorsane et al., "Towards a Standardised Performance Evaluation Protocol for
Cooperative MARL", NeurIPS 2022 (the same for teams, absolute metric, min-max normalisation).
"""

from lica_jax.statistics.comparisons import (
    improvement_interval,
    performance_profile,
    probability_of_improvement,
)
from lica_jax.statistics.curves import (
    Reached,
    area,
    common_grid,
    sample_efficiency,
    time_to_threshold,
)
from lica_jax.statistics.estimates import (
    CONFIDENCE,
    LEAST_RUNS,
    REPS,
    Estimate,
    interval,
    iqm,
    mean,
    median,
    normalise,
    optimality_gap,
    stratified_bootstrap,
)

__all__ = [
    "CONFIDENCE",
    "LEAST_RUNS",
    "REPS",
    "Estimate",
    "Reached",
    "area",
    "common_grid",
    "improvement_interval",
    "interval",
    "iqm",
    "mean",
    "median",
    "normalise",
    "optimality_gap",
    "performance_profile",
    "probability_of_improvement",
    "sample_efficiency",
    "stratified_bootstrap",
    "time_to_threshold",
]
