"""Where the time of a training program goes."""

import json

import jax
import jax.numpy as jnp
import pytest

from lica_jax.cli.main import main
from lica_jax.profiling.breakdown import PARTS, part_of
from lica_jax.profiling.events import own_times, profiled
from lica_jax.profiling.hlo import instructions

TEXT = """\
HloModule jit_f

%fused (a: f32[2,3], b: f32[3,4]) -> f32[2,4] {
  %a = f32[2,3]{1,0} parameter(0)
  %b = f32[3,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[2,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (x: f32[2,3], y: f32[3,4], z: f32[5,2,3]) -> f32[2,4] {
  %x = f32[2,3]{1,0} parameter(0)
  %y = f32[3,4]{1,0} parameter(1)
  %z = f32[5,2,3]{2,1,0} parameter(2)
  %sine.1 = f32[2,3]{1,0} sine(%x), metadata={op_name="jit(f)/sin"}
  %dot.2 = f32[5,2,2]{2,1,0} dot(f32[5,2,3]{2,1,0} %z, %z), lhs_batch_dims={0}, \
lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={2}
  ROOT %fusion.1 = f32[2,4]{1,0} fusion(%sine.1, %y), kind=kOutput, calls=%fused, \
metadata={op_name="jit(f)/Net/dot_general" stack_frame_id=3}
}
"""


def test_products_and_paths_of_a_program_by_hand():
    seen = instructions(TEXT)
    assert seen["fusion.1"] == ("jit(f)/Net/dot_general", 2 * 2 * 4 * 3)
    assert seen["dot.2"] == ("", 2 * 5 * 2 * 2 * 3)
    assert seen["sine.1"] == ("jit(f)/sin", 0)


def test_own_times_are_without_what_is_inside():
    spans = [(0, 10, "loop"), (1, 3, "a"), (4, 5, "b"), (5, 2, "c"), (10, 1, "a"), (12, 1, "d")]
    assert own_times(spans) == [("loop", 2), ("a", 3), ("b", 3), ("c", 2), ("a", 1), ("d", 1)]


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("jit(f)/while/body/part_collect/part_agents/RecurrentAgent/fc1/dot_general", "collect"),
        ("jit(f)/jvp(part_agents)/RecurrentAgent/rnn/while", "agents forward"),
        ("jit(f)/transpose(jvp(part_agents))/RecurrentAgent/rnn/mul", "agents backward"),
        ("jit(f)/transpose(jvp(MixingCritic.at_actions))/while/body/gather", "critic"),
        ("jit(f)/while/body/FeedForwardAgent/mlp/layer_0/dot_general", "critic"),
        ("jit(f)/while/body/part_optimiser/sqrt", "optimiser"),
        ("jit(f)/while/body/jvp()/exp", "rest"),
        ("", "rest"),
    ],
)
def test_parts_by_path(path, part):
    assert part_of(path) == part


def test_loops_are_counted_as_often_as_they_went_round():
    def five_products(x):
        return jax.lax.fori_loop(0, 5, lambda i, y: y @ x, x)

    x = jnp.eye(64)
    program = jax.jit(five_products).lower(x).compile()
    known = instructions(program.as_text())
    seen = profiled(lambda: program(x))
    found = sum(seen[name].times * known[name].products for name in seen if name in known)
    assert found == 5 * 2 * 64**3


def test_a_row_has_every_part(capsys):
    words = ["bench", "probe/match", "--envs", "4", "--seconds", "0", "--breakdown"]
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["env_steps_per_second"] > 0 and row["product_gflops"] > 0
    parts = row["parts"]
    assert tuple(parts) == PARTS and 0 < row["of_product_rate"] < 1.5
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1, abs=0.01)
    flop = {name: part["product_flop_per_env_step"] for name, part in parts.items()}
    assert sum(flop.values()) == pytest.approx(row["product_flop_per_env_step"], abs=3)
    assert flop["optimiser"] == 0 < flop["collect"] < flop["agents backward"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "probe/match lica, preset fast, 4 environments" in out and "agents backward" in out
