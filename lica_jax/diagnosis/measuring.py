"""Measuring a policy's critic: which moments are looked at, and what is computed of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lica_jax.diagnosis import agreement
from lica_jax.diagnosis.agreement import Figure
from lica_jax.diagnosis.playing import Mind, Moments, Player, Returns, at, episodes, rollouts
from lica_jax.errors import UserError
from lica_jax.machine import gib
from lica_jax.training.evaluation import Tell
from lica_jax.training.memory import USABLE, available_bytes, check_program, tree_bytes

EPISODES = 256  # that moments are taken from, and on which the critic is held against returns
ROWS = 4096  # environments in which other actions are tried at once, at most
_STREAM = 0x64696167  # "diag": keys that no training and no evaluation has


@dataclass(frozen=True)
class Tried:
    """One agent at one moment, and all its actions; arrays ``[S, A]``, NaN where not available.

    Attributes:
      t, episode, agent, action: of every moment ``[S]``; the action that was taken.
      policy: the agent's probabilities.
      truth, error: the mean of the returns of each action, and its standard error.
      halves: the means of the first and of the second half of the rollouts.
      spread: root of the mean variance of the returns of one action at one moment.
      critic: what the critic says of every action while the others do what they did.
      slope: dQ/dpi; None where the critic has none.
    """

    t: np.ndarray
    episode: np.ndarray
    agent: np.ndarray
    action: np.ndarray
    policy: np.ndarray
    truth: np.ndarray
    error: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]
    spread: float
    critic: np.ndarray
    slope: np.ndarray | None

    def effects(self, worth: np.ndarray) -> np.ndarray:
        """Above what the policy is worth, see `agreement.effects`."""
        return agreement.effects(worth, self.policy, np.isfinite(self.truth))


@dataclass(frozen=True)
class Held:
    """Fresh episodes; moments ``[P]``, and agents with a choice in them ``[Q]``.

    Attributes:
      value, full, episode: of every moment: the critic's value, the return, the episode.
      effect, rest, of: of every agent with a choice: the critic's effect of what it did, the
        TD(lambda) return above the value, the episode.
    """

    value: np.ndarray
    full: np.ndarray
    episode: np.ndarray
    effect: np.ndarray
    rest: np.ndarray
    of: np.ndarray


def measure(
    player: Player, mind: Mind, *, states: int, n_rollouts: int, lam: float, slopes: bool,
    seed: int, tell: Tell,
) -> tuple[Tried, Held]:  # fmt: skip
    """Plays `EPISODES`, then all actions of one agent at ``states`` of their moments.

    Args:
      lam: lambda of the returns that the critic is held against.
      slopes: whether what `Insight.look` calls credit is a gradient to the policies.
      tell: is called with the rollouts made so far and all of them.
    """
    play_key, try_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), _STREAM))
    check_memory(player, mind, states, n_rollouts)
    play = compiled(partial(episodes, player, EPISODES), mind, jnp.float32(lam), play_key)
    moments, returns = play(mind, jnp.float32(lam), play_key)
    seen = jax.device_get(moments.replace(env=(), carry=()))
    held = held_out(seen, jax.device_get(returns))
    t, b, agent = chosen(seen, states, np.random.default_rng(seed))
    some = at(moments, player.task, jnp.asarray(t), jnp.asarray(b))
    del moments
    returned = try_all(player, mind, some, seen, (t, b, agent), n_rollouts, try_key, tell)
    return tried(seen, (t, b, agent), returned, slopes), held


def compiled(function: Any, *args: Any) -> Any:
    """A program that fits into memory by the compiler's own figures."""
    program = jax.jit(function).lower(*args).compile()
    check_program(program)
    return program


def check_memory(player: Player, mind: Mind, states: int, n_rollouts: int) -> None:
    """Refuses what cannot fit, by shapes alone."""
    shapes = jax.eval_shape(
        partial(episodes, player, EPISODES), mind, jnp.float32(1), jax.random.key(0)
    )
    moment = tree_bytes(shapes[0]) / (EPISODES * player.task.spec.episode_limit)
    least = 2 * tree_bytes(shapes) + 6 * moment * ROWS
    need = least + moment * (states + 6 * max(0, n_rollouts - ROWS))
    need += 24 * states * player.task.spec.n_actions * n_rollouts
    free = available_bytes()
    if free is None or need <= USABLE * free:
        return
    said = f"this needs about {gib(int(need))} and {gib(free)} are free: "
    if least > USABLE * free:
        raise UserError(
            f"{said}{EPISODES} episodes with what the critic says of every action, and {ROWS:,} "
            f"environments side by side, take {gib(int(least))} with any states and rollouts"
        )
    raise UserError(f"{said}use fewer states or rollouts")


