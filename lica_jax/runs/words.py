"""Arguments that several calls take in Python, and what they may be."""

from __future__ import annotations

from typing import Any

import numpy as np

from lica_jax.errors import UserError


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """A number of things, 512 or ``5e2``; raises ``UserError`` for what is none within ``low`` and
    ``high``."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    if not (is_integer or is_whole) or not low <= value <= high:
        raise UserError(f"{name} must be an integer within {low} and {high}, got {value!r}")
    return int(value)


def check_resume(word: Any) -> None:
    """Refuses what is no answer to whether to go on with what is there."""
    if word not in (True, False, "auto"):
        raise UserError(f'resume must be True, False or "auto", got {word!r}')


def check_on_signal(word: Any) -> None:
    """Refuses what is no answer to what follows a signal."""
    if word not in ("raise", "return"):
        raise UserError(f'on_signal must be "raise" or "return", got {word!r}')
