"""A test double of the game: see `fake_sc2`."""
