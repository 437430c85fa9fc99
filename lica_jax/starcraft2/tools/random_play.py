"""Plays random episodes and says in one number what was seen: to compare games and transcripts."""

from __future__ import annotations

import hashlib
import random
import struct
import time
from dataclasses import dataclass

import numpy as np

from lica_jax.starcraft2.env.environment import StarCraft2Env


@dataclass(frozen=True)
class Played:
    """What random play saw.

    ``digest`` is the sha256 over every observation, state, availability, reward and end, as
    little-endian float32, float32, bytes, float64 and a byte, in the order of play.
    """

    episodes: int
    steps: int
    won: int
    returns: tuple[float, ...]
    seconds: float
    digest: str


def play(env: StarCraft2Env, episodes: int, seed: int) -> Played:
    """Plays ``episodes`` with random available actions. The same game gives the same digest."""
    # Of all generators only this method of this one promises the same numbers for ever.
    draw = random.Random(seed).random
    digest = hashlib.sha256()
    returns, steps, won = [], 0, 0
    start = time.monotonic()
    for _ in range(episodes):
        env.reset()
        digest.update(_seen(env))
        total, over = 0.0, False
        while not over:
            actions = [options[int(draw() * len(options))] for options in _options(env)]
            reward, over, info = env.step(actions)
            digest.update(_seen(env) + struct.pack("<d?", reward, over))
            total += reward
            steps += 1
        won += bool(info.get("battle_won"))
        returns.append(total)
    seconds = time.monotonic() - start
    return Played(episodes, steps, won, tuple(returns), seconds, digest.hexdigest())


def _options(env: StarCraft2Env) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in env.avail()]


def _seen(env: StarCraft2Env) -> bytes:
    return b"".join(
        (
            env.obs().astype("<f4").tobytes(),
            env.state().astype("<f4").tobytes(),
            env.avail().astype("u1").tobytes(),
        )
    )
