"""FakeSC2's toy combat: two sides on a grid, one call of `Battle.advance` for one game loop.

Deterministic given the seed and the orders. Win rates in it say nothing about the real game.
"""

from __future__ import annotations

import random
from math import hypot

from lica_jax.starcraft2.testing.scenarios import (
    KINDS,
    PLAYABLE,
    SIZE,
    WALKABLE,
    Scenario,
    ally_type,
)

IDLE, MOVE, ATTACK, SCAN, HEAL = range(5)
SIGHT = 9.0
HANDICAP = 0.6  # of the computer's damage: a good policy can win, a random one seldom does
SHIELD_DELAY, SHIELD_RATE = 224, 2 / 22.4  # loops without a hit, then points per loop
HEAL_RATE, HEAL_COST, ENERGY_RATE = 0.5625, 0.1875, 0.035  # per loop


class Unit:
    """One living or dead unit."""

    __slots__ = (
        "alive", "cooldown", "energy", "health", "index", "kind", "last_hit", "name", "order",
        "owner", "shield", "tag", "target", "tx", "ty", "type_id", "x", "y",
    )  # fmt: skip

    def __init__(self, name, owner, type_id, index, tag, x, y):
        kind = KINDS[name]
        self.name, self.kind, self.owner, self.type_id = name, kind, owner, type_id
        self.index, self.tag, self.x, self.y = index, tag, x, y
        self.health, self.shield, self.energy = kind.health, kind.shield, 50.0 * kind.heals
        self.cooldown, self.last_hit = 0.0, -SHIELD_DELAY
        self.order, self.target, self.tx, self.ty, self.alive = IDLE, None, x, y, True

    def command(self, order, target=None, x=0.0, y=0.0):
        self.order, self.target, self.tx, self.ty = order, target, x, y

    def hurt(self, damage, loop):
        self.last_hit = loop
        absorbed = min(self.shield, damage)
        self.shield -= absorbed
        if damage > absorbed:
            self.health -= max(0.5, damage - absorbed - self.kind.armor)


def _width(total: int) -> int:
    """Small armies stand in a line or two across the way of the enemy, large ones in a square."""
    return 1 if total <= 6 else 2 if total <= 12 else round(total**0.5)


