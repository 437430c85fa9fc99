"""Errors that a user can act on: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class UserError(ValueError):
    """Bad input. The command line prints the message and exits with code 2."""


class TooLarge(UserError):
    """It does not fit into the memory that is free."""


class TrainingFailed(RuntimeError):
    """A run cannot continue: the loss of every seed is non-finite, its environments no longer
    start, or its files can no longer be written. The command line exits with code 1."""


class Diverged(TrainingFailed):
    """The loss of every run became non-finite: continuing would change nothing."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it came from, is that there is too little memory."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | TooLarge) or "RESOURCE_EXHAUSTED" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


def failure(what: str, error: BaseException, package: str = "") -> str:
    """``init(key) fails: KeyError: 'a' (my_pg.py, line 7)``: what somebody's own function raised.

    Args:
      what: the call.
      package: the top-level package of the function, whose innermost line is named; without it, or
        where the error was raised by the call itself, there is no line.
    """
    lines = str(error).strip().splitlines() or [""]
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if package and frame.f_globals.get("__name__", "").partition(".")[0] == package
    ]
    place = f" ({Path(frames[-1][0]).name}, line {frames[-1][1]})" if frames else ""
    return f"{what} fails: {type(error).__name__}: {lines[0][:300]}{place}"


class BudgetOverrun(UserWarning):
    """A run exceeded its budget considerably, because one compiled call takes more env steps than
    were left of it. Told when everything is written; where warnings are errors, nothing is
    returned."""


def unknown(
    kind: str, name: Any, known: Iterable[str], more: str = "`lica-jax list` shows all"
) -> UserError:
    """The error for a name that is not registered, with the nearest names that are."""
    hint = did_you_mean(str(name), known)
    if not hint:
        known = sorted(known)
        hint = "known: " + (", ".join(known[:12]) or "none") + (", ..." if len(known) > 12 else "")
    return UserError(f"unknown {kind} {name!r}; {hint}" + (f" ({more})" if more else ""))


