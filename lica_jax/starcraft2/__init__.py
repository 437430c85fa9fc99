"""StarCraft II: SMAC's maps on the real game, played through its wire protocol.

Nothing in here imports jax except `task.py` and `fleet/fleet.py`, the trainer's side:
game workers import the rest and stay small.
"""
