"""The page of a recording: one file that needs nothing else, small enough to be sent."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from lica_jax.core.schedules import annealed
from lica_jax.errors import UserError
from lica_jax.files import plain
from lica_jax.policy import Policy
from lica_jax.rendering.packing import Packer, chosen, pack_episode, thinned, thoughts
from lica_jax.rendering.recording import Recording

MOST_BYTES = 2_000_000


def page(recording: Recording) -> tuple[str, int]:
    """HTML, and every how many-th moment of a step it shows: more than 1 where a page with all of
    them would be larger than `MOST_BYTES`.

    Raises:
      UserError: it is larger with one moment a step, too.
    """
    continuous = recording.task.spec.continuous
    ticks = recording.episodes[0].frame.alive.shape[1]
    template = files("lica_jax.rendering").joinpath("viewer.html").read_text("utf-8")
    for stride in (s for s in range(1, ticks + 1) if ticks % s == 0):
        packer = Packer()
        episodes = [pack_episode(packer, e, stride, continuous) for e in recording.episodes]
        head = json.dumps(plain(facts(recording) | {"episodes": episodes}))
        content = filled(template, {
            "__TITLE__": escape(title(recording)).encode("ascii", "xmlcharrefreplace").decode(),
            # "</script>" in a name would end the element that it stands in.
            "__FACTS__": head.replace("<", "\\u003c"),
            "__BLOCK__": base64.b64encode(packer.block()).decode(),
        })  # fmt: skip
        if len(content.encode()) <= MOST_BYTES:
            return content, stride
    steps = sum(len(episode.reward) for episode in recording.episodes)
    raise UserError(
        f"a page of {steps} steps would be larger than {MOST_BYTES // 10**6} MB"
        + ("; take fewer episodes" if len(recording.episodes) > 1 else "")
    )


def filled(template: str, parts: dict[str, str]) -> str:
    """The template with its places filled, all at once: a name may look like another place."""
    return re.sub("|".join(parts), lambda found: parts[found[0]], template)


def title(recording: Recording) -> str:
    return f"{recording.policy.about['algorithm']} on {recording.task.spec.name}"


def facts(recording: Recording) -> dict[str, Any]:
    """What holds for all episodes."""
    policy, spec = recording.policy, recording.task.spec
    about, insight = policy.about, policy.algo.insight
    known = insight is not None and recording.critic is not None
    scale = getattr(policy.hp, "reward_scale", None)
    return {
        "title": title(recording), "source": spec.source, "continuous": spec.continuous,
        "mode": "sampled" if recording.sampled else "greedy", "seed": recording.seed,
        "algorithm": about["algorithm"], "policy_steps": about.get("env_steps"),
        "policy_seed": about.get("seed"),
        "critic_steps": recording.critic.env_steps if known else None,
        "value": insight.value if known else "", "credit": insight.credit if insight else "",
        "has_critic": known, "reward_scale": spec.reward_scale if scale is None else scale,
        "has_win": spec.has_win, "scene": asdict(recording.scene),
        "entropy_target": entropy_target(policy),
    }  # fmt: skip


def entropy_target(policy: Policy) -> float | None:
    """The share of the largest entropy that LICA's bonus aimed at when the policy was made; None
    where it has no target."""
    if policy.about["config"].get("entropy_mode") != "target":
        return None
    hp, steps = policy.hp, policy.about.get("env_steps") or 0
    return float(
        annealed(hp.entropy_target, hp.entropy_target_final, hp.entropy_target_steps, steps)
    )


def numbers(recording: Recording) -> dict[str, Any]:
    """Everything that was recorded, as it was: for programs that read JSON."""
    continuous, episodes = recording.task.spec.continuous, []
    for episode in recording.episodes:
        frame = thinned(episode.frame, 1)
        parts = {
            "action": episode.action, "chosen": chosen(episode, continuous),
            "avail": episode.avail, "alive": episode.alive, "reward": episode.reward,
            **thoughts(episode, continuous),
        }  # fmt: skip
        parts |= {f"frame_{k}": getattr(frame, k) for k in frame.__dataclass_fields__}
        episodes.append({k: _short(x) for k, x in parts.items()})
    return plain(facts(recording) | {"episodes": episodes})


def _short(x: Any) -> Any:
    """Floats to the digits that float32 has."""
    x = np.asarray(x)
    if x.dtype.kind != "f":
        return x.tolist()
    return [_short(row) for row in x] if x.ndim else float(f"{float(x):.7g}")
