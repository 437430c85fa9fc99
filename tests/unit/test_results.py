"""What is left of a run in Python: tables, curves, short forms, notebooks, warnings."""

import contextlib
import copy
import io
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import lica_jax
from lica_jax import BudgetOverrun, UserError, api, evaluate, load_runs, make_task, train
from lica_jax.config import load_config
from lica_jax.config.schema import settings
from lica_jax.engines.shapes import ShapeTask
from lica_jax.policy import Policy
from lica_jax.runs.compilation_cache import use_compilation_cache
from lica_jax.runs.display import Display
from lica_jax.runs.learning_curve import learning_curve
from lica_jax.runs.logs import Logs
from lica_jax.runs.plan import make_plan
from lica_jax.runs.rows import completed
from lica_jax.runs.state import Counters
from lica_jax.runs.tables import as_frame, as_rows
from tests.conftest import TINY
from tests.glossary import entries

TASK = "probe/match"


class Handle:
    """What IPython's ``display(..., display_id=True)`` returns; keeps what it has shown."""

    def __init__(self, data):
        self.shown = [data]

    def update(self, data, raw):
        assert raw
        self.shown.append(data)


def fake_notebook(monkeypatch):
    """A kernel with IPython, as far as is used; returns the displays that are made in it."""
    made = []

    def display(data, raw, display_id):
        assert raw and display_id is True
        made.append(Handle(data))
        return made[-1]

    ipython = types.ModuleType("IPython")
    ipython.version_info = (9, 0)  # matplotlib asks
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two seeds, trained in a notebook: the result and what was displayed."""
    tiny = copy.deepcopy(TINY) | {"total_steps": 1_000}
    run_dir = tmp_path_factory.mktemp("results") / "pair"
    with pytest.MonkeyPatch.context() as patch:
        made = fake_notebook(patch)
        result = train("lica", TASK, seeds=[0, 1], run_dir=run_dir, display="notebook", **tiny)
    return result, made


@pytest.fixture(scope="module")
def overrun(tmp_path_factory):
    """A run of another number, whose one chunk is far longer than its budget; with the warnings,
    and what it printed."""
    changes = {"total_steps": 100, "log_interval": 400, "hp": {"gamma": 0.5}}
    tiny = copy.deepcopy(TINY) | changes
    run_dir = tmp_path_factory.mktemp("results") / "overrun"
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as told, contextlib.redirect_stderr(printed):
        warnings.simplefilter("always", BudgetOverrun)
        result = train("lica", TASK, seeds=7, run_dir=run_dir, display="plain", **tiny)
    return result, [w for w in told if w.category is BudgetOverrun], printed.getvalue()


# --- rows and tables -----------------------------------------------------------------------------


def test_steps_are_the_same_for_all_seeds(trained):
    result, _ = trained
    for seed in (0, 1):
        own = [row for row in result.evaluations if row["seed"] == seed]
        assert [row["step"] for row in own] == [0, 400, 800, 1_000]
        assert [row["eval_index"] for row in own] == [0, 1, 2, 3]
        assert all(0 <= row["env_steps"] - row["step"] < 32 for row in own)
        rows = [row for row in result.metrics if row["seed"] == seed]
        assert [row["step"] for row in rows] == [16 * row["update"] for row in rows]


def uneven_logs():
    """Rows of two sessions whose runs stand at env steps of their own."""
    parts = []
    figures = {"win_rate": 0.0, "return_mean": 0.5, "episodes": 8}
    engine = types.SimpleNamespace(stats=dict, genuine=True, complaint=lambda: None)
    for seeds in ((0, 1), (2,)):
        plan = make_plan(load_config("lica", TASK, **copy.deepcopy(TINY), seeds=seeds))
        logs = Logs(plan, Display("none", 1), engine, lambda: 0.0, None)
        rng = np.random.default_rng(seeds[0])
        for k in range(3):
            steps = 400 * k + rng.integers(0, 30, len(seeds))
            now = Counters(steps, np.full(len(seeds), 26 * k), np.full(len(seeds), -1))
            won = [figures | {"win_rate": float(rng.random())} for _ in seeds]
            now_figures = [{"greedy": w, "sampled": figures} for w in won]
            logs.evaluation(now_figures, now, plan.task.spec, step=400 * k)
        parts += logs.evals.rows
    return parts


def test_a_line_over_steps_has_a_band():
    """The obvious call of seaborn, with seeds of two sessions whose env steps all differ."""
    import pandas
    import seaborn
    from matplotlib.figure import Figure

    frame = pandas.DataFrame(uneven_logs())
    assert frame["env_steps"].nunique() > 3
    axes = Figure().subplots()
    seaborn.lineplot(frame, x="step", y="eval/win_rate", ax=axes, n_boot=50)
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [0, 400, 800]
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    at_400 = corners[corners[:, 0] == 400][:, 1]
    assert at_400.max() - at_400.min() > 0.01


def test_rows_of_earlier_versions_are_completed():
    old = [
        {"seed": s, "update": u, "env_steps": 10 * u + s, "loss": 1.0}
        for u in (0, 4, 9)
        for s in (0, 1)
    ]
    rows = completed(old, evaluations=True)
    assert [row["step"] for row in rows] == [0, 0, 40, 40, 90, 90]
    assert [row["eval_index"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert all(new.items() >= before.items() for new, before in zip(rows, old, strict=True))
    own = [{"update": 5, "env_steps": 50, "step": 64}]
    assert completed(own) == own


def test_a_result_as_a_table(trained):
    result, _ = trained
    frame = result.frame()
    assert len(frame) == len(result.evaluations) == 8
    assert set(frame["algorithm"]) == {"lica"} and set(frame["task"]) == {TASK}
    assert frame["eval/return_mean"].between(0, 1).all()
    assert len(result.frame(metrics=True)) == len(result.metrics)
    assert "loss" in result.frame(metrics=True) and "loss" not in frame


def test_several_runs_as_one_table(trained, overrun):
    (pair, _), (other, *_) = trained, overrun
    frame = load_runs([pair.run_dir, str(other.run_dir)])
    assert len(frame) == len(pair.evaluations) + len(other.evaluations)
    by_dir = frame.groupby("run_dir")
    assert by_dir["hp.gamma"].unique().map(list).to_dict() == {
        str(pair.run_dir): [0.99],
        str(other.run_dir): [0.5],
    }
    # What is equal, and what changes nothing of what is computed, is no column.
    settings = {"hp.entropy_coef", "algo.hidden", "total_steps", "seeds", "eval.interval"}
    assert not settings & set(frame.columns)
    alone = load_runs(pair.run_dir)
    assert alone.drop(columns="run_dir").equals(pair.frame())
    rows = load_runs(pair.run_dir, metrics=True)
    assert rows["step"].tolist() == [row["step"] for row in pair.metrics]


def test_what_only_one_algorithm_has_is_no_column():
    """But where runs of that algorithm differ in it; the others have no value there."""
    configs = [
        load_config("lica", "probe/match", algo={"hypernet_hidden": 16}),
        load_config("lica", "probe/match"),
        load_config("qmix", "probe/match", hp={"gamma": 0.5}),
    ]
    frame = as_frame(
        [row for part in as_rows([(c, [{"seed": 0}]) for c in configs]) for row in part]
    )
    lica, qmix = ({s.name for s in settings(config)} for config in configs[1:])
    columns = list(frame.columns)
    assert columns[:2] == ["algorithm", "task"] and columns[-1] == "seed"
    assert {"hp.gamma", "algo.hypernet_hidden"} <= set(columns[2:-1]) <= lica & qmix
    assert frame["hp.gamma"].tolist() == [0.99, 0.99, 0.5]
    # With LICA alone, what QMIX does not have is one where it differs.
    deep = load_config("lica", "probe/match", algo={"critic_steps": 3})
    parts = as_rows([(c, [{"seed": 0}]) for c in (deep, *configs)])
    assert [row["algo.critic_steps"] for (row,) in parts][::3] == [3, None]


def test_directories_that_are_no_runs_are_all_named(trained, tmp_path):
    result, _ = trained
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    (tmp_path / "rowless").mkdir()
    config = (result.run_dir / "config.json").read_bytes()
    (tmp_path / "rowless" / "config.json").write_bytes(config)
    with pytest.raises(UserError) as error:
        load_runs([tmp_path / "damaged", result.run_dir, tmp_path / "rowless", tmp_path / "none"])
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and "config.json is damaged" in lines[0]
    assert "rowless/eval.jsonl cannot be read" in lines[1]
    assert "none is not a run directory" in lines[2]
    (tmp_path / "rowless" / "eval.jsonl").write_text(
        '{"update": 1, "env_steps": 16, "seed": 0}\nnull\n'
    )
    with pytest.warns(UserWarning, match=r"eval\.jsonl: 1 damaged line"):
        assert load_runs(tmp_path / "rowless")["step"].tolist() == [16]


def test_every_entry_is_documented(trained):
    result, _ = trained
    written = {*result.metrics[-1], *result.evaluations[-1], *result.summary}
    for figures in (*result.summary["final"], *result.summary["best"]):
        written |= {f"eval/{k}" for mode in ("greedy", "sampled") for k in figures[mode]}
    own = {k.replace("eval/sampled/", "eval/") for k in written}
    assert not own - entries() and {"env_steps_per_second", "loss", "final"} <= own


# --- curves --------------------------------------------------------------------------------------


def curve_rows(seeds, steps=(0, 100, 200), **more):
    rng = np.random.default_rng(0)
    names = ("eval/win_rate", "eval/sampled/win_rate")
    return [
        {"seed": s, "step": t, "env_steps": t + s} | more | {name: rng.random() for name in names}
        for s in seeds
        for t in steps
    ]


def test_a_curve_of_several_seeds_has_a_band():
    rows = curve_rows(range(3))
    axes = learning_curve(rows, "title", 0.1).axes[0]
    greedy, _ = axes.collections
    title = axes.get_legend().get_title().get_text()
    assert title == "mean of 3 seeds; band: lowest to highest"
    assert axes.get_xlabel() == "env steps"
    values = np.array([[r["eval/win_rate"] for r in rows if r["step"] == t] for t in (0, 100, 200)])
    (mean,) = [line for line in axes.lines if line.get_label() == "greedy"]
    np.testing.assert_allclose(mean.get_ydata(), 100 * values.mean(axis=1))
    np.testing.assert_allclose(mean.get_xdata(), [1, 101, 201])  # where they are, on average
    corners = greedy.get_paths()[0].vertices
    for t, own in zip((1, 101, 201), 100 * values, strict=True):
        band = corners[np.isclose(corners[:, 0], t)][:, 1]
        np.testing.assert_allclose((band.min(), band.max()), (own.min(), own.max()))
    axes = learning_curve(curve_rows(range(4), steps=(0, 3_000_000)), "title").axes[0]
    title = axes.get_legend().get_title().get_text()
    assert title == "mean of 4 seeds; band: its 95 % bootstrap interval"
    assert axes.get_xlabel() == "env steps (millions)"


def test_a_curve_without_a_band():
    """Of one seed, and of runs that differ in more than their seeds."""
    figure = learning_curve(curve_rows([4]), "title")
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook's cell shows
    (axes,) = figure.axes
    assert not axes.collections and len(axes.lines) == 2
    assert not axes.get_legend().get_title().get_text()
    axes = learning_curve(curve_rows([4, 5]), "title").axes[0]
    assert not axes.collections and len(axes.lines) == 6
    assert axes.get_legend().get_title().get_text() == "mean of 2 seeds: too few for an interval"
    rows = curve_rows([0], run=0) + curve_rows([0], run=1)
    axes = learning_curve(rows, "title").axes[0]
    assert not axes.collections and len(axes.lines) == 4
    assert "2 runs that differ" in axes.get_legend().get_title().get_text()
    assert not learning_curve([], "nothing yet").axes[0].lines


def test_the_mean_ends_where_a_seed_failed():
    rows = curve_rows([0, 1]) + curve_rows([2], steps=(0, 100))
    lines = learning_curve(rows, "title").axes[0].lines
    (mean,) = [line for line in lines if line.get_label() == "greedy"]
    assert mean.get_xdata().max() == 101
    assert max(line.get_xdata().max() for line in lines) == 201


# --- short forms ---------------------------------------------------------------------------------


def test_a_result_in_one_line(trained):
    result, _ = trained
    text = repr(result)
    assert text.startswith(f"<Result lica on {TASK}, seeds [0, 1]: 1,0") and len(text) < 300
    assert "best policy's return: greedy" in text and str(result.run_dir) in text


def test_a_result_in_a_notebook(trained):
    from xml.etree import ElementTree

    result, _ = trained
    page = ElementTree.fromstring(result._repr_html_())  # well-formed
    rows = [[cell.text or "" for cell in row] for row in page.iter("tr")]
    assert rows[0][1:] == [
        "last greedy",
        "last sampled",
        "best greedy",
        "best sampled",
        "env steps",
    ]
    for i, row in enumerate(rows[1:]):
        assert row[0] == f"seed {i}"
        last = result.summary["final"][i]["greedy"]["return_mean"]
        assert float(row[1]) == pytest.approx(last, rel=0.01)
        assert row[5] == f"{result.summary['env_steps'][i]:,}"
    assert str(result.run_dir) in "".join(page.itertext())


def test_an_interrupted_result_has_short_forms_too(trained):
    import dataclasses

    result, _ = trained
    rest = {k: v for k, v in result.summary.items() if k not in ("final", "best")}
    cut = dataclasses.replace(result, summary=rest | {"interrupted": True}, run_dir=None)
    assert "interrupted" in repr(cut) and "files" not in repr(cut)
    assert "interrupted, no files" in cut._repr_html_()


@pytest.mark.parametrize(
    "name",
    [
        "smax/3m", "smax/2s3z:backend=jaxmarl", "smax/3m:layout=smac", "smac/3m",
        "mpe/simple_spread", "mpe/predator_prey", "game/climbing", "game/two_step", "probe/aim",
    ],
)  # fmt: skip
def test_tasks_and_specs_are_short(name):
    from lica_jax.types import TaskSpec

    task = make_task(name)
    n = task.spec.n_agents
    assert f"{name}: {n} agents, " in repr(task) and " at 0x" not in repr(task)
    assert "\n" not in repr(task) and len(repr(task)) < 120
    assert eval(repr(task.spec), {"TaskSpec": TaskSpec}) == task.spec
    assert "state_has_actions=False" not in repr(task.spec)
    assert repr(ShapeTask(task.spec)).startswith("<ShapeTask")


def test_a_policy_says_what_it_is(trained):
    result, _ = trained
    loaded = lica_jax.load_policy(result.run_dir)
    steps = loaded.about["env_steps"]
    seed = result.summary["best_seed"]
    assert repr(loaded) == f"<Policy lica on {TASK}, seed {seed}, {steps:,} env steps>"
    own = lica_jax.load_policy(result.run_dir / "policy_seed1.safetensors")
    assert repr(result.policy(1)) == repr(own) and "seed 1, " in repr(own)


# --- notebooks -----------------------------------------------------------------------------------


def test_a_notebook_has_one_text_and_one_curve(trained):
    import base64

    _, made = trained
    text, curve = made
    lines = [data["text/plain"] for data in text.shown]
    assert "lica on probe/match" in lines[0] and "env steps |" in "".join(lines)
    assert "last policy" in lines[-1] and "env steps |" not in lines[-1]
    pictures = [base64.b64decode(data["image/png"]) for data in curve.shown]
    assert len(pictures) == 4  # evaluations
    assert all(png.startswith(b"\x89PNG") for png in pictures)
    assert pictures[0] != pictures[-1]


def test_a_notebook_is_found(monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert Display("auto", 1)._notebook is None
    made = fake_notebook(monkeypatch)
    shown = Display("auto", 1)
    shown.say("here")
    assert made[0].shown == [{"text/plain": "here"}] and not capfd.readouterr().err
    shown.warn("seen")
    assert capfd.readouterr().err == "seen\n"


@pytest.mark.parametrize("shell", [False, True])
def test_notebooks_only_in_notebooks(monkeypatch, tmp_path, programs, shell):
    """Without IPython, and in Python that has imported it but runs in no shell."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if shell:
        ipython = types.SimpleNamespace(get_ipython=lambda: None)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    with pytest.raises(UserError, match=r'^display "notebook" needs a notebook') as error:
        train("lica", TASK, run_dir=tmp_path / "run", display="notebook", **TINY)
    assert "\n" not in str(error.value)
    assert not programs and not (tmp_path / "run").exists()


