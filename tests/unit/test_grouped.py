"""The grouped hypernetwork pass is the dense one: values and gradients in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core import grouped
from lica_jax.networks import critics
from lica_jax.networks.critics import MixingCritic

T, B, N, A, S, E = 5, 4, 3, 5, 6, 4


@pytest.fixture(autouse=True)
def _small_blocks(x64, monkeypatch):
    monkeypatch.setattr(grouped, "BLOCK", 8)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)


def case(layers, hidden="full", seed=0):
    """Both passes of one critic, its parameters, and a batch with half of the rows needed."""
    keys = jax.random.split(jax.random.key(seed), 6)
    state = jax.random.normal(keys[0], (T, B, S))
    avail = jax.random.bernoulli(keys[1], 0.4, (T, B, N, A)).at[..., 0].set(True)
    probs = jax.nn.softmax(jnp.where(avail, jax.random.normal(keys[2], avail.shape), -jnp.inf))
    action = jax.random.randint(keys[3], (T, B, N), -1, A)  # -1: no action
    needed = jax.random.bernoulli(keys[4], 0.5, (T, B))
    dense, fast = (MixingCritic(N * A, E, layers, hidden, on, on) for on in (False, True))
    params = dense.init(keys[5], state[0, 0], jnp.zeros(N * A))
    return dense, fast, params, state, action, probs, avail, needed


@pytest.mark.parametrize(("layers", "hidden"), [(2, "full"), (2, 3), (1, "full")])
def test_at_actions(layers, hidden):
    dense, fast, params, state, action, _, _, needed = case(layers, hidden)

    def loss(params, state, critic):
        q = critic.apply(params, state, action, needed, method="at_actions")
        return jnp.sum(jnp.where(needed, jnp.sin(q), 0)), q

    gradient = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnames="critic"
    )
    (_, q), grads = gradient(params, state, critic=fast)
    (_, expected), expected_grads = gradient(params, state, critic=dense)
    close(q[needed], expected[needed])
    assert np.all(np.isfinite(q))
    close(grads, expected_grads)


@pytest.mark.parametrize("limit", [2**26, 7 * N * A * E])
@pytest.mark.parametrize("layers", [1, 2])
def test_at_policies(monkeypatch, layers, limit):
    """In one piece, and in chunks of rows whose number does not divide the batch."""
    monkeypatch.setattr(critics, "MAX_HYPER_WEIGHTS", limit)
    dense, fast, params, state, _, probs, avail, needed = case(layers)

    def loss(probs, critic):
        q = critic.apply(params, state, probs, avail, needed, method="at_policies")
        return jnp.sum(jnp.where(needed, jnp.sin(q), 0)), q

    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnames="critic")
    (_, q), slope = gradient(probs, critic=fast)
    (_, expected), expected_slope = gradient(probs, critic=dense)
    close(q[needed], expected[needed])
    # The gradient to an unavailable action's probability is nobody's.
    close(jnp.where(avail, slope, 0), jnp.where(avail, expected_slope, 0))
    assert np.all(np.isfinite(slope))


def test_a_batch_of_runs():
    """Under vmap every run gets its own numbers."""
    _, fast, params, state, action, probs, avail, needed = case(2)
    both = jax.tree.map(lambda x: jnp.stack([x, 1.5 * x]), params)

    def figures(params):
        def loss(params, probs):
            taken = fast.apply(params, state, action, needed, method="at_actions")
            policy = fast.apply(params, state, probs, avail, needed, method="at_policies")
            return jnp.sum(jnp.where(needed, taken + policy, 0))

        return jax.value_and_grad(loss, argnums=(0, 1))(params, probs)

    together = jax.jit(jax.vmap(figures))(both)
    for i in range(2):
        alone = jax.jit(figures)(jax.tree.map(lambda x, i=i: x[i], both))
        close(jax.tree.map(lambda x, i=i: x[i], together), alone)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything_needed(share):
    dense, fast, params, state, action, probs, _, _ = case(2)
    needed, avail = jnp.full((T, B), share > 0), jnp.full((T, B, N, A), share > 0)
    for method, args in (("at_actions", (action,)), ("at_policies", (probs, avail))):
        q = fast.apply(params, state, *args, needed, method=method)
        assert np.all(np.isfinite(q))
        if share:
            close(q, dense.apply(params, state, *args, needed, method=method))


def test_the_plan_holds_every_pair_once():
    group = jax.random.randint(jax.random.key(0), (37, 2), -1, 6)
    plan = grouped.plan_blocks(group, 6)
    seen = []
    for rows, m in zip(
        np.asarray(plan.rows)[: int(plan.used)], np.asarray(plan.group), strict=False
    ):
        seen += [(int(r), int(m)) for r in rows if r < 37]
    wanted = [(r, int(m)) for r in range(37) for m in np.asarray(group)[r] if m >= 0]
    assert sorted(seen) == sorted(wanted)
    assert np.all(np.asarray(plan.rows)[int(plan.used) :] == 37)


def test_what_nobody_needs_is_not_computed():
    """A block of rows in which no one needs an action is left at zero."""
    z, weight = jnp.ones((16, 3)), jnp.ones((2 * 300 * 1, 3))
    needed = jnp.zeros((16, 2, 300), bool).at[3, 1, 299].set(True)
    w1 = grouped.needed_products(z, weight, needed)
    touched = np.asarray(w1.products[..., 0] != 0)
    row = int(np.argwhere(np.asarray(w1.order[1]) == 3)[0, 0])
    assert touched[1, row, 299]
    # One of two blocks of rows, one of two bundles of actions, of one agent.
    assert touched.sum() == 8 * 256
