"""The memory that a run needs: estimated, told by the compiler, and measured."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from lica_jax.config import load_config
from lica_jax.errors import TrainingFailed, UserError
from lica_jax.runs import directory
from lica_jax.runs.plan import make_plan
from lica_jax.sweeps.widths import Memory
from lica_jax.training import memory
from tests.conftest import new_session

MIB = 2**20


@pytest.fixture(scope="module")
def estimate():
    """Of QMIX with a replay, which is most of it."""
    algo = {"replay_capacity": 2_000_000}
    return make_plan(load_config("qmix", "probe/match", algo=algo)).engine.estimate


def test_an_estimate_is_a_fixed_part_and_one_of_every_run(estimate):
    fixed, one, many = (estimate.total(n) for n in (0, 1, 7))
    assert fixed == memory.COMPILER and many - fixed == 7 * (one - fixed) > 0
    saved = estimate.total(7, saves=True) - many
    replay = next(size for name, size in estimate.per_run.items() if "the replay" in name)
    assert saved == 7 * sum(estimate.per_save.values()) > 7 * replay


@pytest.mark.parametrize("saves", [False, True])
def test_as_many_runs_fit_as_are_not_refused(estimate, saves):
    free = int(estimate.total(5, saves) / 0.9) + MIB // 4
    fixed = estimate.total(0)
    run = estimate.total(1, saves) - fixed
    most = Memory(run, free, fixed).widest
    assert most == 5
    memory.check_fits(estimate.parts(most, saves), available=free)
    with pytest.raises(
        UserError,
        match=r"(the replay of 2000000 segments|a checkpoint is written from).* of 6 runs",
    ):
        memory.check_fits(estimate.parts(most + 1, saves), available=free)
    assert Memory(run, MIB, fixed).widest == 0


def test_tree_bytes_are_those_of_the_arrays(tiny):
    plan = make_plan(load_config("lica", "probe/match", **tiny))
    state = jax.eval_shape(plan.engine.init, plan.keys)
    arrays = jax.tree.leaves(plan.engine.init(plan.keys))
    actual = sum(x.nbytes for x in arrays if hasattr(x, "nbytes"))
    assert actual <= memory.tree_bytes(state) <= 1.1 * actual


def test_a_compiled_program_is_refused_by_its_own_figures():
    program = jax.jit(lambda x: jnp.sort(x) @ jnp.cumsum(x)).lower(jnp.zeros(MIB)).compile()
    memory.check_program(program, available=64 * MIB)
    with pytest.raises(MemoryError, match="largest part is the compiled program's temporaries"):
        memory.check_program(program, available=4 * MIB)


def test_a_run_is_refused_between_compiling_and_running(tiny, tmp_path, monkeypatch):
    """In one message; what is left of it may be begun anew."""
    run_dir = tmp_path / "run"
    config = load_config("lica", "probe/match", **tiny)
    session = new_session(config, run_dir)
    with monkeypatch.context() as full:
        full.setattr(memory, "available_bytes", lambda: 1000)
        with pytest.raises(TrainingFailed, match=r"out of memory: this run needs .* are free"):
            session.run()
    assert not session.logs.evals.rows and not directory.checkpoints(run_dir)
    make_plan(config, run_dir)


# --- measured ------------------------------------------------------------------------------------

# Small enough for seconds of training, large enough that their arrays count beside the compiler.
MEASURED = [
    ("qmix", "probe/two_step", {"algo": {"replay_capacity": 800_000}}, False),
    ("qmix", "probe/two_step", {"algo": {"replay_capacity": 500_000}}, True),
    ("lica", "smax/5m_vs_6m", {"algo": {"hypernet_hidden": 3_000}}, True),
    ("lica", "smax/3m", {"seeds": list(range(12))}, True),
    ("mappo", "smax/2s3z", {"collect": {"envs": 512}}, False),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "task", "settings", "saves"), MEASURED)
def test_the_estimate_is_near_the_peak(algorithm, task, settings, saves):
    """Of a whole run in a process of its own: evaluations, compilation and checkpoints."""
    path = Path(__file__).parents[2] / "benchmarks" / "memory.py"
    spec = importlib.util.spec_from_file_location("benchmark_memory", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    row = benchmark.measured(algorithm, task, settings, saves)
    assert 0.8 <= row["ratio"] <= 1.5, row
