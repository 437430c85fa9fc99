"""Statistics of runs: worked by hand, against scipy, and properties that hold for any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lica_jax import statistics
from lica_jax.errors import UserError
from lica_jax.statistics import (
    Estimate,
    area,
    common_grid,
    improvement_interval,
    interval,
    iqm,
    normalise,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    stratified_bootstrap,
    time_to_threshold,
)

SCORE = st.floats(0, 1, width=32)


def runs(least=3, most=12):
    return st.lists(SCORE, min_size=least, max_size=most).map(np.array)


def tasks():
    return st.lists(runs(), min_size=1, max_size=3)


def test_iqm_by_hand():
    assert iqm([10, 1, 2, 3]) == 2.5  # one of four is cut at either end
    assert iqm([0, 1, 5]) == 2  # none of three
    assert iqm([8, 1, 2, 3, 4, 5, 6, 100]) == (3 + 4 + 5 + 6) / 4
    np.testing.assert_allclose(iqm(np.arange(8.0).reshape(2, 4), axis=0), [2, 3, 4, 5])
    with pytest.warns(RuntimeWarning, match="empty slice"):
        assert np.isnan(iqm([]))
    # A run without a score is not the best one.
    np.testing.assert_array_equal(iqm([[1, 2, 3, 4, np.nan], [1, 2, 3, 4, 9]]), [np.nan, 3])


@settings(deadline=None, max_examples=40)
@given(runs(1))
def test_iqm_is_scipys_trimmed_mean(scores):
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25), abs=1e-12)


def test_optimality_gap_and_normalised_scores_by_hand():
    assert optimality_gap([0.5, 1.0, 3.0]) == pytest.approx(0.5 / 3)  # beyond 1 counts as 1
    np.testing.assert_allclose(normalise([-4, -1, 2], -4, 2), [0, 0.5, 1])
    np.testing.assert_allclose(normalise([3, 3], 3, 3), [0, 0])


@pytest.mark.parametrize("statistic", [statistics.mean, iqm])
def test_the_interval_is_that_of_scipys_bootstrap(statistic):
    scores = np.random.default_rng(0).beta(2, 1, 20)
    ours = interval([scores], statistic, reps=20_000)
    theirs = stats.bootstrap(
        (scores,), statistic, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == statistic(scores) and ours.runs == 20
    # Two draws of 20,000 each: quantiles agree to a few thousandths.
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.01)
    assert ours.high - ours.low > 0.1


def test_runs_are_resampled_within_their_task():
    """Tasks whose runs all agree have no spread, however far tasks are apart."""
    even = interval([np.zeros(4), np.ones(4)], statistics.mean)
    assert even == Estimate(0.5, 0.5, 0.5, 8)
    # Pooled and not stratified it would spread as a coin's throws do.
    assert np.ptp(stratified_bootstrap([np.array([0.0] * 4 + [1.0] * 4)], statistics.mean)) > 0.5


def test_points_of_a_curve_are_of_the_same_draw():
    curve = np.array([[0.1, 0.5, 0.9, 0.2], [0.2, 0.6, 1.0, 0.3]])  # the second point: 0.1 more
    drawn = stratified_bootstrap([curve], statistics.mean)
    np.testing.assert_allclose(drawn[1] - drawn[0], 0.1)
    assert drawn.shape == (2, statistics.REPS)


def test_pieces_of_memory_change_nothing(monkeypatch):
    scores = [np.random.default_rng(0).random((5, 7))]
    whole = stratified_bootstrap(scores)
    monkeypatch.setattr("lica_jax.statistics.estimates._ELEMENTS", 1000)
    np.testing.assert_array_equal(stratified_bootstrap(scores), whole)


def test_few_runs_have_no_interval():
    for strata in ([np.array([0.1, 0.9])], [np.zeros(5), np.ones(1)]):
        estimate = interval(strata)
        assert np.isnan([estimate.low, estimate.high]).all() and np.isfinite(estimate.value)


@settings(deadline=None, max_examples=30)
@given(tasks(), st.sampled_from([iqm, statistics.mean, statistics.median, optimality_gap]))
def test_an_interval_holds_its_estimate(strata, statistic):
    estimate = interval(strata, statistic, reps=400)
    assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9


@settings(deadline=None, max_examples=30)
@given(tasks(), st.randoms(use_true_random=False))
def test_the_order_of_runs_changes_nothing(strata, random):
    shuffled = [np.array(random.sample(list(s), len(s))) for s in strata]
    np.testing.assert_allclose(interval(shuffled, reps=50), interval(strata, reps=50))


# --- what people pass ----------------------------------------------------------------------------

RUNS = np.array([0.93, 0.90, 0.97, 0.88, 0.95])
OTHERS = np.array([0.81, 0.92, 0.85, 0.79, 0.83])
MATRIX = np.arange(15.0).reshape(5, 3)  # as rliable has it: runs, tasks
OF_STRATA = [
    interval,
    stratified_bootstrap,
    lambda x: performance_profile(x, 0.9),
    lambda x: probability_of_improvement(x, x),
    lambda x: improvement_interval(x, x),
]
each_of_strata = pytest.mark.parametrize("function", OF_STRATA)


@each_of_strata
def test_an_array_of_runs_is_one_task(function):
    for scores in (RUNS, RUNS.tolist(), tuple(RUNS.tolist()), [RUNS.tolist()]):
        np.testing.assert_array_equal(function(scores), function([RUNS]))
    whole = np.array([1, 0, 2, 5], np.uint8)  # whose differences would wrap around
    np.testing.assert_array_equal(function(whole), function([whole.astype(float)]))
    np.testing.assert_array_equal(function(RUNS > 0.9), function([(RUNS > 0.9).astype(float)]))


@each_of_strata
@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], "is empty"),
        (np.array([]), "has no scores"),
        ([RUNS, []], r"\[1\] has no scores: leave out a task"),
        (0.9, "is a single number"),
        ([RUNS, 0.9], r"\[1\] is a single number"),
        (MATRIX, r"shape \(5, 3\).*\[runs, tasks\].*`list\(\w+\.T\)`"),
        ({"3m": RUNS}, r"is a mapping.*values\(\)"),
        (["0.9", "0.8"], r"\[0\] is not an array of numbers"),
        ([RUNS, [0.9, None]], r"\[1\] is not an array of numbers.*a missing score is NaN"),
        ([[[1, 2], [3]]], "is not an array of numbers"),
    ],
)
def test_bad_scores_are_refused_in_words(function, scores, said):
    with pytest.raises(UserError, match=said):
        function(scores)


def test_a_matrix_is_refused_where_tasks_have_no_points():
    for function in (OF_STRATA[2], OF_STRATA[4]):
        with pytest.raises(UserError, match=r"one axis here.*list\(matrix\.T\)"):
            function([MATRIX])
    assert interval(list(MATRIX.T)).runs == 15  # as the message says
    assert interval([MATRIX]).value.shape == (5,)  # points of a curve
    with pytest.raises(UserError, match=r"\(4,\), \(5,\).*`common_grid`"):
        interval([MATRIX, MATRIX[:4]])
    with pytest.raises(UserError, match=r"x and y .* \(4,\), \(5,\)"):
        probability_of_improvement([MATRIX], [MATRIX[:4]])


@each_of_strata
def test_a_masked_score_is_a_missing_one(function):
    missing = np.where(np.arange(RUNS.size) == 1, np.nan, RUNS)
    hidden = np.ma.masked_invalid(missing)
    hidden.data[1] = 100
    np.testing.assert_array_equal(function(hidden), function(missing))
    np.testing.assert_array_equal(function([hidden]), function(missing))


@pytest.mark.parametrize("options", [{"confidence": 95}, {"confidence": 0}, {"reps": 0}])
def test_an_interval_that_cannot_be(options):
    for function in (interval, lambda x, **o: improvement_interval(x, x, **o)):
        with pytest.raises(UserError, match=r"within 0 and 1|at least 1"):
            function(RUNS, **options)


def test_curves_without_points_are_refused_in_words():
    whole, none = (np.arange(3.0), np.zeros(3)), ([], [])
    with pytest.raises(UserError, match="there are no curves"):
        common_grid([])
    for function in (common_grid, lambda curves: time_to_threshold(curves, 0.5)):
        with pytest.raises(UserError, match=r"curves\[1\] has 0 places and 0 scores"):
            function([whole, none])
        with pytest.raises(UserError, match="has 3 places and 2 scores"):
            function([(whole[0], whole[1][:2])])
    with pytest.raises(UserError, match="has no places"):
        area([], np.zeros((0, 2)))


def test_methods_are_compared_on_the_same_tasks():
    for function in (probability_of_improvement, improvement_interval):
        with pytest.raises(UserError, match="x has 1 task and y 2 tasks: pass the same tasks"):
            function(RUNS, [RUNS, RUNS])


@pytest.mark.parametrize("bad", range(5))
def test_nan_is_neither_the_best_nor_a_failure(bad):
    scores = RUNS.copy()
    scores[bad] = np.nan
    for statistic in (iqm, statistics.mean, statistics.median, optimality_gap):
        assert np.isnan(interval(scores, statistic)[:3]).all()
        assert np.isnan(interval(scores, statistic, reps=1)[:3]).all()  # a draw may not have it
    assert np.isnan(performance_profile(scores, [0, 0.9])[:3]).all()
    for x, y in ((scores, RUNS), (RUNS, scores)):
        assert np.isnan(probability_of_improvement(x, y))
        assert np.isnan(improvement_interval(x, y)[:3]).all()
    one = interval([np.stack([scores, RUNS])])  # of two points one is known
    assert np.isnan(one.low[0]) and np.isfinite([one.value[1], one.low[1], one.high[1]]).all()


def test_an_estimate_is_told_in_a_line():
    assert repr(interval(RUNS)) == "Estimate(0.927 [0.893, 0.963], runs=5)"
    assert repr(Estimate(1, 0.5, 1234.56, 5)) == "Estimate(1 [0.5, 1235], runs=5)"
    assert repr(Estimate(-999.7, -2e16, np.inf, 5)) == "Estimate(-1000 [-2e+16, inf], runs=5)"
    assert repr(interval(RUNS[:2])) == "Estimate(0.915 without interval, runs=2)"
    assert repr(performance_profile(RUNS, [0, 1])) == "Estimate(array of shape (2,), runs=5)"
    value, low, high, runs = interval(RUNS)  # and is a tuple all the same
    assert low < value < high and runs == 5


# --- comparisons ---------------------------------------------------------------------------------


def test_profile_by_hand():
    profile = performance_profile(
        [np.array([0.2, 0.4, 0.6]), np.array([0.4, 0.9, 1.0])], [0, 0.4, 1]
    )
    np.testing.assert_allclose(profile.value, [1, 3 / 6, 0])  # above: 0.4 is not above 0.4
    assert (profile.low <= profile.value).all() and (profile.value <= profile.high).all()
    assert performance_profile([0.2, 0.4, 0.6], 0.4).value == pytest.approx(1 / 3)


def test_probability_of_improvement_by_hand():
    first = [np.array([1, 2, 3]), np.array([5, 5, 5])]
    second = [np.array([2, 2, 0]), np.array([5, 5, 5])]
    # 1 beats 0 only; 2 ties twice and beats 0; 3 beats all: 1 + 2 + 3 of 9. All ties: a half.
    assert probability_of_improvement(first, second) == pytest.approx((6 / 9 + 0.5) / 2)
    assert improvement_interval(first, first).value == 0.5
    assert improvement_interval([np.ones(3)], [np.zeros(3)]) == Estimate(1, 1, 1, 6)
    assert np.isnan(improvement_interval([np.ones(2)], [np.zeros(3)]).low)


@settings(deadline=None, max_examples=30)
@given(runs(), runs())
def test_probability_of_improvement_is_mann_whitneys_u(x, y):
    u = stats.mannwhitneyu(x, y, method="asymptotic").statistic
    assert probability_of_improvement([x], [y]) == pytest.approx(u / (len(x) * len(y)), abs=1e-9)
    assert probability_of_improvement([y], [x]) == pytest.approx(
        1 - probability_of_improvement([x], [y])
    )


# --- curves --------------------------------------------------------------------------------------


def test_the_grid_is_every_place_up_to_the_first_end():
    curves = [
        (np.array([0, 10, 20.0]), np.array([0, 1, 2.0])),
        (np.array([0, 5, 15.0]), np.array([4, 4, 8.0])),
    ]
    grid, values = common_grid(curves)
    np.testing.assert_allclose(grid, [0, 5, 10, 15])
    np.testing.assert_allclose(values, [[0, 4], [0.5, 4], [1, 6], [1.5, 8]])
    _, held = common_grid(curves, how="last")
    np.testing.assert_allclose(held, [[0, 4], [0, 4], [1, 4], [1, 8]])
    grid, values = common_grid(curves, points=3, stop=20)
    np.testing.assert_allclose(grid, [0, 10, 20])
    np.testing.assert_allclose(values, [[0, 4], [1, 6], [2, np.nan]])
    with pytest.raises(ValueError, match="linear"):
        common_grid(curves, how="cubic")


def test_a_grid_has_an_end_of_points():
    x = np.arange(5000.0)
    grid, values = common_grid([(x, 2 * x)])
    assert len(grid) == 200 and grid[0] == 0 and grid[-1] == 4999
    np.testing.assert_allclose(values[:, 0], 2 * grid)
    grid, values = common_grid([(np.array([0.0]), np.array([3.0]))])  # one evaluation
    assert grid.tolist() == [0] and values.tolist() == [[3]]


def test_area_and_sample_efficiency_by_hand():
    grid = np.array([0, 1, 3.0])
    scores = np.array([[0, 1], [1, 1], [1, 1.0]])
    np.testing.assert_allclose(area(grid, scores), [(0.5 + 2) / 3, 1])
    np.testing.assert_allclose(area(grid[:1], scores[:1]), [0, 1])
    estimate = sample_efficiency([(grid, scores)], statistics.mean)
    assert estimate.value == pytest.approx((2.5 / 3 + 1) / 2) and estimate.runs == 2
    for wrong in (scores[:, 0], scores.T):
        with pytest.raises(UserError, match=r"scores \[G, runs\], got shapes \(3,\)"):
            sample_efficiency([(grid, wrong)])


def test_time_to_threshold_tells_who_did_not_come_there():
    x = np.array([0, 10, 20.0])
    curves = [(x, np.array([0, 0.5, 0.2])), (x[:2], np.array([0, 0.4])), (x, np.array([0, 0, 0.9]))]
    reached = time_to_threshold(curves, 0.5)
    np.testing.assert_array_equal(reached.times, [10, np.inf, 20])
    np.testing.assert_array_equal(reached.ends, [20, 10, 20])
    assert reached.count == 2 and reached.median == 20  # the one that did not is later than both
    assert time_to_threshold(curves, 0.9).median == np.inf
    assert time_to_threshold(curves[::2], 0.2).median == 15
    assert time_to_threshold(curves[:2], 0.5).median == np.inf  # one of two: unknown
    # Whether a run got there is open from where its score is NaN on, unless it was there before.
    nan = [(x, np.array([0, np.nan, 1])), (x, np.array([0.9, np.nan, 0])), (x, np.full(3, 0.1))]
    reached = time_to_threshold(nan, 0.5)
    np.testing.assert_array_equal(reached.times, [np.nan, 0, np.inf])
    assert reached.count == 1 and np.isnan(reached.median)
