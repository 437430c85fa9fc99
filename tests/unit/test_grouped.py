"""The grouped hypernetwork pass is the dense one: values and gradients in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core import grouped
from lica_jax.networks import critics
from lica_jax.networks.critics import MixingCritic
from tests.unit.test_ppo import drawn

T, B, N, A, S, E = 5, 4, 3, 5, 6, 4


@pytest.fixture(autouse=True)
def _small_blocks(x64, monkeypatch):
    """(What is jitted must be a test's own: programs know the size that they were traced with.)"""
    monkeypatch.setattr(grouped, "BLOCK", 8)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)


def case(layers, hidden="full", seed=0):
    """Both passes of one critic, its parameters, and a batch with half of the rows needed."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(T, B, S))
    avail = rng.random((T, B, N, A)) < 0.4
    avail[..., 0] = True
    probs = np.exp(rng.normal(size=avail.shape)) * avail
    probs /= probs.sum(-1, keepdims=True)
    action = rng.integers(-1, A, size=(T, B, N))  # -1: no action
    needed = rng.random((T, B)) < 0.5
    dense, fast = (MixingCritic(N * A, E, layers, hidden, on, on) for on in (False, True))
    zeros = state[0, 0], np.zeros(N * A)
    params = drawn(jax.eval_shape(dense.init, jax.random.key(seed), *zeros))
    return dense, fast, params, state, action, probs, avail, needed


@pytest.mark.parametrize(("layers", "hidden"), [(2, "full"), (2, 3), (1, "full")])
def test_at_actions(layers, hidden):
    dense, fast, params, state, action, _, _, needed = case(layers, hidden)

    def loss(params, state, critic, action, needed):
        q = critic.apply(params, state, action, needed, method="at_actions")
        return jnp.sum(jnp.where(needed, jnp.sin(q), 0)), q

    gradient = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnames="critic"
    )
    asked = {"action": action, "needed": needed}
    (_, q), grads = jax.device_get(gradient(params, state, critic=fast, **asked))
    (_, expected), expected_grads = jax.device_get(gradient(params, state, critic=dense, **asked))
    close(q[needed], expected[needed])
    assert np.all(np.isfinite(q))
    close(grads, expected_grads)


@pytest.mark.parametrize("limit", [2**26, 7 * N * A * E])
@pytest.mark.parametrize("layers", [1, 2])
def test_at_policies(monkeypatch, layers, limit):
    """In one piece, and in chunks of rows whose number does not divide the batch."""
    monkeypatch.setattr(critics, "MAX_HYPER_WEIGHTS", limit)
    dense, fast, params, state, _, probs, avail, needed = case(layers)

    def loss(probs, critic, state, avail, needed):
        q = critic.apply(params, state, probs, avail, needed, method="at_policies")
        return jnp.sum(jnp.where(needed, jnp.sin(q), 0)), q

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnames="critic")
    asked = {"state": state, "avail": avail, "needed": needed}
    (_, q), slope = jax.device_get(gradient(probs, critic=fast, **asked))
    (_, expected), expected_slope = jax.device_get(gradient(probs, critic=dense, **asked))
    close(q[needed], expected[needed])
    # The gradient to an unavailable action's probability is nobody's.
    close(np.where(avail, slope, 0), np.where(avail, expected_slope, 0))
    assert np.all(np.isfinite(slope))


def test_a_batch_of_runs():
    """Under vmap every run gets its own numbers."""
    _, fast, params, state, action, probs, avail, needed = case(2)
    both = jax.tree.map(lambda x: np.stack([x, 1.5 * x]), params)

    def figures(params, state, action, probs, avail, needed):
        def loss(params, probs):
            taken = fast.apply(params, state, action, needed, method="at_actions")
            policy = fast.apply(params, state, probs, avail, needed, method="at_policies")
            return jnp.sum(jnp.where(needed, taken + policy, 0))

        return jax.value_and_grad(loss, argnums=(0, 1))(params, probs)

    asked = state, action, probs, avail, needed
    of_runs = jax.jit(jax.vmap(figures, in_axes=(0, *[None] * len(asked))))
    together, single = jax.device_get(of_runs(both, *asked)), jax.jit(figures)
    for i in range(2):
        alone = single(jax.tree.map(lambda x, i=i: x[i], both), *asked)
        close(jax.tree.map(lambda x, i=i: x[i], together), alone)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything_needed(share):
    dense, fast, params, state, action, probs, _, _ = case(2)
    needed, avail = np.full((T, B), share > 0), np.full((T, B, N, A), share > 0)
    for method, args in (("at_actions", (action,)), ("at_policies", (probs, avail))):
        asked = params, state, *args, needed
        grouped_q, dense_q = (jax.jit(partial(x.apply, method=method)) for x in (fast, dense))
        q = grouped_q(*asked)
        assert np.all(np.isfinite(q))
        if share:
            close(q, dense_q(*asked))


def test_the_plan_holds_every_pair_once():
    group = np.random.default_rng(0).integers(-1, 6, size=(37, 2))
    plan = jax.jit(lambda x: grouped.plan_blocks(x, 6))(group)
    seen = []
    for rows, m in zip(
        np.asarray(plan.rows)[: int(plan.used)], np.asarray(plan.group), strict=False
    ):
        seen += [(int(r), int(m)) for r in rows if r < 37]
    wanted = [(r, int(m)) for r in range(37) for m in group[r] if m >= 0]
    assert sorted(seen) == sorted(wanted)
    assert np.all(np.asarray(plan.rows)[int(plan.used) :] == 37)


def test_what_nobody_needs_is_not_computed():
    """A block of rows in which no one needs an action is left at zero."""
    z, weight = np.ones((16, 3)), np.ones((2 * 300 * 1, 3))
    needed = np.zeros((16, 2, 300), bool)
    needed[3, 1, 299] = True
    w1 = jax.jit(lambda *x: grouped.needed_products(*x))(z, weight, needed)
    touched = np.asarray(w1.products)[..., 0] != 0
    row = int(np.argwhere(np.asarray(w1.order[1]) == 3)[0, 0])
    assert touched[1, row, 299]
    # One of two blocks of rows, one of two bundles of actions, of one agent.
    assert touched.sum() == 8 * 256
