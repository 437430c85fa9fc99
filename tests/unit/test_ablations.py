"""The paper's ablations: settings, presets, and what each of them changes in an update."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.lica import lica
from lica_jax.config import ablation_names, load_config, merge, preset_names, resolve
from lica_jax.core.gumbel import gumbel_softmax, straight_through
from lica_jax.core.returns import lambda_returns, monte_carlo_returns, pymarl_lambda_returns
from lica_jax.core.schedules import linear
from lica_jax.errors import UserError
from lica_jax.networks.critics import ON_CPU, MixingCritic, MLPCritic, by_platform
from lica_jax.types import Collect, Progress, TaskSpec, TimeStep, Trajectory
from tests.glossary import check_figures
from tests.unit.test_lica_remedies import begun, make_networks
from tests.unit.test_ppo import drawn

# 5m_vs_6m's sizes, without the last actions that `state_last_action` appends.
SPEC = TaskSpec("x", n_agents=5, n_actions=12, obs_size=55, state_size=38, episode_limit=70)
SMALL = TaskSpec("x", n_agents=2, n_actions=3, obs_size=4, state_size=5, episode_limit=6)
NETS = lica.Config(hidden=8, mixing_embed=4, hypernet_hidden=8, mlp_hidden=8)


# --- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["fast", "paper"])
@pytest.mark.parametrize("name", sorted(ablation_names("lica")))
def test_every_ablation_is_a_preset(preset, name):
    base = resolve(load_config("lica", "smax/5m_vs_6m", preset=preset), SPEC)
    config = resolve(load_config("lica", "smax/5m_vs_6m", preset=f"{preset}+{name}"), SPEC)
    assert config.preset == f"{preset}+{name}"
    assert ablation_names("lica")[name], "a first line that says what it is"
    # What the official code and the paper already do changes nothing there.
    unchanged = (
        {"xi_0.11", "hypernet_full", "episodes"}
        if preset == "paper"
        else {"xi_0.06", "hypernet_64"}
    )
    same = (config.algo, config.collect) == (base.algo, base.collect) and dataclasses.replace(
        config.hp, reward_scale=base.hp.reward_scale
    ) == base.hp
    assert same == (name in unchanged) or name == "xi_0.06"


def test_the_papers_betas():
    for beta in (0.13, 0.15, 0.17):
        config = load_config("lica", "smax/5m_vs_6m", preset=f"paper+beta_{beta}")
        assert (config.algo.entropy_mode, config.hp.entropy_coef) == ("constant", beta)


def test_ablations_add_up():
    config = load_config("lica", "smax/3m", preset="fast+mlp_critic+entropy_agent")
    assert (config.algo.critic, config.algo.entropy_mode) == ("mlp", "agent")


@pytest.mark.parametrize("name", ablation_names("lica"))
def test_every_ablation_goes_on_tuned(name):
    """But for those of whole episodes, whose refusal says so."""
    config = load_config("lica", "smax/3m", preset=f"tuned+{name}")
    try:
        resolve(config, SPEC)
    except UserError as error:
        assert "needs collect.mode" in str(error)


@pytest.mark.parametrize(
    ("preset", "match"),
    [
        ("fast+mlp_critc", "unknown ablation of lica 'mlp_critc'; did you mean mlp_critic"),
        ("fast+mlp_critic+mlp_critic", "names ablation mlp_critic twice"),
        ("ablations", "unknown preset 'ablations'"),
        ("+mlp_critic", "unknown preset ''"),
        (
            "fast+xi_0.06+beta_0.13",
            "xi_0.06 and beta_0.13 contradict each other: algo.entropy_mode would be 'global'",
        ),
    ],
)
def test_presets_that_do_not_exist(preset, match):
    assert "ablations" not in preset_names()
    with pytest.raises(UserError, match=match):
        load_config("lica", "smax/3m", preset=preset)


def test_an_algorithm_without_ablations():
    with pytest.raises(UserError, match="unknown ablation of iql 'mlp_critic'; known: none"):
        load_config("iql", "smax/3m", preset="fast+mlp_critic")


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"targets": "monte_carlo"}, 'needs collect.mode "episode".*no complete return'),
        ({"targets": "pymarl"}, 'needs collect.mode "episode".*where an episode ends'),
        ({"critic": "mlp", "critic_pass": "grouped"}, "is about the hypernetwork"),
        ({"policy_input": "sampled"}, "policy_input: .*'probs'"),
        ({"mlp_hidden": 0}, 'algo.mlp_hidden must be "matched" or at least 1, got 0'),
    ],
)
def test_combinations_that_make_no_sense(overrides, match):
    with pytest.raises(UserError, match=match):
        resolve(load_config("lica", "smax/3m", algo=overrides), SPEC)


def test_continuous_actions_have_nothing_to_relax():
    spec = dataclasses.replace(SPEC, continuous=True)
    for name, value in (("policy_input", "straight_through"), ("critic_pass", "grouped")):
        config = load_config("lica", "mpe/simple_spread", algo={name: value})
        with pytest.raises(UserError, match=rf"{value}.*continuous actions"):
            resolve(config, spec)


@pytest.mark.parametrize("name", ["temperature", "temperature_final"])
def test_a_temperature_of_zero_is_refused(name):
    with pytest.raises(UserError, match=f"hp.{name} must be at least"):
        resolve(load_config("lica", "smax/3m", hp={name: 0.0}), SPEC)


# --- pieces --------------------------------------------------------------------------------------


def test_the_matched_mlp_has_the_mixing_critics_size():
    def size(config):
        nets = make_networks(config, SPEC)
        shapes = jax.eval_shape(lambda k: lica.init(nets, k), jax.random.key(0))
        return sum(x.size for x in jax.tree.leaves(shapes.critic)), nets.critic

    full, mixing = size(lica.Config())
    matched, mlp = size(lica.Config(critic="mlp", mlp_hidden="matched"))
    small, _ = size(lica.Config(critic="mlp"))
    assert isinstance(mixing, MixingCritic) and isinstance(mlp, MLPCritic)
    assert full > 15_000_000
    assert abs(matched - full) < 1e-3 * full
    for near in (mlp.hidden - 1, mlp.hidden + 1):
        other, _ = size(lica.Config(critic="mlp", mlp_hidden=near))
        assert abs(other - full) > abs(matched - full)
    # (98 + 1) 64 + (60 + 1) 64 + (128 + 1) 64 + 65
    assert small == 18_561


def test_straight_through_is_hard_in_value_and_soft_in_gradient(x64):
    logits = np.array([[0.3, -0.2, 1.0], [0.0, 5.0, 0.0]])
    avail = np.array([[True, True, False], [False, False, False]])
    uniform = np.array([[0.2, 0.9, 0.5], [0.5, 0.5, 0.5]])
    weights = np.array([[1.0, -2.0, 4.0], [1.0, 1.0, 1.0]])

    def total(logits, sample):
        u = sample(gumbel_softmax(logits, avail, uniform, 0.7))
        return jnp.sum(u * weights), u

    slope = jax.jit(jax.grad(total, has_aux=True), static_argnums=1)
    grads, hard = jax.device_get(slope(logits, straight_through))
    np.testing.assert_allclose(hard, [[0, 1, 0], [0, 0, 0]])  # 0.3 - 0.48 < -0.2 + 2.25
    np.testing.assert_allclose(grads, slope(logits, lambda x: x)[0], rtol=1e-12)
    # By hand: two actions, soft = sigmoid of the difference of scores over the temperature.
    d = (0.3 - np.log(-np.log(0.2)) - (-0.2 - np.log(-np.log(0.9)))) / 0.7
    p = 1 / (1 + np.exp(-d))
    np.testing.assert_allclose(grads[0, 0], 3.0 * p * (1 - p) / 0.7, rtol=1e-10)
    np.testing.assert_array_equal(grads[1], 0)


def test_gumbel_samples_follow_the_policy():
    logits, n = np.float32([1.0, 0.0, -1.0, 9.0]), 20_000
    avail = np.array([True, True, True, False])
    uniform = np.random.default_rng(0).uniform(size=(n, 4)).astype(np.float32)
    soft = jax.jit(gumbel_softmax)(np.tile(logits, (n, 1)), np.tile(avail, (n, 1)), uniform, 0.3)
    picked = np.argmax(np.asarray(soft), axis=-1)
    shares = np.bincount(picked, minlength=4) / n
    np.testing.assert_allclose(shares, [0.665, 0.245, 0.09, 0], atol=0.012)


def test_a_linear_schedule():
    points = [float(linear(2.0, 1.0, 10.0, t)) for t in (0.0, 5.0, 10.0, 99.0)]
    assert points == [2.0, 1.5, 1.0, 1.0]
    assert float(linear(2.0, 1.0, 0.0, 0.0)) == 1.0


def test_monte_carlo_returns_by_hand():
    reward = np.array([1.0, 2.0, 4.0, 100.0])[:, None]
    cut = np.array([False, False, True, True])[:, None]
    valid = np.array([True, True, True, False])[:, None]
    got = jax.jit(monte_carlo_returns)(reward, cut, valid, 0.5)
    np.testing.assert_allclose(got[:, 0], [3.0, 4.0, 4.0, 0.0])


def test_the_reference_recursion_leaks_behind_a_cut():
    """Slot 1 ends an episode by a time limit while the batch goes on: G_1 is not 0 there."""
    q, r = np.array([9.0, 3.0, 7.0])[:, None], np.array([1.0, 0.0])[:, None]
    no = np.zeros((2, 1), bool)
    mask = np.ones((2, 1))
    got = jax.jit(pymarl_lambda_returns)(q, r, no, mask, 0.5, 0.5)
    # y_2 = 7;  y_1 = .25 * 7 + .25 * 7 = 3.5;  y_0 = .25 * 3.5 + 1 + .25 * 3 = 2.625
    np.testing.assert_allclose(got[:, 0], [2.625, 3.5])
    cut, valid = np.array([[True], [False]]), np.array([[True], [False]])
    ours = jax.jit(lambda_returns)(q, r, no, cut, valid, 0.5, 0.5)
    np.testing.assert_allclose(ours[:, 0], [2.5, 0.0])


# --- updates -------------------------------------------------------------------------------------


@cache
def batch(spec=SMALL, steps=6, envs=4):
    """Whole episodes of several lengths; one is cut by the limit."""
    rng = np.random.default_rng(0)
    shape = (steps + 1, envs)
    t, length = np.arange(steps + 1)[:, None], np.array([3, 6, 6, 4])
    over, limit = t >= length, np.array([False, False, False, True])
    avail = rng.random((*shape, spec.n_agents, spec.n_actions)) < 0.6
    avail[..., 0] = True

    def normal(*more):
        return rng.normal(size=(*shape, *more)).astype(np.float32)

    ts = TimeStep(
        obs=normal(spec.n_agents, spec.obs_size), state=normal(spec.state_size), avail=avail,
        reward=normal(), terminated=over & ~limit, truncated=over & limit,
        first=np.broadcast_to(t == 0, shape), alive=np.ones((*shape, spec.n_agents), bool), info={},
    )  # fmt: skip
    action = np.zeros((*shape, spec.n_agents), np.int32)
    carry = make_networks(NETS, spec).actor.initial_carry(envs)
    return Trajectory(ts, action, ~over[:-1], carry, {})


update = jax.jit(lica.update, static_argnums=0)


def updated(hp=None, env_steps=0.0, **changes):
    nets = make_networks(dataclasses.replace(NETS, **changes), SMALL)
    learner = begun(nets)
    hp = merge(lica.HParams(reward_scale=1.0), hp or {})
    progress = Progress(jnp.float32(env_steps), jnp.int32(0))
    new, metrics = update(nets, learner, batch(), jax.random.key(2), hp=hp, progress=progress)
    return learner, *jax.device_get((new, metrics))


@pytest.fixture(scope="module")
def plain():
    return updated()[2]


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({"critic": "mlp"}, "critic_loss"),
        ({"critic": "mlp", "mlp_hidden": "matched"}, "critic_loss"),
        ({"policy_input": "straight_through"}, "actor_grad_norm"),
        ({"policy_input": "gumbel_softmax"}, "actor_grad_norm"),
        ({"targets": "monte_carlo"}, "target_mean"),
        ({"targets": "pymarl"}, "target_mean"),
        ({"entropy_mode": "constant"}, "entropy_coef_effective"),
        ({"hypernet_layers": 1}, "critic_loss"),
    ],
    ids=lambda x: "-".join(map(str, x.values())) if isinstance(x, dict) else x,
)
def test_an_update_of_every_kind(plain, changes, moved):
    """It learns, logs what the paper's figures show, and differs where it should."""
    learner, new, metrics = updated(**changes)
    logged = (
        "entropy", "entropy_coef_effective", "max_pi", "actor_grad_norm", "critic_grad_norm",
        "critic_loss", "td_error_abs",
    )  # fmt: skip
    assert all(np.isfinite(metrics[name]) for name in (*logged, "loss"))
    for part in ("actor", "critic"):
        before, after = jax.tree.leaves(getattr(learner, part)), jax.tree.leaves(getattr(new, part))
        assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert float(metrics[moved]) != pytest.approx(float(plain[moved]), rel=1e-3)
    check_figures("lica", metrics)


