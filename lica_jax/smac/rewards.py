"""SMAC's reward, and when a battle is over. Like `layout`, in SMAC's order of operations."""

from __future__ import annotations

import numpy as np

from lica_jax.smac.layout import Scene
from lica_jax.smac.maps import MapFacts
from lica_jax.smac.options import Options
from lica_jax.smac.units import Side


def outcome(scene: Scene) -> str | None:
    """ "lost", "won" or "draw" where the battle is over, else None; tested in this order.

    On maps with medivacs it is lost with the last unit that can fight (so mutual annihilation is a
    defeat), and won when a medivac is the only enemy left.
    """
    allies, enemies = scene.allies.alive, scene.enemies.alive
    medivacs = scene.facts.map_type == "MMM"
    if (enemies.any() and not allies.any()) or (
        medivacs and not (allies & ~scene.roster.healer).any()
    ):
        return "lost"
    last = medivacs and enemies.sum() == 1 and (enemies & scene.roster.enemy_medivac).any()
    if (allies.any() and not enemies.any()) or last:
        return "won"
    return None if allies.any() else "draw"


def battle_reward(
    options: Options,
    before: tuple[Side, Side],
    now: tuple[Side, Side],
    fallen: tuple[np.ndarray, np.ndarray],
) -> float:
    """Unscaled reward of one step, without the bonus for the outcome.

    |damage to enemies + death_value * kills| or, unless only positive, without the bars and minus
    negative_scale * (damage to allies + death_value * losses). Damage is the drop of health +
    shields, all that was left for a unit that died. Under the bars regenerating shields *earn*,
    which is SMAC's doing and kept.

    Args:
      before: allies and enemies one step ago.
      now: allies and enemies.
      fallen: bool [A] and [E], units whose death has been counted already.
    """
    if options.reward_sparse:
        return 0.0
    scale = options.reward_negative_scale
    ally_loss = _losses(before[0], now[0], fallen[0]) * scale
    enemy_loss = _losses(before[1], now[1], fallen[1])
    kills = int((~fallen[1] & (now[1].health == 0)).sum())
    losses = int((~fallen[0] & (now[0].health == 0)).sum())
    deaths = [options.reward_death_value] * kills
    if options.reward_only_positive:
        return abs(_in_order(enemy_loss) + _in_order(deaths))
    deaths = [-options.reward_death_value * scale] * losses + deaths
    return _in_order(enemy_loss) + _in_order(deaths) - _in_order(ally_loss)


def _losses(before: Side, now: Side, fallen: np.ndarray) -> np.ndarray:
    """Health and shields lost by each unit that had not fallen before."""
    had = before.health + before.shield
    return np.where(now.health == 0, had, had - now.health - now.shield)[~fallen]


def _in_order(values: np.ndarray | list[float]) -> float:
    """The sum from left to right (numpy's own adds in pairs, Python's compensates)."""
    return float(np.cumsum(np.append(0.0, values))[-1])


def max_reward(facts: MapFacts, options: Options, enemies: Side) -> float:
    """Largest sum of an episode's unscaled rewards, shield regeneration aside."""
    bonus = facts.n_enemies * options.reward_death_value + options.reward_win
    return _in_order([bonus, *(enemies.health_max + enemies.shield_max)])


def scaled(options: Options, reward: float, largest: float) -> float:
    """The reward in units of `largest` / reward_scale_rate, where the options ask for that."""
    return reward / (largest / options.reward_scale_rate) if options.reward_scale else reward
