"""How FakeSC2 sends an answer, and the ways in which it spoils one (`faults.ANSWERS`)."""

from __future__ import annotations

import math
import os
import time

from lica_jax.starcraft2.testing import websocket
from lica_jax.starcraft2.testing.protocol import api

STUB_LOOP = 2**32 - 1
MIB = 1 << 20


def die(text: str, status: int = 134):
    """Ends the process as a crash does."""
    os.write(2, f"FakeSC2: {text}\n".encode())
    os._exit(status)


def hang():
    """Answers nothing any more."""
    while True:
        time.sleep(3600)


def test_process(command) -> None:
    """The protocol's own way to make a game misbehave."""
    time.sleep(command.delay_ms / 1000)
    if command.test == 1:
        hang()
    elif command.test == 2:
        die("crash asked for by a debug command")
    elif command.test == 3:
        os._exit(0)


def send(connection, session, request, response, due: list[str]) -> None:
    """Sends one answer, spoilt by the faults that are due."""
    faults = session.faults
    for name in due:
        if name in _CONTENTS:
            response = _CONTENTS[name](faults, request, response)
    data = response.SerializeToString()
    for name in due:
        if name in _TRANSPORT:
            connection.flush()
            if _TRANSPORT[name](connection, session, data):
                return
    connection.send(data, pieces=faults.fragments)
    if session.held is not None:
        connection.send(session.held, pieces=faults.fragments)
        session.held = None


# What is in the answer: each takes and returns a message.


def _error(faults, request, response):
    broken = api.Response(id=response.id, status=response.status)
    broken.error.append(faults.error_text * faults.error_repeat)
    return broken


def _wrong_id(faults, request, response):
    response.id += 1000
    return response


def _wrong_kind(faults, request, response):
    other = api.Response(id=response.id, status=response.status)
    if request.HasField("ping"):
        other.step.SetInParent()
    else:
        other.ping.game_version = "an answer to another question, fake"
    return other


def _stub(faults, request, response):
    response.observation.Clear()
    response.observation.observation.game_loop = STUB_LOOP
    for player in (1, 2):
        response.observation.player_result.add(player_id=player, result=api.Tie)
    return response


def _nan(faults, request, response):
    for number, unit in enumerate(response.observation.observation.raw_data.units):
        unit.pos.x = (math.nan, math.inf, -math.inf)[number % 3]
        unit.pos.y = math.nan
        unit.health = (math.nan, math.inf, -1.0)[number % 3]
        unit.weapon_cooldown = math.nan
    return response


def _zero_max(faults, request, response):
    for unit in response.observation.observation.raw_data.units:
        unit.health_max = unit.shield_max = 0
    return response


def _flood(faults, request, response):
    units = response.observation.observation.raw_data.units
    model = type(units[0])()
    model.CopyFrom(units[-1])
    for number in range(faults.flood_units):
        model.tag, model.owner = (1 << 40) + number, 1 + number % 2
        units.append(model)
    return response


def _duplicate(faults, request, response):
    units = response.observation.observation.raw_data.units
    units.extend(list(units))
    return response


def _no_raw(faults, request, response):
    response.observation.observation.ClearField("raw_data")
    return response


def _strange_types(faults, request, response):
    for number, unit in enumerate(response.observation.observation.raw_data.units):
        unit.unit_type = (0, 9999, 2**32 - 1)[number % 3]
    return response


def _no_status(faults, request, response):
    response.ClearField("status")
    return response


def _big_answer(faults, request, response):
    response.error.clear()
    response.save_replay.data = bytes(faults.big_answer_mib * MIB)
    return response


_CONTENTS = {
    "error": _error, "wrong_id": _wrong_id, "wrong_kind": _wrong_kind, "stub": _stub, "nan": _nan,
    "zero_max": _zero_max, "flood": _flood, "duplicate": _duplicate, "no_raw": _no_raw,
    "big_answer": _big_answer, "strange_types": _strange_types, "no_status": _no_status,
}  # fmt: skip

# How it travels: each returns True when nothing is left to send.


def _crash(connection, session, data):
    die("crash asked for; Segmentation fault would be the game's words")


def _hang(connection, session, data):
    hang()


def _close(connection, session, data):
    raise websocket.Gone("asked for by close")


def _garbage(connection, session, data):
    connection.send(b"\xff" * 64)
    return True


def _empty(connection, session, data):
    connection.send(b"")
    return True


def _text(connection, session, data):
    connection.send(b"this is not a message", websocket.TEXT)
    return True


def _partial_frame(connection, session, data):
    data = data + bytes(64)
    connection.send_raw(websocket.frame_head(len(data)) + data[: len(data) // 2])
    if session.faults.partial_frame_closes:
        raise websocket.Gone("asked for by partial_frame_closes")
    hang()


def _huge_frame(connection, session, data):
    connection.send_raw(websocket.frame_head(session.faults.huge_frame_bytes) + data)
    hang()


def _endless(connection, session, data):
    block = bytes(MIB)
    code = websocket.BINARY
    for _ in range(session.faults.endless_mib):
        connection.send_raw(websocket.frame_head(MIB, code, last=False) + block)
        code = websocket.CONTINUATION
    raise websocket.Gone("endless_mib is reached")


def _drip(connection, session, data):
    for byte in websocket.frame_head(len(data)) + data:
        connection.send_raw(bytes((byte,)))
        time.sleep(session.faults.drip_seconds)
    return True


def _slow(connection, session, data):
    time.sleep(session.faults.slow_seconds)
    return False


def _out_of_order(connection, session, data):
    session.held = data
    return True


def _twice(connection, session, data):
    connection.send(data)
    return False


_TRANSPORT = {
    "slow": _slow, "crash": _crash, "hang": _hang, "close": _close, "garbage": _garbage,
    "empty": _empty, "text": _text, "partial_frame": _partial_frame, "huge_frame": _huge_frame,
    "endless": _endless, "drip": _drip, "out_of_order": _out_of_order, "twice": _twice,
}  # fmt: skip
