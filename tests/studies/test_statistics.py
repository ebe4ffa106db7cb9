"""From runs to verdicts: intervals, tests and rank statistics."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from scale.evaluation.bootstrap import (
    NOTHING,
    Estimate,
    category_codes,
    category_estimates,
    paired_difference,
)
from scale.studies.statistics import (
    auc,
    compare,
    compare_all,
    decide,
    holm,
    index_runs,
    matching_cells,
    paired_t_test,
    seed_interval,
    spearman,
)
from scale.studies.study import Cell, Comparison, Record, Study

METRIC, TEST = "mAP@5", "held out"
CELLS = tuple(Cell({"policy": p, "rate": r}) for p in ("zero", "drop") for r in (0.0, 0.5))
GROUPED = Comparison("zero beats drop", {"policy": "zero"}, {"policy": "drop"})
SINGLE = Comparison(
    "zero beats drop at 0.5", {"policy": "zero", "rate": 0.5}, {"policy": "drop", "rate": 0.5}
)
STUDY = Study("missing", "Is it so?", ("policy", "rate"), CELLS, (GROUPED, SINGLE))


def record(policy, rate, seed, value, values=None, **changes):
    return Record(
        study="missing", catalogue="c", preset="tiny", key=f"{policy}{rate}{seed}",
        factors={"policy": policy, "rate": rate}, seed=seed,
        figures={TEST: {METRIC: value}},
        queries={} if values is None else {TEST: {METRIC: list(values)}}, **changes,
    )  # fmt: skip


def everything(seeds=4, products=30, seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for policy, rate in itertools.product(("zero", "drop"), (0.0, 0.5)):
        for s in range(seeds):
            values = rng.random(products) + (policy == "zero")
            values[rng.random(products) < 0.2] = np.nan
            found.append(record(policy, rate, s, float(np.nanmean(values)), values))
    return found


def outcome(records, comparison=GROUPED):
    return compare(STUDY, comparison, index_runs(STUDY, records))


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=12))
def test_seed_interval_equals_scipys_t_interval(values):
    found = seed_interval(np.array(values))
    spread = stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), max(spread, 1e-300))
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=1e-9)
    assert found.n == len(values)


def test_seed_interval_of_one_or_no_value():
    assert seed_interval(np.array([0.3])) == Estimate(0.3, None, None, 1)
    assert seed_interval(np.array([0.3, np.nan])).n == 1
    assert seed_interval(np.array([])) == NOTHING == seed_interval(np.array([np.nan]))


@given(st.lists(st.floats(-3, 3).map(lambda x: round(x, 3)), min_size=2, max_size=9))
def test_paired_t_test_equals_scipy(values):
    if len(set(values)) > 1:
        expected = stats.ttest_1samp(values, 0.0).pvalue
        assert paired_t_test(np.array(values)) == pytest.approx(expected, abs=1e-9)


def test_paired_t_test_of_equal_differences():
    assert paired_t_test(np.array([0.1] * 5)) == 0.0
    assert paired_t_test(np.zeros(5)) == 1.0
    assert paired_t_test(np.array([0.1])) is None


def test_holm_by_hand():
    # 4 x 0.01, 3 x 0.02, then 2 x 0.03 and 1 x 0.04 raised to the maximum of the earlier ones.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, None, 0.6]) == [1.0, None, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_holm_equals_the_definition(values):
    known = sorted(p for p in values if p is not None)
    steps = [min(1.0, (len(known) - j) * p) for j, p in enumerate(known)]
    for p, adjusted in zip(values, holm(values), strict=True):
        if p is None:
            assert adjusted is None
            continue
        assert any(adjusted == max(steps[: i + 1]) for i in range(len(known)) if known[i] == p)
        assert adjusted >= p


ABOVE, BELOW, HOLDS = (Estimate(m, m - 0.5, m + 0.5, 5) for m in (1.0, -1.0, 0.2))
EDGE = Estimate(0.5, 0.0, 1.0, 5)
ALONE = Estimate(1.0, None, None, 1)


VERDICTS = [
    (ABOVE, ABOVE, ABOVE, 0.04, "supported", ""),
    (ABOVE, ABOVE, ABOVE, 0.05, "supported", ""),
    (ABOVE, ABOVE, ABOVE, None, "supported", ""),
    (BELOW, BELOW, BELOW, 0.04, "contradicted", ""),
    (HOLDS, HOLDS, HOLDS, 0.9, "not decided", ""),
    (EDGE, EDGE, EDGE, 0.01, "not decided", ""),
    (ABOVE, HOLDS, ABOVE, 0.01, "not decided", "interval over products contains 0"),
    (BELOW, EDGE, BELOW, 0.01, "not decided", "interval over products contains 0"),
    (ABOVE, ABOVE, HOLDS, 0.01, "not decided", "interval over categories contains 0"),
    (BELOW, BELOW, EDGE, 0.01, "not decided", "interval over categories contains 0"),
    (HOLDS, ABOVE, ABOVE, 0.9, "not decided",
     "interval over seeds contains 0; p = 0.9 after Holm's correction"),
    (HOLDS, BELOW, HOLDS, 0.01, "not decided",
     "interval over seeds contains 0; interval over categories contains 0"),
    (ABOVE, ABOVE, ABOVE, 0.051, "not decided", "p = 0.051 after Holm's correction"),
    (BELOW, BELOW, BELOW, 0.2, "not decided", "p = 0.2 after Holm's correction"),
    (ABOVE, BELOW, BELOW, 0.01, "not decided",
     "above 0 over seeds, below 0 over products and categories"),
    (ABOVE, ABOVE, BELOW, 0.01, "not decided",
     "above 0 over seeds and products, below 0 over categories"),
    (ABOVE, None, None, 0.01, "supported", "over seeds only: no values by product"),
    (BELOW, None, None, 0.01, "contradicted", "over seeds only: no values by product"),
    (ABOVE, None, None, 0.3, "not decided", "p = 0.3 after Holm's correction"),
    (HOLDS, None, None, 0.01, "not decided", ""),
    (ABOVE, ABOVE, None, 0.01, "supported", "over seeds and products only: no categories"),
    (ABOVE, ALONE, ABOVE, 0.01, "not decided", "too few products for an interval"),
    (ABOVE, ABOVE, ALONE, 0.01, "not decided", "too few categories for an interval"),
    *((ALONE, p, p, None, "not decided", "fewer than two seeds have all cells of both sides")
      for p in (ABOVE, BELOW, HOLDS, None)),
    *((NOTHING, p, p, None, "not decided", "fewer than two seeds have all cells of both sides")
      for p in (ABOVE, ALONE, None)),
]  # fmt: skip


def test_verdict_needs_all_intervals_and_holms_p():
    for seeds, products, categories, p, verdict, note in VERDICTS:
        found = decide(seeds, products, categories, p)
        assert found == (verdict, note), (seeds, products, categories, p)


def test_compare_equals_a_loop():
    records = everything()
    by = {(r.factors["policy"], r.factors["rate"], r.seed): r for r in records}
    found = outcome(records)
    for s in range(4):
        parts = []
        for rate in (0.0, 0.5):
            sides = [by[p, rate, s].figures[TEST][METRIC] for p in ("zero", "drop")]
            parts.append(sides[0] - sides[1])
        assert found.by_seed[s] == pytest.approx(sum(parts) / 2)
    expected = seed_interval(np.array(list(found.by_seed.values())))
    assert found.seeds == expected
    better, worse = [], []
    for n in range(30):
        pairs = []
        for rate, s in itertools.product((0.0, 0.5), range(4)):
            a, b = (by[p, rate, s].queries[TEST][METRIC][n] for p in ("zero", "drop"))
            if not (math.isnan(a) or math.isnan(b)):
                pairs.append((a, b))
        better.append(np.mean([a for a, _ in pairs]) if pairs else np.nan)
        worse.append(np.mean([b for _, b in pairs]) if pairs else np.nan)
    twin = paired_difference(np.array(better), np.array(worse))
    assert found.products.value == pytest.approx(twin.value)
    assert (found.products.low, found.products.high) == pytest.approx((twin.low, twin.high))
    assert found.verdict == "supported"
    assert found.pairs == 2
    assert found.categories is None
    assert found.note == "over seeds and products only: no categories"


def with_categories(records, labels):
    return [replace(r, categories={TEST: labels}) for r in records]


def test_categories_are_resampled_with_all_of_their_products():
    records = everything()
    labels = [None if n % 7 == 0 else f"kind {n % 4}" for n in range(30)]
    found = outcome(with_categories(records, labels))
    assert found.products == outcome(records).products
    complete = []
    for r in records:
        value_N = np.nan_to_num(r.queries[TEST][METRIC])
        complete.append(replace(r, queries={TEST: {METRIC: value_N.tolist()}}))
    found = outcome(with_categories(complete, labels))
    better_N, worse_N = (
        np.mean([r.queries[TEST][METRIC] for r in complete if r.factors["policy"] == p], axis=0)
        for p in ("zero", "drop")
    )
    codes = {0: category_codes(labels)}
    assert found.categories == category_estimates({0: better_N - worse_N}, codes)[0]
    assert found.categories.n == 4 + 5
    assert (found.verdict, found.note) == ("supported", "")


def test_claim_that_one_category_carries_is_not_decided():
    """Half of the products, all of one category, gain; over products this looks certain."""
    records = with_categories(everything(), ["cup"] * 15 + ["hat"] * 5 + ["pen"] * 5 + ["bag"] * 5)
    for r in records:
        gain_N = np.array([0.5] * 15 + [0.0] * 15) * (r.factors["policy"] == "zero")
        noise_N = 0.01 * np.random.default_rng(r.seed).normal(size=30)
        r.queries[TEST][METRIC] = (gain_N + noise_N).tolist()
    found = outcome(records)
    assert found.seeds.low > 0
    assert found.products.low > 0
    assert found.verdict == "not decided"
    assert found.note == "interval over categories contains 0"


def test_runs_with_different_categories_raise():
    records = with_categories(everything(), ["cup"] * 30)
    other = replace(records[0], categories={TEST: ["hat"] * 30})
    with pytest.raises(ValueError, match="different categories"):
        outcome([other, *records[1:]])
    with pytest.raises(ValueError, match="29 categories"):
        outcome(with_categories(records, ["cup"] * 29))
    # Runs of earlier versions have none.
    old = [replace(records[0], categories={}), *with_categories(records, ["a", "b"] * 15)[1:]]
    assert outcome(old).categories.n == 2


def test_contexts_are_averaged_by_hand():
    values = {("zero", 0.0): (0.8, 0.6), ("zero", 0.5): (0.4, 0.6),
              ("drop", 0.0): (0.5, 0.5), ("drop", 0.5): (0.1, 0.3)}  # fmt: skip
    records = [record(*k, s, v[s], [v[s]] * 3) for k, v in values.items() for s in (0, 1)]
    found = outcome(records)
    # Seed 0: (0.8 - 0.5 + 0.4 - 0.1) / 2; seed 1: (0.6 - 0.5 + 0.6 - 0.3) / 2.
    assert found.by_seed == pytest.approx({0: 0.3, 1: 0.2})
    assert found.seeds.value == pytest.approx(0.25)
    assert found.products.value == pytest.approx(0.25)
    assert found.products.n == 3


def test_cells_are_matched_by_their_other_factors():
    extra = Cell({"policy": "zero", "rate": 0.9})
    study = replace(STUDY, cells=(*CELLS, extra))
    contexts = matching_cells(study, GROUPED)
    assert contexts == [([("zero", r)], [("drop", r)]) for r in (0.0, 0.5)]
    one_sided = Comparison("x", {"policy": "zero"}, {"policy": "drop", "rate": 0.5})
    better = [("zero", 0.0), ("zero", 0.5), ("zero", 0.9)]
    assert matching_cells(study, one_sided) == [(better, [("drop", 0.5)])]


def test_comparison_without_common_context_is_impossible():
    cells = (Cell({"policy": "zero", "rate": 0.0}), Cell({"policy": "drop", "rate": 0.5}))
    study = Study("s", "Is it?", ("policy", "rate"), cells, (GROUPED,))
    found = compare(study, GROUPED, {})
    assert found.verdict == "impossible"
    assert "agree" in found.note


def test_failed_cell_makes_the_comparison_impossible():
    records = everything()
    broken = replace(records[-1], status="failed", reason="nothing left", figures={}, queries={})
    found = outcome([*records[:-1], broken])
    assert (found.verdict, found.seeds, found.p) == ("impossible", NOTHING, None)
    assert found.note == "policy = drop, rate = 0.5: nothing left"


def test_failed_cell_of_another_comparison_is_ignored():
    records = [r for r in everything() if r.factors != {"policy": "drop", "rate": 0.0}]
    bad = record("drop", 0.0, 0, 0.0, status="failed", reason="no")
    assert outcome([*records, bad], SINGLE).verdict == "supported"


def test_seed_counts_only_if_all_cells_have_it():
    records = everything()
    gone = [r for r in records if not (r.seed == 1 and r.factors["rate"] == 0.5)]
    assert set(outcome(gone).by_seed) == {0, 2, 3}
    blank = [replace(r, figures={TEST: {METRIC: float("nan")}}) if r.seed == 2 else r for r in gone]
    assert set(outcome(blank).by_seed) == {0, 3}
    assert outcome(records[:4]).seeds == NOTHING
    assert outcome([]).verdict == "not decided"


def test_one_seed_is_not_decided():
    found = outcome(everything(seeds=1))
    assert (found.verdict, found.p, found.seeds.low) == ("not decided", None, None)
    assert found.products.low > 0


def test_seeds_decide_without_values_by_product():
    records = [replace(r, queries={}) for r in everything()]
    found = outcome(records)
    assert found.products is None
    assert found.verdict == "supported"
    assert "no values by product" in found.note


def test_products_that_are_no_queries_do_not_count():
    blank = [replace(r, queries={TEST: {METRIC: [float("nan")] * 30}}) for r in everything()]
    assert outcome(blank).products is None
    single = [replace(r, queries={TEST: {METRIC: [0.5]}}) for r in everything()]
    assert outcome(single).products.low is None
    assert "too few products" in outcome(single).note


def test_runs_with_different_numbers_of_products_raise():
    records = everything()
    odd = replace(records[0], queries={TEST: {METRIC: [0.5] * 7}})
    with pytest.raises(ValueError, match="products"):
        outcome([odd, *records[1:]])


def test_inconsistent_records_raise():
    records = everything()
    with pytest.raises(ValueError, match="two runs of policy = zero"):
        index_runs(STUDY, [*records, replace(records[0], key="other")])
    with pytest.raises(ValueError, match="more than one preset"):
        index_runs(STUDY, [replace(records[0], preset="small"), *records[1:]])
    others = [record("skip", 0.0, 0, 1.0), replace(records[0], factors={"size": 1})]
    assert len(index_runs(STUDY, [*records, *others])) == len(records)


def test_verdicts_of_a_study_need_holms_p():
    """Two claims with p = 0.03: alone each is decided, together (p = 0.06) neither."""
    values = {"zero": (0.4, 0.6, 0.8), "drop": (0.0, 0.0, 0.0)}
    records = [record(p, r, s, values[p][s], [values[p][s]] * 4)
               for p in values for r in (0.0, 0.5) for s in range(3)]  # fmt: skip
    records = with_categories(records, ["a", "a", "b", "b"])
    runs = index_runs(STUDY, records)
    alone = [compare(STUDY, c, runs) for c in STUDY.comparisons]
    assert all(o.verdict == "supported" and 0.025 < o.p < 0.05 for o in alone), alone
    found = compare_all(STUDY, runs)
    assert [o.verdict for o in found] == ["not decided"] * 2
    assert all(o.note.endswith("after Holm's correction") for o in found)


def test_holm_covers_the_comparisons_with_a_test():
    found = compare_all(STUDY, index_runs(STUDY, everything()))
    assert [o.p_holm for o in found] == holm([o.p for o in found])
    bad = record("drop", 0.0, 9, 0.0, status="failed", reason="no")
    first, second = compare_all(STUDY, index_runs(STUDY, [*everything(), bad]))
    assert first.p_holm is None
    assert second.p_holm == second.p


def test_seed_interval_has_nominal_coverage():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = seed_interval(rng.normal(size=5))
        covered += found.low <= 0 <= found.high
    assert 0.92 < covered / 400 < 0.98


NAN = float("nan")


@pytest.fixture
def tied():
    """40 values of six kinds, twice."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 6, 40) / 3, rng.integers(0, 6, 40)


