"""Notebook 02's pictures and measures: data sets, long tails, gaps against chance."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from scale.data.summary import long_tail
from scale.modalities import MODALITIES
from scale.viz.illustrations.data import (
    DATA_SETS,
    KINDS,
    chance_chi_square,
    chi_square,
    data_set_picture,
    expected_combinations,
    independence_picture,
    lorenz,
    permute_presence,
    permute_within,
    plain,
    power_law,
    presence_by_category,
    presence_maps,
    tail_curves,
    tail_metric,
    with_zipf,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS

CATEGORY_N = ["mug"] * 40 + ["drum"] * 30 + ["bell"] * 10


@pytest.fixture
def present_NM():
    rng = np.random.default_rng(0)
    found_NM = rng.random((80, 5)) < [0.95, 0.9, 0.9, 0.5, 0.5]
    found_NM[:40, 4] = rng.random(40) < 0.1  # mugs are hardly ever recorded
    return found_NM


def test_every_number_has_a_source():
    assert [d.name for d in DATA_SETS] == [
        "Spoken SQuAD", "HowTo100M", "CC 12M", "XMedia", "CMU-MOSEI", "Dress Retrieval",
        "RPC checkout", "Product1M", "MEP-3M", "M5Product",
    ]  # fmt: skip
    assert [d.kind for d in DATA_SETS] == sorted((d.kind for d in DATA_SETS), key=KINDS.index)
    dresses = next(d for d in DATA_SETS if d.name == "Dress Retrieval")
    assert (dresses.instances, dresses.categories) == (20_200, 50)
    for data in DATA_SETS:
        assert data.sources
        assert data.paper
        assert data.modalities == tuple(m for m in MODALITIES if m in data.modalities)
    assert plain(None) == "not stated"
    assert plain(6000, over=True) == "> 6,000"


def test_data_sets(checked):
    for look, lang in LOOKS:
        _, texts = checked(data_set_picture, look, DATA_SETS, lang)
        assert {"12,000", "6,313,067", "> 6,000", label("sets_not_stated", lang)} <= set(texts)
        assert "M5Product (2022)" in texts
        assert [t for t in texts if t in {label(f"kind_{k}", lang) for k in KINDS}] == [
            label(f"kind_{k}", lang) for k in KINDS
        ]


def test_lorenz_curve_is_the_gini_coefficient():
    for sizes in ([6, 2, 1, 1], [3, 3, 3], power_law(300)):
        share_K, held_K = lorenz(sizes)
        gini = 1 - 2 * np.trapezoid(held_K, share_K)
        assert gini == pytest.approx(long_tail(list(sizes))["gini"])


def test_tail_curves(checked):
    for look, lang in LOOKS:
        lists = with_zipf([6, 2, 1, 1], lang)
        assert list(lists) == [label("tail_shop", lang, n=4), label("tail_zipf", lang, n=6000)]
        figure, texts = checked(tail_curves, look, lists, lang)
        assert set(lists) <= {t.get_text() for t in figure.axes[0].get_legend().get_texts()}
        assert label("tail_equal", lang) in texts


def test_tail_metric_shows_both_means(checked):
    for look, lang in LOOKS:
        names, queries, right = ["mug", "drum", "bell"], [80, 15, 5], [72, 3, 0]
        _, texts = checked(tail_metric, look, names, queries, right, lang)
        assert f"{label('mean_over_products', lang)}: 0.75" in texts
        assert f"{label('mean_over_categories', lang)}: 0.37" in texts


def test_counts_and_chi_square_have_slow_twins(present_NM):
    names, sizes_K, counts_KM = presence_by_category(present_NM, CATEGORY_N)
    assert names == ["mug", "drum", "bell"]
    assert sizes_K.tolist() == [40, 30, 10]
    for k, name in enumerate(names):
        rows = [n for n, c in enumerate(CATEGORY_N) if c == name]
        assert counts_KM[k].tolist() == [sum(present_NM[n, m] for n in rows) for m in range(5)]
    for m, value in enumerate(chi_square(counts_KM, sizes_K)):
        table = np.stack([counts_KM[:, m], sizes_K - counts_KM[:, m]])
        assert value == pytest.approx(chi2_contingency(table, correction=False).statistic)
    everything = presence_by_category(np.ones((80, 5), dtype=bool), CATEGORY_N)[2]
    assert chi_square(everything, sizes_K).tolist() == [0] * 5


def test_permutations_keep_their_margins(present_NM):
    rng = np.random.default_rng(1)
    random_NM, within_NM = (
        permute_presence(present_NM, rng),
        permute_within(present_NM, CATEGORY_N, rng),
    )
    counts = presence_by_category(present_NM, CATEGORY_N)[2]
    assert (random_NM.sum(axis=0) == present_NM.sum(axis=0)).all()
    assert (presence_by_category(within_NM, CATEGORY_N)[2] == counts).all()
    for other_NM in (random_NM, within_NM):
        assert (other_NM != present_NM).any()


def test_chance_identifies_the_planted_cause(present_NM):
    _, sizes_K, counts_KM = presence_by_category(present_NM, CATEGORY_N)
    chance_RM = chance_chi_square(present_NM, CATEGORY_N, shufflings=200)
    reached_M = (chance_RM >= chi_square(counts_KM, sizes_K)).mean(axis=0)
    assert reached_M[4] == 0
    assert (reached_M[:4] > 0.01).all()


def test_pictures_of_gaps(checked, present_NM):
    for look, lang in LOOKS:
        _, texts = checked(presence_maps, look, present_NM, CATEGORY_N, lang)
        assert "mug (40)" in texts
        assert f"{100 * present_NM[:40, 4].mean():.0f}" in texts
        chance_RM = np.arange(500, dtype=float).reshape(100, 5)
        real_M = np.array([0.0, 250, 495, 600, 900])
        _, texts = checked(independence_picture, look, real_M, chance_RM, lang)
        assert f"{label('text', lang)}: p = 1.00" in texts
        assert f"{label('audio', lang)}: p ≤ 0.010" in texts
        _, texts = checked(expected_combinations, look, present_NM, lang)
        most = max(map(present_NM.tolist().count, present_NM.tolist()))
        assert f"{most}" in texts
