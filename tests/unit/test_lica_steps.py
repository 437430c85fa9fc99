"""Beyond LICA's paper, by hand: minibatches, layer norm, several held actor steps, schedules."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.learner import Learner, make_networks
from lica_jax.config import load_config, resolve
from lica_jax.core.entropy import categorical_kl, kl_excess
from lica_jax.core.minibatches import stream_groups
from lica_jax.core.optim import adam_step
from lica_jax.core.schedules import annealed
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.networks.critics import MixingCritic
from lica_jax.types import Progress
from tests.glossary import figures
from tests.unit.test_lica_remedies import begun, critic_batch
from tests.unit.test_ppo import SPEC, START, B, battle, drawn, networks

HP = lica.HParams(reward_scale=1.0)
KEY = jax.random.key(7)

update = jax.jit(lica.update, static_argnums=0)
update_critic = jax.jit(critic_update.update_critic, static_argnums=0)
update_actor = jax.jit(actor_update.update_actor, static_argnums=0)
unroll_over = jax.jit(
    lambda nets, params, traj: actor_update.unroll_over(nets.actor, params, traj)[:-1],
    static_argnums=0,
)
kl_of = jax.jit(categorical_kl)


@pytest.fixture(scope="module")
def world():
    """Networks, a learner and a batch."""
    config = lica.Config(
        actor="mlp", hidden=8, mixing_embed=4, hypernet_hidden=8, critic_pass="dense"
    )
    nets = make_networks(config, SPEC)
    traj = battle(networks(actor="mlp", critic="mlp"))
    return nets, begun(nets), traj


def changed(nets, **changes):
    return nets._replace(config=replace(nets.config, **changes))


def test_the_critic_goes_over_a_batch_in_minibatches(world):
    nets, learner, traj = world
    batch = critic_batch(nets, traj)
    target = jax.jit(partial(critic_update.critic_targets, nets))(
        learner.target_critic, batch, traj, HP
    )
    parts = jax.device_get((batch, target))

    @jax.jit
    def stepped(params, opt, part, y):
        grads, _ = jax.grad(critic_update.critic_objective, has_aux=True)(params, nets, part, y)
        return adam_step(params, grads, opt, HP.critic_lr, HP.grad_norm_clip)

    params, opt = learner.critic, learner.critic_opt
    groups = jax.jit(stream_groups, static_argnums=(1, 2, 3))(KEY, 2, 2, B)
    objective = jax.jit(partial(critic_update.critic_objective, nets=nets))
    met = []  # each half before the step on it
    for streams in np.asarray(groups):
        part, y = jax.tree.map(lambda x, s=streams: x[:, s], parts)
        met.append(float(objective(params, batch=part, target=y)[0]))
        params, opt, _ = stepped(params, opt, part, y)
    halves = changed(nets, critic_steps=2, critic_minibatches=2)
    got, shown = update_critic(halves, learner, batch, traj, HP, KEY)
    whole, _ = update_critic(nets, learner, batch, traj, HP)
    want, after, whole = (
        float(objective(x, batch=batch, target=target)[0])
        for x in (params, got.critic, whole.critic)
    )
    assert after == pytest.approx(want, rel=1e-4) and abs(after - whole) > 1e-3 * want
    assert got.critic_steps == 4
    assert shown["critic_loss"] == pytest.approx(np.mean(met[:2]), rel=1e-4)
    assert abs(met[1] - met[0]) > 1e-2 * met[0] > 0


def test_minibatches_that_do_not_divide_the_environments_are_refused():
    algo = {"critic_minibatches": 5}
    config = load_config("lica", "probe/match", algo=algo, collect={"envs": 32})
    with pytest.raises(UserError, match=r"algo.critic_minibatches 5 must divide collect.envs 32"):
        resolve(config, make_task("probe/match").spec)


def test_divergence_by_hand(x64):
    old, new = np.log(np.array([[0.5, 0.5, 9.0]])), np.log(np.array([[0.25, 0.75, 9.0]]))
    avail = np.array([[True, True, False]])
    want = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    np.testing.assert_allclose(kl_of(old, new, avail), [want])
    np.testing.assert_allclose(kl_of(old, old, avail), [0], atol=1e-12)
    gradient = jax.jit(jax.grad(lambda x: categorical_kl(old, x, avail)[0]))(new)
    np.testing.assert_allclose(gradient, [[0.25 - 0.5, 0.75 - 0.5, 0]])  # new - old


def test_several_actor_steps_are_held_by_the_old_policies(world):
    nets, learner, traj = world
    batch = critic_batch(nets, traj)
    hp = HP.replace(kl_coef=3.0)
    old = unroll_over(nets, learner.actor, traj)
    gradient = jax.jit(
        jax.value_and_grad(
            lambda p, hp, old: actor_update.actor_objective(
                p, nets, learner.critic, batch, traj, hp, None, old
            ),
            has_aux=True,
        )
    )
    step = jax.jit(adam_step)
    params, opt, losses = learner.actor, learner.actor_opt, []
    for _ in range(2):
        (loss, shown), grads = gradient(params, hp, old)
        losses.append(float(loss))
        params, opt, _ = step(params, grads, opt, hp.actor_lr, hp.grad_norm_clip)
    twice = changed(nets, actor_steps=2)
    _, metrics = update_actor(twice, learner, batch, traj, hp)
    assert metrics["actor_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert metrics["kl"] == pytest.approx(float(shown["kl"]), rel=1e-2) and shown["kl"] > 0
    assert metrics.keys() <= figures("lica")
    (there, _), held = gradient(params, hp, old)
    (free, _), plain = gradient(params, hp, None)
    assert there - free == pytest.approx(3 * float(gradient(params, hp, old)[0][1]["kl"]), rel=1e-2)
    # It pulls once policies have moved, and not before.
    pull = jax.tree.map(lambda x, y: np.abs(np.asarray(x) - y).max(), held, plain)
    assert max(jax.tree.leaves(pull)) > 1e-3
    at_rest = (gradient(learner.actor, hp, x)[1] for x in (old, None))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), *at_rest)


def test_what_the_weight_of_the_divergence_is_raised_by():
    """Twice as much above 1.5 times the target, half of it below the target over 1.5."""
    kl = np.float32([0.016, 0.0149, 0.01, 0.0067, 0.0066, 0.0])
    want = np.log(2) * np.array([1, 0, 0, 0, -1, -1])
    np.testing.assert_allclose(jax.jit(kl_excess)(kl, 0.01), want, rtol=1e-6)


@pytest.mark.parametrize("coef", [0.5, 0.0])
def test_the_weight_of_the_divergence_follows_its_target(world, coef):
    nets, _, traj = world
    own = changed(nets, actor_steps=2, kl_mode="target")
    learner = begun(own)
    hp = HP.replace(kl_coef=coef)
    after, shown = update(own, learner, traj, KEY, hp=hp.replace(kl_target=1e9), progress=START)
    start = coef or 1.0  # a weight of 0 could not be raised
    assert shown["kl_coef_effective"] == pytest.approx(start) and shown["kl"] > 0
    assert shown.keys() <= figures("lica")
    # Too little: halved for the next batch. Too much there: doubled from there.
    after, shown = update(own, after, traj, KEY, hp=hp.replace(kl_target=1e-9), progress=START)
    assert shown["kl_coef_effective"] == pytest.approx(start / 2)
    kl = float(update(own, after, traj, KEY, hp=hp, progress=START)[1]["kl"])
    here, shown = update(own, after, traj, KEY, hp=hp.replace(kl_target=kl), progress=START)
    assert shown["kl_coef_effective"] == pytest.approx(start)
    assert here.log_kl_factor == after.log_kl_factor  # as much as there should be
    # It is what pulls: the same as a constant weight.
    plain = Learner(**{name: getattr(after, name) for name in vars(world[1])})
    constant, hp = changed(nets, actor_steps=2), hp.replace(kl_coef=start)
    there, _ = update(constant, plain, traj, KEY, hp=hp, progress=START)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), here.actor, there.actor)


def test_the_divergence_that_is_held_is_that_of_the_whole_update(world):
    nets, _, traj = world
    own = changed(nets, actor_steps=2, kl_mode="target")
    learner, valid = begun(own), np.asarray(traj.valid)
    after, shown = update(own, learner, traj, KEY, hp=HP, progress=START)
    old, new = (unroll_over(own, x.actor, traj) for x in (learner, after))
    kl = np.mean(np.asarray(kl_of(old, new, np.asarray(traj.steps.avail)[:-1]))[valid])
    assert shown["kl"] == pytest.approx(kl, rel=1e-3)
    constant, hp = changed(own, kl_mode="constant"), HP.replace(kl_coef=1.0)
    _, shown = update(constant, begun(constant), traj, KEY, hp=hp, progress=START)
    assert kl > 1.6 * shown["kl"]  # before the last step
    # A target between the two: it went too far.
    hp = HP.replace(kl_target=float(kl) / 1.6)
    after, _ = update(own, learner, traj, KEY, hp=hp, progress=START)
    assert after.log_kl_factor == pytest.approx(np.log(2))


def test_a_target_needs_steps_that_the_weight_acts_on():
    config = load_config("lica", "probe/match", algo={"kl_mode": "target"})
    with pytest.raises(UserError, match=r"algo.kl_mode .* algo.actor_steps above 1"):
        resolve(config, make_task("probe/match").spec)


@pytest.mark.parametrize("steps", [1, 2])
def test_policies_stay_within_the_trust_region(world, steps):
    """A step that leads further is cut short on its way, one that does not is not touched."""
    nets, learner, traj = world
    batch = critic_batch(nets, traj)
    old = unroll_over(nets, learner.actor, traj)
    valid, avail = np.asarray(traj.valid), np.asarray(traj.steps.avail)[:-1]

    def divergence(params):
        new = unroll_over(nets, params, traj)
        return float(np.mean(np.asarray(kl_of(old, new, avail))[valid]))

    def updated(limit, **algo):
        own = changed(nets, actor_steps=steps, **algo)
        return update_actor(own, learner, batch, traj, HP.replace(kl_limit=limit))

    free, _ = updated(1.0)
    kl = divergence(free.actor)
    near, shown = updated(kl / 100, trust_region=True)
    assert shown["kl"] == pytest.approx(kl, rel=1e-3)
    assert shown["kl_share"] == pytest.approx(0.1, rel=1e-3)
    assert divergence(near.actor) == pytest.approx(kl / 100, rel=0.3)  # the square is an estimate
    assert shown.keys() <= figures("lica")
    way = jax.tree.map(lambda x, y: 0.1 * (np.asarray(y) - x), learner.actor, free.actor)
    went = jax.tree.map(lambda x, y: np.asarray(y) - x, learner.actor, near.actor)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), went, way)
    whole, shown = updated(2 * kl, trust_region=True)
    assert shown["kl_share"] == 1
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), whole.actor, free.actor)
    # What is cut short is the policies' way; the optimiser goes on from its own gradients.
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), near.actor_opt, free.actor_opt)


def test_policies_that_do_not_move_stay_where_they_are(world):
    nets, learner, traj = world
    own, hp = changed(nets, trust_region=True), HP.replace(actor_lr=0.0)
    after, shown = update_actor(own, learner, critic_batch(nets, traj), traj, hp)
    assert shown["kl_share"] == 1 and abs(shown["kl"]) < 1e-6
    jax.tree.map(np.testing.assert_array_equal, after.actor, learner.actor)


@pytest.mark.parametrize(
    "algo, message",
    [
        ({"actor_steps": 2}, r"algo.actor_steps 2 .* use 1"),
        ({"trust_region": True}, r"algo.trust_region .* leave it False"),
        ({"kl_mode": "target"}, r'algo.kl_mode "target" .* use "constant"'),
    ],
)
def test_continuous_policies_are_not_held_by_divergence(algo, message):
    config = load_config("lica", "probe/aim", algo=algo)
    with pytest.raises(UserError, match=message):
        resolve(config, make_task("probe/aim").spec)


def test_xi_follows_env_steps():
    at = [float(annealed(0.06, 0.02, 100.0, t)) for t in (0, 50, 100, 1e6)]
    np.testing.assert_allclose(at, [0.06, 0.04, 0.02, 0.02], rtol=1e-6)
    assert annealed(0.06, 0.02, 0.0, 50) == pytest.approx(0.06)  # no steps: constant
    assert annealed(0.06, None, 100.0, 50) == pytest.approx(0.06)


def test_xi_at_its_end_is_that_of_a_constant_one(world):
    nets, learner, traj = world
    annealing = HP.replace(entropy_coef=0.5, entropy_final=0.01, entropy_steps=10.0)
    late = Progress(jnp.float32(10), jnp.int32(1))
    constant = annealing.replace(entropy_coef=0.01)
    _, got = update(nets, learner, traj, KEY, hp=annealing, progress=late)
    _, want = update(nets, learner, traj, KEY, hp=constant, progress=START)
    for name in ("actor_loss", "actor_grad_norm", "entropy_coef_effective"):
        assert got[name] == pytest.approx(float(want[name]), rel=1e-4), name
    assert got["entropy_coef_effective"] == pytest.approx(0.01 / float(got["entropy"]), rel=1e-4)


def test_layer_norm_of_the_mixing_layer_by_hand(x64):
    """Rows of ``u W1(s) + b1(s)`` have mean 0 and variance 1 before scale, bias and ReLU."""
    critic = MixingCritic(4, 3, 1, layer_norm=True)
    rng = np.random.default_rng(7)
    state, u = rng.normal(size=(5, 2)), rng.uniform(size=(5, 4))
    params = drawn(jax.eval_shape(critic.init, KEY, state, u))
    p = params["params"]

    def linear(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    def normal(x, layer):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * layer["scale"] + layer["bias"]

    w1 = state @ p["hyper_w_1"]["layer_0"]["weight"].T + p["hyper_w_1"]["layer_0"]["bias"]
    mixed = np.einsum("rm,rme->re", u, w1.reshape(5, 4, 3)) + linear(state, p["hyper_b_1"])
    w2 = linear(state, p["hyper_w_final"]["layer_0"])
    h = normal(linear(state, p["hyper_b_2"]["layer_0"]), p["hyper_b_2"]["norm_0"])
    b2 = linear(np.maximum(h, 0), p["hyper_b_2"]["layer_1"])
    want = np.sum(np.maximum(normal(mixed, p["mix_norm"]), 0) * w2, axis=-1) + b2[:, 0]
    np.testing.assert_allclose(jax.jit(critic.apply)(params, state, u), want, rtol=1e-6)


def test_layer_norm_computes_all_of_w1(world):
    nets = make_networks(replace(world[0].config, critic_layer_norm=True), SPEC)
    assert nets.critic.layer_norm and not nets.critic.grouped_actions
    config = replace(nets.config, critic_pass="grouped")
    assert any("critic_layer_norm" in x for x in config.problems(SPEC, load_config(
        "lica", "probe/match").collect))  # fmt: skip


def test_shuffles_and_noise_have_keys_of_their_own(world, monkeypatch):
    """A key that one is drawn with and the other's is folded from gives a number away."""
    nets, learner, traj = world
    nets = changed(nets, policy_input="gumbel_softmax", critic_minibatches=2)
    seen = {}

    def note(name, at, call):
        def noted(*args):
            seen[name] = args[at]
            return call(*args)

        monkeypatch.setattr(lica, name, noted)

    note("update_critic", 5, lica.update_critic)
    note("draw_relaxation", 2, lica.draw_relaxation)

    @jax.jit
    def keys(key):
        lica.update(nets, learner, traj, key, hp=HP, progress=START)
        shuffle, noise = seen["update_critic"], seen["draw_relaxation"]
        return jax.random.key_data(shuffle), jax.random.bits(noise, (64,))

    (one, two), drawn = jax.device_get(keys(KEY))
    assert one ^ two not in drawn


def test_a_whole_update_with_all_of_it(world):
    """Minibatches, held steps and a schedule, as training calls them."""
    nets, learner, traj = world
    nets = changed(nets, critic_minibatches=2, actor_steps=2)
    hp = HP.replace(kl_coef=1.0, entropy_final=0.5, entropy_steps=100.0)
    after, shown = update(nets, learner, traj, KEY, hp=hp, progress=START)
    assert np.isfinite(shown["loss"]) and shown["kl"] >= 0
    assert after.critic_steps == 2
    assert not all(map(np.array_equal, *map(jax.tree.leaves, (after.actor, learner.actor))))
