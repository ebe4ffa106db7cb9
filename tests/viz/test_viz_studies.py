"""Study figures: what is drawn is what the summary says, and all of it can be read."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from scale.evaluation.bootstrap import Estimate
from scale.studies.definitions import STUDIES
from scale.studies.study import Cell
from scale.studies.study import Test as Held
from scale.viz.studies import study_figure
from scale.viz.words import WORDS, label, term

LOOKS = [("paper", "en"), ("slides", "zh"), ("dark", "zh"), ("slides", "en")]
GRID = {"policy": ("zero", "skip", "learned", "drop"), "rate": (0.0, 0.1, 0.3, 0.5, 0.7)}
GAP = {"policy": "drop", "rate": 0.7}
WEIGHTS = {"place": ("loss", "logits"), "weights": ("uniform", "scores", "posterior of the pair")}
REGIMES = {
    "regime": ("clean", "missing", "noisy", "mismatch", "all"),
    "weighting": ("uniform", *(f"weighting {k}" for k in range(9))),
}


def dashed(axes, dashes="--"):
    """x and ends of the baselines: dashed by group, dotted for all."""
    found = [c for c in axes.collections if c.get_linestyle()[0][1] is not None]
    long = [c for c in found if (c.get_linestyle()[0][1][0] > 2) == (dashes == "--")]
    return [(s[0][0], s[0][1], s[1][1]) for c in long for s in c.get_segments()]


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_lines_over_the_last_factor(summary, checked, look, lang):
    found = summary(GRID, gaps=[GAP])
    figure, texts = checked(lambda lang: study_figure(found, lang=lang), look, lang)
    words = {term(word, lang) for word in (*GRID["policy"], "held out", "complete", "rate")}
    assert words | {label("cannot_train", lang)} <= set(texts)
    assert len(figure.axes) == 2
    zero = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 5)
    np.testing.assert_allclose(zero.get_ydata(), [0.30, 0.31, 0.32, 0.33, 0.34])


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_bars_are_rows_in_groups(summary, checked, look, lang):
    gap = {"place": "logits", "weights": "scores"}
    found = summary(WEIGHTS, figure="bars", gaps=[gap])
    figure, texts = checked(lambda lang: study_figure(found, lang=lang), look, lang)
    assert {term(word, lang) for word in ("loss", "logits", *WEIGHTS["weights"])} <= set(texts)
    assert sum(label("cannot_train", lang) in text for text in texts) == 2
    assert any(label("study_baselines", lang, name=term("uniform", lang)) in text for text in texts)
    assert [x for x, *_ in dashed(figure.axes[0])] == pytest.approx([0.30, 0.33])


@pytest.mark.parametrize(("look", "lang"), LOOKS)
def test_many_rows_stand_in_columns_each_group_with_its_baseline(summary, checked, look, lang):
    found = summary(REGIMES, ("held out",), "bars")
    figure, texts = checked(lambda lang: study_figure(found, lang=lang), look, lang)
    assert len(figure.axes) == 2
    assert {term(word, lang) for word in REGIMES["regime"]} <= set(texts)
    assert texts.count(term("uniform", lang)) == 5
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    lines = [line for axes in figure.axes for line in dashed(axes)]
    # The regime `all` is no baseline, though a row of another study by that name is one.
    assert [x for x, *_ in lines] == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])
    assert all(high - low == pytest.approx(10) for _, low, high in lines)
    assert [dashed(axes, ":")[0][0] for axes in figure.axes] == pytest.approx([0.3, 0.3])
    untouched = {"en": "clean, uniform", "zh": "无损，等权"}[lang]
    assert any(label("study_untouched", lang, name=untouched) in text for text in texts)


def test_one_baseline_for_rows_without_groups(summary):
    names = ("all", "without MLM", "without JCT")
    figure = study_figure(summary({"objective": names}, figure="bars"))
    assert dashed(figure.axes[0]) == [(pytest.approx(0.3), -0.5, 2.5)]


def test_a_group_of_one_needs_no_heading(summary, readable):
    found = summary({"noise": ("none", "blur"), "weighting": ("uniform", "S'")}, figure="bars")
    texts = readable(study_figure(replace(found, rows=found.rows[:3])))
    assert "none" in texts
    assert "blur, uniform" in texts
    assert "blur" not in texts


def test_only_tests_that_all_cells_have_get_a_panel(summary, readable):
    found = summary({"noise": ("none", "blur")}, ("held out",), "bars")
    more = [Held("held out"), *(Held(f"blur {k}") for k in range(36))]
    cells = (Cell({"noise": "none"}, tests=tuple(more)), found.study.cells[1])
    figures = {t.name: {"mAP@5": Estimate(0.4, 0.3, 0.5, 5)} for t in more}
    rows = (replace(found.rows[0], figures=figures), found.rows[1])
    columns = tuple((t.name, "mAP@5") for t in more)
    study = replace(found.study, cells=cells)
    figure = study_figure(replace(found, study=study, rows=rows, columns=columns))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["held out"]
    readable(figure)


def test_a_row_that_has_not_run_says_so(summary, readable):
    found = summary({"weights": ("uniform", "scores")}, figure="bars")
    rows = (found.rows[0], replace(found.rows[1], figures={}, done=0))
    texts = readable(study_figure(replace(found, rows=rows)))
    assert texts.count(label("not_run")) == 2


@pytest.mark.parametrize("figure", ["lines", "bars"])
@pytest.mark.parametrize(
    "grid",
    [
        {"size": (100, 1000, 10000)},
        {"fault": ("none", "mask on the wrong product")},
        {"model": ("a", "b"), "policy": ("zero", "skip"), "rate": (0.0, 0.5)},
        {"policy": tuple(f"policy {k}" for k in range(9)), "rate": (0.0, 0.5)},
        {"removed": ("text", "table", "image", "video", "audio", "nothing"), "rate": (0, 1)},
        {"detach": (True, False), "rate": (0.3,)},
    ],
)
@pytest.mark.parametrize("tests", [("held out",), ("one", "two", "three", "four")])
def test_any_grid_is_readable(summary, readable, grid, figure, tests):
    if figure == "bars" and len(tests) > 3:
        tests = tests[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        readable(study_figure(summary(grid, tests, figure)))


def test_whiskers_of_different_lines_stand_apart(summary):
    axes = study_figure(summary(GRID)).axes[0]
    starts = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 5]
    assert len(set(np.round(starts, 6))) == len(GRID["policy"])


def test_one_seed_has_no_whisker_and_is_drawn(summary, readable):
    found = summary(GRID)
    alone = {"held out": {"mAP@5": Estimate(0.4, None, None, 1)}}
    rows = tuple(replace(row, figures=alone, done=1) for row in found.rows)
    readable(study_figure(replace(found, rows=rows)))


def test_a_metric_that_no_cell_has_is_refused(summary):
    with pytest.raises(ValueError, match=r"no cell has Recall@10"):
        study_figure(summary(GRID), "Recall@10")


def study_words():
    """Every word of the studies' tables that a figure of cells shows."""
    words = {"training"}
    for make in STUDIES.values():
        study = make(False)
        for cell in study.cells:
            words |= {value for value in cell.factors.values() if isinstance(value, str)}
            words |= {test.name for test in cell.tests} if study.name != "noise" else set()
        words |= set(study.factors)
    return words


def test_every_word_of_a_study_is_chinese_but_for_names():
    names = {"VL-BERT", "ImageBERT", "VideoBERT", "HERO", "VisualBERT", "UNITER", "ViLBERT",
             "LXMERT", "CLIP", "SCALE", "MMT"}  # fmt: skip
    kinds = {word for word in study_words() if word.rsplit(" ", 1)[-1].lstrip("-")[0].isdigit()}
    for word in study_words() - names - kinds:
        assert term(word, "zh") != word, word
        assert term(word, "en") == word
    assert set(WORDS["zh"]["terms"]) <= study_words()
    assert term("text+audio", "zh") == "文本+音频"


def test_a_study_in_chinese_has_no_english_words(summary, readable):
    texts = readable(study_figure(summary(GRID), lang="zh"))
    assert not {"zero", "drop", "rate", "held out"} & set(texts)
