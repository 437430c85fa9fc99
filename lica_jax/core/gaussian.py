"""Tanh-squashed Gaussian policies over actions in (-1, 1)^D.

An agent's policy is ``a = tanh(x)``, ``x ~ N(mean, std^2)``, independent by dimension. Everything
below takes ``mean`` and ``log_std`` before squashing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# sigma from 0.05 (almost a point) to 1.65 (most of the mass at both ends of the range).
LOG_STD_MIN, LOG_STD_MAX = -3.0, 0.5
# tanh(2) = 0.96. A mean further out would move no action any more, but its entropy would fall
# without bound and the adaptive rule would answer with a weight without bound.
MEAN_MAX = 2.0
# Outputs of zero mean a policy that is as nearly uniform on (-1, 1) as a squashed Gaussian can be
# (sigma 0.87, entropy 0.684 of log 2 = 0.693 nats).
_UNIFORM = (np.log(0.87) - LOG_STD_MIN) / (LOG_STD_MAX - LOG_STD_MIN)
OFFSET = float(np.log(_UNIFORM / (1 - _UNIFORM)))
_LOG_2PI_E = float(np.log(2 * np.pi * np.e))
# Nodes and weights of Gauss-Hermite quadrature for N(0, 1): error below 1e-3 nats over the range.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def split_outputs(
    outputs: Float[Array, "... D2"],
) -> tuple[Float[Array, "... D"], Float[Array, "... D"]]:
    """Network outputs as ``(mean, log_std)``, each squashed into its range."""
    mean, raw = jnp.split(outputs, 2, axis=-1)
    mean = MEAN_MAX * jnp.tanh(mean / MEAN_MAX)
    return mean, LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * jax.nn.sigmoid(raw + OFFSET)


def log_one_minus_tanh_squared(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``log(1 - tanh(x)^2)``, the log-derivative of the squashing, without cancellation."""
    return 2 * (jnp.log(2.0) - x - jax.nn.softplus(-2 * x))


def sample(
    mean: Float[Array, "... D"], log_std: Float[Array, "... D"], noise: Float[Array, "... D"]
) -> Float[Array, "... D"]:
    """An action in (-1, 1), from standard normal ``noise``.

    In float32 tanh(9) is 1; the ends are kept out, where the density is not defined.
    """
    return jnp.clip(jnp.tanh(mean + jnp.exp(log_std) * noise), -1 + 1e-6, 1 - 1e-6)


def entropy(mean: Float[Array, "... D"], log_std: Float[Array, "... D"]) -> Float[Array, "..."]:
    """Differential entropy of the squashed policy in nats, summed over dimensions.

    ``H = 1/2 log(2 pi e) + log std + E[log(1 - tanh(x)^2)]`` by dimension; the expectation has no
    closed form and is taken by quadrature, so that no sampling noise enters the loss. At most
    ``D log 2`` (uniform), and negative for narrow policies.
    """
    shape = (1,) * mean.ndim + _NODES.shape
    nodes, weights = (jnp.asarray(v, mean.dtype).reshape(shape) for v in (_NODES, _WEIGHTS))
    x = mean[..., None] + jnp.exp(log_std)[..., None] * nodes
    squashing = jnp.sum(log_one_minus_tanh_squared(x) * weights, axis=-1)
    return jnp.sum(0.5 * _LOG_2PI_E + log_std + squashing, axis=-1)


def entropy_scale(entropy: Float[Array, "..."], n_dims: int) -> Float[Array, "..."]:
    """What the adaptive rule divides xi by in place of a differential entropy: always positive.

    ``D log(1 + exp(H / D))``. exp(H / D) is the width that the policy covers in each dimension, as
    exp(H) is the number of actions that a discrete policy chooses from; the logarithm of 1 + width
    is 0 for a point, as the discrete entropy is, and grows with H throughout.
    """
    return n_dims * jax.nn.softplus(entropy / n_dims)


def point_input(action: Float[Array, "... D"]) -> Float[Array, "... 2D"]:
    """A taken action as a critic's input: the policy that is concentrated on it."""
    return jnp.concatenate([action, jnp.zeros_like(action)], axis=-1)


def policy_input(
    mean: Float[Array, "... D"], log_std: Float[Array, "... D"]
) -> Float[Array, "... 2D"]:
    """A policy as a critic's input: squashed mean, and log-std scaled to [0, 1] (0: narrowest)."""
    scaled = (log_std - LOG_STD_MIN) / (LOG_STD_MAX - LOG_STD_MIN)
    return jnp.concatenate([jnp.tanh(mean), scaled], axis=-1)
