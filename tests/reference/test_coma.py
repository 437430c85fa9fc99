"""COMA against PyMARL's numbers, through the functions training uses."""

from functools import partial

import jax
import numpy as np
import pytest

from lica_jax.algorithms.counterfactual import coma
from lica_jax.algorithms.counterfactual import shared as counterfactual
from lica_jax.core.masking import take_action
from lica_jax.types import Progress
from tests.reference.counterfactual import (
    config_of,
    hparams_of,
    joined,
    ours,
    piece_at,
    trajectories,
)
from tests.reference.episodes import RTOL_STEP, close, compiled, gradients, spec_of
from tests.reference.torch_weights import counterfactual_critic, recurrent_agent
from tests.step_sizes import check_half_way


def critic_of(g, prefix):
    return counterfactual_critic(g.under(prefix), "fc3")


@pytest.mark.parametrize("name", ["coma_update", "coma_update_masklogits"])
def test_two_updates(golden, name):
    g = golden(name)
    nets = coma.make_networks(coma.Config(**config_of(g)), spec_of(g))
    learner = coma.new_learner(
        nets,
        recurrent_agent(g.under("init.agent.")),
        critic_of(g, "init.critic."),
        critic_of(g, "init.target_critic."),
    )
    for s, traj in trajectories(g, nets):
        learner = one_update(g, nets, learner, traj, s)


def one_update(g, nets, learner, traj, s):
    hp, floor, valid = coma.HParams(**hparams_of(g)), g.cfg("epsilon"), np.asarray(traj.valid)
    q = check_critic(g, nets, learner, traj, hp, s)
    probs = compiled(counterfactual.policy, nets)(learner.actor, traj, floor)
    close(np.asarray(probs)[valid], ours(g, s + "pi")[valid])
    advantage = jax.jit(coma.counterfactual_advantage)(q, probs, traj.action[:-1])
    close(np.asarray(advantage)[valid], ours(g, s + "advantages")[valid])
    grads = gradients(coma.actor_objective, nets)(learner.actor, q, traj, floor)[1]
    close(grads, recurrent_agent(g.under(s + "actor_grad_preclip.")))

    progress = Progress(np.zeros(()), np.int32(0), np.int32(0))
    update = partial(compiled(coma.update, nets), learner, traj, jax.random.key(0))
    new, metrics = update(hp=hp, progress=progress)
    check_half_way(update, hp, progress)
    for mine, theirs in STATS.items():
        close(metrics[mine], g[s + theirs], RTOL_STEP)
    close(new.actor, recurrent_agent(g.under(s + "after_agent.")), RTOL_STEP)
    close(new.critic, critic_of(g, s + "after_critic."), RTOL_STEP)
    copied = bool(g[s + "target_was_updated"])
    close(new.target_critic, new.critic if copied else learner.target_critic, rtol=0, atol=0)
    return new


STATS = {
    "critic_loss": "stat.critic_loss", "critic_grad_norm": "stat.critic_grad_norm",
    "td_error_abs": "stat.td_error_abs", "value_mean": "stat.q_taken_mean",
    "target_mean": "stat.target_mean", "advantage_mean": "stat.advantage_mean",
    "actor_loss": "stat.coma_loss", "actor_grad_norm": "stat.agent_grad_norm",
    "max_pi": "stat.pi_max",
}  # fmt: skip


def read_by_the_critic(nets, critic, traj):
    """A critic's inputs, its values and those of what was done."""
    inputs = counterfactual.inputs_over(nets, traj)
    q = nets.critic.apply(critic, inputs)
    return inputs, q, take_action(q, traj.action)


def check_critic(g, nets, learner, traj, hp, s):
    """Inputs, targets, and every step of the sweep; returns its values."""
    valid = np.asarray(traj.valid)
    inputs, target_q, taken_q = compiled(read_by_the_critic, nets)(learner.target_critic, traj)
    close(joined(inputs), ours(g, s + "critic_inputs"))
    close(target_q, ours(g, s + "target_critic_q"))
    close(taken_q, ours(g, s + "target_q_taken"))
    rows = jax.device_get(compiled(coma.regression, nets)(learner.target_critic, traj, hp))
    close(rows.target[valid], ours(g, s + "targets")[valid])

    order = g[s + "critic_t_order"]
    first = piece_at(rows, order[0])
    grads = gradients(counterfactual.critic_objective, nets)(learner.critic, first)[1]
    # After the first update the parameters themselves agree to a step's precision only.
    close(grads, critic_of(g, s + "critic_first_grad_preclip."), RTOL_STEP)
    _, (q, taken, shown) = jax.device_get(
        compiled(counterfactual.sweep_critic, nets)(learner.critic, learner.critic_opt, rows, hp)
    )
    assert [t for t in range(len(valid)) if taken[t]] == sorted(order)
    close(shown["critic_loss"][order], g[s + "critic_loss_per_t"], RTOL_STEP)
    close(shown["critic_grad_norm"][order], g[s + "critic_grad_norm_per_t"], RTOL_STEP)
    close(q, ours(g, s + "q_vals"), RTOL_STEP)
    return q
