"""What an object was made of: the same letters for the same, others for anything else."""

import functools
import logging
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lica_jax.envs import make_task
from lica_jax.envs.made import digest


class Thing:
    def __init__(self, **held):
        vars(self).update(held)

    @functools.cached_property
    def worked_out(self):
        return 7


class Other(Thing):
    pass


@dataclass(frozen=True)
class Facts:
    size: int
    names: tuple = ("a",)


def paid(bonus, scale=1.0):
    def reward(x):
        return bonus * x + scale

    return reward


def of(**held):
    return digest(Thing(**held))


PAIRS = {
    "a number": (1, 2),
    "a kind of number": (1, 1.0),
    "a truth value": (1, True),
    "a text": ("a", "b"),
    "an array": (np.arange(3.0), np.array([0.0, 1.0, 3.0])),
    "a shape": (np.zeros(2), np.zeros((2, 1))),
    "an array of JAX": (jnp.arange(3), jnp.arange(1, 4)),
    "a key": (jax.random.key(0), jax.random.key(1)),
    "a list": ([1, [2]], [1, [3]]),
    "a dictionary": ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    "a set": ({1, 2}, {1, 3}),
    "a dataclass": (Facts(1), Facts(2)),
    "what a closure holds": (paid(1), paid(2)),
    "a function's constant": (lambda x: 2 * x, lambda x: 3 * x),
    "what a function calls": (lambda x: jnp.sin(x), lambda x: jnp.cos(x)),
    "a function's default": (lambda x, by=1: x, lambda x, by=2: x),
    "a part's argument": (functools.partial(paid, 1), functools.partial(paid, 2)),
    "what jit compiles": (jax.jit(paid(1)), jax.jit(paid(2))),
    "an object of one's own": (Thing(a=1), Thing(a=2)),
    "a class": (Thing(), Other()),
    "the class itself": (Thing, Other),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_is_told(name):
    a, b = PAIRS[name]
    assert of(held=a) != of(held=b)
    assert of(held=a) == of(held=a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (paid(1), paid(1)),
        (jax.jit(paid(1)), jax.jit(paid(1))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(3.0), jnp.arange(3.0)),
        (np.float64(0.1) * np.ones(2), np.float32(0.1) * np.ones(2, np.float32)),
        ([Thing(a=1)] * 2, [Thing(a=1), Thing(a=1)]),
    ],
)
def test_what_is_alike_has_the_same_letters(a, b):
    assert of(held=a) == of(held=b)


def test_what_an_object_knows_already_and_that_it_holds_itself_makes_no_other():
    used = Thing(a=1)
    assert used.worked_out == 7 and digest(used) == of(a=1)
    used.me = used
    assert digest(used) == digest(used) != of(a=1)


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


@dataclass
class Grown:
    size: int = 1

    def __post_init__(self):
        self.twice = 2 * self.size


def classed(gain):
    class Made:
        def paid(self):
            return gain

    return Made()


def grown(twice):
    found = Grown()
    found.twice = twice
    return found


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Slotted(1), Slotted(2)),
        (Path("a"), Path("b")),
        (range(2), range(3)),
        (deque([1]), deque([2])),
        (np.array([1, None], object), np.array([2, None], object)),
        (grown(2), grown(3)),
        (classed(1), classed(2)),
    ],
)
def test_what_has_no_attributes_or_more_than_it_declares_is_told(a, b):
    assert of(held=a) != of(held=b)
    assert of(held=a) == of(held=a)


def test_what_depends_on_the_machine_or_on_the_day_is_not_told():
    """Last bits, text about functions, loggers with what they remember, locks."""
    table = np.linspace(-1, 2, 50, dtype=np.float32)
    assert of(held=table) == of(held=np.nextafter(table, 9))
    assert of(held=table) != of(held=table * 1.001)

    def told(x):
        """One."""
        return x

    before = of(held=told)
    told.__code__ = told.__code__.replace(co_consts=("Two.", *told.__code__.co_consts[1:]))
    told.__doc__ = "Two."
    assert of(held=told) == before
    log = logging.getLogger("lica_jax.tests.made")
    before = of(held=log)
    log.info("something")
    assert of(held=log) == before and of(held=Lock()) == of(held=Lock())
    assert of(held={Thing, Other}) == of(held={Other, Thing})
    deep = []
    for _ in range(3000):
        deep = [deep]
    assert of(held=deep)


NAMES = ["smax/3m", "smax/2s3z:backend=jaxmarl", "mpe/simple_spread", "game/climbing"]


def test_tasks_have_the_same_letters_in_every_process():
    ours = [digest(make_task(name)) for name in NAMES]
    assert len(set(ours)) == len(NAMES)
    code = (
        "import lica_jax; from lica_jax.envs.made import digest; "
        f"print(*[digest(lica_jax.make_task(name)) for name in {NAMES!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ours
