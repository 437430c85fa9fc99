"""Trained policies that come with the package: ``load_policy("zoo:lica/smax/2s3z")``."""

from __future__ import annotations

from lica_jax.zoo.catalog import Card, cards, find_card, zoo_file

__all__ = ["Card", "cards", "find_card", "zoo_file"]
