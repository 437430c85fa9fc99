"""Plays an exported policy with numpy alone.

This file needs nothing but numpy: copy it beside what ``Policy.export("policy.npz")`` has written.

    policy = load("policy.npz")
    actions, carry, probs = policy.act(obs, avail)  # an episode's first step
    actions, carry, probs = policy.act(obs, avail, carry)  # the next one

Shapes: N agents, observations of length O, A discrete actions or D-dimensional points; a leading
axis B of environments may be there or not.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

FORMAT = "lica_jax numpy policy 1"
FACTS = {
    "task", "n_agents", "n_actions", "obs_size", "continuous", "last_action", "layers", "choice",
}  # fmt: skip


class Carry(NamedTuple):
    """A policy's memory between two steps of an episode."""

    hidden: np.ndarray  # [(B,) N, H]; H is 0 without a recurrent layer
    last_action: np.ndarray  # as actions; -1, or zeros where continuous, before the first


def load(path) -> NumpyPolicy:
    """Loads an exported file (``.npz``); runs no code from it.

    Raises:
      ValueError: it is not one of ours.
      OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("header", "{}")))
    except OSError:
        raise
    except Exception as error:  # whatever zip files, arrays and JSON fail with
        raise ValueError(f"{path} is damaged or no exported policy ({error})") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"{path} is not a policy of the format {FORMAT!r}")
    if missing := sorted(FACTS - about.keys()):
        raise ValueError(f"{path} is damaged: its header lacks {', '.join(missing)}")
    try:
        return NumpyPolicy(about, arrays)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error})") from None


class NumpyPolicy:
    """A policy of all agents.

    Attributes:
      about: the file's header: algorithm, task, sizes, layers, choice, seed, env_steps.
      arrays: parameters by layer, ``"0.kernel"``, in the shapes of ``x [N, B, I] @ kernel + bias``,
        whether agents share a network or have one each.
    """

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.about, self.arrays = about, arrays
        self.choice = _CHOICES[about["choice"]["kind"]]
        self.hidden = next((a.shape[-2] for k, a in arrays.items() if k.endswith("kernel_hh")), 0)

    def initial_carry(self, batch: int | None = None) -> Carry:
        """The memory at an episode's start, of one environment or of a batch."""
        about, rows = self.about, () if batch is None else (batch,)
        rows = (*rows, about["n_agents"])
        dtype = self.arrays["0.kernel"].dtype
        hidden = np.zeros((*rows, self.hidden), dtype)
        if about["continuous"] or about["choice"]["kind"] == "gumbel_softmax":  # points, weights
            return Carry(hidden, np.zeros((*rows, about["n_actions"]), dtype))
        return Carry(hidden, np.full(rows, -1))

    def act(
        self,
        obs: np.ndarray,
        avail: np.ndarray | None = None,
        carry: Carry | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[np.ndarray, Carry, np.ndarray]:
        """Chooses actions: the most likely ones, or sampled ones when given a generator.

        Args:
          obs: ``[(B,) N, O]``.
          avail: available actions ``[(B,) N, A]``. May be left out on tasks that mask none.
          carry: from the step before; None starts an episode.
          rng: ``np.random.default_rng(seed)``, to sample with.

        Returns:
          ``(actions, carry, probs)``. Actions are indices ``[(B,) N]``, or floats ``[(B,) N, D]``
          where they are points in (-1, 1)^D or weights. ``probs`` is what sampling draws from:
          probabilities ``[(B,) N, A]``; of points, mean and standard deviation before the tanh,
          ``[(B,) N, 2, D]``.

        Raises:
          ValueError: the shapes are not those of the task that the policy was trained for,
            ``avail`` is missing where it matters, or ``carry`` or ``rng`` is something else.
        """
        about = self.about
        obs = np.asarray(obs, self.arrays["0.kernel"].dtype)
        single = obs.ndim == 2
        if obs.ndim not in (2, 3) or obs.shape[-2:] != (about["n_agents"], about["obs_size"]):
            wanted = f"[(batch,) {about['n_agents']}, {about['obs_size']}]"
            raise ValueError(f"obs must be {wanted} for {about['task']}, got {list(obs.shape)}")
        if avail is None and about.get("masks", False):
            raise ValueError(f"{about['task']} makes some actions unavailable: give avail")
        if rng is not None and not hasattr(rng, "standard_normal"):
            raise ValueError(f"rng must be as np.random.default_rng(0), got {rng!r}")
        wanted = (*obs.shape[:-1], about["n_actions"])
        avail = np.ones(wanted, bool) if avail is None else np.asarray(avail, bool)
        if avail.shape != wanted:
            raise ValueError(f"avail must be {list(wanted)}, got {list(avail.shape)}")
        start = self.initial_carry(None if single else len(obs))
        try:
            hidden, last_action = (np.asarray(x) for x in (start if carry is None else carry))
        except TypeError:
            raise ValueError(f"carry must be what act returned, or None; got {carry!r}") from None
        if (hidden.shape, last_action.shape) != tuple(x.shape for x in start):
            raise ValueError(
                "carry must be what act returned for as many environments, or None; got shapes "
                f"{list(hidden.shape)} and {list(last_action.shape)}"
            )
        if single:
            obs, avail, hidden, last_action = (x[None] for x in (obs, avail, hidden, last_action))
        outputs, hidden = self._network(obs, hidden, last_action)
        actions, probs = self.choice(outputs, avail, rng, about["choice"])
        out = actions, hidden, probs
        actions, hidden, probs = (x[0] for x in out) if single else out
        return actions, Carry(hidden, actions), probs

    def _network(self, obs, hidden, last_action):
        """Outputs ``[B, N, P]`` and the new hidden state."""
        if self.about["last_action"]:
            obs = np.concatenate([obs, self._encoded(last_action)], axis=-1)
        x, h = (np.swapaxes(a, 0, 1) for a in (obs, hidden))  # agents first
        for i, layer in enumerate(self.about["layers"]):
            w = {k.partition(".")[2]: a for k, a in self.arrays.items() if k.startswith(f"{i}.")}
            if layer["kind"] == "gru":
                x = h = _gru(x, h, **w)
            else:
                x = x @ w["kernel"] + w["bias"]
            x = np.maximum(x, 0) if layer["relu"] else x
        return np.swapaxes(x, 0, 1), np.swapaxes(h, 0, 1)

    def _encoded(self, action):
        """Actions as the network reads them: one-hot (zeros for none), points as they are."""
        if self.about["continuous"]:
            return action
        hot = action[..., None] == np.arange(self.about["n_actions"])
        return hot.astype(self.arrays["0.kernel"].dtype)


def _gru(x, h, kernel_ih, bias_ih, kernel_hh, bias_hh):
    """One step of torch's GRUCell; gates are packed (reset, update, new)."""
    xr, xz, xn = np.split(x @ kernel_ih + bias_ih, 3, axis=-1)
    hr, hz, hn = np.split(h @ kernel_hh + bias_hh, 3, axis=-1)
    r, z = _sigmoid(xr + hr), _sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + r * hn) + z * h


