"""SMAX: StarCraft-like micromanagement in JAX.

Options: ``backend`` "native" (default: our batched simulation) or "jaxmarl" (JaxMARL's own, on its
maps); ``stats`` "jaxmarl" (default) or "sc2"; ``reward`` "smax" (default, at most 2 per episode
where nobody heals) or "smac" (at most 20); ``layout`` of actions, observations and states "smax"
(default) or "smac" (the real map's, for policies that play both); ``rng`` "jaxmarl" (default: its
random bits) or "fast" (others of the same distribution).
"""

from __future__ import annotations

from lica_jax.envs.names import Family, name_with
from lica_jax.envs.smax.scenarios import SCENARIOS, check_scenario
from lica_jax.envs.smax.units import JAXMARL
from lica_jax.errors import UserError

OPTIONS = {
    "backend": ("native", "jaxmarl"),
    "stats": ("jaxmarl", "sc2"),
    "reward": ("smax", "smac"),
    "layout": ("smax", "smac"),
    "rng": ("jaxmarl", "fast"),
}


def describe(name: str) -> str:
    s = SCENARIOS[name]
    if s.random:
        teams = f"{len(s.allies)} vs {len(s.enemies)} random units"
    else:
        teams = " vs ".join(map(_team, (s.allies, s.enemies)))
    return f"{teams}, limit {s.limit}" + (", SMAX-extended" if s.source == "extended" else "")


def _team(ids: tuple[int, ...]) -> str:
    """``1 medivac, 2 marauders, 7 marines``."""
    counts = ((ids.count(i), JAXMARL[i].name.replace("_", " ")) for i in dict.fromkeys(ids))
    return ", ".join(f"{n} {_plural(name) if n > 1 else name}" for n, name in counts)


def _plural(name: str) -> str:
    return "colossi" if name == "colossus" else f"{name}s"


def make(name: str, **options: str):
    full, scenario = name_with(f"smax/{name}", OPTIONS, options), SCENARIOS[name]
    check_scenario(name, scenario)
    backend, stats, reward, layout, rng = (options.get(k, v[0]) for k, v in OPTIONS.items())
    if scenario.random and stats != "jaxmarl":
        raise UserError(f"smax/{name}: stats={stats} needs a map with fixed units")
    if backend == "jaxmarl":
        if not scenario.on_jaxmarl:
            raise UserError(f"smax/{name}: JaxMARL cannot play this map; leave out backend=jaxmarl")
        if scenario.random and len(scenario.enemies) > len(scenario.allies):
            raise UserError(
                f"smax/{name}: JaxMARL's generator makes all random enemies beyond the number of "
                "allies Marines; leave out backend=jaxmarl"
            )
        if (stats, reward, layout, rng) != ("jaxmarl", "smax", "smax", "jaxmarl"):
            raise UserError(
                f"smax/{name}: backend=jaxmarl has its own stats, reward, layout and rng only"
            )
        import jax

        if jax.config.jax_enable_x64:
            raise UserError(
                f"smax/{name}: JaxMARL's simulation does not run in 64-bit mode "
                "(JAX_ENABLE_X64); leave out backend=jaxmarl"
            )
        from lica_jax.envs.smax.jaxmarl import JaxMarlSmax

        return JaxMarlSmax(full, scenario)
    if layout == "smac":
        from lica_jax.envs.smax.smac_layout import SmaxAsSmac, facts_of

        return SmaxAsSmac(full, scenario, facts_of(name, scenario), stats, reward, rng == "fast")
    from lica_jax.envs.smax.native import Smax

    return Smax(full, scenario, stats, reward, rng == "fast")


FAMILY = Family(
    shared=True,
    names=tuple(SCENARIOS), make=make, describe=describe, options=OPTIONS,
    match=SCENARIOS.__contains__,  # maps registered since
)  # fmt: skip