class Battle:
    """The units of one match.

    `spawn_delay`: every second unit appears that many loops late. `absent`: so many of the last
    units never appear.
    """

    def __init__(self, scenario: Scenario, seed: int, *, spawn_delay: int = 0, absent: int = 0):
        self.scenario = scenario
        self.random = random.Random(seed)
        self.spawn_delay, self.absent = spawn_delay, absent
        self.loop = 0
        self.spawns = 0
        self.sides: dict[int, list[Unit]] = {1: [], 2: []}
        self.by_tag: dict[int, Unit] = {}
        self.died: list[int] = []  # tags since somebody last took them
        self._kill: set[int] = set()
        self._due: list[tuple[int, list[Unit]]] = []  # units on their way: loop, units
        self._free: list[int] = []
        self._next_index, self._generation = 2, 0
        self._spawn(0)
        self._arrive()

    # spawning

    def _tag(self) -> tuple[int, int]:
        # As in the game: a slot number that is used again, and a counter; more than 32 bits.
        self._generation += 1
        index = self._free.pop() if self._free else self._next_index
        self._next_index = max(self._next_index, index + 1)
        return index, (1 << 32) + (index << 18) + self._generation

    def _place(self, groups, owner) -> list[Unit]:
        units, taken = [], {}
        total = {point: sum(n for _, n, p in groups if p == point) for _, _, point in groups}
        for name, count, point in groups:
            pitch = 2 * KINDS[name].radius + 0.15
            for _ in range(count):
                number = taken[point] = taken.get(point, -1) + 1
                width = _width(total[point])
                rows = -(-total[point] // width)
                row, column = divmod(number, width)
                x = point[0] + (column - (width - 1) / 2) * pitch + self.random.uniform(-0.15, 0.15)
                y = point[1] + (row - (rows - 1) / 2) * pitch + self.random.uniform(-0.15, 0.15)
                (x0, y0), (x1, y1) = PLAYABLE
                x, y = min(max(x, x0 + 1.01), x1 - 0.01), min(max(y, y0 + 0.01), y1 - 0.01)
                stock = KINDS[name].stock_id
                type_id = ally_type(self.scenario, name) if owner == 1 else stock
                units.append(Unit(name, owner, type_id, *self._tag(), x, y))
        return units

    def _spawn(self, loop: int) -> None:
        self.spawns += 1
        allies = self._place(self.scenario.allies, 1)
        enemies = self._place(self.scenario.enemies, 2)
        if self.scenario.target:
            point = self.random.choice(self.scenario.target)
            for unit in enemies:
                unit.command(SCAN, None, *point)
        everyone = allies + enemies
        everyone = everyone[: len(everyone) - self.absent]
        if self.spawn_delay:
            self._due = [(loop, everyone[::2]), (loop + self.spawn_delay, everyone[1::2])]
        else:
            self._due = [(loop, everyone)]

    def _arrive(self) -> None:
        while self._due and self._due[0][0] <= self.loop:
            for unit in self._due.pop(0)[1]:
                self.sides[unit.owner].append(unit)
                self.by_tag[unit.tag] = unit
            for side in self.sides.values():
                side.sort(key=lambda unit: unit.index)

    def units(self) -> list[Unit]:
        """The living, in the order of their slots."""
        return sorted(self.by_tag.values(), key=lambda unit: unit.index)

    def kill(self, tags) -> None:
        """Kills units at the next loop."""
        self._kill.update(tags)

    # one game loop

    def advance(self) -> None:
        """Runs one game loop."""
        self.loop += 1
        if self._due:
            self._arrive()
        hits: list[tuple[Unit, float]] = []
        for side in self.sides.values():
            for unit in side:
                self._act(unit, hits)
        for unit, damage in hits:  # at once for both sides: they can kill each other
            unit.hurt(damage, self.loop)
        if hits or self._kill:
            self._bury()

    def _bury(self) -> None:
        dead = [u for u in self.by_tag.values() if u.health <= 0 or u.tag in self._kill]
        self._kill.clear()
        for unit in dead:
            unit.alive = False
            unit.health = 0
            del self.by_tag[unit.tag]
            self.sides[unit.owner].remove(unit)
            self._free.append(unit.index)
            self.died.append(unit.tag)
        if dead and not self.by_tag and not self._due:  # the map's trigger
            self._spawn(self.loop + 1)

    def _act(self, unit: Unit, hits) -> None:
        kind = unit.kind
        if unit.cooldown > 0:
            unit.cooldown = max(0.0, unit.cooldown - 1)
        if unit.shield < kind.shield and self.loop - unit.last_hit >= SHIELD_DELAY:
            unit.shield = min(kind.shield, unit.shield + SHIELD_RATE)
        if kind.heals:
            unit.energy = min(200.0, unit.energy + ENERGY_RATE)
        order = unit.order
        if order == MOVE:
            if self._walk(unit, unit.tx, unit.ty):
                unit.order = IDLE
        elif order == ATTACK:
            if unit.target.alive:
                self._engage(unit, unit.target, hits)
            else:
                unit.order = IDLE
        elif order == HEAL:
            if unit.target.alive:
                self._heal(unit, unit.target)
            else:
                unit.order = IDLE
        elif order == SCAN or unit.owner == 2:  # player 1's units never choose a target themselves
            self._scan(unit, hits)

    def _scan(self, unit: Unit, hits) -> None:
        target = unit.target
        if target is None or not target.alive or self._looks_again(unit, target):
            if unit.kind.heals:
                target = self._nearest(unit, self.sides[unit.owner], patients=True)
            else:
                target = self._nearest(unit, self.sides[3 - unit.owner])
            unit.target = target
        if target is not None and unit.kind.heals:
            self._heal(unit, target)
        elif target is not None:
            self._engage(unit, target, hits)
        elif unit.order == SCAN and self._walk(unit, unit.tx, unit.ty):
            unit.order = IDLE

    def _looks_again(self, unit: Unit, target: Unit) -> bool:
        """Every half second, unless the target is in reach."""
        if (self.loop + unit.index) % 8:
            return False
        return hypot(target.x - unit.x, target.y - unit.y) > unit.kind.reach + 1

    def _nearest(self, unit: Unit, others, patients: bool = False) -> Unit | None:
        best, least = None, SIGHT + unit.kind.radius
        for other in others:
            kind = other.kind
            if patients:
                if kind.heals or other.health >= kind.health:
                    continue
            elif kind.flies and not unit.kind.hits_air:
                continue
            distance = hypot(other.x - unit.x, other.y - unit.y)
            if distance < least:
                best, least = other, distance
        return best

    def _engage(self, unit: Unit, target: Unit, hits) -> None:
        kind = unit.kind
        gap = hypot(target.x - unit.x, target.y - unit.y) - kind.radius - target.kind.radius
        if gap > kind.reach:
            self._walk(unit, target.x, target.y)
        elif unit.cooldown <= 0:
            unit.cooldown = kind.cooldown + self.random.randint(-1, 2) * (not kind.explodes)
            damage = kind.damage * (HANDICAP if unit.owner == 2 else 1.0)
            if kind.splash:
                for other in self.sides[target.owner]:
                    if hypot(other.x - target.x, other.y - target.y) <= kind.splash:
                        hits.append((other, damage))
            else:
                hits.append((target, damage))
            if kind.explodes:
                hits.append((unit, 1e9))

    def _heal(self, unit: Unit, target: Unit) -> None:
        gap = hypot(target.x - unit.x, target.y - unit.y) - unit.kind.radius - target.kind.radius
        if gap > unit.kind.reach:
            self._walk(unit, target.x, target.y)
        elif target.health < target.kind.health and unit.energy >= HEAL_COST:
            unit.energy -= HEAL_COST
            target.health = min(target.kind.health, target.health + HEAL_RATE)

    def _walk(self, unit: Unit, x: float, y: float) -> bool:
        """One loop's way towards a point; True when it is reached."""
        speed = unit.kind.speed
        dx, dy = x - unit.x, y - unit.y
        distance = hypot(dx, dy)
        scale = 1.0 if distance <= speed else speed / distance
        for to_x, to_y in (
            (unit.x + dx * scale, unit.y + dy * scale),
            (unit.x + dx * scale, unit.y),  # along the wall
            (unit.x, unit.y + dy * scale),
        ):
            if self._free_at(unit, to_x, to_y):
                unit.x, unit.y = to_x, to_y
                break
        return distance <= speed

    def _free_at(self, unit: Unit, x: float, y: float) -> bool:
        (x0, y0), (x1, y1) = PLAYABLE
        if unit.kind.flies:
            return x0 <= x < x1 and y0 <= y < y1
        return 0 <= x < SIZE and 0 <= y < SIZE and WALKABLE[int(x)][int(y)]
