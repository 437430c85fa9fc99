"""Networks against NumPy written from their equations."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import make_actor
from lica_jax.algorithms.settings import AgentSettings
from lica_jax.networks.agents import RecurrentAgent
from lica_jax.networks.critics import MixingCritic
from lica_jax.networks.layers import GRU, MLP, Linear
from lica_jax.types import TaskSpec


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gru_equations_and_restart(x64):
    t, b, i, h = 5, 3, 4, 6
    x = jax.random.normal(jax.random.key(0), (t, b, i))
    h0 = jax.random.normal(jax.random.key(1), (b, h))
    first = jnp.zeros((t, b), bool).at[2, 1].set(True)
    gru = GRU(h)
    params = gru.init(jax.random.key(2), x, h0, first)
    last, hs = gru.apply(params, x, h0, first)

    p = {k: np.asarray(v) for k, v in params["params"].items()}
    state = np.asarray(h0).copy()
    for step in range(t):
        state = np.where(np.asarray(first)[step][:, None], 0, state)
        gx = np.asarray(x)[step] @ p["kernel_ih"] + p["bias_ih"]
        gh = state @ p["kernel_hh"] + p["bias_hh"]
        (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3, -1), np.split(gh, 3, -1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        state = (1 - z) * np.tanh(xn + r * hn) + z * state
        np.testing.assert_allclose(hs[step], state, rtol=1e-12)
    np.testing.assert_array_equal(last, hs[-1])


@pytest.mark.parametrize("module", [Linear(50), MLP((50,)), GRU(50)])
def test_initial_weights_are_pytorchs(module):
    """U(-1/sqrt(fan), 1/sqrt(fan)): the fan is the input's width, for a GRU the hidden one."""
    x, h = jnp.zeros((1, 2, 400)), jnp.zeros((2, 50))
    extra = (h, jnp.zeros((1, 2), bool)) if isinstance(module, GRU) else ()
    params = module.init(jax.random.key(0), x, *extra)
    bound = (50 if isinstance(module, GRU) else 400) ** -0.5
    for leaf in jax.tree.leaves(params):
        assert np.abs(leaf).max() <= bound
        assert np.abs(leaf).max() > 0.8 * bound
        assert abs(float(leaf.std()) - bound / np.sqrt(3)) < 0.25 * bound


@pytest.mark.parametrize("layers", [1, 2])
def test_mixing_critic_equation(x64, layers):
    s_size, m, e, rows = 5, 6, 4, 7
    critic = MixingCritic(m, embed=e, layers=layers, hyper_hidden=3)
    state = jax.random.normal(jax.random.key(0), (rows, s_size))
    u = jax.random.uniform(jax.random.key(1), (rows, m))
    params = critic.init(jax.random.key(2), state, u)
    p = jax.tree.map(np.asarray, params["params"])

    def mlp(name, x):
        for i in range(len(p[name])):
            layer = p[name][f"layer_{i}"]
            kernel = layer["kernel"] if "kernel" in layer else layer["weight"].T
            x = (x if i == 0 else np.maximum(x, 0)) @ kernel + layer["bias"]
        return x

    s = np.asarray(state)
    w1 = mlp("hyper_w_1", s).reshape(rows, m, e)
    hidden = np.einsum("bm,bme->be", u, w1) + s @ p["hyper_b_1"]["kernel"] + p["hyper_b_1"]["bias"]
    q = (np.maximum(hidden, 0) * mlp("hyper_w_final", s)).sum(-1) + mlp("hyper_b_2", s)[:, 0]
    np.testing.assert_allclose(critic.apply(params, state, u), q, rtol=1e-12)


def test_full_width_is_the_official_size():
    """2s3z in the official code: M = 5 * 11 actions, E = 64, so W1's second matrix is 3520^2."""
    shape = jax.eval_shape(
        MixingCritic(55, 64, 2, "full").init, jax.random.key(0), jnp.zeros(120), jnp.zeros(55)
    )
    assert shape["params"]["hyper_w_1"]["layer_1"]["weight"].shape == (3520, 3520)
    total = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(shape))
    # W1: (120 + 1) 3520 + (3520 + 1) 3520; b1: 121 * 64; w2: 121 * 64 + 65 * 64; b2: 121 * 64 + 65
    assert total == 12_819_840 + 7_744 + 11_904 + 7_809


