"""What is rendered, of whom, into which files."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from lica_jax.engines.games import is_host_task
from lica_jax.envs.checks import frame_problems
from lica_jax.errors import UserError
from lica_jax.files import as_path, make_folder, write_whole
from lica_jax.policy import Policy, chosen_policies
from lica_jax.rendering.gif import gif
from lica_jax.rendering.page import numbers, page
from lica_jax.rendering.recording import Recording, record
from lica_jax.runs.evaluating import fitting_task
from lica_jax.runs.result import Result
from lica_jax.runs.words import whole_number
from lica_jax.types import Task

MOST_EPISODES = 20


class Replay:
    """Recorded episodes of a policy. Notebooks display it.

    Attributes:
      recording: what was recorded (`recording.Recording`).
      html: the page.
      notes: what a viewer should know, one line each.
    """

    def __init__(self, recording: Recording):
        self.recording = recording
        self.html, stride = page(recording)
        self.notes = [_fewer("the page", stride)] if stride > 1 else []
        self.notes += _missing(recording)

    def save(
        self, out: str | Path, *, gif: str | Path | None = None, json: str | Path | None = None
    ) -> None:
        """Writes the page and, if asked for, the picture alone as a GIF and all numbers as JSON.

        Raises:
          UserError: a file exists already or cannot be written; none was written then.
        """
        paths = check_outputs(out, gif, json)
        contents = [self.html.encode()]
        if gif is not None:
            contents.append(self.gif())
        if json is not None:
            contents.append(self.json().encode())
        for path, content in zip(paths, contents, strict=True):
            try:
                write_whole(path, content)
            except OSError as error:
                raise UserError(f"{path} cannot be written: {error.strerror}") from None

    def gif(self) -> bytes:
        """The picture alone as an animated GIF."""
        content, stride = gif(self.recording)
        if stride > 1:
            self.notes.append(_fewer("the GIF", stride))
        return content

    def json(self) -> str:
        """Everything that was recorded, as JSON."""
        return json.dumps(numbers(self.recording), allow_nan=False)

    def __repr__(self) -> str:
        played = self.recording.episodes
        steps = sum(len(episode.reward) for episode in played)
        episodes = "1 episode" if len(played) == 1 else f"{len(played)} episodes"
        return f"<Replay of {episodes}, {steps} steps, {len(self.html):,} bytes>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="replay" allowfullscreen '
            'style="width:100%;height:820px;border:0"></iframe>'
        )


def render(
    policy: Policy | Result | str | Path, *, which: str | None = None,
    task: str | Task | None = None, episodes: int = 3, seed: int = 0, sampled: bool = False,
) -> Replay:  # fmt: skip
    """Plays a few episodes of a trained policy for viewing.

    Args:
      policy: a loaded policy, a policy file, a run directory or ``zoo:NAME``, or what `train`
        returned.
      which: which policy of a run: the "best" (default) or the "last" one.
      task: another task with the same sizes, or a task of your own; by default the task of
        training.
      episodes: number of episodes, 1 to 20.
      seed: seed of the episodes. Greedy episodes are the first ones that ``evaluate`` plays with
        the same seed.
      sampled: sample actions from the policies instead of taking the most likely ones.

    Returns:
      The replay: ``save("battle.html")`` writes it as a page, and notebooks display it.

    Raises:
      UserError: there is no such policy, it does not fit the task, the task has no pictures, or the
        recording does not fit into a page.
    """
    episodes = whole_number("episodes", episodes, 1, MOST_EPISODES)
    seed = whole_number("seed", seed, 0, 2**31 - 1)
    if isinstance(policy, Result):
        policy, which = policy.policy(which=which or "best"), None
    policy = _one(policy, which)
    target = fitting_task(policy, task)
    check_visible(target)
    _ = policy.critic  # read before anything is compiled
    return Replay(record(policy, target, episodes=episodes, seed=seed, sampled=sampled))


def _missing(recording: Recording) -> list[str]:
    """Why there are fewer numbers than there might be."""
    policy = recording.policy
    if policy.algo.insight is None:
        return ["the algorithm does not say what it makes of a moment"]
    if recording.critic is not None:
        return []
    if policy.critic is not None:
        return ["the critic takes states of another size: the page shows the policies alone"]
    return [
        "no critic was kept beside this policy (older versions kept none, and large ones are not "
        "kept): the page shows the policies alone"
    ]


def check_visible(task: Any) -> None:
    """Raises ``UserError`` where a task has no pictures."""
    name = task.spec.name
    if is_host_task(task):
        raise UserError(f"{name} is played by the game: lica-jax eval --save-replay keeps its own")
    if not hasattr(task, "scene") or not hasattr(task, "frames"):
        raise UserError(
            f"{name} has nothing to look at; tasks of smax/, mpe/ and game/ do, and your own with "
            "`scene` and `frames` (lica_jax.envs.frames)"
        )
    if wrong := frame_problems(task):
        raise UserError(f"{name} cannot be drawn: {'; '.join(wrong)}")


def check_outputs(
    out: str | Path, gif: str | Path | None = None, json: str | Path | None = None
) -> list[Path]:
    """The files to write: the page, and the picture and the numbers where they are asked for.

    Raises:
      UserError: one is there already, cannot be written, or the page has another file's ending.
    """
    given = [as_path(out, "out")]
    given += [as_path(p, name) for name, p in (("gif", gif), ("json", json)) if p is not None]
    if given[0].suffix.lower() in (".gif", ".json"):
        raise UserError(
            f"{given[0]} would be a page: choose a name ending in .html, and name other files as "
            "gif and json (--gif, --json)"
        )
    for path in given:
        if path.exists():
            raise UserError(f"{path} is there already: choose another name")
        if given.count(path) > 1:
            raise UserError(f"two files would be written to {path}")
    for path in given:
        make_folder(path.parent, str(path))
    return given


def _one(policy: Policy | str | Path, which: str | None) -> Policy:
    if isinstance(policy, Policy):
        if which is not None:
            raise UserError(f"which={which!r} chooses among the policies of a run directory")
        return policy
    if which not in (None, "best", "last"):
        raise UserError(f"which must be best or last, got {which!r}")
    return chosen_policies(policy, which)[0]


def _fewer(what: str, stride: int) -> str:
    return f"{what} shows one moment in {stride}, to stay small enough"