def test_spearman_equals_scipy(tied):
    x_N, y_N = tied
    expected = spearmanr(x_N, y_N).statistic
    assert spearman(x_N, y_N) == pytest.approx(expected)
    assert spearman(torch.from_numpy(x_N), torch.from_numpy(y_N)) == pytest.approx(expected)
    assert spearman(x_N, -(x_N**3)) == pytest.approx(-1)


def test_spearman_ignores_nan():
    x_N, y_N = np.array([1, 2, NAN, 4, 9, 7]), np.array([1, 5, 0, 3, NAN, 9])
    assert spearman(x_N, y_N) == pytest.approx(spearmanr([1, 2, 4, 7], [1, 5, 3, 9]).statistic)


def test_spearman_of_few_or_equal_values_is_nan():
    for x_N, y_N in (
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0, NAN], [1.0, 2.0, 3.0]),
        ([NAN, NAN, NAN], [1.0, 2.0, 3.0]),
    ):
        assert math.isnan(spearman(np.array(x_N), np.array(y_N)))


def slow_auc(values, true):
    """Share of (true, false) couples in which the true one is larger; equal ones count half."""
    wins = [
        (a > b) + (a == b) / 2
        for a, is_true in zip(values, true, strict=True)
        for b, other in zip(values, true, strict=True)
        if is_true and not other
    ]
    return sum(wins) / len(wins)


