"""Golden batches of episodes as trajectories, and how closely numbers must agree."""

import functools

import jax
import numpy as np

from lica_jax.types import TaskSpec, TimeStep, Trajectory

RTOL, RTOL_STEP = 1e-8, 1e-7


def close(ours, theirs, rtol=RTOL, atol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, theirs)


@functools.cache
def compiled(function, nets):
    """``function(nets, ...)`` as training runs it, in one program. (Hundreds of operations on their
    own take several times as long to compile.)"""
    return jax.jit(functools.partial(function, nets))


@functools.cache
def gradients(objective, nets):
    """``(loss, aux), gradients`` of ``objective(params, nets, ...)``, in one program."""
    return jax.jit(
        jax.value_and_grad(lambda params, *args: objective(params, nets, *args), has_aux=True)
    )


def trajectory(batch, carry, spec):
    """An episode batch [B, T+1, ...] as ours: rewards and endings move to the slot they lead to."""
    episodes, slots = batch.shaped("obs", None, None, spec.n_agents, spec.obs_size).shape[:2]

    def time_major(name, *shape):
        return np.moveaxis(batch.shaped(name, episodes, slots, *shape), 1, 0)

    obs = time_major("obs", None, None)
    avail = time_major("avail_actions", spec.n_agents, spec.n_actions).astype(bool)
    terminated = time_major("terminated", 1)[..., 0].astype(bool)
    filled = time_major("filled", 1)[..., 0].astype(bool)
    reward = time_major("reward", 1)[..., 0]
    first = np.zeros(obs.shape[:2], bool)
    first[0] = True
    arrived = np.concatenate([np.zeros_like(first[:1]), terminated[:-1]])
    steps = TimeStep(
        obs=obs, state=time_major("state", None), avail=avail,
        reward=np.concatenate([0.0 * reward[:1], reward[:-1]]),
        terminated=arrived, truncated=np.zeros_like(arrived), first=first,
        alive=np.ones(obs.shape[:3], bool), info={},
    )  # fmt: skip
    # A transition is one that starts in a filled slot which no ending led to.
    valid = (filled & ~arrived)[:-1]
    return Trajectory(
        steps=steps,
        action=time_major("actions", spec.n_agents, 1)[..., 0],
        valid=valid,
        carry=carry,
        extras={},
    )


def spec_of(golden):
    return TaskSpec(
        "golden", n_agents=golden.cfg("n_agents"), n_actions=golden.cfg("n_actions"),
        obs_size=golden.cfg("obs_dim"), state_size=0, episode_limit=10**6,
    )  # fmt: skip
