"""Networks against NumPy written from their equations."""

from dataclasses import dataclass
from functools import partial

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
from tests.unit.test_ppo import drawn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def wide(params):
    return jax.tree.map(lambda x: x.astype(np.float64), params)


def test_gru_equations_and_restart(x64):
    t, b, i, h = 5, 3, 4, 6
    rng = np.random.default_rng(0)
    x, h0, first = rng.normal(size=(t, b, i)), rng.normal(size=(b, h)), np.zeros((t, b), bool)
    first[2, 1] = True
    gru = GRU(h)
    params = wide(drawn(jax.eval_shape(gru.init, jax.random.key(2), x, h0, first)))
    last, hs = jax.device_get(jax.jit(gru.apply)(params, x, h0, first))

    p, state = params["params"], h0
    for step in range(t):
        state = np.where(first[step][:, None], 0, state)
        gx = x[step] @ p["kernel_ih"] + p["bias_ih"]
        gh = state @ p["kernel_hh"] + p["bias_hh"]
        (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3, -1), np.split(gh, 3, -1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        state = (1 - z) * np.tanh(xn + r * hn) + z * state
        np.testing.assert_allclose(hs[step], state, rtol=1e-12)
    np.testing.assert_array_equal(last, hs[-1])


@pytest.mark.parametrize("module", [Linear(50), MLP((50,)), GRU(50)])
def test_initial_weights_are_pytorchs(module):
    """U(-1/sqrt(fan), 1/sqrt(fan)): the fan is the input's width, for a GRU the hidden one."""
    x, h = np.zeros((1, 2, 400)), np.zeros((2, 50))
    extra = (h, np.zeros((1, 2), bool)) if isinstance(module, GRU) else ()
    params = jax.device_get(jax.jit(module.init)(jax.random.key(0), x, *extra))
    bound = (50 if isinstance(module, GRU) else 400) ** -0.5
    for leaf in jax.tree.leaves(params):
        assert np.abs(leaf).max() <= bound
        assert np.abs(leaf).max() > 0.8 * bound
        assert abs(float(leaf.std()) - bound / np.sqrt(3)) < 0.25 * bound


@pytest.mark.parametrize("layers", [1, 2])
def test_mixing_critic_equation(x64, layers):
    s_size, m, e, rows = 5, 6, 4, 7
    critic = MixingCritic(m, embed=e, layers=layers, hyper_hidden=3)
    rng = np.random.default_rng(0)
    s, u = rng.normal(size=(rows, s_size)), rng.random((rows, m))
    params = wide(drawn(jax.eval_shape(critic.init, jax.random.key(2), s, u)))
    p = params["params"]

    def mlp(name, x):
        for i in range(len(p[name])):
            layer = p[name][f"layer_{i}"]
            kernel = layer["kernel"] if "kernel" in layer else layer["weight"].T
            x = (x if i == 0 else np.maximum(x, 0)) @ kernel + layer["bias"]
        return x

    w1 = mlp("hyper_w_1", s).reshape(rows, m, e)
    hidden = np.einsum("bm,bme->be", u, w1) + s @ p["hyper_b_1"]["kernel"] + p["hyper_b_1"]["bias"]
    q = (np.maximum(hidden, 0) * mlp("hyper_w_final", s)).sum(-1) + mlp("hyper_b_2", s)[:, 0]
    np.testing.assert_allclose(jax.jit(critic.apply)(params, s, u), q, rtol=1e-12)


def test_an_input_in_parts_is_their_concatenation(x64):
    """Parts of one row stand for as many rows as the others have; weights and slopes are the same,
    and so are the numbers that a key means."""
    rng, mlp = np.random.default_rng(0), MLP((6, 5), layer_norm=True)
    parts = tuple(rng.normal(size=(3, 4, n, i)) for n, i in ((1, 5), (2, 3), (1, 2), (2, 0)))
    rows = (np.broadcast_to(x, (3, 4, 2, x.shape[-1])) for x in parts)
    joined = np.concatenate(tuple(rows), axis=-1)
    init = jax.jit(mlp.init)
    params = init(jax.random.key(0), joined)
    jax.tree.map(np.testing.assert_array_equal, params, init(jax.random.key(0), parts))

    @jax.jit
    @jax.value_and_grad
    def loss(params, x):
        return jnp.sum(jnp.sin(mlp.apply(params, x)))

    close = partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    jax.tree.map(close, loss(params, parts), loss(params, joined))


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
    rng = np.random.default_rng(0)
    x, first, h = rng.normal(size=(6, 2, 4, 5)), rng.random((6, 2, 4)) < 0.3, np.zeros((2, 4, 8))
    params = drawn(jax.eval_shape(agent.init, jax.random.key(2), x, h, first))
    apply = jax.jit(agent.apply)
    whole = np.asarray(apply(params, x, h, first)[1])
    for t in range(6):
        h, out, _ = apply(params, x[t : t + 1], h, first[t : t + 1])
        np.testing.assert_allclose(out, whole[t : t + 1], rtol=1e-5, atol=1e-6)


SPEC = TaskSpec("x", n_agents=3, n_actions=4, obs_size=5, state_size=2, episode_limit=9)
INPUTS = {"agent_id": True, "last_action": True}


@dataclass(frozen=True)
class Agents(AgentSettings):
    actor: str = "gru"


def unroll_inputs():
    rng = np.random.default_rng(0)
    obs, previous = rng.normal(size=(6, 2, 3, 5)), rng.integers(-1, 4, (6, 2, 3), np.int32)
    return obs, previous, np.zeros((6, 2), bool)


def new_params(actor):
    return drawn(jax.eval_shape(actor.init, jax.random.key(0)))


@pytest.mark.parametrize("network", ["gru", "mlp"])
def test_agents_of_their_own_equal_single_networks(network):
    """With `share_params=False` agent i's output depends on its own parameters and input only."""
    actor = make_actor(SPEC, Agents(actor=network, hidden=8, share_params=False, **INPUTS))
    params = new_params(actor)
    obs, previous, first = unroll_inputs()
    h = actor.initial_carry(2).hidden
    unroll = jax.jit(lambda params, obs: actor.unroll(params, obs, previous, first, h)[1])
    other, third = np.arange(3)[:, None] == 1, np.arange(3) == 2
    out, changed = jax.device_get([unroll(params, obs), unroll(params, obs + 1.0 * other)])
    differs = np.abs(out - changed).max((0, 1, 3)) > 0
    assert differs.tolist() == [False, True, False]
    zeroed = jax.tree.map(lambda x: (x.T * ~third).T, params)
    silent = np.asarray(unroll(zeroed, obs))
    assert not np.any(silent[:, :, 2]) and np.any(silent[:, :, 1])


def test_shared_agents_are_told_apart_by_their_id_alone():
    obs = np.ones((1, 1, 3, 5))
    previous, first = np.full((1, 1, 3), -1), np.zeros((1, 1), bool)
    outputs = {}
    for agent_id in (False, True):
        actor = make_actor(SPEC, Agents(actor="gru", hidden=8, agent_id=agent_id))
        _, outputs[agent_id] = jax.device_get(
            jax.jit(actor.unroll)(
                new_params(actor), obs, previous, first, actor.initial_carry(1).hidden
            )
        )
    assert np.allclose(outputs[False][0, 0, 0], outputs[False][0, 0, 1])
    assert not np.allclose(outputs[True][0, 0, 0], outputs[True][0, 0, 1])


def test_no_previous_action_is_an_input_of_zeros():
    actor = make_actor(SPEC, Agents(actor="mlp", hidden=8, **INPUTS))
    params = new_params(actor)
    obs, _, first = unroll_inputs()
    h = actor.initial_carry(2).hidden
    params["params"]["mlp"]["layer_0"]["kernel"][5:9] = 100.0  # the action's rows
    unroll = jax.jit(actor.unroll)
    _, none = unroll(params, obs, np.full((6, 2, 3), -1), first, h)
    _, some = unroll(params, obs, np.full((6, 2, 3), 2), first, h)
    assert np.abs(none).max() < 10 < np.abs(some).max()
