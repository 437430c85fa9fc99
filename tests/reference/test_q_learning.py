"""IQL, VDN and QMIX against PyMARL's numbers, through the functions training uses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.actors import unroll_over
from lica_jax.algorithms.q_learning import iql, qmix, vdn
from lica_jax.algorithms.q_learning import shared as q_learning
from lica_jax.networks.mixers import MonotonicMixer, NoMixer, SumMixer
from lica_jax.types import Progress
from tests.reference.episodes import (
    RTOL_STEP,
    close,
    compiled,
    gradients,
    spec_of,
    trajectory,
)
from tests.reference.torch_weights import monotonic_mixer, recurrent_agent
from tests.step_sizes import check_half_way


@pytest.mark.parametrize("layers", [1, 2])
def test_mixers(golden, layers):
    g = golden("qmix_mixer")
    mixer = MonotonicMixer(g.cfg("mixing_embed_dim"), layers, g.cfg("hypernet_embed"))
    params = monotonic_mixer(g.under(f"L{layers}.w."))
    q = jnp.asarray(g.shaped("agent_qs", None, None, g.cfg("n_agents")))
    state = jnp.asarray(g.shaped("state", *q.shape[:2], g.cfg("state_dim")))
    cotangent = g.shaped("cotangent", *q.shape[:2], 1)

    def total(params, q, state):
        return jnp.sum(mixer.apply(params, q, state) * cotangent)

    close(mixer.apply(params, q, state), g[f"L{layers}.q_tot"])
    close(SumMixer().apply({}, q, state), g["vdn.q_tot"])
    d_params, d_q, d_state = jax.grad(total, argnums=(0, 1, 2))(params, q, state)
    close(d_q, g[f"L{layers}.dagent_qs"])
    close(d_state, g[f"L{layers}.dstate"])
    close(d_params, monotonic_mixer(g.under(f"L{layers}.dw.")))


def networks(g):
    """The networks of a golden file, as the registered algorithm builds them."""
    shared = {
        "hidden": g.cfg("rnn_hidden_dim"), "double_q": g.cfg("double_q"),
        "state_last_action": False,
    }  # fmt: skip
    if g.cfg("mixer") == "qmix":
        config = qmix.Config(
            mixing_embed=g.cfg("mixing_embed_dim"), hypernet_layers=g.cfg("hypernet_layers"),
            hypernet_hidden=g.cfg("hypernet_embed"), **shared,
        )  # fmt: skip
        return q_learning.make_networks(config, spec_of(g), qmix.make_mixer(config))
    module, mixer = {"vdn": (vdn, SumMixer()), "none": (iql, NoMixer())}[g.cfg("mixer")]
    return q_learning.make_networks(module.Config(**shared), spec_of(g), mixer)


def params_of(g, nets, agent, mixer):
    mixing = isinstance(nets.mixer, MonotonicMixer)
    return q_learning.Params(
        recurrent_agent(g.under(agent)), monotonic_mixer(g.under(mixer)) if mixing else {}
    )


@pytest.mark.parametrize(
    "name", ["qmix_update", "qmix_update_nodouble", "vdn_update", "iql_update"]
)
def test_two_updates(golden, name):
    g = golden(name)
    nets = networks(g)
    hp = q_learning.HParams(
        lr=g.cfg("lr"), gamma=g.cfg("gamma"), grad_norm_clip=g.cfg("grad_norm_clip"),
        target_interval=g.cfg("target_update_interval"), rms_decay=g.cfg("optim_alpha"),
        rms_eps=g.cfg("optim_eps"),
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
    slots = np.concatenate([valid, np.zeros_like(valid[:1])])  # one more is filled, no matter
    close(unroll_over(nets.agent, learner.params.agent, traj)[slots], theirs("q_values")[slots])
    (loss, _), grads = gradients(nets.objective, nets)(learner.params, learner.target, traj, hp)
    close(loss, g[s + "stat.loss"])
    close(grads, params_of(g, nets, s + "grad_preclip.agent.", s + "grad_preclip.mixer."))
    progress = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(episodes))
    update = partial(compiled(q_learning.update, nets), learner, traj, jax.random.key(0))
    new, metrics = update(hp=hp, progress=progress)
    check_half_way(update, hp, progress)
    close(metrics["grad_norm"], g[s + "grad_norm_preclip"])
    close(metrics["td_error_abs"], g[s + "stat.td_error_abs"])
    # The reference divides these two by the number of agents once more.
    close(metrics["q_taken_mean"], g[s + "stat.q_taken_mean"] * g.cfg("n_agents"))
    close(metrics["target_mean"], g[s + "stat.target_mean"] * g.cfg("n_agents"))
    close(new.params, params_of(g, nets, s + "after.agent.", s + "after.mixer."), RTOL_STEP)
    copied = f"{s}target_was_updated" in g and bool(g[s + "target_was_updated"])
    close(new.target, new.params if copied else learner.target, rtol=0, atol=0)
    return new
