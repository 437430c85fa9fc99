"""The traffic junction's losses by hand, its counting, and what a small Figure 5 leaves behind."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.reproduce import fig5
from lica_jax.reproduce import traffic_junction as game

COMA = ("coma_repo", "coma_fixed_logprob", "coma_on_policy")
NONE_DROPPED = -1
# The sizes of tests/cli/test_reproduce.py, so that both find one set of programs in the cache.
SMALL = {"inits": 20, "iterations": 3, "seed": 3}


def logits_policy(first, second):
    """A policy with chosen logits for the agents 0 and 1: z = first + (second - first) id."""
    slope = second - first
    hidden = {"kernel": jnp.array([[abs(slope)]]), "bias": jnp.zeros(1)}
    out = {"kernel": jnp.array([[np.sign(slope)]]), "bias": jnp.array([first])}
    return {"params": {"layer_0": hidden, "layer_1": out}}


def linear_critic(first, second, constant=0.0):
    """Q(u) = first u_1 + second u_2 + constant, for weights that are not negative."""
    hidden = {"kernel": jnp.diag(jnp.array([first, second])), "bias": jnp.zeros(2)}
    out = {"kernel": jnp.ones((2, 1)), "bias": jnp.array([constant])}
    return {"params": {"layer_0": hidden, "layer_1": out}}


def true_critic():
    """Q(u) = |u_1 - u_2|, the rewards themselves."""
    hidden = {"kernel": jnp.array([[1.0, -1.0], [-1.0, 1.0]]), "bias": jnp.zeros(2)}
    out = {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}
    return {"params": {"layer_0": hidden, "layer_1": out}}


def random_nets(seed, *batch, hidden=3):
    """Networks with normal weights; `game.init` would be compiled for each width."""
    rng = np.random.default_rng(seed)

    def net(inputs):
        sizes = (inputs, hidden, 1)
        return {"params": {
            f"layer_{i}": {"kernel": jnp.asarray(rng.normal(size=(*batch, *sizes[i : i + 2]))),
                           "bias": jnp.asarray(rng.normal(size=(*batch, sizes[i + 1])))}
            for i in range(2)
        }}  # fmt: skip

    return game.Nets(net(2), net(1))


@partial(jax.jit, static_argnums=0)
def d_logits(loss, policy, critic, dropped=NONE_DROPPED):
    """Gradient of a loss with respect to the two agents' logits, from the parameters' gradient.

    In `logits_policy` the last bias moves both logits, the first kernel only the second one's.
    """
    grads = jax.grad(loss)(policy, critic, dropped)["params"]
    sign = policy["params"]["layer_1"]["kernel"][0, 0]
    both, second = grads["layer_1"]["bias"][0], sign * grads["layer_0"]["kernel"][0, 0]
    return jnp.stack([both - second, second])


def test_the_networks_of_the_hand_worked_cases(x64):
    np.testing.assert_allclose(game.pass_logit(logits_policy(0.4, -1.1)), [0.4, -1.1], rtol=1e-12)
    np.testing.assert_allclose(
        game.q_value(linear_critic(2.0, 3.0, 1.0), jnp.asarray(game.JOINT, float)), [6, 3, 4, 1]
    )
    np.testing.assert_allclose(game.critic_loss(true_critic()), 0)
    # Errors (6-0, 3-1, 4-1, 1-0): (36 + 4 + 9 + 1) / 4.
    np.testing.assert_allclose(game.critic_loss(linear_critic(2.0, 3.0, 1.0)), 12.5)


def test_lica_climbs_the_critic_at_the_probabilities(x64):
    p = 1 / (1 + np.exp([-0.4, 1.1]))
    policy, critic = logits_policy(0.4, -1.1), linear_critic(2.0, 3.0)
    np.testing.assert_allclose(game.lica_loss(policy, critic, 0), -(2 * p[0] + 3 * p[1]))
    np.testing.assert_allclose(
        d_logits(game.lica_loss, policy, critic), -np.array([2, 3]) * p * (1 - p), rtol=1e-12
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_repo_coma_has_no_full_batch_gradient_whatever_the_critic(seed, x64):
    nets = random_nets(seed)
    grad = jax.jit(jax.grad(game.coma_repo_loss))
    full, one_out = (grad(nets.policy, nets.critic, row) for row in (NONE_DROPPED, 1))
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(one_out))
    assert scale > 1e-4
    for g in jax.tree.leaves(full):
        np.testing.assert_allclose(g, 0, atol=1e-12 * scale)


def test_a_row_left_out_of_repo_coma_is_all_its_gradient(x64):
    # Row 1 is agent 1's (1,0): A = Q(1,0) - Q(0,0) = 2. Leaving it out leaves -(-2 log p_1) / 15,
    # whose derivative is 2 (1 - p_1) / 15. Row 8 + 2 is agent 2's (0,1): A = 3, the same way.
    p = 1 / (1 + np.exp([-0.4, 1.1]))
    grad = partial(d_logits, game.coma_repo_loss, logits_policy(0.4, -1.1), linear_critic(2.0, 3.0))
    np.testing.assert_allclose(grad(1), [2 * (1 - p[0]) / 15, 0], atol=1e-14)
    np.testing.assert_allclose(grad(10), [0, 3 * (1 - p[1]) / 15], atol=1e-14)
    # Row 3 is (0,0): A = -2, with the log-probability of passing although the agent waits.
    np.testing.assert_allclose(grad(3), [-2 * (1 - p[0]) / 15, 0], atol=1e-14)
    for row in (4, 7, 12, 15):  # compared with themselves
        np.testing.assert_allclose(grad(row), 0, atol=1e-14)


def test_fixed_coma_is_undecided_only_under_the_true_critic(x64):
    policy = logits_policy(0.4, -1.1)
    loss = game.coma_fixed_loss
    np.testing.assert_allclose(d_logits(loss, policy, true_critic()), 0, atol=1e-14)
    # Agent 1, over the four actions: 2 (A=2)(1-p) and 2 (A=-2)(-p): 4 of A dlogp, over 15.
    np.testing.assert_allclose(
        d_logits(loss, policy, linear_critic(2.0, 3.0)), [-4 / 15, -6 / 15], rtol=1e-12
    )
    # Row 3 is agent 1's (0,0): A = -2, d log(1 - p) = -p.
    p = 1 / (1 + np.exp(-0.4))
    np.testing.assert_allclose(
        d_logits(loss, policy, linear_critic(2.0, 3.0), 3), [(-4 + 2 * p) / 15, -6 / 15], rtol=1e-12
    )


def test_on_policy_advantages_by_enumeration(x64):
    nets = random_nets(5)
    p = np.asarray(game.pass_prob(nets.policy))
    pi = np.stack([1 - p, p], axis=1)  # [agent, action]
    q = {u: float(game.q_value(nets.critic, jnp.array(u, float))) for u in np.ndindex(2, 2)}
    wanted = np.zeros((2, 4))
    for column, (a, b) in enumerate(game.JOINT.tolist()):
        wanted[0, column] = q[a, b] - sum(pi[0, v] * q[v, b] for v in (0, 1))
        wanted[1, column] = q[a, b] - sum(pi[1, v] * q[a, v] for v in (0, 1))
    np.testing.assert_allclose(
        game.counterfactual_advantage(nets.policy, nets.critic), wanted, rtol=1e-10, atol=1e-14
    )


def test_on_policy_gradient_is_that_of_the_expected_value(x64):
    nets = random_nets(6)

    def value(policy):
        p = game.pass_prob(policy)
        pi = jnp.prod(jnp.where(game.JOINT == 1, p, 1 - p), axis=1)
        return -jnp.sum(pi * game.q_value(nets.critic, jnp.asarray(game.JOINT, float))) / 2

    ours = jax.jit(jax.grad(game.coma_on_policy_loss))(nets.policy, nets.critic, 0)
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-14),
        ours,
        jax.jit(jax.grad(value))(nets.policy),
    )


def test_outcomes_round_the_last_pair_half_to_even():
    probs = np.array([[[0.9, 0.9], [0.51, 0.49]], [[0.9, 0.9], [0.5, 1.0]]])
    np.testing.assert_array_equal(game.outcome(probs), [[1, 0], [0, 1]])


def test_reward_and_entropy_by_hand():
    prob = np.array([[0.25, 0.5], [1.0, 0.0]])
    np.testing.assert_allclose(game.expected_reward(prob), [0.5, 1.0])
    quarter = 0.25 * np.log(4) + 0.75 * np.log(4 / 3)
    np.testing.assert_allclose(game.entropy(prob), [(quarter + np.log(2)) / 2, 0], rtol=1e-6)


def test_jit_of_vmap_is_one_after_another(x64):
    nets, dropped = random_nets(0, 3), jnp.array([[0, 1, 2], [9, 3, 10], [8, 5, 1]])
    train = partial(game.train, method="coma_repo", k=2)
    together = jax.jit(jax.vmap(train))(nets, dropped)
    assert together[1].shape == (3, 3, 2) and not np.allclose(together[1][0], together[1][1])
    alone = jax.jit(train)(*jax.tree.map(lambda x: x[1], (nets, dropped)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b[1], rtol=1e-9), alone, together)


def test_statistics_of_chosen_runs():
    last = np.array([[0.9, 0.2], [0.7, 0.4], [0.1, 0.2], [0.1, 0.4]])
    stats = game.statistics(np.stack([np.full((4, 2), 0.5), last], axis=1))
    one = stats["outcomes"]["1,0"]
    assert one["count"] == 2 and one["fraction"] == 0.5
    assert one["agent_1"] == {"mean": [0.5, 0.8], "std": [0, 0.1]}  # of the population
    assert one["agent_2"] == {"mean": [0.5, 0.3], "std": [0, 0.1]}
    assert stats["outcomes"]["1,1"] == {
        "count": 0, "fraction": 0.0,
        "agent_1": {"mean": None, "std": None}, "agent_2": {"mean": None, "std": None},
    }  # fmt: skip
    assert stats["all"]["agent_1"]["mean"] == [0.5, 0.45]
    rewards = [0.74, 0.54, 0.26, 0.42]
    np.testing.assert_allclose(stats["expected_reward"]["mean"], [0.5, np.mean(rewards)], atol=1e-6)
    np.testing.assert_allclose(stats["expected_reward"]["std"], [0, np.std(rewards)], atol=1e-6)
    np.testing.assert_allclose(stats["entropy"]["mean"][0], np.log(2), atol=1e-6)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small Figure 5: its folder, its JSON, and what it said."""
    out, heard = tmp_path_factory.mktemp("fig5") / "new" / "out", []
    fig5.reproduce(out, **SMALL, say=heard.append)

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return out, json.loads((out / "fig5.json").read_text(), parse_constant=refuse), heard


