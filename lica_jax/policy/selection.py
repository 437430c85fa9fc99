"""Which of a run's policies is meant."""

from __future__ import annotations

import re
from pathlib import Path

from lica_jax.errors import UserError
from lica_jax.files import as_path, as_word
from lica_jax.policy.policy import Policy, read_policy
from lica_jax.zoo.catalog import zoo_file

# Of each choice: the file of a run's best seed, and the files that each of several seeds has.
_FILES = {
    "best": ("policy.safetensors", None),
    "last": ("policy_last.safetensors", None),
    "all-seeds": ("policy.safetensors", r"policy_(?:seed|run)(\d+)\.safetensors"),
    "all-seeds-last": ("policy_last.safetensors", r"policy_last_(?:seed|run)(\d+)\.safetensors"),
}
WHICH = tuple(_FILES)


def load_policy(path: str | Path, *, which: str | None = None, seed: int | None = None) -> Policy:
    """Loads a trained policy.

    Args:
      path: a policy file, a run directory, or the name of a policy that comes with the package
        (``zoo:lica/smax/2s3z``; ``lica-jax list zoo`` lists all).
      which: of a run the "best" policy (the default) or the "last" one, as in `Result.policy`.
      seed: of a run with several seeds, whose policy; by default the best seed's.

    Raises:
      UserError: the file is missing, damaged, or not a policy of lica_jax; or the run has no such
        policy.
    """
    if which not in (None, "best", "last"):
        raise UserError(f"which must be best or last, got {which!r}")
    path = zoo_file(as_path(path, "policy"))
    if seed is None:
        return chosen_policies(path, which)[0]
    last = "_last" if which == "last" else ""
    own = path / f"policy{last}_seed{seed}.safetensors"  # without a look at all the others
    if own.is_file():
        return read_policy(own)
    of_all = "all-seeds-last" if last else "all-seeds"
    every = chosen_policies(path, which if path.is_file() else of_all)
    seeds = [policy.about.get("seed") for policy in every]
    if seeds.count(seed) != 1:
        several = "has several policies of" if seed in seeds else "has no policy of"
        raise UserError(
            f"{path} {several} seed {seed!r}; its policies are of the seeds {seeds}"
            + ("; load one of them by its file" if seed in seeds else "")
        )
    return every[seeds.index(seed)]


def chosen_policies(path: str | Path, which: str | None = None) -> list[Policy]:
    """The policies that are meant by a policy file, or by a run directory and one of `WHICH`.

    Args:
      path: a policy file, a run directory, or ``zoo:NAME``.
      which: ``"best"``, the best policy of the best seed (the default); ``"last"``, the last one of
        that seed; ``"all-seeds"``, every seed's best one; ``"all-seeds-last"``, every seed's last.

    Raises:
      UserError: ``which`` is none of these or goes with a file, or a policy is missing or unsound.
    """
    path = zoo_file(as_path(path, "policy"))
    if which is not None and which not in WHICH:
        raise UserError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
    if which is not None and path.is_file():
        raise UserError(f"which={which!r} chooses among the policies of a run; {path} is a file")
    if which in (None, "best") or not path.is_dir():
        return [read_policy(path)]
    alone, each = _FILES[which]
    numbered = ((re.fullmatch(each, file.name), file) for file in path.iterdir()) if each else ()
    several = sorted((int(found[1]), file) for found, file in numbered if found)
    files = [file for _, file in several] or [path / alone]
    if not files[0].is_file():
        read_policy(path)  # a run that has not come so far: says so
        raise UserError(
            f"{path} has no {alone}, since an older version wrote it; have it written with: "
            f"lica-jax train --resume --run-dir {as_word(path)}"
        )
    return [read_policy(file) for file in files]
