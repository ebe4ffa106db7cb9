import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scale.data.catalogue import Catalogue
from scale.modalities import MODALITIES, SUBSETS
from scale.viz.catalogue import (
    combination_picture,
    head_of,
    inspect_figure,
    long_tail,
)
from scale.viz.words import label
from tests.viz.conftest import LOOKS


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalogue")
    lines = [
        {
            "id": f"p{k}",
            "title": f"product number {k} 不锈钢 " + "word " * (k % 7),
            "table": [["size", str(n)] for n in range(k % 5)] or None,
            "category": f"类别 {k % 4}" if k % 6 else "Kitchen",
            "split": ("train", "val", "test")[k % 3],
        }
        for k in range(40)
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (folder / "products.jsonl").write_text(text + "\n", encoding="utf-8")
    return Catalogue.open(folder).summary(media=False, progress=False)


def test_inspect_page(inspection, checked):
    for look, lang in LOOKS:
        _, texts = checked(inspect_figure, look, inspection, lang)
        assert any(label("product_count", lang, n=40) in text for text in texts)
        assert set(inspection.categories) <= set(texts)
        # Media were not decoded, so the number of broken ones is a lower bound.
        assert "≥ 0" in texts


def test_inspect_page_of_a_large_catalogue(inspection, readable):
    rng = np.random.default_rng(0)
    large = replace(
        inspection,
        info={"name": "一个很大的商品目录 " * 20},
        products=5000,
        categories={f"category {k}": 5000 // (k + 1) for k in range(300)},
        combinations={"+".join(s): 31 - k for k, s in enumerate(SUBSETS)} | {"none": 7},
        lengths={"title_words": rng.integers(1, 90, 5000), "audio_seconds": rng.gamma(2, 2, 900)},
        media_checked=True,
    )
    readable(inspect_figure(large, "zh"))


def test_combinations_show_their_counts_and_the_rest(readable):
    for lang in ["en", "zh"]:
        combinations = {subset: 100 - 3 * k for k, subset in enumerate(SUBSETS)} | {(): 1}
        figure = combination_picture(combinations, lang, most=10)
        texts = readable(figure)
        total = sum(combinations.values())
        assert f"100\n{100 / total:.0%}" in texts
        assert label("rarer", lang, n=22) in texts
        bars = next(axes for axes in figure.axes if len(axes.patches) == 11)
        assert sum(p.get_height() for p in bars.patches) == total
        have = sum(count for names, count in combinations.items() if "audio" in names)
        assert f"{have / total:.0%}" in texts
        assert texts.count(label(MODALITIES[0], lang)) == 1


def test_nearly_all_is_not_called_all(readable):
    texts = readable(combination_picture({MODALITIES: 999, ("text",): 1}))
    assert texts.count("99.9%") == 4
    assert texts.count("100%") == 1
    assert "1\n<1%" in texts


def test_long_tail_of_any_length(readable):
    for number in [1, 7, 45, 400]:
        categories = {f"category with a long name {k}": 900 // (k + 1) + 1 for k in range(number)}
        figure = long_tail(categories)
        texts = readable(figure)
        note = label("head_share", n=head_of(np.array(list(categories.values()))), all=number)
        assert any(note in text.replace("\n", " ") for text in texts)
        if number <= 45:
            widths = [p.get_width() for p in figure.axes[0].patches]
            assert widths == sorted(categories.values(), reverse=True)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_head_is_the_fewest_that_hold_half(counts):
    counts = sorted(counts, reverse=True)
    head = head_of(np.array(counts))
    assert 2 * sum(counts[:head]) >= sum(counts)
    assert 2 * sum(counts[: head - 1]) < sum(counts)


def test_histograms_count_every_value(inspection, readable):
    lengths = {"table_pairs": [1, 2, 2, 9], "audio_seconds": [0.5, 2.5, 2.5], "video_seconds": []}
    figure = inspect_figure(replace(inspection, lengths=lengths), "zh")
    texts = readable(figure)
    sums = [sum(p.get_height() for p in axes.patches) for axes in figure.axes[-2:]]
    assert sums == [4, 3]
    assert label("median", "zh", value="2") in texts
    assert label("median", "zh", value="2.5") in texts


def test_the_check_of_readability_can_fail(readable):
    from scale.viz.theme import new_figure

    figure = new_figure(3, 2)
    figure.text(0.5, 0.5, "one thing")
    figure.text(0.52, 0.5, "another thing")
    with pytest.raises(AssertionError, match="lies on"):
        readable(figure)
    figure = new_figure(3, 2)
    figure.text(0.95, 0.5, "too long for the page")
    with pytest.raises(AssertionError, match="clipped"):
        readable(figure)
