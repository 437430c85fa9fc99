"""Battles and games to look at, with what policies and critics made of every moment."""

from __future__ import annotations

from lica_jax.rendering.replay import Replay, render

__all__ = ["Replay", "render"]