def _sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2  # never overflows


# --- choices: (outputs [B, N, P], avail [B, N, A], rng, numbers) -> (actions, probs) -------------


def _softmax(outputs, avail, rng, numbers):
    probs = _masked_softmax(outputs, avail)
    return _choose(outputs, avail, probs, rng), probs


def _epsilon_greedy(outputs, avail, rng, numbers):
    """The best action, with probability epsilon any."""
    epsilon, count = numbers["epsilon"], np.maximum(avail.sum(-1, keepdims=True), 1)
    best = np.arange(outputs.shape[-1]) == _best(outputs, avail)[..., None]
    probs = (1 - epsilon) * best + avail * (epsilon / count)
    return _choose(outputs, avail, probs, rng), probs


def _epsilon_floor(outputs, avail, rng, numbers):
    """Softmax and floor over the available actions."""
    epsilon, count = numbers["epsilon"], np.maximum(avail.sum(-1, keepdims=True), 1)
    probs = avail * ((1 - epsilon) * _masked_softmax(outputs, avail) + epsilon / count)
    return _choose(outputs, avail, probs, rng), probs


def _epsilon_floor_over_all(outputs, avail, rng, numbers):
    """Softmax and floor over all actions; the available ones are then weighed to a sum of 1."""
    epsilon, every = numbers["epsilon"], np.ones_like(avail)
    floored = (1 - epsilon) * _masked_softmax(outputs, every) + epsilon / outputs.shape[-1]
    probs = _to_sum_1(avail * floored)
    return _choose(outputs, avail, probs, rng), probs


def _gumbel_softmax(outputs, avail, rng, numbers):
    """Weights: a relaxed one-hot sample, or the one-hot best."""
    probs = _masked_softmax(outputs, avail)
    if rng is None:
        hot = np.arange(outputs.shape[-1]) == _best(outputs, avail)[..., None]
        return hot.astype(outputs.dtype), probs
    logits = np.log(np.maximum(probs, np.finfo(probs.dtype).tiny))
    noisy = (logits + rng.gumbel(size=probs.shape)) / numbers["temperature"]
    return _masked_softmax(noisy, avail).astype(outputs.dtype), probs


def _gaussian(outputs, avail, rng, numbers):
    """Tanh of a normal draw, or of its mean."""
    mean, raw = np.split(outputs, 2, axis=-1)
    low, high = numbers["log_std_min"], numbers["log_std_max"]
    mean = numbers["mean_max"] * np.tanh(mean / numbers["mean_max"])
    std = np.exp(low + (high - low) * _sigmoid(raw + numbers["offset"]))
    point = mean if rng is None else mean + std * rng.standard_normal(mean.shape)
    actions = np.clip(np.tanh(point), -1 + 1e-6, 1 - 1e-6).astype(outputs.dtype)
    return actions, np.stack([mean, std], axis=-2)


_CHOICES = {
    "softmax": _softmax, "epsilon_greedy": _epsilon_greedy, "epsilon_floor": _epsilon_floor,
    "epsilon_floor_over_all": _epsilon_floor_over_all, "gumbel_softmax": _gumbel_softmax,
    "gaussian": _gaussian,
}  # fmt: skip


def _choose(outputs, avail, probs, rng):
    """The best actions, or draws by inverting the cumulated probabilities."""
    best = _best(outputs, avail)
    if rng is None:
        return best
    below = np.cumsum(probs, axis=-1)
    at = rng.random((*best.shape, 1)) * below[..., -1:]
    reached = (below > at) & (probs > 0)  # what has no weight is never drawn
    return np.where(reached.any(-1), np.argmax(reached, axis=-1), best)


def _best(outputs, avail):
    return np.argmax(np.where(avail, outputs, -np.inf), axis=-1)


def _masked_softmax(logits, avail):
    """Probabilities over the available actions; zeros where there is none."""
    masked = np.where(avail, logits, -np.inf)
    largest = np.max(masked, axis=-1, keepdims=True)
    return _to_sum_1(np.exp(masked - np.where(np.isfinite(largest), largest, 0)))


def _to_sum_1(weights):
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total > 0, total, 1)