def chosen(
    seen: Moments, states: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(t, episode, agent)`` of moments drawn evenly from those in which an agent has a choice,
    and of those agents one each; fewer where there are fewer."""
    choice = seen.playing[..., None] & (seen.avail.sum(-1) >= 2)
    places = np.argwhere(choice.any(-1))
    if not len(places):
        raise UserError("no agent had more than one action in any moment: nothing to compare")
    picked = places[rng.choice(len(places), min(states, len(places)), replace=False)]
    t, b = picked[np.lexsort(picked.T)].T
    return t, b, np.array([rng.choice(np.flatnonzero(who)) for who in choice[t, b]])


def try_all(
    player: Player, mind: Mind, some: Moments, seen: Moments,
    places: tuple[np.ndarray, np.ndarray, np.ndarray], n_rollouts: int, key: Any, tell: Tell,
) -> dict[tuple[int, int], np.ndarray]:  # fmt: skip
    """The returns of every available action: ``{(moment, action): [n_rollouts]}``."""
    t, b, agent = places
    pairs = [
        (s, a) for s in range(len(t)) for a in np.flatnonzero(seen.avail[t[s], b[s], agent[s]])
    ]
    joint = np.stack([seen.action[t[s], b[s]] for s, _ in pairs])
    joint[np.arange(len(pairs)), [agent[s] for s, _ in pairs]] = [a for _, a in pairs]
    which = np.array([s for s, _ in pairs])
    size = min(max(1, ROWS // n_rollouts), len(pairs))
    program, out = None, []
    for start in range(0, len(pairs), size):
        part = np.arange(start, start + size) % len(pairs)  # the last call is filled up
        args = mind, some, which[part], joint[part], jax.random.fold_in(key, start)
        if program is None:
            program = compiled(partial(rollouts, player, n_rollouts), *args)
        out.append(jax.device_get(program(*args)))
        tell(min(start + size, len(pairs)) * n_rollouts, len(pairs) * n_rollouts)
    return dict(zip(pairs, np.concatenate(out), strict=False))


def tried(
    seen: Moments, places: tuple[np.ndarray, np.ndarray, np.ndarray],
    returned: dict[tuple[int, int], np.ndarray], slopes: bool,
) -> Tried:  # fmt: skip
    """What is known of the moments that were tried."""
    t, b, agent = places
    truth = np.full((4, len(t), seen.avail.shape[-1]), np.nan)
    for (s, a), x in returned.items():
        middle = len(x) // 2
        parts = x.mean(), x.std(ddof=1) / np.sqrt(len(x)), x[:middle].mean(), x[middle:].mean()
        truth[:, s, a] = parts
    spread = np.sqrt(np.mean([x.var(ddof=1) for x in returned.values()]))
    critic, policy = (x[t, b, agent] for x in (seen.worth, seen.outlook.policy))
    return Tried(
        t, b, agent, seen.action[t, b, agent], policy, truth[0], truth[1], (truth[2], truth[3]),
        float(spread), critic, seen.outlook.credit[t, b, agent] if slopes else None,
    )  # fmt: skip


def held_out(seen: Moments, returns: Returns) -> Held:
    """The critic against what happened in episodes that nobody has learned from."""
    playing = seen.playing
    episode = np.broadcast_to(np.arange(playing.shape[1]), playing.shape)
    choice = playing[..., None] & (seen.avail.sum(-1) >= 2)
    above = agreement.effects(seen.worth, seen.outlook.policy, seen.avail)
    effect = np.take_along_axis(above, seen.action[..., None], axis=-1)[..., 0]
    rest = np.broadcast_to((returns.traced - returns.value)[..., None], choice.shape)
    of = np.broadcast_to(episode[..., None], choice.shape)
    return Held(
        returns.value[playing], returns.full[playing], episode[playing],
        effect[choice], rest[choice], of[choice],
    )  # fmt: skip


def figures(tried: Tried, held: Held) -> dict[str, Figure]:
    """Everything that is told, by name."""
    truth, critic = tried.effects(tried.truth), tried.effects(tried.critic)
    there = np.isfinite(truth)
    cluster = np.broadcast_to(tried.episode[:, None], there.shape)[there]
    halves = tuple(tried.effects(half)[there] for half in tried.halves)
    out = {
        "explained_variance": agreement.explained(held.value, held.full, held.episode),
        "effect_correlation": agreement.correlation(critic[there], truth[there], cluster),
        "effect_correlation_ceiling": Figure(
            agreement.ceiling(halves, cluster), np.nan, int(there.sum())
        ),
        "effect_rank_correlation": agreement.mean(agreement.rank_correlations(critic, truth)),
        "held_out_correlation": agreement.correlation(held.effect, held.rest, held.of),
    }
    if tried.slope is not None:
        slope = tried.effects(tried.slope)
        out |= {
            "gradient_correlation": agreement.correlation(slope[there], truth[there], cluster),
            "gradient_cosine": agreement.mean(agreement.cosines(slope, truth)),
            "gradient_rank_correlation": agreement.mean(agreement.rank_correlations(slope, truth)),
        }
    n = int(there.sum())
    return out | {
        "effect_std": Figure(float(np.std(truth[there])), np.nan, n),
        "critic_effect_std": Figure(float(np.std(critic[there])), np.nan, n),
        "return_std": Figure(tried.spread, np.nan, n),
    }
