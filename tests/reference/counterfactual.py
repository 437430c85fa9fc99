"""What the golden files of COMA and LIIR have in common."""

import jax
import numpy as np

from lica_jax.algorithms.heads import NO_ACTION
from tests.reference.episodes import trajectory


def ours(g, name):
    """An array [B, T, ...] of the file, time-major."""
    return np.moveaxis(g[name], 1, 0)


def joined(parts):
    """What a critic reads in one array, as the official code builds it: what all agents share is
    there for each of them."""
    n = max(x.shape[-2] for x in parts)
    rows = [np.broadcast_to(x, (*x.shape[:-2], n, x.shape[-1])) for x in parts]
    return np.concatenate(rows, axis=-1)


def config_of(g):
    return {
        "hidden": g.cfg("rnn_hidden_dim"), "critic_hidden": g.cfg("critic_hidden"),
        "mask_before_softmax": g.cfg("mask_before_softmax"),
    }  # fmt: skip


def hparams_of(g):
    """With a schedule that is at the file's epsilon from the start."""
    return {
        "actor_lr": g.cfg("lr"), "critic_lr": g.cfg("critic_lr"), "gamma": g.cfg("gamma"),
        "td_lambda": g.cfg("td_lambda"), "grad_norm_clip": g.cfg("grad_norm_clip"),
        "target_interval": g.cfg("target_update_interval"), "rms_decay": g.cfg("optim_alpha"),
        "rms_eps": g.cfg("optim_eps"), "epsilon_start": g.cfg("epsilon"), "epsilon_finish": 0.0,
    }  # fmt: skip


def trajectories(g, nets):
    """``(prefix, trajectory)`` of each update.

    Padding holds no actions, and slot 0 of an agent's actions is open to the dead alone.
    """
    for s in ("s1.", "s2."):
        batch = g.under(f"{s}batch.")
        traj = trajectory(batch, nets.actor.initial_carry(batch["obs"].shape[0]), nets.spec)
        happened = ours(batch, "actions_onehot").sum(-1) > 0
        alive = ours(batch, "avail_actions")[..., 0] == 0
        steps = traj.steps.replace(alive=alive)
        action = np.where(happened, traj.action, NO_ACTION)
        yield s, traj.replace(steps=steps, action=action)


def piece_at(rows, t):
    return jax.tree.map(lambda x: x[t : t + 1], rows)