# What settings of PyMARL, EPyMARL, the official LICA, JaxMARL, Mava and BenchMARL are called here,
# where that differs, in small letters; docs/coming_from.md has the same tables.
ELSEWHERE = {
    # PyMARL, EPyMARL, the official LICA
    "t_max": ("total_steps",), "batch_size_run": ("collect.envs",),
    "test_interval": ("eval.interval",), "test_nepisode": ("eval.episodes",),
    "save_model_interval": ("checkpoint.every_seconds",), "lr": ("hp.actor_lr", "hp.lr"),
    "optim_alpha": ("hp.rms_decay",), "optim_eps": ("hp.rms_eps",),
    "target_update_interval": ("hp.target_interval",),
    "target_update_interval_or_tau": ("hp.target_interval",),
    "epsilon_anneal_time": ("hp.epsilon_steps",), "rnn_hidden_dim": ("algo.hidden",),
    "hidden_dim": ("algo.hidden",), "use_rnn": ("algo.actor", "algo.agent"),
    "mixing_embed_dim": ("algo.mixing_embed",), "hypernet_embed": ("algo.hypernet_hidden",),
    "obs_agent_id": ("algo.agent_id",), "obs_last_action": ("algo.last_action",),
    "buffer_size": ("algo.replay_capacity",), "batch_size": ("algo.replay_batch",),
    "eps_clip": ("hp.clip",), "standardise_returns": ("algo.value_norm",),
    "q_nstep": ("hp.td_lambda", "hp.gae_lambda"), "map_name": ("task",), "key": ("task",),
    "env_args": ("task",),
    # JaxMARL
    "num_envs": ("collect.envs",), "num_steps": ("collect.length",),
    "total_timesteps": ("total_steps",), "anneal_lr": ("hp.lr_end",),
    "update_epochs": ("algo.epochs",), "num_epochs": ("algo.epochs",),
    "num_minibatches": ("algo.minibatches",), "clip_eps": ("hp.clip",),
    "ent_coef": ("hp.entropy_coef",), "lambda": ("hp.td_lambda",),
    "max_grad_norm": ("hp.grad_norm_clip",), "fc_dim_size": ("algo.hidden",),
    "gru_hidden_dim": ("algo.hidden",), "hidden_size": ("algo.hidden",),
    "eps_start": ("hp.epsilon_start",), "eps_finish": ("hp.epsilon_finish",),
    "eps_decay": ("hp.epsilon_steps",), "num_seeds": ("seeds",), "seed": ("seeds",),
    "env_name": ("task",),
    # Mava
    "rollout_length": ("collect.length",), "update_batch_size": ("collect.envs", "seeds"),
    "num_evaluation": ("eval.interval",), "num_eval_episodes": ("eval.episodes",),
    "num_absolute_metric_eval_episodes": ("eval.final_episodes",), "ppo_epochs": ("algo.epochs",),
    "decay_learning_rates": ("hp.lr_end",), "add_agent_id": ("algo.agent_id",), "q_lr": ("hp.lr",),
    "eps_min": ("hp.epsilon_finish",), "sample_batch_size": ("algo.replay_batch",),
    "qmix_embed_dim": ("algo.mixing_embed",), "update_period": ("hp.target_interval",),
    # BenchMARL
    "max_n_frames": ("total_steps",), "on_policy_n_envs_per_worker": ("collect.envs",),
    "off_policy_n_envs_per_worker": ("collect.envs",),
    "on_policy_collected_frames_per_batch": ("collect.envs", "collect.length"),
    "on_policy_n_minibatch_iters": ("algo.epochs",),
    "on_policy_minibatch_size": ("algo.minibatches",), "clip_grad_val": ("hp.grad_norm_clip",),
    "share_policy_params": ("algo.share_params",),
    "hard_target_update_frequency": ("hp.target_interval",),
    "exploration_eps_init": ("hp.epsilon_start",), "exploration_eps_end": ("hp.epsilon_finish",),
    "exploration_anneal_frames": ("hp.epsilon_steps",),
    "off_policy_memory_size": ("algo.replay_capacity",),
    "off_policy_train_batch_size": ("algo.replay_batch",),
    "evaluation_interval": ("eval.interval",), "evaluation_episodes": ("eval.episodes",),
    "checkpoint_interval": ("checkpoint.every_seconds",), "lmbda": ("hp.gae_lambda",),
    "clip_epsilon": ("hp.clip",),
}  # fmt: skip


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean a or b?``, or nothing where no name is near.

    Names with dots or slashes are also known by their last part: ``lr`` is near ``algo.lr``, ``3m``
    near ``smax/3m``. Names of other libraries are answered with ours.
    """
    spelled = {k: k.removeprefix("--").replace("-", "_") for k in known}
    whole = name.removeprefix("--").replace("-", "_")
    last = _last(whole)
    same = [k for k, word in spelled.items() if _plain(word) == _plain(last)]
    ours = [k for k, word in spelled.items() if word in ELSEWHERE.get(last.casefold(), ())]
    # Too short to be near what they are a part of.
    parts = [k for k, word in spelled.items() if last in _last(word).split("_") and len(last) < 4]
    found = same or ours or parts or _near(whole, spelled)
    return f"did you mean {' or '.join(found[:3])}?" if found else ""


def _last(word: str) -> str:
    return word.rpartition(".")[2]


def _plain(word: str) -> str:
    """The last part of a setting's or a task's name, in small letters: ``SMAX/3m`` is ``3m``."""
    return _last(word).rpartition("/")[2].casefold()


def _near(name: str, spelled: Mapping[str, str]) -> list[str]:
    """The keys that are spelled nearly so, as a whole or in their last part."""
    whole = difflib.get_close_matches(name, spelled.values(), cutoff=0.6)
    lasts = dict.fromkeys(map(_last, spelled.values()))
    parts = difflib.get_close_matches(_last(name), lasts, cutoff=0.6)
    found = [k for w in whole for k, word in spelled.items() if word == w]
    found += [k for w in parts for k, word in spelled.items() if _last(word) == w]
    return list(dict.fromkeys(found))


def visible(text: str, most: int = 600) -> str:
    """Text that is partly from outside, cut where it is long, with escapes for all that a terminal
    would obey instead of show."""
    text = text if len(text) <= most else text[:most] + " ..."
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
