"""Reports: figures, tables, page and files of made-up runs, without JAX."""

import csv
import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import lica_jax
from lica_jax import reporting
from lica_jax.cli.main import main
from lica_jax.errors import UserError
from lica_jax.reporting import figures, html, write
from lica_jax.reporting.picture import Panel, Picture
from lica_jax.reporting.table import Column, Table, seconds_text, steps_text
from lica_jax.statistics import Estimate
from tests.report.synthetic import rise, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two methods on a task with wins and on one with returns, three seeds each."""
    root = tmp_path_factory.mktemp("runs")
    tops = {("lica", "smax/3m"): 0.9, ("vdn", "smax/3m"): 0.6, ("lica", "mpe/spread"): 0.8}
    tops |= {("vdn", "mpe/spread"): 0.7}
    for i, ((algorithm, task), top) in enumerate(tops.items()):
        for seed in range(3):
            write_run(
                root / f"{i}{seed}", rise(top, 1e4, 0.03, 10 * i + seed), algorithm=algorithm,
                task=task, seed=seed, wins=task.startswith("smax"), offset=13 * seed,
            )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The report, and where it was written by the command line."""
    out = tmp_path_factory.mktemp("report") / "out"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def page(made):
    return (made / "report.html").read_text()


PICTURES = (
    "learning_curves_smax-3m", "learning_curves_mpe-spread", "final_scores",
    "performance_profiles", "probability_of_improvement", "sample_efficiency", "all_tasks",
    "time_to_threshold_greedy", "time_to_threshold_sampled",
)  # fmt: skip


def test_figures_are_counted_as_they_are_drawn(tmp_path, monkeypatch):
    from lica_jax.cli.progress import Counter

    told = []
    monkeypatch.setattr(Counter, "tell", lambda self, done, total: told.append((done, total)))
    write_run(tmp_path / "one", rise(0.9, 1e4))
    assert main(["report", str(tmp_path / "one"), "--out", str(tmp_path / "out")]) == 0
    assert told == [(1, 1)]


