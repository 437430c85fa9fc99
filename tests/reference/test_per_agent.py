"""IDDPG, MADDPG, SQDDPG and COMA (feed-forward) against the SQDDPG repository's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.algorithms.per_agent import coma_fc, iddpg, maddpg, sqddpg
from lica_jax.algorithms.per_agent import shared as per_agent
from lica_jax.core.entropy import categorical_entropy
from lica_jax.core.shapley import coalition_slots
from lica_jax.types import TaskSpec
from tests.reference.episodes import RTOL_STEP, close, compiled
from tests.reference.torch_weights import per_agent as stacked

MODULES = {"sqddpg": sqddpg, "maddpg": maddpg, "independent_ddpg": iddpg, "coma_fc": coma_fc}
FILES = [
    "sqddpg_update", "maddpg_update", "iddpg_update", "comafc_update", "comafc_update_shared",
]  # fmt: skip
ANY_KEY = jax.random.key(0)


def networks(g):
    """The networks of a golden file, as the registered algorithm builds them."""
    module = MODULES[g.cfg("model_name")]
    settings = {"hidden": g.cfg("hid_size"), "share_params": g.cfg("shared_parameters")}
    if module is sqddpg:
        settings["coalitions"] = g.cfg("sample_size")
    spec = TaskSpec(
        "golden", n_agents=g.cfg("agent_num"), n_actions=g.cfg("action_dim"),
        obs_size=g.cfg("obs_size"), state_size=0, episode_limit=10**6,
    )  # fmt: skip
    return module.make_networks(module.Config(**settings), spec)


def hparams(g):
    return per_agent.HParams(
        actor_lr=g.cfg("policy_lrate"), critic_lr=g.cfg("value_lrate"), gamma=g.cfg("gamma"),
        entropy_coef=g.cfg("entr"), grad_clamp=1.0 if g.cfg("grad_clip") else jnp.inf,
        target_rate=g.cfg("target_lr"), target_interval=1,
    )  # fmt: skip


def weights(g, nets, prefix):
    """Ours have no axis N where all agents share one network."""
    params = stacked(g.under(prefix))
    if not nets.config.share_params:
        return params
    jax.tree.map(
        lambda x: np.testing.assert_array_equal(x, np.broadcast_to(x[:1], x.shape)), params
    )
    return jax.tree.map(lambda x: x[0], params)


def params_of(g, nets, policy, value):
    return per_agent.Params(weights(g, nets, policy), weights(g, nets, value))


def rows_of(batch, nets):
    k, n, o, a = *batch["obs"].shape[:2], nets.spec.obs_size, nets.spec.n_actions
    reward = batch.shaped("reward", k, n)
    np.testing.assert_array_equal(reward, np.broadcast_to(reward[:, :1], (k, n)))  # the team's
    done = (batch.shaped("done", k) > 0) & batch.shaped("last_step", k)
    rows = per_agent.Rows(
        obs=batch.shaped("obs", k, n, o), action=batch.shaped("actions", k, n, a),
        reward=reward[:, 0], terminal=done, next_obs=batch.shaped("next_obs", k, n, o),
        mask=np.ones(k),
    )  # fmt: skip
    return jax.tree.map(jnp.asarray, rows)


def noise_of(phase, nets, term):
    """The permutations of one term; nothing else is random in a pass."""
    if not isinstance(nets.config, sqddpg.Config):
        return ()
    m, n = nets.config.coalitions, nets.spec.n_agents
    return jnp.asarray(phase.shaped(f"positions.{term}_term", None, m, n))


def critic_gradients(nets, *args):
    return per_agent.own_gradients(per_agent.critic_losses, nets, *args)


def actor_gradients(nets, *args):
    return per_agent.own_gradients(per_agent.actor_losses, nets, *args)


def critic_targets(g, nets, learner, rows, phase, hp):
    """TD targets, from the actions that the reference drew where it drew any."""
    sampled = "sampled_next_actions" in phase
    if sampled:
        following = jnp.asarray(phase.shaped("sampled_next_actions", *rows.action.shape))
        drawn = per_agent.next_actions(nets, learner.target.actor, rows.next_obs, ANY_KEY)
        np.testing.assert_array_equal(jnp.sum(drawn, axis=-1), 1)
    else:
        following = per_agent.next_actions(nets, learner.target.actor, rows.next_obs, ANY_KEY)
        close(following, phase["target_next_actions"])
    noise = noise_of(phase, nets, "target")
    return per_agent.td_targets(nets, learner.target.critic, rows, following, noise, hp)


def check_losses(g, nets, learner, rows, phase, hp):
    """Both losses of every agent; the reference evaluates them before and after the critic step."""
    y = critic_targets(g, nets, learner, rows, phase, hp)
    value, value_grads, _ = compiled(critic_gradients, nets)(
        learner.params.critic, rows, y, noise_of(phase, nets, "value")
    )  # fmt: skip
    _, policy_grads, aux = compiled(actor_gradients, nets)(
        learner.params.actor, learner.params.critic, rows, noise_of(phase, nets, "policy"), hp
    )  # fmt: skip
    close(value, phase["value_loss_per_agent"])
    close(aux["policy_losses"], phase["action_loss_per_agent"])
    logits = nets.actor.apply(learner.params.actor, rows.obs)
    close(logits, phase["policy_logits"])
    if "policy_actions" in phase:
        close(jax.nn.softmax(logits), phase["policy_actions"])
    return y, value_grads, policy_grads


@pytest.mark.parametrize("name", FILES)
def test_two_updates(golden, name):
    g = golden(name)
    nets, hp = networks(g), hparams(g)
    learner = per_agent.new_learner(
        nets,
        params_of(g, nets, "init.policy.", "init.value."),
        params_of(g, nets, "init.target_policy.", "init.target_value."),
    )
    for s in ("s1.", "s2."):
        learner = one_update(g, nets, learner, rows_of(g.under(s), nets), hp, s)
    rows = rows_of(g.under("s1."), nets)
    logits = nets.actor.apply(learner.params.actor, rows.obs)
    close(logits, g["final.policy_logits_s1obs"], RTOL_STEP)


def one_update(g, nets, learner, rows, hp, s):
    phase = g.under(f"{s}value.")
    y, grads, _ = check_losses(g, nets, learner, rows, phase, hp)
    close(grads, stacked(phase.under("grad_preclip.")))
    noise = noise_of(phase, nets, "value")
    learner, metrics = compiled(per_agent.critic_step, nets)(learner, rows, y, noise, hp)
    close(metrics["value_loss"], phase["stat.value_loss"])
    after = params_of(g, nets, f"{s}after_value.policy.", f"{s}after_value.value.")
    close(learner.params, after, RTOL_STEP)

    phase = g.under(f"{s}action.")
    _, _, grads = check_losses(g, nets, learner, rows, phase, hp)
    close(grads, stacked(phase.under("grad_preclip.")))
    logits = nets.actor.apply(learner.params.actor, rows.obs)
    noise = noise_of(phase, nets, "policy")
    learner, metrics = compiled(per_agent.actor_step, nets)(learner, rows, noise, hp)
    close(metrics["policy_loss"], phase["stat.action_loss"])
    # The reference notes the last agent's entropy only, summed over rows.
    entropy = categorical_entropy(logits[:, -1], jnp.ones(logits[:, -1].shape, bool))
    close(jnp.sum(entropy), phase["stat.entropy"])
    after = params_of(g, nets, f"{s}after_action.policy.", f"{s}after_action.value.")
    close(learner.params, after, RTOL_STEP)

    learner = per_agent.copy_if_due(nets, learner.replace(updates=learner.updates + 1), hp)
    after = f"{s}after_target_update."
    target = params_of(g, nets, f"{after}target_policy.", f"{after}target_value.")
    close(learner.target, target, RTOL_STEP)
    return learner


@pytest.mark.parametrize("name", ["maddpg_update", "iddpg_update", "comafc_update"])
def test_values_of_the_final_critics(golden, name):
    g = golden(name)
    nets = networks(g)
    rows = rows_of(g.under("s1."), nets)
    critic = weights(g, nets, "s2.after_action.value.")
    if nets.method.n_outputs > 1:
        theirs = jnp.sum(g["final.values_s1"] * rows.action, axis=-1)
    else:
        theirs = g["final.values_s1"][..., 0]
    close(nets.method.values(nets, critic, rows.obs, rows.action, ()), theirs)


def test_coalitions(golden):
    g = golden("sqddpg_update")
    positions = jnp.asarray(g["coalition_demo.positions"])
    slots = coalition_slots(positions, "fixed")
    close(1.0 * jnp.any(slots, axis=-1), g["coalition_demo.subcoalition_map"])
    last = slots[
        jnp.arange(slots.shape[0])[:, None],
        jnp.arange(slots.shape[1]),
        jnp.argmax(positions, axis=-1),
    ]  # of who joins last: nobody is missing
    np.testing.assert_array_equal(jnp.argmax(last, axis=-1), g["coalition_demo.agent_at_position"])


def test_marginal_contributions(golden):
    """The answers to single orders, from the answers to one order at a time."""
    g = golden("sqddpg_update")
    nets = networks(g)
    rows = rows_of(g.under("s1."), nets)
    critic = weights(g, nets, "s2.after_action.value.")
    positions = jnp.asarray(g["final.marginal_positions"])
    for m in range(positions.shape[1]):
        policy_loss = nets.method.policy_losses(
            nets, critic, jnp.log(rows.action), rows, positions[:, m : m + 1]
        )
        close(-policy_loss, g["final.marginal_s1"][:, m, :, 0])
