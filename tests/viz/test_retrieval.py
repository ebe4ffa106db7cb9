from dataclasses import replace

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Circle

from scale.modalities import MODALITIES, SUBSETS, parse_subset, subset_name
from scale.viz.retrieval import direction_matrix, retrieval_bars, retrieval_sheet
from scale.viz.theme import HIT
from scale.viz.words import label
from tests.viz.conftest import LOOKS


def estimate(value, n=98):
    return {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1), "n": n}


def subsets(value):
    return {subset_name(s): {"mAP@1": estimate(value * len(s))} for s in SUBSETS}


def directions(value):
    pairs = [(a, b) for a in MODALITIES for b in MODALITIES if a != b]
    return {f"{a}->{b}": {"Recall@10": estimate(value)} for a, b in pairs}


def test_sheet_marks_the_hits_and_only_them(product, checked):
    for look, lang in LOOKS:
        others = [replace(product, id=f"q{k}", category=f"类别 {k}") for k in range(5)]
        results = [[(p, 0.9 - 0.1 * k) for k, p in enumerate(others)]] * 2
        hits = [[True, False, True, False, False], [False] * 5]
        figure, texts = checked(
            retrieval_sheet, look, [product, replace(product, image=None)], results, hits, lang
        )
        axes = figure.axes[0]
        # Two hits, and the mark in the key.
        assert sum(isinstance(p, Circle) for p in axes.patches) == 3
        green = [t for t in axes.texts if t.get_color() == HIT]
        assert [t.get_text() for t in green] == ["类别 0", "类别 2"]
        assert texts.count(label("similarity", lang, value=0.9)) == 2
        assert label("rank_number", lang, n=5) in texts


def test_query_tile_shows_the_query_modality(product, readable):
    """A query by title is drawn as its title, never as a picture that the model did not receive."""
    product = replace(product, text="plain words")
    texts = readable(retrieval_sheet([product], [[]], [[]], "en", ("text",)))
    assert "plain words" in texts
    texts = readable(retrieval_sheet([product], [[]], [[]], "en", ("image", "text")))
    assert "plain words" not in texts
    texts = readable(retrieval_sheet([replace(product, audio=None)], [[]], [[]], "en", ("audio",)))
    assert label("absent") in texts


def test_sheet_with_lists_that_do_not_fit(product):
    with pytest.raises(ValueError, match="1 queries"):
        retrieval_sheet([product], [[(product, 0.5)]], [[True, False]])
    with pytest.raises(ValueError, match="argument"):
        retrieval_sheet([product], [[(product, 0.5)]], [])


def test_bars_show_each_subset_with_its_controls(checked):
    for look, lang in LOOKS:
        tree = {"trained": subsets(0.15), "untrained": subsets(0.05), "chance": subsets(0.02)}
        figure, texts = checked(retrieval_bars, look, tree, lang)
        bars = figure.axes[0]
        assert [round(p.get_height(), 6) for p in bars.patches] == pytest.approx(
            sorted(0.15 * len(s) for s in SUBSETS)
        )
        assert {label(k, lang) for k in ("trained", "untrained", "chance")} <= set(texts)
        (untrained,) = (line.get_ydata() for line in bars.lines if line.get_marker() == "D")
        assert sorted(untrained) == pytest.approx(sorted(0.05 * len(s) for s in SUBSETS))
        (whiskers,) = (c for c in bars.containers if isinstance(c, ErrorbarContainer))
        stored = [e["mAP@1"] for e in tree["trained"].values()]
        drawn = np.array([segment[:, 1] for segment in whiskers[2][0].get_segments()])
        np.testing.assert_allclose(np.sort(drawn[:, 0]), sorted(e["low"] for e in stored))
        np.testing.assert_allclose(np.sort(drawn[:, 1]), sorted(e["high"] for e in stored))


def test_bars_are_ordered_by_size_then_value(readable):
    values = {"text": 0.2, "image": 0.6, "text+image": 0.3, "audio": 0.4}
    tree = {"trained": {s: {"mAP@1": estimate(v)} for s, v in values.items()}}
    figure = retrieval_bars(tree)
    readable(figure)
    heights = [p.get_height() for p in figure.axes[0].patches]
    assert heights == pytest.approx([0.6, 0.4, 0.2, 0.3])
    assert len(parse_subset("text+image")) == 2


def test_the_legend_names_what_is_drawn_and_nothing_else():
    tree = {"trained": subsets(0.15), "chance": subsets(0.02)}
    for kinds in (("trained",), ("trained", "chance")):
        figure = retrieval_bars({kind: tree[kind] for kind in kinds}, "zh")
        legend = figure.axes[0].get_legend()
        assert [t.get_text() for t in legend.get_texts()] == [label(k, "zh") for k in kinds]


def test_null_values_give_no_bar_and_no_number(readable):
    """results.json writes null where a modality is missing in the whole split."""
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    single = {"value": 1.0, "low": None, "high": None, "n": 1}
    tree = {"trained": {"text": {"mAP@1": estimate(0.5)}, "video": {"mAP@1": nothing},
                        "audio": {"mAP@1": single}}}  # fmt: skip
    figure = retrieval_bars(tree)
    assert [p.get_height() for p in figure.axes[0].patches] == pytest.approx([1.0, 0.5])
    found = {"text->image": {"Recall@10": estimate(0.5)}, "text->video": {"Recall@10": nothing}}
    texts = readable(direction_matrix({"trained": found}))
    assert "0.50" in texts
    with pytest.raises(ValueError, match="mAP@1"):
        retrieval_bars({"trained": {"video": {"mAP@1": nothing}}})


def test_bars_without_the_metric():
    with pytest.raises(ValueError, match="mAP@7"):
        retrieval_bars({"trained": subsets(0.1)}, metric="mAP@7")


def test_direction_cells_carry_value_interval_chance_and_n(checked):
    for look, lang in LOOKS:
        results = {"trained": directions(0.4), "chance": directions(0.12)}
        _, texts = checked(direction_matrix, look, results, lang)
        assert texts.count("0.40") == 20
        chance = label("chance_is", lang, value=0.12)
        assert texts.count(f"0.30–0.50\n{chance}\nn 98") == 20


def test_direction_colour_is_value_minus_chance():
    results = {"trained": directions(0.4), "chance": directions(0.1)}
    results["trained"]["text->table"] = {"Recall@10": estimate(0.9)}
    results["chance"]["text->table"] = {"Recall@10": estimate(0.6)}
    figure = direction_matrix(results)
    gain_MM = figure.axes[0].collections[0].get_array()
    assert gain_MM.compressed() == pytest.approx([0.3] * 20)


def test_directions_that_are_missing_or_nan_are_hatched(readable):
    results = {"trained": directions(0.4), "chance": {}}
    del results["trained"]["audio->video"]
    results["trained"]["text->audio"]["Recall@10"]["value"] = float("nan")
    results["trained"]["alt_image->image"] = {"Recall@10": estimate(0.77)}
    figure = direction_matrix(results)
    texts = readable(figure)
    hatched_MM = np.ma.getmaskarray(figure.axes[0].collections[0].get_array())
    assert hatched_MM.sum() == 4 + 2
    assert hatched_MM[MODALITIES.index("audio"), MODALITIES.index("video")]
    assert texts.count("0.77") == 1
    assert not any("nan" in text for text in texts)
    with pytest.raises(ValueError, match="Prec@1"):
        direction_matrix(results, metric="Prec@1")
