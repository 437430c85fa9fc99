"""Run directories as `train` leaves them, of made-up numbers: nothing is trained for reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

EPISODES = 64


def rise(top: float, half: float, noise: float = 0.0, seed: int = 0):
    """A learning curve that comes to half of ``top`` at ``half`` env steps."""
    rng = np.random.default_rng(seed)
    return lambda steps: float(
        np.clip(top * steps / (steps + half) + noise * rng.standard_normal(), 0, 1)
    )


def write_run(
    path: Path, curve, *, algorithm="lica", task="smax/3m", seed=0, preset="fast", total=100_000,
    upto=None, interval=10_000, pace=1000.0, offset=0, hp=None, algo=None, wins=True,
    finished=True, failed=None, double=False, version="1.0", commit="abc", scale=10.0, setup=5.0,
) -> Path:  # fmt: skip
    """One run of one seed.

    Args:
      curve: the greedy score at some env steps; sampled scores are nine tenths of it.
      upto: env steps that it came to, where less than its budget ``total``.
      pace: env steps a second.
      setup: seconds before training began, compilation included.
      offset: env steps by which evaluations come late.
      wins: scores are win rates, and returns twenty times as much; else they are returns.
    """
    path.mkdir(parents=True)
    config = {
        "algorithm": algorithm, "task": task, "preset": preset, "seeds": [seed],
        "total_steps": total, "hp": {"gamma": 0.99} | (hp or {}), "algo": algo or {"hidden": 64},
        "eval": {"interval": interval}, "checkpoint": {"keep": 2}, "log_interval": 1000,
    }  # fmt: skip
    _json(path / "config.json", config)
    _json(path / "versions.json", {
        "packages": {"lica_jax": version, "jax": "0.10.2"}, "commit": commit, "cpu": "A CPU",
        "cpu_count": 2, "devices": ["cpu: cpu"],
    })  # fmt: skip
    end = total if upto is None else upto
    steps = [0, *(min(s + offset, end) for s in range(interval, end + 1, interval))]
    rows = [_row(seed, i, s, s / pace + setup, curve(s), wins, double) for i, s in enumerate(steps)]
    (path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if finished or failed is not None:
        last = {mode: _figures(curve(end) * f, wins) for mode, f in MODES.items()}
        done = {"final": [last], "best": [last | {"env_steps": end}]} if upto is None else {}
        _json(path / "result.json", {
            "seeds": [seed], "env_steps": [end], "failed_at_update": [failed],
            "reward_scale": scale, "random": _figures(0.05, wins), "interrupted": upto is not None,
            "task_source": "SMAX", "best_seed": seed, "seconds": end / pace, **done,
        })  # fmt: skip
    return path


MODES = {"greedy": 1.0, "sampled": 0.9}


def _row(seed, update, steps, seconds, score, wins, double):
    row = {"seed": seed, "env_steps": steps, "update": update, "seconds": seconds}
    for mode, factor in MODES.items():
        prefix = "eval/" if mode == "greedy" else "eval/sampled/"
        row |= {prefix + k: v for k, v in _figures(score * factor, wins).items()}
    return row | ({"test_double": True} if double else {})


def _figures(score, wins):
    if not wins:
        return {"return_mean": score, "episodes": EPISODES}
    return {"win_rate": score, "return_mean": 20 * score, "episodes": EPISODES}


def _json(path, value):
    path.write_text(json.dumps(value))