def test_auc_equals_a_double_loop(tied):
    value_N, kind_N = tied
    true_N = kind_N > 2
    assert auc(value_N, true_N) == pytest.approx(slow_auc(value_N.tolist(), true_N.tolist()))
    assert auc(value_N, true_N) == pytest.approx(roc_auc_score(true_N, value_N))
    assert auc(torch.from_numpy(value_N), torch.from_numpy(true_N)) == auc(value_N, true_N)
    assert auc([1, 1, 1], [True, False, True]) == 0.5
    assert auc([2, 1, 0], [True, False, False]) == 1


def test_auc_of_one_class_is_nan():
    for true_N in ([True] * 3, [False] * 3, []):
        assert math.isnan(auc(np.arange(len(true_N)), true_N))


def test_two_metrics_of_the_same_models_are_compared():
    """A claim such as: the fused embedding beats the encoders."""
    rng, records = np.random.default_rng(5), []
    values_SN2 = rng.random((4, 30, 2)) + np.array([0.1, 0.0])
    for seed, values_N2 in enumerate(values_SN2):
        made = record("zero", 0.0, seed, 0.0)
        names = (f"{METRIC} fused", METRIC)
        by_metric = dict(zip(names, values_N2.T.tolist(), strict=True))
        figures = {name: float(np.mean(values)) for name, values in by_metric.items()}
        records.append(replace(made, figures={TEST: figures}, queries={TEST: by_metric}))
    side = {"policy": "zero", "rate": 0.0}
    comparison = Comparison("fused beats encoders", side, side, TEST, f"{METRIC} fused", METRIC)
    found = outcome(records, comparison)
    difference_SN = values_SN2[:, :, 0] - values_SN2[:, :, 1]
    expected = seed_interval(difference_SN.mean(1))
    for name in ("value", "low", "high"):
        assert getattr(found.seeds, name) == pytest.approx(getattr(expected, name))
    assert found.products.value == pytest.approx(difference_SN.mean())
    assert found.by_seed == pytest.approx(dict(enumerate(difference_SN.mean(1))))
    opposite = replace(comparison, metric=METRIC, worse_metric=f"{METRIC} fused")
    assert outcome(records, opposite).seeds.value == pytest.approx(-difference_SN.mean())
    # A seed without the figure of one side does not count.
    del records[0].figures[TEST][METRIC]
    assert set(outcome(records, comparison).by_seed) == {1, 2, 3}
