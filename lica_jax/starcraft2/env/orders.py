"""Actions as the game's unit commands, and SMAC's heuristic that attacks the nearest enemy."""

from __future__ import annotations

import math
from typing import Any

from lica_jax.smac.layout import FIRST_TARGET, Scene
from lica_jax.starcraft2.game import messages

STOP, MOVE, ATTACK, HEAL = 4, 16, 23, 386  # ability ids
NORTH, SOUTH, EAST, WEST = 2, 3, 4, 5
_DIRECTIONS = {NORTH: (0, 1), SOUTH: (0, -1), EAST: (1, 0), WEST: (-1, 0)}


def request(commands: list[Any]) -> Any:
    """All commands of one env step as one request."""
    found = messages.Request(action=messages.RequestAction())
    for command in commands:
        found.action.actions.add().action_raw.unit_command.CopyFrom(command)
    return found


def command(scene: Scene, tags: tuple[tuple[int, ...], tuple[int, ...]], agent: int, action: int):
    """The command of one living agent for an action that is available to it.

    `tags` are the allies' and the enemies' tags.
    """
    found = messages.ActionRawUnitCommand(unit_tags=[tags[0][agent]], queue_command=False)
    if action == 1:
        found.ability_id = STOP
    elif action < FIRST_TARGET:
        found.ability_id = MOVE
        dx, dy = _DIRECTIONS[action]
        found.target_world_space_pos.x = scene.allies.x[agent] + dx * scene.options.move_amount
        found.target_world_space_pos.y = scene.allies.y[agent] + dy * scene.options.move_amount
    else:
        heals = bool(scene.roster.healer[agent])
        found.ability_id = HEAL if heals else ATTACK
        found.target_unit_tag = tags[0 if heals else 1][action - FIRST_TARGET]
    return found


def heuristic_target(scene: Scene, agent: int, target: int | None) -> int | None:
    """The slot of whom an agent goes for: the same one as before, else the nearest.

    Medivacs go for hurt allies until they are well, everybody else for enemies until they are
    dead. Nobody goes farther than the diagonal of the playable area.
    """
    heals = bool(scene.roster.healer[agent])
    side = scene.allies if heals else scene.enemies
    wanted = side.alive
    distance = scene.enemy_distance[agent]
    if heals:
        wanted = wanted & (side.health != side.health_max) & ~scene.roster.healer
        distance = scene.ally_distance[agent]
    if target is not None and wanted[target]:
        return target
    best, nearest = None, math.hypot(*scene.terrain.extent)
    for slot in range(len(wanted)):
        if wanted[slot] and distance[slot] < nearest:
            best, nearest = slot, distance[slot]
    return best


def heuristic_action(scene: Scene, agent: int, target: int) -> int:
    """The action that goes for a target.

    With `heuristic_rest` agents walk towards a target that is not available to them, along the
    longer side; whether the move itself is available is not asked, as in SMAC.
    """
    action = FIRST_TARGET + target
    if not scene.options.heuristic_rest or scene.avail[agent, action]:
        return action
    side = scene.allies if scene.roster.healer[agent] else scene.enemies
    dx = side.x[target] - scene.allies.x[agent]
    dy = side.y[target] - scene.allies.y[agent]
    if abs(dx) > abs(dy):
        return EAST if dx > 0 else WEST
    return NORTH if dy > 0 else SOUTH
