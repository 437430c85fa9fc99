"""QTRAN-base against PyMARL's numbers, through the functions training uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.q_learning import qtran
from lica_jax.algorithms.q_learning import shared as q_learning
from lica_jax.types import Progress
from tests.reference.episodes import (
    RTOL_STEP,
    close,
    compiled,
    gradients,
    spec_of,
    trajectory,
)
from tests.reference.torch_weights import joint_value, recurrent_agent


def networks(g):
    encoded = {"qtran_paper": True, "coma_critic": False}[g.cfg("qtran_arch")]
    config = qtran.Config(
        hidden=g.cfg("rnn_hidden_dim"), mixing_embed=g.cfg("mixing_embed_dim"),
        network_size=g.cfg("network_size"), joint_input="encoded" if encoded else "actions",
        double_q=g.cfg("double_q"), state_last_action=False,
    )  # fmt: skip
    return qtran.make_networks(config, spec_of(g))


def params_of(g, nets, agent, mixer):
    return q_learning.Params(
        recurrent_agent(g.under(agent)), joint_value(g.under(mixer), nets.mixer.encode)
    )


@pytest.mark.parametrize("name", ["qtran_update", "qtran_update_comacritic"])
def test_two_updates(golden, name):
    g = golden(name)
    nets = networks(g)
    hp = qtran.HParams(
        lr=g.cfg("lr"), gamma=g.cfg("gamma"), grad_norm_clip=g.cfg("grad_norm_clip"),
        target_interval=g.cfg("target_update_interval"), rms_decay=g.cfg("optim_alpha"),
        rms_eps=g.cfg("optim_eps"), opt_weight=g.cfg("opt_loss"),
        nopt_weight=g.cfg("nopt_min_loss"),
    )  # fmt: skip
    learner = q_learning.new_learner(
        nets,
        params_of(g, nets, "init.agent.", "init.mixer."),
        params_of(g, nets, "init.target_agent.", "init.target_mixer."),
    )
    for episodes, s in ((1, "s1."), (2, "s2.")):
        batch = g.under(f"{s}batch.")
        traj = trajectory(batch, nets.agent.initial_carry(batch["obs"].shape[0]), nets.spec)
        learner = one_update(g, nets, learner, traj, hp, s, episodes)


def one_update(g, nets, learner, traj, hp, s, episodes):
    def theirs(key):
        return np.moveaxis(g[s + key], 1, 0)

    valid = np.asarray(traj.valid)
    unrolled = qtran.unroll_agents(learner.params, nets, learner.target, traj)
    slots = np.concatenate([valid, np.zeros_like(valid[:1])])
    close(unrolled.q[slots], theirs("q_values")[slots])
    close(unrolled.features[slots], theirs("hidden")[slots])
    (loss, _), grads = gradients(nets.objective, nets)(learner.params, learner.target, traj, hp)
    close(loss, g[s + "stat.loss"])
    close(grads, params_of(g, nets, s + "grad_preclip.agent.", s + "grad_preclip.mixer."))
    progress = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(episodes))
    new, metrics = compiled(q_learning.update, nets)(
        learner, traj, jax.random.key(0), hp=hp, progress=progress
    )
    for name in ("td_loss", "opt_loss", "nopt_loss", "td_error_abs"):
        close(metrics[name], g[f"{s}stat.{name}"])
    # The reference's other means are sums over padding too, so its arrays are averaged here.
    for ours, array in (
        ("target_mean", "td_targets"),
        ("q_taken_mean", "joint_qs"),
        ("v_mean", "vs"),
    ):
        close(metrics[ours], np.mean(theirs(array)[valid]))
    close(metrics["grad_norm"], g[s + "grad_norm_preclip"])
    close(new.params, params_of(g, nets, s + "after.agent.", s + "after.mixer."), RTOL_STEP)
    copied = bool(g[s + "target_was_updated"])
    close(new.target, new.params if copied else learner.target, rtol=0, atol=0)
    return new
