"""LICA against the official implementation's numbers, through the functions training uses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import previous_actions
from lica_jax.algorithms.lica import actor_update, critic_update, lica
from lica_jax.algorithms.lica.critics import grouped_passes
from lica_jax.algorithms.lica.learner import critic_batch, make_networks, new_learner
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.masking import masked_softmax
from lica_jax.networks.critics import MixingCritic
from lica_jax.types import Progress
from tests.reference.episodes import (
    RTOL_STEP,
    close,
    compiled,
    gradients,
    spec_of,
    trajectory,
)
from tests.reference.torch_weights import mixing_critic, recurrent_agent
from tests.step_sizes import check_half_way

PASSES = pytest.mark.parametrize("critic_pass", ["dense", "grouped"])


@PASSES
@pytest.mark.parametrize("name", ["lica_critic"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["onehot", "probs"])
def test_critic(golden, name, layers, kind, critic_pass):
    """The critic as a function of any joint action, and the two ways in which training calls it."""
    g = golden(name)
    n, a, e = g.cfg("n_agents"), g.cfg("n_actions"), g.cfg("mixing_embed_dim")
    critic = MixingCritic(n * a, e, layers, "full", *grouped_passes(critic_pass, 0))
    params = mixing_critic(g.under(f"L{layers}.w."))
    state = jnp.asarray(g.shaped("state", None, None, g.cfg("state_dim")))
    action = jnp.asarray(g.shaped("act_" + kind, *state.shape[:2], n, a))
    cotangent = g.shaped("cotangent", *state.shape[:2], 1)[..., 0]
    everywhere = jnp.ones(state.shape[:2], bool)

    def value(params, action, state):
        return critic.apply(params, state, action.reshape(*state.shape[:2], -1))

    def as_trained(params, action, state):
        if kind == "onehot":
            index = jnp.argmax(action, axis=-1)
            return critic.apply(params, state, index, everywhere, method="at_actions")
        avail = jnp.ones(action.shape, bool)
        return critic.apply(params, state, action, avail, everywhere, method="at_policies")

    def gradients(function):
        return jax.grad(lambda *args: jnp.sum(function(*args) * cotangent), argnums=(0, 1, 2))(
            params, action, state
        )

    prefix = f"L{layers}.{kind}."
    q = g.shaped(prefix + "q", *state.shape[:2], 1)[..., 0]
    close(value(params, action, state), q)
    close(as_trained(params, action, state), q)
    d_params, d_action, d_state = gradients(value)
    close(d_action, g[prefix + "dact"])
    close(d_state, g[prefix + "dstate"])
    close(d_params, mixing_critic(g.under(prefix + "dw.")))
    # At actions training needs the gradient to the parameters, at policies the one to the actions.
    d_params, d_action, d_state = gradients(as_trained)
    if kind == "onehot":
        close(d_params, mixing_critic(g.under(prefix + "dw.")))
        close(d_state, g[prefix + "dstate"])
    else:
        close(d_action, g[prefix + "dact"])


def networks(g, **changes):
    config = lica.Config(hidden=g.cfg("rnn_hidden_dim"), state_last_action=False, **changes)
    return make_networks(config, spec_of(g))


@pytest.mark.parametrize("name", ["lica_actor"])
def test_actor(golden, name):
    g = golden(name)
    nets = networks(g)
    params = recurrent_agent(g.under("w.agent."))
    carry = nets.actor.initial_carry(g["obs"].shape[0])
    traj = trajectory(g, carry, nets.spec)
    filled = np.moveaxis(g["filled"][..., 0], 1, 0).astype(bool)

    def forward(params):
        previous = previous_actions(nets.actor.head, traj)
        _, logits = nets.actor.unroll(
            params, traj.steps.obs, previous, traj.steps.first, carry.hidden
        )
        probs = masked_softmax(logits, traj.steps.avail)
        return logits, probs, categorical_entropy(logits, traj.steps.avail)

    logits, probs, entropy = forward(params)

    def theirs(key):
        return np.moveaxis(g[key], 1, 0)

    # Behind an episode's end the reference feeds zeros where we would feed the last action.
    close(logits[filled], theirs("raw_logits")[filled])
    close(probs[filled], theirs("renorm_probs")[filled])
    close(entropy[filled], theirs("entropy_per_agent")[filled])

    def scalar(params):
        _, probs, entropy = forward(params)
        # The reference computes 1e-6 of rounding noise as entropy of its padding; weight 0 there.
        return jnp.sum(probs[:-1] * theirs("cot_probs")) + jnp.sum(
            entropy[:-1] * theirs("cot_entropy")
        )

    value, grads = jax.value_and_grad(scalar)(params)
    close(value, g["grad_scalar"])
    close(grads, recurrent_agent(g.under("dw.agent.")))


@pytest.mark.parametrize(
    ("targets", "critic_pass"),
    [("td_lambda", "dense"), ("td_lambda", "grouped"), ("pymarl", "dense")],
)
@pytest.mark.parametrize("name", ["lica_update", "lica_update_clip"])
def test_two_updates(golden, name, targets, critic_pass):
    g = golden(name)
    nets = networks(
        g, mixing_embed=g.cfg("mixing_embed_dim"), hypernet_layers=g.cfg("hypernet_layers"),
        targets=targets, critic_pass=critic_pass,
    )  # fmt: skip
    hp = lica.HParams(
        actor_lr=g.cfg("lr"), critic_lr=g.cfg("critic_lr"), gamma=g.cfg("gamma"),
        td_lambda=g.cfg("td_lambda"), entropy_coef=g.cfg("entropy_coef"),
        grad_norm_clip=g.cfg("grad_norm_clip"), target_interval=g.cfg("target_update_interval"),
    )  # fmt: skip
    learner = new_learner(
        recurrent_agent(g.under("init.agent.")),
        mixing_critic(g.under("init.critic.")),
        mixing_critic(g.under("init.target_critic.")),
    )
    for step in ("s1.", "s2."):
        batch = g.under(f"{step}batch.")
        carry = nets.actor.initial_carry(batch["obs"].shape[0])
        traj = trajectory(batch, carry, nets.spec)
        learner = one_update(nets, learner, traj, hp, g, step)


def one_update(nets, learner, traj, hp, g, s):
    def theirs(key):
        return np.moveaxis(g[s + key], 1, 0)[..., 0]

    batch = compiled(critic_batch, nets)(traj)
    valid = np.asarray(traj.valid)
    np.testing.assert_array_equal(valid, theirs("critic.mask_full")[:-1] > 0)

    # Critic: targets, values, gradients.
    target = compiled(critic_update.critic_targets, nets)(learner.target_critic, batch, traj, hp)
    same = valid if nets.config.targets == "td_lambda" else np.ones_like(valid)
    close(target[same], theirs("critic.targets")[same])
    (loss, q), grads = gradients(critic_update.critic_objective, nets)(
        learner.critic, batch, target
    )
    close(q[valid], theirs("critic.q_t")[valid])
    close(loss, g[s + "critic.stat.critic_loss"])
    close(grads, mixing_critic(g.under(s + "critic.grad_preclip.")))

    # Actor: with the critic after its step.
    after, _ = compiled(critic_update.update_critic, nets)(learner, batch, traj, hp)
    (loss, aux), grads = gradients(actor_update.actor_objective, nets)(
        learner.actor, after.critic, batch, traj, hp
    )
    close(loss, g[s + "actor.stat.mix_loss"])
    close(aux["q_policy_mean"], g[s + "actor.q_mean"])
    close(aux["entropy"], g[s + "actor.entropy_mean"])
    close(aux["entropy_coef_effective"], g[s + "actor.entropy_ratio"])
    close(grads, recurrent_agent(g.under(s + "actor.grad_preclip.")))

    # The whole update, as training calls it.
    progress = Progress(jnp.zeros(()), jnp.int32(0))
    update = partial(compiled(lica.update, nets), learner, traj, jax.random.key(0))
    new, metrics = update(hp=hp, progress=progress)
    check_half_way(update, hp, progress)
    close(metrics["critic_grad_norm"], g[s + "critic.grad_norm_preclip"])
    close(metrics["td_error_abs"], g[s + "critic.stat.td_error_abs"])
    close(metrics["q_taken_mean"], g[s + "critic.stat.q_t_mean"])
    close(metrics["target_mean"], g[s + "critic.stat.target_mean"])
    known, wanted = (theirs(f"critic.{name}")[valid] for name in ("q_t", "targets"))
    close(metrics["explained"], 1 - np.mean((known - wanted) ** 2) / np.var(wanted))
    close(metrics["actor_grad_norm"], g[s + "actor.grad_norm_preclip"])
    close(new.critic, mixing_critic(g.under(s + "after_critic.critic.")), RTOL_STEP)
    close(new.actor, recurrent_agent(g.under(s + "after_actor.agent.")), RTOL_STEP)
    expected = new.critic if g[s + "target_was_updated"] else learner.target_critic
    close(new.target_critic, expected, rtol=0, atol=0)
    return new