# --- budgets -------------------------------------------------------------------------------------


def test_a_large_overrun_is_told_once(trained, overrun):
    result, told, printed = overrun
    (steps,) = result.summary["overrun_steps"]
    assert steps == result.summary["env_steps"][0] - 100 == 100
    (warning,) = told
    assert "100 env steps more than the 100 asked for" in str(warning.message)
    assert printed.count(str(warning.message)) == 1  # among the last lines
    assert warning.filename == __file__
    with warnings.catch_warnings():  # ended where it is, with less than it has done
        warnings.simplefilter("error", BudgetOverrun)
        train(run_dir=result.run_dir, resume=True, total_steps=50, display="none")
    small, _ = trained
    over = small.summary["overrun_steps"]
    assert over == [steps - 1_000 for steps in small.summary["env_steps"]] and 0 <= max(over) < 32


def test_the_command_line_does_not_repeat_it():
    from lica_jax.cli.process import quiet_libraries

    with warnings.catch_warnings(record=True) as told:
        quiet_libraries()
        warnings.warn("far too long", BudgetOverrun, stacklevel=1)
    assert not told


# --- the compilation cache -----------------------------------------------------------------------

CACHED = """
import jax
jax.jit(lambda x: x + 1)(1.0)  # what was compiled before does not matter
from lica_jax.runs.compilation_cache import use_compilation_cache
use_compilation_cache()
jax.jit(lambda x: x * 3)(1.0)
print(jax.config.jax_compilation_cache_dir)
"""


def test_programs_are_kept_for_the_next_process(tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    run = subprocess.run(
        [sys.executable, "-c", CACHED], env=env, capture_output=True, text=True, check=True
    )
    folder = Path(run.stdout.strip())
    assert folder == tmp_path / "lica_jax" / "xla" and list(folder.glob("*-cache"))


def test_a_users_cache_is_left_alone(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    assert before is not None  # the tests' own
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == before
        jax.config.update("jax_compilation_cache_dir", None)
        jax.config.update("jax_enable_compilation_cache", False)
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
        jax.config.update("jax_enable_compilation_cache", True)
        (tmp_path / "cache").write_text("no folder can be made in here")
        use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", before)


def test_python_uses_it_as_the_command_line_does(monkeypatch, trained):
    result, _ = trained
    policy: Policy = result.policy()

    class Used(Exception):
        pass

    def used():
        raise Used

    monkeypatch.setattr(api, "use_compilation_cache", used)
    for call in (lambda: train("lica", TASK, **TINY), lambda: evaluate(policy)):
        with pytest.raises(Used):
            call()


def test_type_checkers_are_told():
    assert (Path(lica_jax.__file__).parent / "py.typed").is_file()
