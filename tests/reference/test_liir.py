"""LIIR against its authors' code, through the functions training uses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.algorithms.counterfactual import liir
from lica_jax.algorithms.counterfactual import shared as counterfactual
from lica_jax.core.masking import masked_mean, take_action
from lica_jax.types import Progress
from tests.reference.counterfactual import config_of, hparams_of, ours, trajectories
from tests.reference.episodes import RTOL_STEP, close, compiled, gradients, spec_of
from tests.reference.torch_weights import counterfactual_critic, intrinsic_heads, recurrent_agent
from tests.step_sizes import check_half_way


def critic_of(g, prefix):
    weights = g.under(prefix)
    return liir.Critic(counterfactual_critic(weights, "fc3_v_mix"), intrinsic_heads(weights))


def test_two_updates(golden):
    g = golden("liir_update")
    config = liir.Config(meta="repo", standardise="all", **config_of(g))
    nets = liir.make_networks(config, spec_of(g))
    learner = liir.new_learner(
        nets,
        recurrent_agent(g.under("init.agent.")),
        critic_of(g, "init.critic."),
        critic_of(g, "init.target_critic."),
    )
    hp = liir.HParams(
        intrinsic_weight=g.cfg("theta_intrinsic"), value_coef=g.cfg("vf_coef"), **hparams_of(g)
    )
    for s, traj in trajectories(g, nets):
        learner = one_update(g, nets, learner, traj, hp, s)


def one_update(g, nets, learner, traj, hp, s):
    estimates, rows = check_estimates(g, nets, learner, traj, hp, s)
    _, (outputs, taken, shown) = compiled(counterfactual.sweep_critic, nets)(
        learner.critic.value, learner.critic_opt, rows, hp
    )
    order, v_mix = g[s + "critic_t_order"], outputs[..., 0]
    assert [t for t in range(len(taken)) if taken[t]] == sorted(order)
    close(shown["critic_loss"][order], g[s + "critic_loss_per_t"], RTOL_STEP)
    close(shown["critic_grad_norm"][order], g[s + "critic_grad_norm_per_t"], RTOL_STEP)
    close(v_mix, ours(g, s + "vals_mix"), RTOL_STEP)

    advantage = liir.standard(nets, rows.target - v_mix, traj)
    close(advantage, ours(g, s + "advantages"), RTOL_STEP)
    floor = g.cfg("epsilon")
    grads = gradients(liir.actor_objective, nets)(learner.actor, advantage, traj, floor)[1]
    close(grads, recurrent_agent(g.under(s + "actor_grad_preclip.")), RTOL_STEP)

    progress = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
    update = partial(compiled(liir.update, nets), learner, traj, jax.random.key(0))
    new, metrics = update(hp=hp, progress=progress)
    check_half_way(update, hp, progress)
    check_meta(g, nets, learner, new.actor, estimates, traj, hp, s)
    for mine, theirs in STATS.items():
        close(metrics[mine], g[s + theirs], RTOL_STEP)
    close(new.actor, recurrent_agent(g.under(s + "after_agent.")), RTOL_STEP)
    close(new.critic, critic_of(g, s + "after_all.critic."), RTOL_STEP)
    close(new.critic.value, critic_of(g, s + "after_critic_loop.").value, RTOL_STEP)
    copied = bool(g[s + "target_was_updated"])
    close(new.target_critic, new.critic if copied else learner.target_critic, rtol=0, atol=0)
    return new


STATS = {
    "critic_loss": "stat.critic_loss", "critic_grad_norm": "stat.critic_grad_norm",
    "td_error_abs": "stat.td_error_abs", "value_mean": "stat.value_mean",
    "target_mean": "stat.target_mean", "advantage_mean": "stat.advantage_mean",
    "actor_loss": "stat.liir_loss", "actor_grad_norm": "stat.agent_grad_norm",
    "max_pi": "stat.pi_max", "meta_objective": "pg_ex_loss", "v_ex_error": "v_ex_loss",
    "intrinsic_loss": "intrinsic_loss",
}  # fmt: skip


def check_estimates(g, nets, learner, traj, hp, s):
    """Values, rewards and returns before the update."""
    estimates = compiled(liir.estimate, nets)(learner, traj, hp)
    rows = liir.regression(estimates, traj)
    close(estimates.v_mix, ours(g, s + "target_v_mix"))
    features = nets.critic.apply(learner.critic.value, estimates.inputs, features=True)[1]
    r_in, v_ex = liir.heads(nets).apply(learner.critic.heads, features)
    close(take_action(r_in, traj.action), ours(g, s + "r_in"))
    close(v_ex[:-1], ours(g, s + "v_ex")[..., 0])
    valid = np.asarray(traj.valid)
    close(estimates.mixed[valid], ours(g, s + "targets_mix")[valid])
    close(estimates.extrinsic[valid], ours(g, s + "targets_ex")[valid][..., 0])
    close(estimates.advantage, ours(g, s + "adv_ex")[..., 0])
    return estimates, rows


def check_meta(g, nets, learner, new_actor, estimates, traj, hp, s):
    """Both policy gradients, their product, and the gradient of the heads."""
    floor = g.cfg("epsilon")

    def mean_log_prob(params):
        return masked_mean(liir.meta_log_prob(params, nets, traj, floor), traj.valid)

    value, grads = jax.value_and_grad(mean_log_prob)(learner.actor)
    close(value, g[s + "pg_loss1"])
    close(grads, recurrent_agent(g.under(s + "pg1_grad.")))
    behaviour = liir.alive_log_taken(counterfactual.policy(nets, learner.actor, traj, floor), traj)
    value, grads = jax.value_and_grad(liir.extrinsic_objective)(
        new_actor, nets, behaviour, estimates.advantage, traj, floor
    )
    close(value, g[s + "pg_loss2"], RTOL_STEP)
    close(grads, recurrent_agent(g.under(s + "pg2_grad.")), RTOL_STEP)
    weight = compiled(liir.credit, nets)(learner.actor, new_actor, estimates.advantage, traj, floor)
    close(-weight, np.full(weight.shape, g[s + "grad_total"]), RTOL_STEP)
    grads = gradients(liir.intrinsic_objective, nets)(
        learner.critic.heads, estimates, weight, traj, hp
    )[1]
    close(grads, intrinsic_heads(g.under(s + "intrinsic_grad.")), RTOL_STEP)
