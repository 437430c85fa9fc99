"""LICA-ADV: clipped policy steps with advantages from LICA's mixing critic."""
