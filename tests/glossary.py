"""What docs/metrics.md says, for the tests that have rows of runs at hand."""

from __future__ import annotations

import functools
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
# Figures that an algorithm gives with some settings only.
SOMETIMES = {
    "lica": {
        "entropy_fraction", "entropy_gap", "importance_weight", "kl", "kl_coef_effective",
        "kl_share", "std", "temperature",
    }
}  # fmt: skip


@functools.cache
def entries() -> frozenset[str]:
    """Every entry of a row or a result that has a meaning there."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    assert all(row.split(" | ")[1].strip(" |") for row in rows)
    return frozenset(names)


@functools.cache
def figures(algorithm: str) -> frozenset[str]:
    """The algorithm's own figures."""
    section = PAGE.read_text().split("## The algorithms' own figures")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    whose = {row[0].strip("| `"): row[2].split(", ") for row in rows}
    return frozenset(k for k, names in whose.items() if {algorithm, "all"} & set(names))


def check_figures(algorithm: str, given: list[str]) -> None:
    """Fails where the page lacks a figure that an algorithm gives, or has one that it does not."""
    known = figures(algorithm)
    assert not set(given) - known, f"docs/metrics.md does not have them for {algorithm}"
    assert not known - set(given) - SOMETIMES.get(algorithm, set()), (
        f"{algorithm} does not give them"
    )
