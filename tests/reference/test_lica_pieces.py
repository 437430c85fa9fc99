"""Returns, schedules and action selection against the official implementation's numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.gumbel import gumbel_softmax, straight_through
from lica_jax.core.masking import mask_logits
from lica_jax.core.returns import lambda_returns, pymarl_lambda_returns
from lica_jax.core.schedules import linear

RTOL, ATOL = 1e-8, 1e-12


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL)


def time_major(x):
    return jnp.moveaxis(jnp.asarray(x), 1, 0)


@pytest.mark.parametrize("name", ["lica_td_lambda"])
def test_reference_returns(golden, name):
    """Joint values (LICA, every slot passed) and per-agent values (COMA, without the last slot)."""
    g = golden(name)
    reward, mask = time_major(g["reward"]), time_major(g["mask"])
    terminal = time_major(g["terminated"])
    for i, (gamma, lam) in enumerate(g["gamma_lambda"]):
        q = time_major(g["target_q_joint"])
        ours = pymarl_lambda_returns(q, reward, terminal, mask, gamma, lam)
        close(ours, time_major(g[f"lica_targets_{i}"]))
        q = time_major(g["target_q_per_agent"])
        ours = pymarl_lambda_returns(q, reward[:-1], terminal[:-1], mask[:-1], gamma, lam)
        close(ours, time_major(g[f"coma_targets_{i}"]))


@pytest.mark.parametrize("name", ["lica_td_lambda"])
def test_our_returns_agree_where_the_reference_does_not_leak(golden, name):
    """Episodes that end in a terminal state, or only with the batch: the same targets."""
    g = golden(name)
    reward, terminal, filled = (
        time_major(g[key])[..., 0] for key in ("reward", "terminated", "filled")
    )
    terminal, filled = terminal.astype(bool), filled.astype(bool)
    arrived = jnp.concatenate([jnp.zeros_like(terminal[:1]), terminal[:-1]])
    valid = (filled & ~arrived)[:-1]
    sound = np.asarray(jnp.any(terminal, axis=0) | filled[-1])
    assert sound.any()
    q = time_major(g["target_q_joint"])[..., 0]
    for i, (gamma, lam) in enumerate(g["gamma_lambda"]):
        ours = lambda_returns(q, reward[:-1], terminal[:-1], terminal[:-1], valid, gamma, lam)
        theirs = time_major(g[f"lica_targets_{i}"])[..., 0]
        close(ours[:, sound], theirs[:, sound])


@pytest.mark.parametrize("name", ["lica_gumbel"])
def test_action_selection(golden, name):
    g = golden(name)
    avail, logits = jnp.asarray(g["avail_actions"]) > 0, jnp.asarray(g["masked_logits"])
    # The file's logits are masked already; ours may be anything where unavailable.
    raw = jnp.where(avail, logits, 3.0)
    close(mask_logits(raw, avail), logits)
    uniform = jnp.asarray(g["uniform"])
    soft = gumbel_softmax(raw, avail, uniform, 1.0)
    close(soft, g["soft_sample_temp1"])
    close(gumbel_softmax(raw, avail, uniform, 0.5), g["soft_sample_temp05"])
    close(straight_through(soft), g["hard_sample"])
    np.testing.assert_array_equal(jnp.argmax(soft, axis=-1), g["selected_train"])
    np.testing.assert_array_equal(jnp.argmax(mask_logits(raw, avail), axis=-1), g["selected_test"])
    close(categorical_entropy(raw, avail), g["entropy"])


@pytest.mark.parametrize("name", ["lica_gumbel"])
@pytest.mark.parametrize("which", ["lica", "q"])
def test_epsilon_schedule(golden, name, which):
    g = golden(name)
    start, finish, length = g[f"eps_{which}_cfg"]
    close(linear(start, finish, length, jnp.asarray(g["eps_T"], float)), g[f"eps_{which}"])