def test_without_a_target_critic(plain):
    """Nothing is kept of it; the first update's targets are those of its equal."""
    learner, new, metrics = updated(target_critic=False)
    assert learner.target_critic == () and new.target_critic == ()
    assert float(metrics["target_mean"]) == pytest.approx(float(plain["target_mean"]), rel=1e-5)


def test_a_temperature_alone_is_constant():
    _, _, metrics = updated({"temperature": 0.5}, env_steps=9.0, policy_input="straight_through")
    assert float(metrics["temperature"]) == 0.5
    config = load_config("lica", "smax/3m", hp={"temperature": 0.5})
    assert resolve(config, SPEC).hp.temperature_final == 0.5


def test_monte_carlo_keeps_no_target_critic():
    learner, new, _ = updated(targets="monte_carlo")
    assert learner.target_critic == () and new.target_critic == ()


def test_a_final_temperature_needs_a_time():
    config = load_config("lica", "smax/3m", hp={"temperature": 0.5, "temperature_final": 0.3})
    with pytest.raises(UserError, match="temperature_final needs"):
        resolve(config, SPEC)


def test_the_temperature_follows_its_schedule():
    hp = {"temperature": 2.0, "temperature_final": 1.0, "temperature_steps": 100.0}
    _, _, metrics = updated(hp, env_steps=50.0, policy_input="straight_through")
    assert float(metrics["temperature"]) == pytest.approx(1.5)


