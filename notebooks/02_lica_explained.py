# %% [markdown]
# # 2. LICA explained
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/YOUR_NAME/lica_jax/blob/main/notebooks/02_lica_explained.ipynb)
#
# *Learning Implicit Credit Assignment for Cooperative Multi-Agent Reinforcement Learning* (Zhou,
# Liu, Sui, Li and Chung, NeurIPS 2020) in numbers. Everything here is computed by the functions
# that training uses: the networks of Figure 1, the gradient of section 3.2, the entropy rule of
# section 3.3 (Figure 2a), and the traffic junction of section 4.3.1 (Figure 5).

# %%
# Where lica_jax is missing, as on Colab.
import importlib.util

if importlib.util.find_spec("lica_jax") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/YOUR_NAME/lica_jax.git")

# %%
import os
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from lica_jax import load_config, make_algorithm, make_task
from lica_jax.algorithms.lica import lica
from lica_jax.algorithms.lica.learner import make_networks
from lica_jax.config import resolve
from lica_jax.core.entropy import entropy_bonus
from lica_jax.networks.critics import MLPCritic
from lica_jax.reproduce import traffic_junction as junction
from lica_jax.training.loop import make_run

FAST = "LICA_JAX_FAST" in os.environ  # the tests run this notebook with small numbers
UPDATES, INITS = (20, 200) if FAST else (200, 4000)
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## The problem
#
# A team gets one reward for what all its agents did. Which of them should do what more often?
# *Explicit* methods answer with a number for each agent: COMA asks what the team would have got had
# this agent done something else. LICA has no such number. It learns one critic of all actions, Q(s,
# u¹, …, uⁿ), puts the agents' *policies* where the actions go, and lets every policy climb:
#
# $$\frac{\partial J}{\partial \theta_a} \approx \mathbb{E}\left[
# \frac{\partial Q(s, \pi^1, \dots, \pi^n)}{\partial \pi^a} \frac{\partial \pi^a}{\partial \theta_a}
# + \frac{\partial \mathcal{H}(\pi^a)}{\partial \theta_a}\right] \qquad \text{(Eq. 4)}$$
#
# The credit is the first factor, dQ/dπᵃ: an output of differentiation, not of a formula.

# %% [markdown]
# ## Figure 1: two networks
#
# ```
# (a) each agent a:   observation, last action, agent's number
#                     -> Linear -> ReLU -> GRU -> Linear -> softmax over available actions -> π^a
#
# (b) the critic:     u = [π^1, ..., π^n]  ->  u W1(s) + b1(s)  ->  ReLU  ->  · w2(s) + b2(s)  ->  Q
#                     state s  ->  hypernetworks  ->  W1(s), b1(s), w2(s), b2(s)
# ```
#
# The agents share one network (their number is an input), see only their own observation, and are
# all that is needed to play. The critic sees the state and exists during training only. Its weights
# are not parameters: other networks (*hypernetworks*) make them from the state. Here are all
# parameters on SMAC's 3m, at the width of the official code:

# %%
nets = make_networks(lica.Config(), make_task("smax/3m").spec)
print(f"joint action: {nets.critic.n_inputs} = 3 agents x 8 actions; state: {nets.state_size}")
shapes = jax.eval_shape(partial(lica.init, nets), jax.random.key(0))
for part, tree in (("actor", shapes.actor), ("critic", shapes.critic)):
    total = sum(x.size for x in jax.tree.leaves(tree))
    print(f"\n{part}: {total:,} parameters")
    for name, layer in tree["params"].items():
        sizes = [x.shape for x in jax.tree.leaves(layer) if x.ndim == 2]
        print(f"  {name:15}", *sizes)

# %% [markdown]
# `hyper_w_1` ends in 1536 = 24 x 64 numbers: W1(s), a row for every action of every agent.

# %% [markdown]
# ## A game to look into
#
# `probe/private`: two agents, one step. Each sees a bit of its own, −1 or +1, and the team is paid
# 1 if both *play* their bit. The state is both bits and the time. Alone the game is easy; the point
# is that over the hidden bits every joint action is worth the same, so whoever judges an action
# must look at the state.
#
# Here is LICA's training loop without files, evaluations or display: a pair of pure functions.

# %%
task = make_task("probe/private")
small = {"mixing_embed": 16, "hypernet_hidden": 16, "state_last_action": False}
config = resolve(load_config("lica", "probe/private", algo=small), task.spec)
algo = make_algorithm("lica", task.spec, config.algo)
init, chunk = make_run(algo, task, config.collect, config.timeout_is_terminal)

