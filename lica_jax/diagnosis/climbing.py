"""The gradient that policies climb, held against that of the return.

What the critic says of single actions at single moments may be poor and its mean over states good,
or the other way round: policies move along the mean. Both gradients are by the policies'
parameters, over the same env steps, which the policies play while they are held still. That of the
return is REINFORCE's (Williams, 1992) with a baseline: returns to the end of the episode, so that
the critic has a say in it only where a batch or the time ends before.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from lica_jax.core.masking import masked_mean
from lica_jax.core.returns import lambda_returns
from lica_jax.diagnosis.agreement import DRAWS, TINY, Figure
from lica_jax.diagnosis.measuring import Held, compiled
from lica_jax.diagnosis.playing import Mind, Player, sampling
from lica_jax.training.rollout import learning_view, start_stream, unroll
from lica_jax.types import EnvStream

ENVS, LENGTH = 64, 64  # of a batch, for which the gradients are computed at once
LEAST, MOST = 4, 64  # groups of batches, whose gradients are kept
_STREAM = 0x636C696D  # "clim": keys that nothing else has


def plan(steps: int) -> tuple[int, int]:
    """``(groups, batches of each)`` for at least ``steps`` env steps."""
    batches = max(LEAST, -(-steps // (ENVS * LENGTH)))
    size = -(-batches // MOST)
    return -(-batches // size), size


def measure(player: Player, mind: Mind, held: Held, steps: int, seed: int) -> dict[str, Figure]:
    """Plays as much as `plan` says; see `figures`."""
    start, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), _STREAM))
    stream = jax.jit(partial(first_stream, player))(start)
    args = mind, baseline(held.value, held.full)
    play = compiled(partial(batch_gradients, player), *args, stream, key)
    (groups, size), each = plan(steps), []
    for group in range(groups):  # in a row: neighbours have episodes in common
        total = 0.0
        for i in range(group * size, (group + 1) * size):
            stream, gradients = play(*args, stream, jax.random.fold_in(key, i))
            total = total + gradients
        each.append(np.asarray(total) / size)
    return figures(products(np.stack(each)))


class Baseline(NamedTuple):
    """``a + b Q(s, pi)``, the line through fresh returns: a critic's values may be late."""

    a: Float[Array, ""]
    b: Float[Array, ""]


def baseline(value: Float[np.ndarray, " P"], full: Float[np.ndarray, " P"]) -> Baseline:
    """The least squares line of returns by the critic's values; their mean where those are all
    alike."""
    spread = np.var(value)
    b = np.mean((value - value.mean()) * (full - full.mean())) / spread if spread > TINY else 0.0
    return Baseline(jnp.float32(full.mean() - b * value.mean()), jnp.float32(b))


def batch_gradients(
    player: Player, mind: Mind, line: Baseline, stream: EnvStream, key: PRNGKeyArray
) -> tuple[EnvStream, Float[Array, "3 P"]]:
    """Plays one batch on; the gradients, by all of the policies' parameters in a row, of what the
    critic says of the policies, of the return, and of the mean entropy."""
    hp = mind.hp
    act = sampling(player, mind, ENVS)
    stream, traj, _ = unroll(player.task, act, stream, key, LENGTH, restart=True)
    traj = learning_view(traj, player.scale, player.timeout_is_terminal)
    terms = partial(player.algo.insight.climb, critic=mind.critic, traj=traj)
    value = line.a + line.b * terms(mind.params).value
    target = lambda_returns(value, traj.steps.reward[1:], *traj.endings(), hp.gamma, 1.0)
    above, mask = target - value[:-1], traj.valid.astype(value.dtype)

    def means(params):
        value, log_policy, entropy = (x[:-1] for x in terms(params))
        return jnp.stack([masked_mean(x, mask) for x in (value, log_policy * above, entropy)])

    slopes = jax.tree.leaves(jax.jacrev(means)(mind.params))
    return stream, jnp.concatenate([x.reshape(3, -1) for x in slopes], axis=1)


def first_stream(player: Player, key: PRNGKeyArray) -> EnvStream:
    """Environments at the start of their first episode."""
    return start_stream(player.task, player.algo.initial_carry(ENVS), key, ENVS)


def products(gradients: Float[np.ndarray, "n 3 P"]) -> Float[np.ndarray, "3 3 n n"]:
    """Inner products of every group's gradients with every other's: all that angles need."""
    each = gradients.astype(float).swapaxes(0, 1)
    return np.einsum("imp,jnp->ijmn", each, each, optimize=True)


def figures(products: Float[np.ndarray, "3 3 n n"], seed: int = 0) -> dict[str, Figure]:
    """Cosines of the mean gradients, whole and without the direction of the entropy, and the most
    that an estimate of the return's gradient from so much play can show.

    Standard errors are those of a bootstrap over groups of batches.
    """
    n = products.shape[-1]
    once = np.full((1, n), 1 / n)
    drawn = np.random.default_rng(seed).multinomial(n, once[0], DRAWS) / n
    out = {}
    for name, two in (("", products[:2, :2]), ("_beside_entropy", beside_entropy(products))):
        value, spread = float(cosine(two, once)[0]), cosine(two, drawn)
        error = float(np.nanstd(spread, ddof=1)) if np.isfinite(value) else np.nan
        out[f"climb_cosine{name}"] = Figure(value, error, n)
        out[f"climb_ceiling{name}"] = Figure(ceiling(two[1, 1]), np.nan, n)
    return out


def beside_entropy(products: Float[np.ndarray, "3 3 n n"]) -> Float[np.ndarray, "2 2 n n"]:
    """Products of what is left of the first two where the entropy's mean gradient is taken out."""
    along = products[:2, 2].mean(-1)  # [2, n]: with that mean
    length = max(products[2, 2].mean(), TINY)  # its square
    return products[:2, :2] - along[:, None, :, None] * along[None, :, None, :] / length


def cosine(
    products: Float[np.ndarray, "2 2 n n"], weights: Float[np.ndarray, "D n"]
) -> Float[np.ndarray, " D"]:
    """Of two means under weights of the groups; NaN where one has no length."""
    p = np.einsum("ijmn,dm,dn->ijd", products, weights, weights, optimize=True)
    length = np.sqrt(np.maximum(p[0, 0], 0) * np.maximum(p[1, 1], 0))
    return np.where(length > TINY, p[0, 1] / np.maximum(length, TINY), np.nan)


def ceiling(products: Float[np.ndarray, "n n"]) -> float:
    """The cosine that the true mean would have with the estimate of it: its length, which products
    of different groups tell, over the estimate's. NaN where groups do not agree at all."""
    n = len(products)
    true = (products.sum() - np.trace(products)) / (n * (n - 1))
    return float(np.sqrt(true / products.mean())) if true > 0 else np.nan
