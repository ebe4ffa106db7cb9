"""Figures of notebook 03: readable in both languages, and true to their data."""

import numpy as np
import pytest

from scale.config import base
from scale.modalities import MODALITIES
from scale.studies.systems.attention_reach import AttentionReach
from scale.studies.systems.generator import PatchCodebook
from scale.viz.illustrations.streams import (
    TOKENS,
    attention_masks,
    cost_by_length,
    picture_words,
    schemes,
    sized_designs,
    streams,
)
from tests.viz.conftest import LOOKS

LENGTH = dict(zip(MODALITIES, (3, 4, 2, 3, 5), strict=True))
SIZE = sum(LENGTH.values())


def reach(name, *layers):
    whole_LL = np.ones((SIZE, SIZE), bool)
    return AttentionReach(name, LENGTH, dict.fromkeys(layers, np.eye(SIZE, dtype=bool)), whole_LL)


@pytest.fixture(scope="module")
def designs():
    return sized_designs(base(), ("uniter", "scale_itself"))


def test_schemes_are_readable(checked):
    for look, lang in LOOKS:
        _, written = checked(streams, look, lang)
        assert ("Single-stream" if lang == "en" else "单流模型") in written


def test_schemes_keep_their_groups_apart():
    for scheme in schemes():
        for layer in (scheme.first, scheme.second):
            assert [m for group in layer.groups for m in group] == list(MODALITIES)
            assert layer.reads_MM.diagonal().all()
    _, two, towers, scale = schemes()
    np.testing.assert_array_equal(two.first.reads_MM | two.second.reads_MM, True)
    np.testing.assert_array_equal(towers.second.reads_MM, np.eye(5, dtype=bool))
    assert scale.second.reads_MM.all()


def test_masks_are_readable(checked):
    for look, lang in LOOKS:
        reaches = [
            reach("UNITER", "stream"),
            reach("ViLBERT", "own", "cross", "self"),
            reach("CLIP", "alone"),
            reach("SCALE", "alone", "jct"),
        ]
        figure, written = checked(attention_masks, look, reaches, lang)
        assert sum("UNITER" in text for text in written) == 1
        assert sum(bool(axes.images) for axes in figure.axes) == 2 + 4 + 2 + 3


def test_a_model_stays_on_one_line():
    figure = attention_masks([reach("ViLBERT", "own", "cross", "self"), reach("A", "alone", "jct")])
    first_line = figure.axes[:6]
    assert [bool(axes.images) for axes in first_line] == [True] * 4 + [False] * 2


def test_a_cell_has_the_colour_of_what_is_read():
    figure = attention_masks([reach("CLIP", "alone")])
    image_LL3 = figure.axes[0].images[0].get_array()
    colours = {tuple(np.round(image_LL3[k, k], 3)) for k in range(SIZE)}
    assert len(colours) == len(MODALITIES)
    assert np.ptp(image_LL3[0, 1:], axis=0).max() == 0  # not read: the page


def test_costs_are_readable_and_those_of_the_designs(checked, designs):
    for look, lang in LOOKS:
        figure, written = checked(cost_by_length, look, designs, 50, 64, lang)
        lines = figure.axes[0].lines
        for design, line in zip(designs, lines, strict=False):
            np.testing.assert_allclose(line.get_ydata(), [design.flops(t) / 1e9 for t in TOKENS])
        assert "1,000" in written
        ends = [line.get_ydata()[-1] for line in figure.axes[1].lines]
        assert ends[0] == 64
        assert ends[2] == 8


def test_words_of_a_picture_are_readable(checked):
    for look, lang in LOOKS:
        rng = np.random.default_rng(0)
        picture_HWC = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        codebook = PatchCodebook.fit([picture_HWC], codes=16)
        ids_N = codebook.encode(picture_HWC)
        reads_LL = np.tri(70, k=-1, dtype=bool)
        _, written = checked(picture_words, look, picture_HWC, codebook, reads_LL, lang)
        shown = [text for text in written if text.isdigit()]
        assert sorted(shown) == sorted(map(str, ids_N))
