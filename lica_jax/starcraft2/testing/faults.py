"""What FakeSC2 can be told to do wrong, as one JSON object.

The object is the environment variable `FAKE_SC2_FAULTS` or else the file `faults.json` in the tree.
An unknown name ends the program: a fault that is misspelt would be a test that tests nothing.

Answer faults (`ANSWERS`) strike one answer. `"crash_at_loop": 200` strikes at the first step that
has reached game loop 200 of a match (those in `OBSERVATIONS` and `ACTIONS`: at the first such
request), `"crash_on": "join_game"` at the first request of that kind, `"crash_on": "step#3"` at the
third. With `"repeat": true` they strike every time from then on.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

ANSWERS = {
    "crash": "the process dies with words on stderr, without an answer",
    "hang": "no answer, ever; the connection stays open",
    "close": "the connection is closed without an answer; the process lives",
    "garbage": "an answer that is no protobuf message",
    "empty": "a message of zero bytes",
    "text": "a text frame",
    "partial_frame": "half of a frame, then nothing (or, with `partial_frame_closes`, the end)",
    "huge_frame": "a frame that announces `huge_frame_bytes` and then stays silent",
    "endless": "a message in frames of 1 MiB without end (after `endless_mib`: closed)",
    "big_answer": "a message of `big_answer_mib` MiB that is valid otherwise",
    "drip": "a byte every `drip_seconds`",
    "slow": "an answer `slow_seconds` late",
    "error": "an answer with nothing but a top-level error (`error_text`, `error_repeat` times)",
    "no_status": "an answer without the state of the game",
    "wrong_id": "an answer with the id of another request",
    "wrong_kind": "an answer to a question that was not asked",
    "out_of_order": "the answer comes after the answer to the next request",
    "twice": "the answer comes twice",
    "end": "the match ends here (status `ended`, a result in the observation)",
    "fail_actions": "every command of this request fails with `fail_code`",
    "lose_results": "the answer to an action has one result too few",
    "stub": "an observation without units whose game loop is 2^32 - 1",
    "nan": "units at NaN and infinity, with NaN health",
    "flood": "an observation with `flood_units` additional units",
    "duplicate": "an observation that lists every unit twice",
    "no_raw": "an observation without raw data",
    "zero_max": "units whose maximal health and shield are zero",
    "strange_types": "units of types that no map has",
}
OBSERVATIONS = frozenset(
    {"stub", "nan", "flood", "duplicate", "no_raw", "zero_max", "strange_types"}
)
ACTIONS = frozenset({"fail_actions", "lose_results"})

OPTIONS = {
    # which processes: all of a tree, the first (`once`), or those with these numbers (`only`)
    "once": False, "only": None, "repeat": False,
    # before the first answer
    "die_at_start": None,  # exit status
    "startup_delay": 0.0,  # seconds before it listens
    "not_ready": 0.0,  # seconds in which the API answers 404
    "port_clash": None,  # "exit": the port is taken; "refuse": drops every connection
    "silent": False,  # takes connections and says nothing, not even the handshake
    "not_websocket": False,  # answers the handshake with 200 and a page
    "handshake_mib": 0,  # so much of a header line that never ends, then the connection is closed
    # details of answer faults
    "partial_frame_closes": False, "huge_frame_bytes": 1 << 40, "endless_mib": 256,
    "big_answer_mib": 96, "drip_seconds": 0.2, "slow_seconds": 1.0, "fail_code": 3,
    "flood_units": 5000, "error_text": "asked for by error", "error_repeat": 1,
    # errors inside the answer, by the names of the protocol
    "create_game_error": None, "join_game_error": None, "restart_game_error": None,
    # the match
    "spawn_delay": 0, "never_all": 0, "match_loops": 1 << 19, "seed": None,
    # the ground
    "pathing_8bit": False, "pathing_bytes": None, "height_bytes": None, "map_size": None,
    "playable": None, "bits_per_pixel": None,
    # lawful, but rare: answers in several frames, pings before answers, every answer late
    "fragments": 1, "ping_first": False, "answer_delay": 0.0,
    # life
    "lifetime": None, "watch_parent": False,  # instead of the environment's
    "ignore_sigterm": False, "ignore_quit": False, "linger": 0.0, "child_process": False,
    "memory_mib": 0, "memory_growth_mib": 0, "memory_limit_mib": 1024, "stderr_mib": 0,
}  # fmt: skip
STRIKES = {f"{name}_{when}" for name in ANSWERS for when in ("at_loop", "on")}


def check(faults: dict) -> dict:
    """The object itself; `ValueError` names what FakeSC2 does not know."""
    unknown = sorted(set(faults) - set(OPTIONS) - STRIKES)
    if unknown:
        raise ValueError(f"FakeSC2 knows no fault named {', '.join(unknown)}")
    return faults


def _claim(folder: Path, text: str) -> int | None:
    """Takes the next free number in a folder, atomically; None where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            try:
                handle = os.open(folder / str(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                number += 1
                continue
            os.write(handle, text.encode())
            os.close(handle)
            return number
    except OSError:
        return None


def register(tree: Path, record: str) -> None:
    """Writes a process down in the tree."""
    _claim(tree / "starts", record)


class Faults:
    """The faults of this process."""

    def __init__(self, given: dict):
        self.given = check(given)
        self.struck: set[str] = set()
        self.seen: dict[str, int] = {}

    def __getattr__(self, name: str):
        try:
            return self.given.get(name, OPTIONS[name])
        except KeyError:
            raise AttributeError(name) from None

    def due(self, kind: str, loop: int) -> list[str]:
        """The answer faults that strike the answer to a request of this kind in this game loop."""
        self.seen[kind] = self.seen.get(kind, 0) + 1
        if not self.given:
            return []
        found = []
        for name in ANSWERS:
            if name in self.struck and not self.repeat:
                continue
            wanted, _, number = str(self.given.get(f"{name}_on", "")).partition("#")
            count = self.seen[kind]
            on = wanted == kind and (
                count >= int(number or 1) if self.repeat else count == int(number or 1)
            )
            at = self.given.get(f"{name}_at_loop")
            place = "step"
            if name in OBSERVATIONS:
                place = "observation"
            elif name in ACTIONS:
                place = "action"
            if on or (at is not None and kind == place and loop >= at):
                self.struck.add(name)
                found.append(name)
        return found


def load(tree: Path, facts: dict) -> Faults:
    """Reads the faults, registers this process in the tree and decides whether it is struck.

    `facts` about the process go into the file `starts/<number>` of the tree.
    """
    text = os.environ.get("FAKE_SC2_FAULTS")
    if text is None:
        try:
            text = (tree / "faults.json").read_text()
        except OSError:
            text = "{}"
    given = check(json.loads(text))
    record = json.dumps(facts)
    register(tree, record)
    only = [0] if given.get("once") else given.get("only")
    if only is not None:
        digest = hashlib.sha1(text.encode()).hexdigest()[:12]
        if _claim(tree / f"struck-{digest}", record) not in only:
            given = {}
    return Faults(given)