def test_recurrent_agent_unrolled_equals_step_by_step():
    agent = RecurrentAgent(3, 8)
    x = jax.random.normal(jax.random.key(0), (6, 2, 4, 5))
    first = jax.random.bernoulli(jax.random.key(1), 0.3, (6, 2, 4))
    h = jnp.zeros((2, 4, 8))
    params = agent.init(jax.random.key(2), x, h, first)
    _, whole, _ = agent.apply(params, x, h, first)
    for t in range(6):
        h, out, _ = agent.apply(params, x[t : t + 1], h, first[t : t + 1])
        np.testing.assert_allclose(out[0], whole[t], rtol=1e-5, atol=1e-6)


SPEC = TaskSpec("x", n_agents=3, n_actions=4, obs_size=5, state_size=2, episode_limit=9)
INPUTS = {"agent_id": True, "last_action": True}


@dataclass(frozen=True)
class Agents(AgentSettings):
    actor: str = "gru"


def unroll_inputs():
    obs = jax.random.normal(jax.random.key(0), (6, 2, 3, 5))
    previous = jax.random.randint(jax.random.key(1), (6, 2, 3), -1, 4)
    return obs, previous, jnp.zeros((6, 2), bool)


@pytest.mark.parametrize("network", ["gru", "mlp"])
def test_agents_of_their_own_equal_single_networks(network):
    """With `share_params=False` agent i's output depends on its own parameters and input only."""
    actor = make_actor(SPEC, Agents(actor=network, hidden=8, share_params=False, **INPUTS))
    params = actor.init(jax.random.key(3))
    obs, previous, first = unroll_inputs()
    h = actor.initial_carry(2).hidden
    _, out = actor.unroll(params, obs, previous, first, h)
    _, changed = actor.unroll(params, obs.at[:, :, 1].add(1.0), previous, first, h)
    differs = np.abs(np.asarray(out - changed)).max((0, 1, 3)) > 0
    assert differs.tolist() == [False, True, False]
    zeroed = jax.tree.map(lambda x: x.at[2].set(0), params)
    _, silent = actor.unroll(zeroed, obs, previous, first, h)
    assert not np.any(silent[:, :, 2]) and np.any(silent[:, :, 1])


def test_shared_agents_are_told_apart_by_their_id_alone():
    obs = jnp.ones((1, 1, 3, 5))
    previous, first = jnp.full((1, 1, 3), -1), jnp.zeros((1, 1), bool)
    outputs = {}
    for agent_id in (False, True):
        actor = make_actor(SPEC, Agents(actor="gru", hidden=8, agent_id=agent_id))
        params = actor.init(jax.random.key(0))
        _, outputs[agent_id] = actor.unroll(
            params, obs, previous, first, actor.initial_carry(1).hidden
        )
    assert np.allclose(outputs[False][0, 0, 0], outputs[False][0, 0, 1])
    assert not np.allclose(outputs[True][0, 0, 0], outputs[True][0, 0, 1])


def test_no_previous_action_is_an_input_of_zeros():
    actor = make_actor(SPEC, Agents(actor="mlp", hidden=8, **INPUTS))
    params = actor.init(jax.random.key(0))
    obs, _, first = unroll_inputs()
    h = actor.initial_carry(2).hidden
    kernel = params["params"]["mlp"]["layer_0"]["kernel"]
    params["params"]["mlp"]["layer_0"]["kernel"] = kernel.at[5:9].set(100.0)  # the action's rows
    _, none = actor.unroll(params, obs, jnp.full((6, 2, 3), -1), first, h)
    _, some = actor.unroll(params, obs, jnp.full((6, 2, 3), 2), first, h)
    assert np.abs(none).max() < 10 < np.abs(some).max()
