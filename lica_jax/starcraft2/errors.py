"""What can go wrong with a game."""

from __future__ import annotations

from lica_jax.errors import TrainingFailed


class GameError(RuntimeError):
    """The game or the connection to it failed: the episode is lost, a new game can be started."""


class GameTimeout(GameError):
    """The game did not answer in time."""


class GameFailed(TrainingFailed):
    """New games fail as well, several in a row; the message ends with the game's own words."""
