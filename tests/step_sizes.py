"""What every algorithm's update makes of step sizes that fall."""

from dataclasses import fields

import jax
import numpy as np


def check_half_way(update, hp, progress):
    """Half way to step sizes of zero, an update is one with half of them.

    ``update(hp=, progress=)`` gives a learner first. The program is the one that ``hp`` and
    ``progress`` have anyway, since all that changes is traced.
    """
    at = progress.replace(env_steps=progress.env_steps + 1)
    names = [f.name for f in fields(hp) if f.name == "lr" or f.name.endswith("_lr")]
    halved = hp.replace(**{name: getattr(hp, name) / 2 for name in names})
    falling, wanted, whole = (
        jax.tree.leaves(jax.device_get(update(hp=x, progress=at)[0]))
        for x in (hp.replace(lr_end=0.0, lr_steps=2.0), halved, hp)
    )
    for mine, theirs in zip(falling, wanted, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert any(not np.array_equal(x, y) for x, y in zip(wanted, whole, strict=True))
