"""FakeSC2's orders: one command for one unit, and the engine's result code."""

from __future__ import annotations

from lica_jax.starcraft2.testing import battle as toy
from lica_jax.starcraft2.testing.protocol import errors, raw

STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386  # ability ids


def give(battle: toy.Battle, tag: int, command: raw.ActionRawUnitCommand) -> int:
    """Gives one unit its order; the engine's result code."""
    unit = battle.by_tag.get(tag)
    if unit is None:
        return errors.Error
    if unit.owner != 1:
        return errors.YouCantControlThatUnit
    if command.queue_command:
        return errors.NotSupported
    ability = command.ability_id
    target = battle.by_tag.get(command.target_unit_tag)
    point = command.target_world_space_pos
    if ability == STOP:
        unit.command(toy.IDLE)
    elif ability in (MOVE, ATTACK) and command.HasField("target_world_space_pos"):
        if ability == ATTACK and not unit.kind.damage:
            return errors.NotSupported
        unit.command(toy.MOVE if ability == MOVE else toy.SCAN, None, point.x, point.y)
    elif ability == MOVE and target is not None:
        unit.command(toy.MOVE, None, target.x, target.y)
    elif ability == ATTACK and command.HasField("target_unit_tag"):
        if target is None:
            return errors.CantTargetThatUnit
        if not unit.kind.damage:
            return errors.NotSupported
        if target.kind.flies and not unit.kind.hits_air:
            return errors.MustTargetGroundUnits
        unit.command(toy.ATTACK, target)
    elif ability == HEAL and unit.kind.heals:
        if target is None or target.owner != 1 or target.kind.heals:
            return errors.CantTargetThatUnit
        if unit.energy < toy.HEAL_COST:
            return errors.NotEnoughEnergy
        unit.command(toy.HEAL, target)
    else:
        return errors.NotSupported
    return errors.Success