def test_the_grouped_pass_updates_alike(plain):
    _, _, metrics = updated(critic_pass="grouped")
    for name, value in plain.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


def test_the_grouped_pass_is_chosen_by_size():
    wide, narrow = (make_networks(lica.Config(hypernet_hidden=w), SPEC).critic for w in ("full", 8))
    assert (wide.grouped_actions, wide.grouped_policies) == (ON_CPU, ON_CPU)
    assert (narrow.grouped_actions, narrow.grouped_policies) == (ON_CPU, False)
    chosen = make_networks(lica.Config(critic_pass="grouped"), SPEC).critic
    assert chosen.grouped_actions is True and chosen.grouped_policies is True


def test_the_grouped_pass_is_chosen_by_platform():
    """By the one that a program is compiled for: the same values and gradients, and for a GPU no
    loop over groups of rows, whatever compiles it."""
    nets = make_networks(lica.Config(hypernet_hidden=8), SPEC)
    n, a = SPEC.n_agents, SPEC.n_actions
    rng = np.random.default_rng(0)
    state = rng.normal(size=(6, nets.state_size)).astype(np.float32)
    action = rng.integers(a, size=(6, n), dtype=np.int32)
    needed = np.arange(6) != 2
    zeros = state[0], np.zeros(n * a, np.float32)
    params = drawn(jax.eval_shape(nets.critic.init, jax.random.key(2), *zeros))

    def gradient(critic, params, state, action, needed):
        def total(params):
            q = critic.apply(params, state, action, needed, method="at_actions")
            return jnp.sum(jnp.where(needed, q, 0) ** 2)

        return jax.value_and_grad(total)(params)

    args = params, state, action, needed
    inside = jax.jit(by_platform(nets.critic, gradient))
    outside = jax.jit(partial(gradient, nets.critic))
    dense = jax.jit(partial(gradient, nets.critic.clone(grouped_actions=False)))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    for function in (inside, outside):
        jax.tree.map(close, function(*args), dense(*args))
        for platform, loops in (("cpu", True), ("cuda", False), ("tpu", False)):
            program = jax.export.export(function, platforms=[platform])(*args).mlir_module()
            assert ("stablehlo.while" in program) == loops, platform


def test_collection_is_known_to_the_checks():
    episode = Collect("episode", 4)
    assert lica.Config(targets="monte_carlo").problems(SPEC, episode) == []
