"""FakeSC2's side of the protocol: requests in, answers out, and the state machine between them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from lica_jax.starcraft2.testing import battle as toy
from lica_jax.starcraft2.testing import orders, scenarios, strikes
from lica_jax.starcraft2.testing.protocol import api, common, errors, raw

VERSION = "4.10.0.fake"
NEUTRAL = raw.Unit(
    display_type=raw.Visible, alliance=raw.Neutral, tag=(1 << 32) + (1 << 18) + 1, unit_type=149,
    owner=16, pos=common.Point(x=28.5, y=2.5, z=9), radius=1, build_progress=1,
    cloak=raw.NotCloaked, health=400, health_max=400,
)  # fmt: skip


class Misuse(Exception):
    """A request that has no place here: answered with a top-level error."""


class Session:
    """One process: `answer` takes one request from a connection and sends what belongs to it."""

    def __init__(self, tree: Path, faults):
        self.tree, self.faults = tree, faults
        self.status = api.launched
        self.map_name = ""
        self.create: api.RequestCreateGame | None = None
        self.join: api.RequestJoinGame | None = None
        self.battle: toy.Battle | None = None
        self.seed = 0
        self.bodies: dict[int, raw.Unit] = {}  # tag -> message, filled once and updated
        self.action_errors: list[api.ActionError] = []
        self.held: bytes | None = None  # an answer that waits for the next one
        self.hoard: list[bytes] = [b"\1" * (faults.memory_mib << 20)]
        self.hoarded_for = 0

    # one request

    def answer(self, connection) -> bool:
        """Takes one request and answers it; False after `quit`."""
        data = connection.receive()
        response = api.Response(status=self.status)
        request = api.Request()
        kind, due = "", []
        try:
            request.ParseFromString(data)
            kind = request.WhichOneof("request") or ""
        except Exception:  # protobuf's DecodeError
            response.error.append("Could not parse request message.")
        if request.HasField("id"):
            response.id = request.id
        loop = self.battle.loop if self.battle else 0
        if kind == "action":
            due = self.faults.due(kind, loop)
        try:
            if kind:
                handler = getattr(self, f"on_{kind}", None)
                if handler is None:
                    raise Misuse(f"FakeSC2 does not know the request {kind}.")
                handler(getattr(request, kind), response, due)
        except Misuse as misuse:
            response.error.append(str(misuse))
        if kind and kind != "action":
            due = self.faults.due(kind, self.battle.loop if self.battle else 0)
        if "end" in due:
            self.status = api.ended
        response.status = self.status
        if self.faults.answer_delay:
            connection.flush()
            time.sleep(self.faults.answer_delay)
        if self.faults.ping_first:
            connection.send(b"are you there", 0x9)
        strikes.send(connection, self, request, response, due)
        return self.status != api.quit

    def need(self, *allowed: int) -> None:
        """`Misuse` unless the state is one of these."""
        if self.status not in allowed:
            name = api.Status.Name(self.status)
            raise Misuse(f"The request is not valid in the state {name}.")

    def hoard_memory(self) -> None:
        """Grows with every battle, if asked."""
        spawns = self.battle.spawns if self.battle else 0
        if self.faults.memory_growth_mib and spawns != self.hoarded_for:
            self.hoarded_for = spawns
            if sum(map(len, self.hoard)) < self.faults.memory_limit_mib << 20:
                self.hoard.append(b"\1" * (self.faults.memory_growth_mib << 20))

    # requests without a game

    def on_ping(self, request, response, due) -> None:
        ping = response.ping
        ping.game_version, ping.data_version = VERSION, "FAKE" * 8
        ping.data_build = ping.base_build = 75689

    def on_available_maps(self, request, response, due) -> None:
        response.available_maps.local_map_paths.extend(
            sorted(f"SMAC_Maps/{path.name}" for path in self._maps().glob("*.SC2Map"))
        )

    def on_quit(self, request, response, due) -> None:
        response.quit.SetInParent()
        self.status = api.quit

    def _maps(self) -> Path:
        return self.tree / "Maps" / "SMAC_Maps"

    # from no game to a game

    def on_create_game(self, request, response, due) -> None:
        self.need(api.launched, api.in_game, api.ended)
        answer = response.create_game
        answer.SetInParent()
        wrong = api.ResponseCreateGame
        if asked := self.faults.create_game_error:
            answer.error = wrong.Error.Value(asked)
            answer.error_details = "asked for by create_game_error"
            return
        if request.realtime:
            raise Misuse("FakeSC2 has no real time.")
        local = request.local_map
        name = local.map_path.replace("\\", "/").rpartition("/")[2].removesuffix(".SC2Map")
        players = sorted(player.type for player in request.player_setup)
        computers = [p for p in request.player_setup if p.type == api.Computer]
        if not local.map_path and not local.map_data:
            answer.error = wrong.MissingMap
        elif not local.map_data and not (self.tree / "Maps" / local.map_path).is_file():
            answer.error = wrong.InvalidMapPath
        elif local.map_data and not local.map_data.startswith(b"MPQ"):
            answer.error = wrong.InvalidMapData
        elif name not in scenarios.SCENARIOS:
            answer.error = wrong.InvalidMapName
        elif not players:
            answer.error = wrong.MissingPlayerSetup
        elif players != [api.Participant, api.Computer] or not computers[0].difficulty:
            answer.error = wrong.InvalidPlayerSetup
        if answer.HasField("error"):
            answer.error_details = f"map {local.map_path!r}, players {players}"
            return
        self.map_name, self.create = name, request
        self.status, self.battle, self.join = api.init_game, None, None

    def on_join_game(self, request, response, due) -> None:
        self.need(api.init_game)
        answer = response.join_game
        wrong = api.ResponseJoinGame
        if asked := self.faults.join_game_error:
            answer.error = wrong.Error.Value(asked)
            answer.error_details = "asked for by join_game_error"
        elif not request.race:
            answer.error = wrong.MissingParticipation
        elif not request.options.raw:
            answer.error = wrong.MissingOptions
            answer.error_details = "FakeSC2 has the raw interface only"
        else:
            answer.player_id = 1
            self.join = request
            self._begin()

    def _begin(self) -> None:
        fixed = self.create.random_seed if self.create.HasField("random_seed") else self.faults.seed
        self.seed = int.from_bytes(os.urandom(4), "big") if fixed is None else fixed
        self.battle = toy.Battle(
            scenarios.SCENARIOS[self.map_name],
            self.seed,
            spawn_delay=self.faults.spawn_delay,
            absent=self.faults.never_all,
        )
        self.bodies.clear()
        self.hoarded_for = 0
        self.hoard_memory()
        self.status = api.in_game

    def on_restart_game(self, request, response, due) -> None:
        self.need(api.in_game, api.ended)
        answer = response.restart_game
        answer.SetInParent()
        if asked := self.faults.restart_game_error:
            answer.error = api.ResponseRestartGame.Error.Value(asked)
        else:
            self._begin()

    def on_leave_game(self, request, response, due) -> None:
        self.need(api.in_game, api.ended)
        response.leave_game.SetInParent()
        self.status, self.battle = api.launched, None

    # in a game

    def on_game_info(self, request, response, due) -> None:
        self.need(api.in_game, api.ended)
        info, faults = response.game_info, self.faults
        info.map_name = self.map_name
        info.local_map_path = self.create.local_map.map_path
        info.options.CopyFrom(self.join.options)
        for number, setup in enumerate(self.create.player_setup, 1):
            player = info.player_info.add(player_id=number, type=setup.type)
            player.race_requested = setup.race if number > 1 else self.join.race
            if number > 1:
                player.difficulty = setup.difficulty
        ground = info.start_raw
        side = common.Size2DI(x=scenarios.SIZE, y=scenarios.SIZE)
        (x0, y0), (x1, y1) = faults.playable or scenarios.PLAYABLE
        grid, eight = scenarios.pathing_bits(), faults.pathing_8bit
        if eight:
            grid = scenarios.pathing_bytes()
        height = scenarios.height_bytes()
        if faults.pathing_bytes is not None:
            grid = bytes(faults.pathing_bytes)
        if faults.height_bytes is not None:
            height = bytes(faults.height_bytes)
        if faults.map_size:
            side = common.Size2DI(x=faults.map_size[0], y=faults.map_size[1])
        bits = faults.bits_per_pixel or (8 if eight else 1)
        ground.map_size.CopyFrom(side)
        for image, depth, data in (
            (ground.pathing_grid, bits, grid),
            (ground.placement_grid, bits, grid),
            (ground.terrain_height, 8, height),
        ):
            image.bits_per_pixel, image.data = depth, data
            image.size.CopyFrom(side)
        ground.playable_area.p0.x, ground.playable_area.p0.y = x0, y0
        ground.playable_area.p1.x, ground.playable_area.p1.y = x1, y1
        ground.start_locations.add(x=23.5, y=16.5)

    def on_observation(self, request, response, due) -> None:
        self.need(api.in_game, api.ended)
        answer, battle = response.observation, self.battle
        answer.observation.game_loop = battle.loop
        answer.observation.player_common.player_id = 1
        data = answer.observation.raw_data
        data.units.append(NEUTRAL)
        data.units.extend([self._body(unit) for unit in battle.units()])
        if battle.died:
            data.event.dead_units.extend(battle.died)
            for tag in battle.died:
                self.bodies.pop(tag, None)
            battle.died.clear()
        if self.action_errors:
            answer.action_errors.extend(self.action_errors)
            self.action_errors.clear()
        if self.status == api.ended:
            for player in (1, 2):
                answer.player_result.add(player_id=player, result=api.Tie)

    def _body(self, unit: toy.Unit) -> raw.Unit:
        body = self.bodies.get(unit.tag)
        if body is None:
            own = unit.owner == 1
            body = self.bodies[unit.tag] = raw.Unit(
                display_type=raw.Visible, alliance=raw.Self if own else raw.Enemy, tag=unit.tag,
                unit_type=unit.type_id, owner=unit.owner, radius=unit.kind.radius, build_progress=1,
                cloak=raw.NotCloaked, health_max=unit.kind.health, is_flying=unit.kind.flies,
            )  # fmt: skip
            body.pos.z = 13.8 if unit.kind.flies else 10.0
        body.pos.x, body.pos.y = unit.x, unit.y
        body.health = unit.health
        body.weapon_cooldown = unit.cooldown
        if unit.kind.shield:
            body.shield, body.shield_max = unit.shield, unit.kind.shield
        if unit.kind.heals:
            body.energy, body.energy_max = unit.energy, 200
        return body

    def on_step(self, request, response, due) -> None:
        self.need(api.in_game)
        battle, limit = self.battle, self.faults.match_loops
        for _ in range(max(1, request.count)):
            battle.advance()
            if battle.loop >= limit:
                self.status = api.ended
                break
        self.hoard_memory()
        response.step.simulation_loop = battle.loop

    def on_action(self, request, response, due) -> None:
        self.need(api.in_game)
        results = response.action.result
        for action in request.actions:
            if not action.action_raw.HasField("unit_command"):
                results.append(errors.Success)
                continue
            command = action.action_raw.unit_command
            if "fail_actions" in due:
                code = self.faults.fail_code
            else:
                codes = [orders.give(self.battle, tag, command) for tag in command.unit_tags] or [
                    errors.Error
                ]
                code = next((c for c in codes if c != errors.Success), errors.Success)
            results.append(code)
            if code != errors.Success and command.unit_tags:
                self.action_errors.append(
                    api.ActionError(
                        unit_tag=command.unit_tags[0], ability_id=command.ability_id, result=code
                    )
                )
        response.action.SetInParent()
        if "lose_results" in due and results:
            del results[-1]

    def on_debug(self, request, response, due) -> None:
        self.need(api.in_game)
        response.debug.SetInParent()
        for command in request.debug:
            kind = command.WhichOneof("command")
            if kind == "kill_unit":
                self.battle.kill(command.kill_unit.tag)
            elif kind == "unit_value":
                self._set_value(command.unit_value)
            elif kind == "test_process":
                strikes.test_process(command.test_process)
            elif kind == "end_game":
                self.status = api.ended
            elif kind != "draw":
                raise Misuse(f"FakeSC2 does not know the debug command {kind}.")

    def _set_value(self, command) -> None:
        unit = self.battle.by_tag.get(command.unit_tag)
        if unit is not None:
            name = {1: "energy", 2: "health", 3: "shield"}[command.unit_value]
            setattr(unit, name, float(command.value))

    def on_save_replay(self, request, response, due) -> None:
        self.need(api.in_game, api.ended)
        facts = {"map": self.map_name, "seed": self.seed, "loops": self.battle.loop}
        text = "FakeSC2: this is not a StarCraft II replay. " + json.dumps(facts)
        response.save_replay.data = b"MPQ\x1b" + text.encode()
