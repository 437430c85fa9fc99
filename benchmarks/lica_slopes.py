"""What the slopes of LICA's critic are worth: its gradient for the actor against the true one.

    python benchmarks/lica_slopes.py [--task smax/5m_vs_6m] [--updates 24] [--batches 40]

LICA `tuned` with feed-forward agents trains for some updates; then its policies are held still and
play so many batches more. The gradient of the return by the actor's parameters is estimated from
all of them, with advantages of lambda .95 on a value that is fitted to them. Against it stand the
gradients that critics give, with the direction of the policies' entropy and without it: the critic
of training, the same as it learns on, and its average (docs/algorithms/lica.md). Seven minutes of a
core. Prints a line for each, and how far two halves of the data agree, which bounds them.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lica_jax.algorithms import make_algorithm
from lica_jax.algorithms.actors import joint_state, unroll_over
from lica_jax.algorithms.lica import critic_update, lica
from lica_jax.algorithms.lica.insight import climb
from lica_jax.algorithms.lica.learner import critic_batch, make_networks
from lica_jax.config import load_config, resolve
from lica_jax.core.masking import masked_mean, masked_softmax
from lica_jax.core.returns import lambda_returns
from lica_jax.envs import make_task
from lica_jax.errors import UserError
from lica_jax.networks.layers import MLP
from lica_jax.training.loop import bound_act, make_run, stack_hparams
from lica_jax.training.rollout import learning_view, unroll
from lica_jax.types import Progress

GAMMA, LAMBDA = 0.99, 0.95
VALUE = MLP((128, 128, 1), layer_norm=True)
ADAM = optax.adam(1e-3)
VARIANTS = {
    "the critic of training, learning on": None,
    "from scratch, hypernet_views": {"hypernet_views": True},
    "from scratch, dueling": {"dueling": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", default="smax/5m_vs_6m")
    parser.add_argument("--updates", type=int, default=24, help="of training, before")
    parser.add_argument("--batches", type=int, default=40, help="played with policies held still")
    parser.add_argument("--passes", type=int, default=2, help="of critics over them")
    args = parser.parse_args()
    if min(args.updates, args.batches, args.passes) < 1:
        parser.error("--updates, --batches and --passes must be positive")
    try:
        measure(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def measure(args: argparse.Namespace) -> None:
    task = make_task(args.task)
    plain = dict.fromkeys(("critic_average", "hypernet_views"), False)
    algo = {"actor": "mlp", "state_obs": True} | plain
    config = resolve(load_config("lica", args.task, preset="tuned", algo=algo), task.spec)
    hp = jax.tree.map(lambda x: x[0], stack_hparams([config.hp]))
    nets = make_networks(config.algo, task.spec)
    state = trained(task, config, hp, args.updates)
    batches = played(task, config, hp, state, nets, args.batches)
    print(f"{args.task}: held still after {float(state.env_steps):,.0f} env steps")

    value = fitted_value(nets, batches)
    actor, critic = state.learner.actor, state.learner.critic
    sampled = jax.jit(partial(sampled_gradient, nets, actor, critic, value))
    each = np.stack([flat(sampled(batch)) for batch in batches])
    entropy = jax.jit(partial(entropy_gradient, nets, actor, critic))
    away = np.mean([flat(entropy(batch)) for batch in batches], axis=0)
    truth, halves = each.mean(0), (each[::2].mean(0), each[1::2].mean(0))
    print(f"{'two halves of the data agree to':44} {in_words(*halves, away)}")

    def tell(name, own, critic):
        climbed = jax.jit(partial(climbed_gradient, own, actor, critic))
        slope = np.mean([flat(climbed(batch)) for batch in batches[:10]], axis=0)
        print(f"{name:44} {in_words(slope, truth, away)}", flush=True)

    tell("the critic of training", nets, critic)
    still = hp.replace(target_interval=jnp.int32(16))
    for name, change in VARIANTS.items():
        own, learner = nets, state.learner
        if change is not None:
            choices = {**vars(config.algo), **change}
            own = make_networks(type(config.algo)(**choices), task.spec)
            learner = lica.init(own, jax.random.key(3))
        learn = jax.jit(partial(learned, own, still))
        average, n = learner.critic, 0
        for _ in range(args.passes):
            for batch in batches:
                learner = learn(learner, batch, jax.random.key(n))
                average = jax.tree.map(lambda a, c: 0.9 * a + 0.1 * c, average, learner.critic)
                n += 1
            tell(f"{name}, {n} batches", own, learner.critic)
            tell("    its average", own, average)


def trained(task, config, hp, updates):
    """The state of a run of seed 0 behind so many updates."""
    init, chunk = make_run(make_algorithm("lica", task.spec, config.algo), task, config.collect,
                           config.timeout_is_terminal)  # fmt: skip
    return jax.jit(chunk, static_argnums=2)(jax.jit(init)(jax.random.key(0)), hp, updates)[0]


def played(task, config, hp, state, nets, n):
    """Batches of the policies, which they hold as critics that ask for them read them."""
    algorithm = make_algorithm("lica", task.spec, config.algo)
    actor, explore = state.learner.actor, jnp.ones(config.collect.envs, bool)
    start = Progress(jnp.zeros(()), jnp.int32(0), jnp.int32(0))
    act = partial(bound_act, algorithm, actor, hp, start, explore)

    @jax.jit
    def play(stream, key):
        stream, traj, _ = unroll(task, act, stream, key, config.collect.length, restart=True)
        traj = learning_view(traj, hp.reward_scale, config.timeout_is_terminal)
        policy = masked_softmax(unroll_over(nets.actor, actor, traj), traj.steps.avail)
        return stream, traj.replace(extras={"policy": policy})

    batches, stream = [], state.stream
    for i in range(n):
        stream, traj = play(stream, jax.random.key(100 + i))
        batches.append(traj)
    return batches


def value_targets(nets, params, traj):
    """``(V, its lambda-returns)``."""
    value = VALUE.apply(params, joint_state(nets.actor, traj, nets.config))[..., 0]
    reward = traj.steps.reward[1:]
    return value, lambda_returns(value, reward, *traj.endings(), GAMMA, LAMBDA)


def fitted_value(nets, batches):
    """Parameters of V: eight times new targets, two passes towards each."""

    @jax.jit
    def step(params, opt, traj, target):
        def loss(params):
            value = VALUE.apply(params, joint_state(nets.actor, traj, nets.config))[:-1, ..., 0]
            return masked_mean((value - target) ** 2, traj.valid.astype(value.dtype))

        updates, opt = ADAM.update(jax.grad(loss)(params), opt)
        return optax.apply_updates(params, updates), opt

    params = VALUE.init(jax.random.key(5), jnp.zeros(nets.state_size))
    opt, targets = ADAM.init(params), jax.jit(lambda p, traj: value_targets(nets, p, traj)[1])
    for _ in range(8):
        aims = [targets(params, traj) for traj in batches]
        for _ in range(2):
            for traj, aim in zip(batches, aims, strict=True):
                params, opt = step(params, opt, traj, aim)
    return params


def learned(nets, hp, learner, traj, key):
    """The learner whose critic has seen one batch more."""
    return critic_update.update_critic(nets, learner, critic_batch(nets, traj), traj, hp, key)[0]


def by_actor(nets, actor, critic, traj, worth):
    """Gradient of the mean of ``worth(climb [T, B] each) [T, B]`` by the actor's parameters."""

    def mean(params):
        seen = jax.tree.map(lambda x: x[:-1], climb(nets, params, critic, traj))
        return masked_mean(worth(seen), traj.valid.astype(seen.value.dtype))

    return jax.grad(mean)(actor)


def sampled_gradient(nets, actor, critic, params, traj):
    value, target = value_targets(nets, params, traj)
    above = target - value[:-1]
    return by_actor(nets, actor, critic, traj, lambda seen: seen.log_policy * above)


def entropy_gradient(nets, actor, critic, traj):
    return by_actor(nets, actor, critic, traj, lambda seen: seen.entropy)


def climbed_gradient(nets, actor, critic, traj):
    """What LICA's actor follows: the gradient of Q(s, pi)."""
    return by_actor(nets, actor, critic, traj, lambda seen: seen.value)


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def in_words(one, other, away):
    """Two cosines: of the gradients, and of what ``away`` has no part in."""

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    unit = away / np.linalg.norm(away)
    rest = (x - unit * (x @ unit) for x in (one, other))
    return f"cosine {cosine(one, other):5.2f}, without the entropy's direction {cosine(*rest):5.2f}"


if __name__ == "__main__":
    main()