def test_figure_files(small):
    out = small[0]
    assert sorted(p.name for p in out.iterdir()) == sorted(fig5.FILES)
    assert (out / "fig5.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "fig5.pdf").read_bytes().startswith(b"%PDF")


def test_json_of_a_small_run(small):
    _, result, heard = small
    settings = result["settings"]
    assert {name: settings[name] for name in SMALL} == SMALL
    assert (settings["k"], settings["lrfac"], settings["lr"]) == (5, 2, 0.01)
    assert result["jax"] == jax.__version__
    assert set(result["methods"]) == {"lica", *COMA}
    for method, stats in result["methods"].items():
        assert list(stats["outcomes"]) == ["1,0", "0,1", "0,0", "1,1"]
        assert sum(o["count"] for o in stats["outcomes"].values()) == SMALL["inits"]
        for group in [*stats["outcomes"].values(), stats["all"]]:
            for curve in (*group["agent_1"].values(), *group["agent_2"].values()):
                assert curve is None if group["count"] == 0 else len(curve) == SMALL["iterations"]
        for curve in (*stats["expected_reward"].values(), stats["entropy"]["mean"]):
            assert len(curve) == SMALL["iterations"]
        assert any(line.startswith(f"{method} ") for line in heard)


def test_the_seed_decides_the_start_of_every_method(small):
    _, result, _ = small
    (nets, dropped), _ = fig5.begin(fig5.Settings(**SMALL))
    expected = np.mean(jax.vmap(game.pass_prob)(nets.policy), axis=0)
    curves = [
        [stats["all"][f"agent_{i}"]["mean"] for i in (1, 2)] for stats in result["methods"].values()
    ]
    for method in np.array(curves):  # the first record is from before any policy step
        np.testing.assert_allclose(method[:, 0], expected, atol=2e-6)
    assert len({tuple(method[0]) for method in curves}) == len(game.METHODS)
    other, _ = fig5.begin(fig5.Settings(**{**SMALL, "seed": 4}))
    for a, b in zip(jax.tree.leaves((nets, dropped)), jax.tree.leaves(other), strict=True):
        assert not np.array_equal(a, b)