def test_all_figures_and_tables_are_there(made):
    for name in PICTURES:
        assert (made / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (made / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    manifest = json.loads((made / "report.json").read_text())
    written = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
    assert written == {*manifest["files"], "report.json"}
    tables = {"scores", "all_tasks", "time_to_threshold", "probability_of_improvement", "tasks"}
    assert set(manifest["tables"]) == tables | {"runs"}
    for name in manifest["tables"]:
        rows = list(csv.DictReader((made / f"tables/{name}.csv").open()))
        assert len(rows) == len(manifest["tables"][name]) > 0
        assert (made / f"tables/{name}.md").read_text().count("\n") == len(rows) + 2
        assert (made / f"tables/{name}.tex").read_text().count(r"\\") == len(rows) + 1


def test_scores_are_the_interquartile_means_with_their_seeds(made):
    rows = list(csv.DictReader((made / "tables/scores.csv").open()))
    assert len(rows) == 4
    for row in rows:
        assert row["seeds"] == "3" and row["episodes"] == "64" and row["fresh"] == "True"
        low, value, high = (float(row[k]) for k in ("greedy_low", "greedy", "greedy_high"))
        assert low <= value <= high and float(row["sampled"]) < value
    by = {(row["task"], row["method"]): float(row["greedy"]) for row in rows}
    assert by["smax/3m", "lica"] > by["smax/3m", "vdn"] + 0.1


def test_what_is_over_all_tasks(made):
    rows = json.loads((made / "report.json").read_text())["tables"]
    for row in rows["all_tasks"]:
        assert row["tasks"] == 2 and row["runs"] == 6
        assert row["iqm_low"] <= row["iqm"] <= row["iqm_high"]
        assert row["optimality_gap"] == pytest.approx(1 - row["mean"])  # no score is beyond 1
    (pair,) = [row for row in rows["probability_of_improvement"] if row["mode"] == "greedy"]
    assert (pair["x"], pair["y"], pair["tasks"], pair["runs"]) == ("lica", "vdn", 2, 12)
    assert pair["probability"] > 0.8
    ranges = {row["task"]: (row["low"], row["high"]) for row in rows["tasks"]}
    assert (
        ranges["smax/3m"] == (0, 1) and 0 <= ranges["mpe/spread"][0] < ranges["mpe/spread"][1] < 1
    )


def test_the_curves_over_all_tasks_say_what_their_band_is(folder):
    """Of six runs, three on each task: not from the lowest to the highest."""
    captions = {picture.name: picture.caption for picture in reporting.report(folder).pictures}
    assert "lowest to the highest" in captions["learning_curves_smax-3m"]
    pooled = captions["all_tasks"]
    assert "all runs, pooled over 2 tasks" in pooled and "lowest" not in pooled


def test_the_page_needs_nothing_from_elsewhere(page):
    assert len(page.encode()) < 3_000_000
    assert "<script" not in page and "@import" not in page
    sources = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert not [s for s in sources if re.match(r"(https?:)?//", s)]
    assert "prefers-color-scheme:dark" in page and 'name="viewport"' in page


def test_links_and_names_of_the_page_hold(page, made):
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    inside = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert set(inside) <= set(names)
    for link in re.findall(r'<a href="([^"#]+)"', page):
        assert (made / link).is_file(), link


def test_panels_are_svg_in_the_colours_of_the_page(page):
    svgs = re.findall(r"<svg [^>]*role=\"img\".*?</svg>", page, re.DOTALL)
    assert len(svgs) == 4 * 2 + 2 + 6 + 6 + 2 + 2 + 4 + 4
    for svg in svgs:
        assert ElementTree.fromstring(svg).attrib["aria-label"]
    assert "var(--c0)" in svgs[0] and not re.search(r"#0072b2", svgs[0], re.IGNORECASE)


def test_marl_eval_has_every_step_and_the_absolute_metric(made):
    data = json.loads((made / "marl_eval.json").read_text())
    assert set(data) == {"smax", "mpe"} and set(data["smax"]["3m"]) == {"lica", "vdn"}
    run = data["smax"]["3m"]["lica"]["run_1"]
    assert run["step_2"]["step_count"] == 20_013 and set(data["mpe"]["spread"]["vdn"]) == {
        "run_0", "run_1", "run_2",
    }  # fmt: skip
    assert set(run["step_2"]) == {
        "step_count", "elapsed_time", "win_rate", "return", "sampled_win_rate", "sampled_return",
    }  # fmt: skip
    assert len(run) == 12 and run["absolute_metrics"]["return"] == [
        20 * run["absolute_metrics"]["win_rate"][0]
    ]
    assert set(data["mpe"]["spread"]["lica"]["run_0"]["step_0"]) == {
        "step_count", "elapsed_time", "return", "sampled_return",
    }  # fmt: skip


def test_a_written_report_is_replaced_on_request_only(made, folder, tmp_path, capsys):
    before = (made / "report.html").read_bytes()
    one = write_run(tmp_path / "one", rise(0.5, 1e4))
    assert main(["report", str(one), "--out", str(made)]) == 2
    assert "already holds a report" in capsys.readouterr().err
    assert (made / "report.html").read_bytes() == before
    copy = tmp_path / "copy"
    reporting.report(one, out=copy)
    (copy / "mine.txt").write_text("keep")
    again = reporting.report(one, folder / "10", out=copy, overwrite=True)  # another task's figures
    assert (copy / "figures/final_scores.png").exists()
    reporting.report(one, out=copy, overwrite=True)
    assert not (copy / "figures/final_scores.png").exists()  # not of this report any more
    assert (copy / "mine.txt").read_text() == "keep" and len(again.runs) == 2


@pytest.mark.parametrize("flag", [[], ["--overwrite"]])
def test_other_peoples_folders_are_left_alone(folder, tmp_path, capsys, flag):
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["report", str(folder), "--out", str(tmp_path), *flag]) == 2
    assert "holds no report" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    assert main(["report", str(folder), "--out", str(tmp_path / "thesis.tex"), *flag]) == 2
    assert "is a file" in capsys.readouterr().err


def test_nothing_is_written_where_there_is_nothing_to_report(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "holds no run" in error
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="at least one folder"):
        reporting.report([])


def test_one_run_is_a_report_of_points(tmp_path):
    report = reporting.report(write_run(tmp_path / "one", rise(0.9, 1e4), upto=70_000))
    assert [picture.name for picture in report.pictures] == ["learning_curves_smax-3m"]
    assert "Every seed by itself" in report.pictures[0].caption
    assert any("1 seed only" in note for note in report.notes)
    assert any(
        note.startswith("Interrupted") and "70,000 of 100,000" in note for note in report.notes
    )
    (row,) = report.tables["scores"].rows
    assert row["seeds"] == 1 and np.isnan(row["greedy"].low) and row["best_greedy"] is None
    lines = report.figures["learning_curves_smax-3m"].axes[0].lines
    np.testing.assert_allclose(lines[0].get_xdata(), np.arange(8) * 10)  # thousands of env steps


def test_a_run_that_counts_in_no_number_is_no_seed_of_the_summary(tmp_path):
    write_run(tmp_path / "done", rise(0.9, 1e4), total=20_000)
    write_run(tmp_path / "long", rise(0.9, 1e4), seed=1, total=200_000, upto=50_000, finished=False)
    report = reporting.report(tmp_path)
    assert "2 runs: 1 method, 1 task, 1 seed each" in report.summary
    assert any("1 seed only: lica on smax/3m" in note for note in report.notes)
    assert any(note.startswith("Drawn, but in no number") for note in report.notes)


def test_seconds_leave_out_what_only_a_first_wave_compiles(tmp_path):
    for i, setup in enumerate((67.0, 1.0, 0.5)):
        write_run(tmp_path / f"{i}", rise(0.9, 1e4), hp={"lr": 1e-4 * (i + 1)}, setup=setup)
    report = reporting.report(tmp_path, out=tmp_path / "out")
    assert {row["seconds"] for row in report.tables["scores"].rows} == {100.0}
    assert [row["setup"] for row in report.tables["runs"].rows] == [67.0, 1.0, 0.5]
    by_seconds = report.figures["learning_curves_smax-3m"].axes[1]
    assert {line.get_xdata()[0] for line in by_seconds.lines if len(line.get_xdata()) > 2} == {0}
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("set-up and compilation left out") >= 3
    assert not any("set-up" in note for note in report.notes)


def test_seconds_that_hold_more_are_told(tmp_path):
    lost = write_run(tmp_path / "lost", rise(0.9, 1e4))
    rows = (lost / "eval.jsonl").read_text().splitlines(keepends=True)
    (lost / "eval.jsonl").write_text("".join(rows[1:]))
    again = write_run(tmp_path / "again", rise(0.9, 1e4), seed=1)
    versions = json.loads((again / "versions.json").read_text())
    (again / "versions.json").write_text(json.dumps(versions | {"resumed": [versions]}))
    notes = reporting.report(tmp_path).notes
    (first,) = [note for note in notes if note.startswith("Seconds with set-up and compilation")]
    assert first.endswith(f": {lost} seed 0.")
    assert f"Seconds with the set-up of a second or later start: {again} seed 1." in notes


@pytest.mark.filterwarnings("error")
def test_runs_that_have_only_begun_are_drawn_too(tmp_path):
    """One evaluation, before the first update; a long name; and scores that never differ."""
    long = {"critic": "mixing", "hypernet_hidden": 64, "straight_through": True}
    write_run(tmp_path / "a", lambda steps: 0.0, upto=0, finished=False, algo=long, wins=False)
    write_run(tmp_path / "b", lambda steps: 0.0, upto=0, finished=False, wins=False)
    other = dict.fromkeys(long, "other")
    write_run(tmp_path / "c", lambda steps: 0.0, upto=0, finished=False, algo=other, wins=False)
    report = reporting.report(tmp_path, out=tmp_path / "out")
    assert {row["greedy"].value for row in report.tables["scores"].rows} == {0.0}
    assert all(row["env_steps"] == 0 for row in report.tables["runs"].rows)
    assert report.tables["tasks"].rows[0]["points"] == 1


def test_a_report_shows_itself_in_a_notebook(folder):
    report = lica_jax.report([folder / "00", folder / "01", folder / "02"])
    fragment = report._repr_html_()
    assert fragment.startswith('<div class="lica-report">') and "<html" not in fragment
    assert not re.findall(r'<a href="([^"#]+)"', fragment)  # nothing lies beside it
    frame = report.tables["scores"].frame()
    assert frame.loc[0, "greedy_low"] <= frame.loc[0, "greedy"]
    assert "lica on smax/3m" in str(report) and "Report(title=" in repr(report)


def test_more_methods_than_can_be_told_apart(tmp_path):
    for i in range(10):
        write_run(tmp_path / f"{i}", rise(0.5 + 0.05 * i, 1e4), hp={"entropy_coef": i / 100})
    report = reporting.report(tmp_path)
    assert len(report.tables["scores"].rows) == 10
    assert any("best 8 of 10 methods" in note for note in report.notes)
    assert next(iter(report.pictures[0].legend)) == "lica entropy_coef=0.09"
    assert len(report.pictures[0].legend) == figures.SHOWN


def test_a_task_where_nobody_shown_is_compared_has_no_efficiency(tmp_path):
    """As many tasks as methods are shown; on each the best of few evaluations is a method of its
    own, which came to its end on the first task only."""
    maps = ("3m", "8m", "25m", "2s3z", "3s5z", "1c3s5z", "MMM2", "5m_vs_6m")
    for i, name in enumerate(maps):
        best = {"hp": {"entropy_coef": i / 100}, "finished": i == 0}
        best |= {"upto": 30_000} if i else {}
        write_run(tmp_path / f"best{i}", rise(0.9, 1e4), task=f"smax/{name}", **best)
        worst = {"entropy_coef": 0.5}
        write_run(tmp_path / f"worst{i}", rise(0.1, 1e4), task=f"smax/{name}", hp=worst)
    (areas,) = (p for p in reporting.report(tmp_path).pictures if p.name == "sample_efficiency")
    assert [panel.title for panel in areas.panels] == ["smax/3m"]


def test_a_page_has_room_for_the_size_of_the_papers_figure_4(tmp_path):
    """Six tasks, six methods, three seeds, forty evaluations of noisy curves: a page of three of
    the tasks takes less than half."""
    methods = ("lica", "lica_adv", "mappo", "qmix", "coma", "vdn")
    for i, name in enumerate(("3m", "8m", "2s3z")):
        for j, algorithm in enumerate(methods):
            for seed in range(3):
                write_run(
                    tmp_path / f"{i}{j}{seed}", rise(0.9, 3e4, 0.1, 10 * i + 5 * j + seed),
                    algorithm=algorithm, task=f"smax/{name}", seed=seed, interval=2500,
                )  # fmt: skip
    fragment = reporting.report(tmp_path)._repr_html_()
    assert "This page is full" not in fragment and len(fragment) < html.MOST_BYTES / 2


def test_a_thin_curve_of_many_evaluations_keeps_its_ends_and_extremes():
    y = np.sin(np.arange(1000.0))
    y[[321, 654]] = 5, -5
    places = figures.outline(y)
    assert {0, 321, 654, 999} <= set(places) and len(places) <= figures.THIN + 2
    np.testing.assert_array_equal(figures.outline(y[:40]), np.arange(40))


def test_a_profile_is_drawn_by_its_corners(folder):
    """Between which it is level: it looks the same on the page, which has room for more."""
    (profiles,) = (p for p in reporting.report(folder).pictures if p.name == "performance_profiles")
    limits = np.linspace(0, 1, 101)
    for axes in profiles.figure.axes:
        for line in axes.lines:
            x, y = line.get_data()
            assert 2 <= len(x) < 40 and (x[0], x[-1]) == (0, 1)
            whole = np.interp(limits, x, y)
            assert set(np.round(whole, 9)) == set(np.round(y, 9))


@pytest.mark.filterwarnings("error")
def test_every_task_has_files_of_its_own(tmp_path):
    """However alike or long their names are; those of others stay plain."""
    long = "smax/3m:" + ",".join(f"option{i}=größe{i}" for i in range(30))
    tasks = ("game/two:a=1", "game/two-a=1", "game/Two-a=1", long, f"{long},x=1", "smax/3m")
    for i, task in enumerate(tasks):
        write_run(tmp_path / f"{i}", rise(0.9, 1e4), task=task)
    report = reporting.report(tmp_path, out=tmp_path / "out")
    names = [p.name for p in report.pictures if p.name.startswith("learning_curves")]
    assert len({name.casefold() for name in names}) == len(tasks) == len(names)
    assert "learning_curves_smax-3m" in names and max(map(len, names)) < 160
    assert all((tmp_path / f"out/figures/{name}.png").is_file() for name in names)
    ids = re.findall(r'<section id="([^"]+)"', (tmp_path / "out/report.html").read_text())
    assert len(ids) == len(set(ids)) and set(names) <= set(ids)
    assert figures.stems([long]) == {long: names[3].removeprefix("learning_curves_")}


def test_names_with_dollars_are_drawn_as_they_are(tmp_path):
    """They are no formulas, which these would not even be."""
    for value in (r"$\alpha_{$", "$x^2$", "5$"):
        for seed in range(3):
            path = tmp_path / f"{value.strip('$')[-1]}{seed}"
            write_run(path, rise(0.9, 1e4), seed=seed, task="smax/$m_$", algo={"agent": value})
    reporting.report(tmp_path, out=tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", page)
    assert {r"lica agent=$\alpha_{$", "lica agent=$x^2$", "lica agent=5$", "smax/$m_$"} <= set(
        texts
    )
    assert not any(r"\$" in text for text in texts)


def test_a_page_that_is_full_refers_to_the_files(made, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(html, "MOST_BYTES", 150_000)
    report = reporting.report(folder)
    fragment = report._repr_html_()
    full = fragment.count("This page is full")
    assert 1 <= full < len(report.pictures) and len(fragment) < 400_000
    assert fragment.count("see .figures[&quot;") == fragment.count("This page is full")
    out = report.write(tmp_path / "out") and (tmp_path / "out/report.html").read_text()
    assert out.count("see figures/") == full


def test_scores_and_curves_have_their_room_before_what_is_made_of_them(folder):
    pictures = reporting.report(folder).pictures
    first = [p for p in pictures if p.name.startswith(("final_scores", "learning_curves"))]
    room = sum(len(svg) for picture in first for svg in picture.svgs())
    assert set(html._drawn(pictures, room)) == {picture.name for picture in first}


def test_every_task_has_its_best_in_the_figures(tmp_path):
    """A hard task's only method is not crowded out by an easy one's many."""
    for i in range(9):
        write_run(tmp_path / f"lr{i}", rise(0.9, 1.0), hp={"lr": 1e-4 * (i + 1)})
    write_run(tmp_path / "hard", rise(0.1, 1.0), algorithm="qmix", task="smax/MMM2")
    report = reporting.report(tmp_path)
    legends = {p.name: list(p.legend) for p in report.pictures if p.legend}
    assert legends["learning_curves_smax-MMM2"] == ["qmix"]
    # Names stand whole on the page: rounding is for coordinates.
    assert "lr=0.0001" in report._repr_html_().split("final_scores", 1)[1]


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    report = reporting.report(write_run(tmp_path / "one", rise(0.5, 1.0)))
    files = report.write(tmp_path / "out")
    assert files
    for path in sorted((tmp_path / "out/figures").iterdir()):
        path.unlink()
    (tmp_path / "out/figures").rmdir()
    (tmp_path / "out/figures").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        report.write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/figures").read_text() == "mine"


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_earlier_report_stays_whole_where_a_new_one_fails(tmp_path, monkeypatch):
    """A full disk in the middle of it; the next one that has room replaces it."""
    out = tmp_path / "out"
    reporting.report(write_run(tmp_path / "one", rise(0.5, 1e4)), out=out)
    other = reporting.report(write_run(tmp_path / "two", rise(0.9, 1e4), algorithm="vdn"))
    before, whole = contents(out), write._write

    def full(path, content):
        if path.name == "scores.csv":
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(write, "_write", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        other.write(out, overwrite=True)
    assert contents(out) == before
    fresh = tmp_path / "fresh"
    for _ in range(2):  # and one that failed in an empty folder may be tried again
        with pytest.raises(UserError, match="No space left"):
            other.write(fresh, overwrite=True)
    monkeypatch.setattr(write, "_write", whole)
    other.write(out, overwrite=True)
    assert contents(out).keys() == before.keys() and "vdn" in (out / "report.html").read_text()
    other.write(fresh, overwrite=True)


def test_tables_escape_what_their_formats_would_read():
    columns = [Column("a", "a_b"), Column("n", "n")]
    rows = [{"a": "x|y & 5 % <b>", "n": 1234}, {"a": Estimate(0.5, np.nan, np.nan, 1), "n": None}]
    table = Table("t", "T", "about", columns, rows[:1])
    assert table.markdown().splitlines()[2] == "| x/y & 5 % <b> | 1,234 |"
    assert repr(table).startswith("<Table ") and len(repr(table)) < 60
    assert str(table) == table._repr_markdown_() == table.markdown()
    assert r"a\_b & n \\" in table.latex()
    assert r"x|y \& 5 \% \textless{}b\textgreater{} & 1,234 \\" in table.latex()
    assert "x|y &amp; 5 % &lt;b&gt;" in table.html()
    plain = Table("t", "T", "about", columns, rows).plain
    assert plain[1] == {"a": 0.5, "a_low": None, "a_high": None, "n": None}
    assert [steps_text(x) for x in (999_936, 999_400, 999.8, 999_999_999, 64e9)] == [
        "1 M", "999 k", "1 k", "1000 M", "64000 M",
    ]  # fmt: skip
    assert [steps_text(x) for x in (2e6, 1_950_000, 40_000, 800)] == [
        "2 M",
        "1.95 M",
        "40 k",
        "800",
    ]
    assert [seconds_text(x) for x in (7560, 2040, 17)] == ["2.1 h", "34 min", "17 s"]


def test_reporting_needs_no_jax(folder):
    code = (
        "import sys; from lica_jax.cli.main import main;"
        f"code = main(['report', {str(folder / '00')!r}, '--out', sys.argv[1]]);"
        "print(code, sorted({'jax', 'flax', 'pandas', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.parent / "no-jax")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "0 []"


def test_bad_paths_are_one_message(tmp_path):
    with pytest.raises(UserError, match="is not there; name folders"):
        reporting.report(tmp_path / "nothing")


@pytest.mark.parametrize("panels", [1, 2])
def test_a_title_is_no_wider_than_its_sheet(panels):
    title = "Figure 6.\nInterquartile mean over 3 seeds with its 95 % bootstrap interval; thin: all"
    drawn = [Panel(str(i), lambda axes: axes.plot([0, 1])) for i in range(panels)]
    picture = Picture("any", title, "", drawn)
    picture.file("png")
    figure = picture.figure
    width = figure._suptitle.get_window_extent().width
    assert 0.3 < width / figure.bbox.width <= 1
    assert figure._suptitle.get_text().replace("\n", " ") == title.replace("\n", " ")


def test_some_of_the_runs_without_a_page(tmp_path, capsys, monkeypatch):
    """Scores in the terminal, of those that are asked for; nothing is written."""
    for algorithm in ("lica", "mappo"):
        for task in ("smax/3m", "smax/2s3z"):
            write_run(
                tmp_path / f"{algorithm}{task[5:]}", rise(1, 1e4), algorithm=algorithm, task=task
            )
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(tmp_path), "--algorithms", "mappo", "--tasks", "smax/3m"]) == 0
    said = capsys.readouterr().out
    assert "mappo on smax/3m" in said and "nothing was written: --out DIR" in said
    assert "lica " not in said.split("\n\n")[1] and sorted(tmp_path.rglob("*")) == before
    assert main(["report", str(tmp_path), "--algorithms", "mapo"]) == 2
    assert "did you mean mappo" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--tasks", "smax/8m"]) == 2
    assert "unknown task of these runs 'smax/8m'" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--overwrite"]) == 2
    assert "--out, which is missing" in capsys.readouterr().err
    # What is told is of those, too.
    write_run(tmp_path / "killed", rise(1, 1e4), algorithm="vdn", upto=50_000, finished=False)
    assert any("Still going or killed" in note for note in lica_jax.report(tmp_path).notes)
    notes = lica_jax.report(tmp_path, algorithms="mappo").notes
    assert not any("Still going or killed" in note for note in notes)
    made = lica_jax.report(tmp_path, algorithms=["lica"])
    assert {run.algorithm for run in made.runs} == {"lica"} and len(made.runs) == 2
