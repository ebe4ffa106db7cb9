"""Policies, what is left to learn from, paired runs: the numbers shown are those given."""

import numpy as np
import pytest

from scale.modalities import MODALITIES
from scale.studies.statistics import seed_interval
from scale.viz.illustrations.missing_modalities import (
    complete_share,
    missing_policies,
    paired_runs,
    remaining_shares,
    simulate_presence,
    welch_difference,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS

LENGTHS = {"text": 10, "table": 64, "image": 5, "video": 9, "audio": 26}
IMPUTED = {"text": 32, "table": 64, "image": 5, "video": 9, "audio": 33}


def test_policies_count_tokens_pairs_and_tasks(checked):
    for look, lang in LOOKS:
        has = ("text", "table", "image")
        figure, texts = checked(missing_policies, look, LENGTHS, has, IMPUTED, lang)
        audio = label("audio", lang)
        assert [texts.count(f"{audio} {n}") for n in (26, 33, 0, 1)] == [1, 1, 1, 1]
        counted = {
            (n, every): label("policies_of", lang, n=n, all=every)
            for n, every in ((10, 10), (3, 10), (0, 10), (5, 5), (3, 5), (0, 5))
        }
        assert [texts.count(text) for text in counted.values()] == [1, 3, 1, 1, 3, 1]
        cells = 114 + (88 + 33) + 79 + (79 + 2)
        assert len(figure.axes[0].patches) >= cells


def test_policies_with_one_modality(readable):
    readable(missing_policies(LENGTHS, ("table",), IMPUTED))


def test_policies_need_a_product_that_lacks_something():
    for has in [(), MODALITIES]:
        with pytest.raises(ValueError, match="lacks some"):
            missing_policies(LENGTHS, has, IMPUTED)


def test_crowd_is_nested_and_near_its_rate():
    little, much = (simulate_presence(rate, 4000, seed=1) for rate in (0.1, 0.3))
    assert not (much & ~little).any()
    assert little.mean() == pytest.approx(0.9, abs=0.02)
    assert much.all(axis=1).mean() == pytest.approx(0.7**5, abs=0.03)


def test_shares_left_count_products_and_pairs():
    before_NM = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    after_NM = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    assert remaining_shares(before_NM, after_NM) == (1 / 2, 13 / 21)


def test_complete_share_draws_what_was_measured(checked):
    for look, lang in LOOKS:
        measured = {0.1: (0.55, 0.8), 0.5: (0.03, 0.24)}
        figure, texts = checked(complete_share, look, measured, lang)
        *grids, curves = figure.axes
        for axes, rate in zip(grids, (0.1, 0.3, 0.5), strict=True):
            complete = int(simulate_presence(rate).all(axis=1).sum())
            title = label("share_grid", lang, rate=rate, complete=complete, all=24)
            # On slides, it has two lines.
            assert title in [text.replace("：\n", "：") for text in texts]
            assert len(axes.patches) == 24 * len(MODALITIES) + complete
        drawn = [list(line.get_ydata()) for line in curves.lines]
        assert [0.8, 0.24] in drawn
        assert [0.55, 0.03] in drawn


def test_paired_runs_show_both_intervals(checked):
    for look, lang in LOOKS:
        better_S, worse_S = np.array([0.30, 0.25, 0.35]), np.array([0.22, 0.19, 0.28])
        _, texts = checked(paired_runs, look, better_S, worse_S, ("a", "b"), lang)
        for found in (seed_interval(better_S - worse_S), welch_difference(better_S, worse_S)):
            assert f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" in texts


def test_unpaired_is_wider_where_seeds_share_their_luck():
    luck_S = np.array([0.1, 0.2, 0.3, 0.4])
    better_S, worse_S = luck_S + 0.05 + np.array([0, 0.01, 0, 0.01]), luck_S
    paired, loose = seed_interval(better_S - worse_S), welch_difference(better_S, worse_S)
    assert loose.value == pytest.approx(paired.value)
    assert loose.high - loose.low > 5 * (paired.high - paired.low)


def test_paired_runs_need_partners():
    with pytest.raises(ValueError, match="same seeds"):
        paired_runs(np.zeros(3), np.zeros(2), ("a", "b"))
