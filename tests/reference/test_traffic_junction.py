"""The traffic junction against the official scripts: open loop in float64, and in distribution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.reproduce import traffic_junction as game
from tests.reference.torch_weights import layers

NAMES = pytest.mark.parametrize("name", ["traffic_junction"])
# Ours -> the prefix of the file's keys.
SCRIPTS = {"lica": "lica", "coma_repo": "coma"}
INITS = 1000


def nets(weights):
    """Both networks from the arrays under ``run{i}.init.`` or ``run{i}.{method}.final.``."""
    return game.Nets(
        **{
            part: {"params": jax.tree.map(jnp.asarray, layers(weights.under(f"{part}.")))}
            for part in game.Nets._fields
        }
    )


def runs(g):
    found = sorted({int(n[3 : n.index(".")]) for n in g if n.startswith("run")})
    assert found, "the file holds no run"
    return found


@pytest.mark.parametrize("method", SCRIPTS)
@NAMES
def test_open_loop(golden, name, method):
    g = golden(name)
    train = jax.jit(partial(game.train, method=method))
    for i in runs(g):
        run, script = f"run{i}.", SCRIPTS[method]
        theirs = g.under(f"{run}{script}.")
        # The script permutes the rows and trains on all but the last.
        rows = g[run + "coma.randperm"]
        assert rows.shape == (g.cfg("iterations"), game.ROWS)
        final, probs = train(
            nets(g.under(run + "init.")),
            jnp.asarray(rows[:, -1]),
            k=int(g[run + "k"]),
            lr=g.cfg("policy_lr"),
            lrfac=float(g[run + "lrfac"]),
        )
        # 60 Adam steps amplify rounding; an element near zero needs an absolute allowance.
        np.testing.assert_allclose(probs, theirs["probs"], rtol=1e-8, atol=1e-12)
        np.testing.assert_array_equal(game.outcome(probs), theirs["outcome"])
        wanted = nets(g.under(f"{run}{script}.final."))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-10), final, wanted)


@NAMES
def test_critic_rate_of_the_file_is_lr_times_lrfac(golden, name):
    g = golden(name)
    np.testing.assert_allclose(g.cfg("critic_lr"), g.cfg("policy_lr") * g.cfg("lrfac"), rtol=1e-12)


def fresh(g, method):
    """Probabilities of passing of `INITS` initialisations with the file's settings."""
    hidden = len(g[f"run{runs(g)[0]}.init.policy.0.bias"])
    start = partial(game.start, iterations=g.cfg("iterations"), hidden=hidden)
    train = partial(
        game.train, method=method, k=g.cfg("k"), lr=g.cfg("policy_lr"), lrfac=g.cfg("lrfac")
    )
    with jax.enable_x64(False):  # the scripts' own precision: Adam rescales its rounding noise
        begun = jax.jit(jax.vmap(start))(jax.random.split(jax.random.key(0), INITS))
        return np.asarray(jax.jit(jax.vmap(train))(*begun)[1], float)


def same_distribution(ours, mean, std, n):
    """Curves [runs, T, ...] have the mean and std of n other runs, within 5 standard errors."""
    square = np.square(ours - ours.mean(0))
    error = np.sqrt(1 / n + 1 / len(ours))
    assert np.all(np.abs(ours.mean(0) - mean) < 5 * ours.std(0) * error)
    assert np.all(np.abs(square.mean(0) - std**2) < 5 * square.std(0) * error)


@pytest.mark.parametrize("method", SCRIPTS)
@NAMES
def test_distribution(golden, name, method):
    """Outcomes and curves of fresh initialisations are the scripts', within sampling error."""
    g = golden(name)
    stats = g.under(f"{SCRIPTS[method]}.stats.")
    probs, n = fresh(g, method), int(stats["n"])
    ended = np.asarray(game.outcome(probs))
    assert stats["outcome_counts"].sum() == n
    for outcome, count in zip(stats["outcomes_order"], stats["outcome_counts"], strict=True):
        group = probs[(ended == outcome).all(axis=1)]
        ours = len(group) / INITS
        # 3.5 standard errors, 0.13 at one half with the 200 runs of our file (two of them would be
        # 0.07, and one honest file in five would miss that), and 2 runs for rare outcomes.
        allowed = 3.5 * np.sqrt(ours * (1 - ours) * (1 / n + 1 / INITS)) + 2 / n
        assert abs(ours - count / n) < allowed, (outcome, ours, count / n)
        # The curves that the paper draws; few runs have no reliable standard error.
        if sum(outcome) == 1 and count >= 50:
            which = "{}{}".format(*outcome)
            same_distribution(group, stats[f"mean_{which}"], stats[f"std_{which}"], count)

    same_distribution(probs, stats["mean_all"], stats["std_all"], n)
    same_distribution(
        np.asarray(game.expected_reward(probs), float),
        stats["mean_expected_reward"],
        stats["std_expected_reward"],
        n,
    )
    np.testing.assert_allclose(
        np.mean(game.entropy(probs), axis=0), stats["mean_entropy"], atol=1 / np.sqrt(n)
    )