start = jax.jit(init)(jax.random.key(0))
run, metrics = jax.jit(chunk, static_argnums=2)(start, config.hp, UPDATES)
learning = metrics["learn"]
for update in (0, UPDATES // 4, UPDATES - 1):
    print(f"update {update:3}: critic loss {learning['critic_loss'][update]:.3f}", end="")
    print(f", entropy {learning['entropy'][update]:.3f} nats")

# %% [markdown]
# ## The critic's answers
#
# `Q(s, u)` is one function, whether u holds actions taken (one-hot) or probabilities. The critic is
# *fitted* at actions taken, to TD(λ) returns (Eq. 2). Rows: first agent's action, columns:
# second's.

# %%
nets = make_networks(config.algo, task.spec)
learned = run.learner.critic


def Q(state, policies, params=learned, critic=nets.critic):
    """The critic at all agents' policies [N, A]."""
    return critic.apply(params, state, policies.reshape(-1))


one_hot = jnp.eye(2)
for bits in ((-1.0, -1.0), (-1.0, 1.0)):
    state = jnp.array([*bits, 0.0])
    values = [[Q(state, jnp.stack([one_hot[a], one_hot[b]])) for b in (0, 1)] for a in (0, 1)]
    print("bits", bits, "\n", np.array(values))

# %% [markdown]
# ## Section 3.2: the gradient, by hand
#
# For one state the critic is an ordinary network of one hidden layer, so that its gradient to the
# policies can be written down:
#
# $$\frac{\partial Q}{\partial u} = W_1(s)\big(\mathbb{1}[uW_1(s) + b_1(s) > 0] \odot w_2(s)\big)$$
#
# Compare with what JAX differentiates:

# %%
state, undecided = jnp.array([-1.0, 1.0, 0.0]), jnp.full((2, 2), 0.5)


def weights(critic, state):
    return critic.hyper_w_1(state), critic.hyper_b_1(state), critic.hyper_w_final(state)


w1, b1, w2 = nets.critic.apply(learned, state, method=weights)
w1 = w1.reshape(4, 16)
gate = undecided.reshape(-1) @ w1 + b1 > 0
by_hand = (w1 @ (gate * w2)).reshape(2, 2)
by_jax = jax.grad(Q, argnums=1)(state, undecided)
np.testing.assert_allclose(by_hand, by_jax, rtol=1e-5, atol=1e-6)
print("rows: agents; columns: actions\n", by_hand)

# %% [markdown]
# This table *is* the credit in the state (−1, +1), while both agents still choose evenly. Each
# row's larger number marks the action that is good for the team: action 0 for the first agent,
# action 1 for the second.
#
# ## Through the softmax
#
# What reaches an agent's logits is π ⊙ (g − π·g), g being its row of the table. The policy's own
# mean π·g is subtracted: a baseline, for free.

# %%
logits = jnp.zeros((2, 2))
to_logits = jax.grad(lambda x: Q(state, jax.nn.softmax(x)))(logits)
pi, g = jax.nn.softmax(logits), by_jax
by_formula = pi * (g - jnp.sum(pi * g, axis=-1, keepdims=True))
np.testing.assert_allclose(by_formula, to_logits, rtol=1e-5, atol=1e-6)
to_logits

# %% [markdown]
# The same for every state. The signs follow the bits; a critic that ignored the state would give
# one row for all of them.

# %%
for bits in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
    state = jnp.array([*bits, 0.0])
    push = jax.grad(lambda x, s=state: Q(s, jax.nn.softmax(x)))(logits)[:, 1]
    print(f"bits {bits!s:8} push towards action 1: agent 1 {push[0]:+.3f}, agent 2 {push[1]:+.3f}")

# %% [markdown]
# ## Why a hypernetwork: Eq. 1
#
# A critic that *concatenates* state and actions *adds* what it makes of them: Wₛs + Wᵤu. How dQ/du
# depends on the state is then the mixed derivative ∂²Q/∂u∂s. Between two ReLU switches it is
# exactly zero: the state can only open and close gates. In the mixing critic, which *multiplies*,
# W1(s) itself is a factor of the gradient.

# %%
mlp = MLPCritic(n_inputs=4, hidden=16)
params = mlp.init(jax.random.key(1), jnp.zeros(3), jnp.zeros(4))
fresh = nets.critic.init(jax.random.key(1), jnp.zeros(3), jnp.zeros(4))
state = jnp.array([-1.0, 1.0, 0.0])
for name, critic, p in (("MLP", mlp, params), ("mixing", nets.critic, fresh)):
    mixed = jax.jacfwd(jax.grad(Q, argnums=1))(state, undecided, p, critic)
    print(f"{name:7} largest |d2Q / du ds|: {jnp.abs(mixed).max():.4f}")

# %% [markdown]
# ## A soft spot of Eq. 4
#
# The critic is fitted at one-hot actions and asked at probabilities. What the team would *expect*
# under the policies is the sum over all joint actions, Σ π(u) Q(s, u); Q(s, π) is not the same,
# because Q is not linear in each policy. The paper says so, and that it works in practice. How far
# are they apart here?

# %%
state = jnp.array([-1.0, 1.0, 0.0])
for p in (0.5, 0.7, 0.9, 1.0):
    policies = jnp.array([[p, 1 - p], [1 - p, p]])  # both lean towards what is right
    joint = [(a, b, policies[0, a] * policies[1, b]) for a in (0, 1) for b in (0, 1)]
    expected = sum(w * Q(state, jnp.stack([one_hot[a], one_hot[b]])) for a, b, w in joint)
    print(f"p = {p}: Q(s, π) = {Q(state, policies):.3f}, expected {expected:.3f}, true {p * p:.3f}")

# %% [markdown]
# ## Section 3.3 and Figure 2a: entropy that adapts
#
# An entropy bonus βH pushes an action's probability p by −β(log p + 1): strongly where p is small,
# hardly where p is large, which is just where a policy has made up its mind too early. LICA divides
# by the entropy itself, held constant: −ξ(log p + 1)/H. The library's bonus, differentiated:


# %%
def push(p, coef, mode):
    """d bonus / dp of one action's probability; the entropy is that of p and the rest."""

    def bonus(p):
        entropy = -p * jnp.log(p) - (1 - q) * jnp.log(1 - q)
        one = entropy[None, None, None]
        return entropy_bonus(one, 2 * jnp.ones_like(one), jnp.ones((1, 1)), coef, mode)[0]

    q = jax.lax.stop_gradient(p)
    return jax.grad(bonus)(p)


p = jnp.linspace(0.005, 0.995, 199)
fig, ax = plt.subplots(figsize=(5, 3), dpi=80, layout="constrained")
for coef, mode, label in (
    (0.1, "constant", "β = 0.1"),
    (0.06, "sample", "ξ = 0.06"),
    (0.11, "sample", "ξ = 0.11"),
):
    ax.plot(p, jax.vmap(partial(push, coef=coef, mode=mode))(p), label=label)
ax.axhline(0, color="0.6", lw=1)
ax.set(xlabel="probability p of an action", ylabel="d bonus / dp", ylim=(-1.5, 1))
ax.legend()
plt.show()

# %% [markdown]
# (As in the paper, H is that of a choice between this action and one other.) With β the curve is
# flat and shallow on the right; with ξ it falls off a cliff as p → 1: an over-confident policy is
# pulled back, the more the surer it is. So policies settle at an entropy that ξ sets, as [notebook
# 3](03_sweeps.ipynb) shows.
#
# The official code divides by one mean entropy of all agents; `algo.entropy_mode` has that
# (`global`, the default), Eq. 6 read literally (`agent`, `sample`) and the plain bonus
# (`constant`).

# %% [markdown]
# ## Section 4.3.1 and Figure 5: the traffic junction
#
# Two cars, pass or wait: reward 1 if exactly one passes. Two joint actions are best and the agents
# must settle on one. Averaged over what the *other* may do evenly, passing is worth as much as
# waiting: no agent learns anything from such a mean. A gradient at the current policies breaks the
# tie, whatever side it starts on.
#
# Thousands of initialisations, all of them in one program:

# %%
keys = jax.random.split(jax.random.key(0), INITS)
networks, dropped = jax.vmap(junction.start)(keys)
found = {}
for method in ("lica", "coma_repo", "coma_on_policy"):
    train = jax.jit(jax.vmap(partial(junction.train, method=method)))
    found[method] = junction.statistics(np.asarray(train(networks, dropped)[1]))
    ended = {name: 100 * o["fraction"] for name, o in found[method]["outcomes"].items()}
    print(f"{method:15}", *(f"({name}) {share:5.1f} %" for name, share in ended.items()))

# %% [markdown]
# (1,0) and (0,1) are the two good outcomes. `coma_repo` is COMA as the script behind the paper's
# figure has it: joint actions weigh the same whatever the policies, and the log-probability is
# always that of passing. `coma_on_policy` is COMA's own gradient, and it solves the game too. What
# the figure shows is thus less than it seems to; [docs/figures/fig5.md](../docs/figures/fig5.md)
# has the whole story.

# %%
fig, ax = plt.subplots(figsize=(5, 3), dpi=80, layout="constrained")
for method, stats in found.items():
    ax.plot(stats["expected_reward"]["mean"], label=method)
ax.axhline(0.5, color="0.6", lw=1, ls=":")
ax.set(xlabel="policy updates", ylabel="expected reward, mean of all runs", ylim=(0, 1))
ax.legend()
plt.show()

# %% [markdown]
# ## Where it is in the code
#
# | paper | function |
# |---|---|
# | Figure 1a, 1b | `networks/agents.py`, `networks/critics.py` |
# | Eq. 2 | `core/returns.py`: `lambda_returns`; `core/losses.py`: `critic_loss` |
# | Eq. 3, 4 | `lica/actor_update.py`: `actor_objective`; `core/losses.py`: `policy_value_loss` |
# | Eq. 6 | `core/entropy.py`: `entropy_bonus` |
# | Figure 5 | `reproduce/traffic_junction.py`; `lica-jax reproduce fig5` |
#
# All of it, with every difference between the paper and its code:
# [docs/algorithms/lica.md](../docs/algorithms/lica.md).
