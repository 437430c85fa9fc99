"""SMAC's environment on one running game."""
